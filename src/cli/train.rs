//! `gpt2-dpo train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gpt2_dpo::ceilings::Ceilings;
use gpt2_dpo::checkpoint::{self, Outline, Weights};
use gpt2_dpo::config::{TemplateChoice, TrainConfig, TrainOptions};
use gpt2_dpo::data::{Options, Template};
use gpt2_dpo::device::DeviceChoice;
use gpt2_dpo::dpo::Summary;
use gpt2_dpo::engine::{Device, Release, Tap};
use gpt2_dpo::generate::{Generator, Sampling};
use gpt2_dpo::plan::{Datasets, Plan};
use gpt2_dpo::profile::{MAX_TRACED, Profile};
use gpt2_dpo::recording::Recording;
use gpt2_dpo::tokenizer::Tokenizer;
use gpt2_dpo::train::{Event, Inputs, Outcome, Run, StepRow, Stopped};
use gpt2_dpo::words::counted;
use gpt2_dpo::{Error, Result, Setting};

use super::options::OptionArgs;
use super::pairs::Pairs;
use super::progress::Progress;
use super::{args, fetch, plan, say, starter, table, user, with_flags, write_json};

#[derive(clap::Args)]
pub struct Args {
    /// TOML file of these options, under the same names; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what the run would take on the device, and do no more
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    options: OptionArgs,
}

/// The most tokens of an answer that is shown.
const SHOWN_TOKENS: usize = 40;

pub fn run(args: Args) -> Result<ExitCode> {
    let flags = TrainOptions::from(args.options);
    let mut options = flags.clone();
    if let Some(file) = &args.config {
        options = options.or(TrainOptions::read(file)?);
    }
    // The starter's recipe applies only to its own pairs; the user's pairs get the model card's defaults.
    if options.model.is_none() && options.data.is_none() {
        options = options.or(starter::recipe()?);
    }
    let config = options.resolve()?;
    flags.refuse_idle(&config)?;

    let fetch_model = match args.plan {
        true => fetch::model_outline,
        false => fetch::model,
    };
    let dir = config.model.as_deref().map(fetch_model).transpose()?;
    let mut outline = match &dir {
        Some(dir) => Outline::load(dir)?,
        None => starter::outline()?,
    };
    let dims = outline.config.dims;
    args::say_outline(&outline);
    let template = config.template(outline.tokenizer.as_ref())?;
    if let Some(tokenizer) = &mut outline.tokenizer {
        leave_template(&template, config.template_choice(), tokenizer);
    }
    let options = [config.data_options()?, config.eval_options()?];
    let pairs = Pairs::read(&config, &outline.codec(&template), &options)?;
    pairs.report.say_notes();
    let (train, eval) = (&pairs.train, pairs.eval.as_ref());
    if args.plan {
        let engine = open(&config)?;
        let data = Datasets { train, eval };
        let plan = Plan::new(engine.as_ref(), &config, &dims, data)?;
        introduce(engine.as_ref(), &config, &template, &pairs);
        plan::show(&plan);
        return Ok(ExitCode::SUCCESS);
    }
    let weights = match &dir {
        Some(dir) => Weights::load(dir, &dims)?,
        None => starter::weights(&dims)?,
    };
    let mut engine = open(&config)?;
    let engine = engine.as_mut();
    let out = claim_out(&config, dir.as_deref())?;
    introduce(engine, &config, &template, &pairs);
    say!("output  {}", out.display());
    write_json(&out.join(checkpoint::DATA_FILE), &pairs.report)
        .inspect_err(|_| checkpoint::abandon(&out))?;

    let inputs = Inputs {
        dims: &dims,
        weights,
        train,
        eval,
    };
    let (outcome, profile) = match config.profile {
        true => {
            let (outcome, profile) = profiled(engine, &config, &outline, inputs, &out)?;
            (outcome, Some(profile))
        }
        false => (learn(engine, &config, &outline, inputs, &out)?, None),
    };
    write_run_file(&config, &out)?;
    outline.save(&out, &outcome.weights)?;
    if let (Some(before), Some(after)) = (&outcome.before, &outcome.after) {
        show_change(before, after);
    }
    if config.model.is_none() && config.data.is_empty() {
        show_answers(engine, &outline, (&template, &options[0]), &outcome.weights)?;
    }
    if let Some((profile, ceilings)) = &profile {
        write_trace(profile, &out)?;
        show_profile(engine, profile, ceilings);
    }
    let steps = counted(outcome.steps, "step");
    say!("\nsaved   {} after {steps}", out.display());
    if outcome.skipped > 0 {
        say!("skipped {} of them: a gradient overflowed", outcome.skipped);
    }
    Ok(ExitCode::SUCCESS)
}

/// Saves the chat template of the training with the output, or notes that the output keeps another one.
fn leave_template(template: &Template, choice: TemplateChoice, tokenizer: &mut Tokenizer) {
    match template {
        Template::Chat { source, .. } if matches!(choice, TemplateChoice::File(_)) => {
            tokenizer.set_chat_template(source);
        }
        Template::Chat { .. } => {}
        Template::Text(_) => {
            if let Ok(Some(own)) = tokenizer.chat_template(false) {
                eprintln!(
                    "note: the model is not trained with its own chat template, which {} of the output still \
                     has: whoever follows that asks otherwise than in training",
                    own.file
                );
            }
        }
    }
}

fn open(config: &TrainConfig) -> Result<Box<dyn Device>> {
    args::open(&DeviceChoice {
        device: config.device.clone(),
        backend: config.backend,
        checked: config.checked,
        max_binding_mib: config.max_binding_mib,
        precision: config.precision,
        no_autotune: config.no_autotune,
        cache_dir: user::cache_dir(config.cache_dir.as_deref()),
        adapter_name: user::adapter_name(),
        memory: user::memory(),
    })
}

/// Prints device, model and data of the run.
fn introduce(engine: &dyn Device, config: &TrainConfig, template: &Template, pairs: &Pairs) {
    say!("device  {}", engine.name());
    match &config.model {
        Some(model) => say!("model   {}", model.display()),
        None => say!("model   {}", starter::NAME),
    }
    say!("prompts {template}");
    pairs.introduce();
    say!(
        "steps   {} of {} pairs, learning rate {}",
        config.total_steps(pairs.train.examples.len()),
        config.pairs_per_step(),
        config.learning_rate
    );
}

/// Claims the output directory for this run.
fn claim_out(config: &TrainConfig, dir: Option<&Path>) -> Result<PathBuf> {
    let out = config.out.clone().unwrap_or_else(|| {
        let model = config.model.as_deref();
        let stem = model.and_then(Path::file_name).map_or_else(
            || starter::NAME.to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let free = (1..).map(|n| Path::new("runs").join(format!("{stem}-{n}")));
        let mut free = free.skip_while(|path| path.exists());
        free.next().unwrap_or_default() // the counter never ends
    });
    // A failed run deletes its output directory, which must not be the model that it began with.
    if let Some(model) = dir
        && let (Ok(model), Ok(target)) = (model.canonicalize(), out.canonicalize())
        && model == target
    {
        return Err(Error::Option {
            option: Setting::Field("out"),
            what: format!("{} is the directory of the model", out.display()),
            help: "name another output directory".into(),
        });
    }
    checkpoint::claim(&out, config.overwrite)?;
    Ok(out)
}

fn write_run_file(config: &TrainConfig, out: &Path) -> Result<()> {
    let text = config.to_toml();
    checkpoint::write_atomically(&out.join(checkpoint::RUN_FILE), |file| {
        file.write_all(text.as_bytes())
    })
}

/// [`learn`] with a separate time for each kernel.
fn profiled(
    engine: &mut dyn Device,
    config: &TrainConfig,
    outline: &Outline,
    inputs: Inputs,
    out: &Path,
) -> Result<(Outcome, (Profile, Ceilings))> {
    let ceilings = Ceilings::measure(engine).inspect_err(|_| checkpoint::abandon(out))?;
    let mut profile = Profile::new(engine);
    let mut on_run = |engine: &mut dyn Device, rec: &Recording| profile.run(engine, rec);
    let outcome = learn(
        &mut Tap::new(engine, &mut on_run),
        config,
        outline,
        inputs,
        out,
    )?;
    Ok((outcome, (profile, ceilings)))
}

fn write_trace(profile: &Profile, out: &Path) -> Result<()> {
    checkpoint::write_atomically(&out.join(checkpoint::TRACE_FILE), |file| {
        profile.write_trace(file)
    })
}

fn show_profile(engine: &dyn Device, profile: &Profile, ceilings: &Ceilings) {
    say!("\nceilings");
    table::ceilings(ceilings);
    say!("\nkernels of the run, by {}", engine.clock());
    table::kernels(&profile.rows(ceilings), "mean");
    say!(
        "\ntrace   {}, for ui.perfetto.dev or chrome://tracing",
        checkpoint::TRACE_FILE
    );
    if profile.is_cut() {
        say!("        which holds the first {MAX_TRACED} kernels");
    }
    say!("note    each kernel ran alone to be timed: the run was slower for it");
}

/// Trains. If the run breaks off after good steps, the weights are saved if they are finite; otherwise nothing
/// is saved.
fn learn(
    engine: &mut dyn Device,
    config: &TrainConfig,
    outline: &Outline,
    inputs: Inputs,
    out: &Path,
) -> Result<Outcome> {
    let mut progress = Progress::default();
    let mut tell = |event: Event| show(&mut progress, event);
    // run.toml keeps what the user gave.
    let keeping = TrainConfig {
        cache_dir: user::cache_dir(config.cache_dir.as_deref()),
        ..config.clone()
    };
    let result = match Run::new(engine, &keeping, inputs, out, &mut tell) {
        Ok(run) => run.train(),
        Err(error) => Err(Stopped { error, good: None }),
    };
    progress.clear();
    let Stopped { error, good } = match result {
        Ok(outcome) => return Ok(outcome),
        Err(stopped) => stopped,
    };
    match good {
        Some(weights) => {
            write_run_file(config, out)?;
            outline.save(out, &weights)?;
            eprintln!("note: {} holds the last good weights", out.display());
        }
        None => checkpoint::abandon(out),
    }
    Err(error)
}

fn show(progress: &mut Progress, event: Event) {
    match event {
        Event::Note(note) => progress.say(&format!("note: {}", with_flags(&note))),
        Event::Reference { done, total } => progress.at("reference", done, total, String::new()),
        Event::Evaluating { done, total } => progress.at("evaluating", done, total, String::new()),
        Event::Step { row, total } => progress.at("training", row.step, total, brief(row)),
        Event::Eval { step, summary } => {
            progress.clear();
            if let Some(rewards) = &summary.rewards {
                say!(
                    "step {step}: held-out loss {:.4}, accuracy {:.1} %, margin {:.4}",
                    summary.loss,
                    100.0 * rewards.accuracy,
                    rewards.margin
                );
            } else {
                say!("step {step}: held-out loss {:.4}", summary.loss);
            }
        }
    }
}

fn brief(row: &StepRow) -> String {
    let mut text = format!("loss {:.4}", row.summary.loss);
    if let Some(rewards) = &row.summary.rewards {
        text += &format!(
            "  acc {:3.0} %  margin {:.3}",
            100.0 * rewards.accuracy,
            rewards.margin
        );
    }
    text + &format!("  {:.0} tokens/s", row.tokens_per_second)
}

fn show_change(before: &Summary, after: &Summary) {
    say!("\nheld out       before     after");
    let line = |what: &str, before: f64, after: f64, unit: &str| {
        say!("{what:10} {before:10.4}{unit}{after:10.4}{unit}");
    };
    line("loss", before.loss, after.loss, "");
    if let (Some(before), Some(after)) = (&before.rewards, &after.rewards) {
        line("accuracy", before.accuracy, after.accuracy, "");
        line("ties", before.ties, after.ties, "");
        line("margin", before.margin, after.margin, "");
    }
}

/// Prints the answers to two of the starter's held-out prompts, before and after training.
fn show_answers(
    engine: &mut dyn Device,
    outline: &Outline,
    asking: (&Template, &Options),
    after: &Weights,
) -> Result<()> {
    let before = starter::weights(&outline.config.dims)?;
    let before = answers(engine, outline, asking, &before)?;
    let after = answers(engine, outline, asking, after)?;
    for ((prompt, before), after) in starter::SHOWN_PROMPTS.iter().zip(before).zip(after) {
        say!("\n{prompt}\n  before: {before}\n  after:  {after}");
    }
    Ok(())
}

/// The model's greedy answers to those prompts with these weights.
fn answers(
    engine: &mut dyn Device,
    outline: &Outline,
    (template, options): (&Template, &Options),
    weights: &Weights,
) -> Result<Vec<String>> {
    let Some(tokenizer) = &outline.tokenizer else {
        return Ok(Vec::new());
    };
    let dims = &outline.config.dims;
    let generator = Generator::new(engine, dims, weights, dims.n_positions)?;
    let mut answers = Vec::new();
    for prompt in starter::SHOWN_PROMPTS {
        let prompt = template.prompt_ids(tokenizer, prompt, options)?;
        let (stops, greedy) = (&outline.end.stops, Sampling::GREEDY);
        let mut ids = Vec::new();
        generator.generate(engine, &prompt, SHOWN_TOKENS, stops, greedy, |id| {
            ids.push(id);
            Ok(())
        })?;
        answers.push(tokenizer.decode(&ids)?);
    }
    generator.release(engine);
    Ok(answers)
}
