//! `gpt2-dpo train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use gpt2_dpo::ceilings::Ceilings;
use gpt2_dpo::config::{TemplateChoice, TrainConfig, TrainOptions};
use gpt2_dpo::data::Template;
use gpt2_dpo::device::DeviceChoice;
use gpt2_dpo::dpo::Summary;
use gpt2_dpo::engine::{Device, Tap};
use gpt2_dpo::eval::Report;
use gpt2_dpo::generate::SAMPLED_TOKENS;
use gpt2_dpo::model::Dims;
use gpt2_dpo::plan::{Datasets, Plan};
use gpt2_dpo::pretrained::{Adapter, Outline, Weights};
use gpt2_dpo::profile::{MAX_TRACED, Profile};
use gpt2_dpo::recording::Recording;
use gpt2_dpo::run_folder::{self, RunFolder};
use gpt2_dpo::storage::{self, Replacing};
use gpt2_dpo::tokenizer::Tokenizer;
use gpt2_dpo::train::{Ending, Event, Host, Inputs, OnDevice, Resume, Retry, Run, StepRow};
use gpt2_dpo::words::counted;
use gpt2_dpo::{Error, Result, Setting};

use super::doctor::Watch;
use super::options::OptionArgs;
use super::pairs::Pairs;
use super::progress::Progress;
use super::resume::{Earlier, how_to_go_on};
use super::signals::Signals;
use super::trained::{Trained, read_adapter};
use super::{
    args, doctor, fetch, plan, recorded, samples, say, starter, table, tell, user, with_flags,
    write_json,
};

#[derive(clap::Args)]
pub struct Args {
    /// TOML file of these options, under the same names; flags win
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// Print what the run would take on the device, and do no more
    #[arg(long)]
    plan: bool,
    /// Go on with the run in this output directory from its newest checkpoint, or from this checkpoint: what the run
    /// did after it is removed
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// With --resume: go on even where options, data or model are others than before, and say what changes
    #[arg(long, requires = "resume")]
    resume_anyway: bool,
    #[command(flatten)]
    options: OptionArgs,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let signals = Signals::watch();
    let flags = TrainOptions::from(args.options);
    let earlier = args
        .resume
        .map(|path| Earlier::open(&path, args.resume_anyway));
    let earlier = earlier.transpose()?;
    let mut options = flags.clone();
    if let Some(file) = &args.config {
        options = options.or(TrainOptions::read(file)?);
    }
    if let Some(earlier) = &earlier {
        options = earlier.options(&flags)?;
    } else if options.model.is_none() && options.data.is_none() {
        // The starter's recipe applies only to its own pairs; the user's pairs get the model card's defaults.
        options = options.or(starter::recipe()?);
    }
    let mut config = options.resolve()?;
    flags.refuse_idle(&config)?;
    if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.is_finished()) {
        let out = earlier.folder.path().display();
        say!("{out} holds the result of the whole run: nothing is left to do");
        return Ok(ExitCode::SUCCESS);
    }

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
    let adapter = read_adapter(&config, &dims)?;
    if let Some(adapter) = &adapter {
        config = config.with_adapter(&adapter.config);
    }
    let trained = Trained::of(&config, &dims)?;
    let template = config.template(outline.tokenizer.as_ref())?;
    if let Some(tokenizer) = &mut outline.tokenizer {
        leave_template(&template, config.template_choice(), tokenizer);
    }
    let options = [config.data_options()?, config.eval_options()?];
    let pairs = Pairs::read(&config, &outline.codec(&template), &options)?;
    pairs.report.say_notes();
    let prompts = samples::prompts(&flags, &config, &outline, &template, pairs.eval.as_ref())?;
    if args.plan {
        let engine = open(&config)?;
        let data = Datasets {
            train: &pairs.train,
            eval: pairs.eval.as_ref(),
            samples: &prompts,
        };
        let plan = Plan::new(engine.as_ref(), &config, &dims, data)?;
        introduce(engine.as_ref(), &config, &template, &pairs);
        trained.say();
        plan::show(&plan);
        return Ok(ExitCode::SUCCESS);
    }
    let models = Models {
        reference: config.ref_model.as_deref().map(fetch::model).transpose()?,
        start: dir,
        adapter,
    };
    // Read before the output folder is emptied, which may hold them.
    let mut weights = Some(models.read(&dims)?);
    let engine = open(&config)?;
    let anyway = earlier.as_ref().is_some_and(|earlier| earlier.anyway);
    let (mut folder, from) = match earlier {
        Some(earlier) => earlier.take(),
        None => (claim_out(&config, &models)?, None),
    };
    introduce(engine.as_ref(), &config, &template, &pairs);
    trained.say();
    models.say_reference(&config);
    let out = folder.path().to_owned();
    if !prompts.is_empty() {
        let count = counted(prompts.len(), "prompt");
        say!("samples {count} at each evaluation, up to {SAMPLED_TOKENS} tokens of each answer");
    }
    say!("output  {}", out.display());

    let outline = Arc::new(outline);
    let session = Session {
        config: &config,
        outline: &outline,
        pairs: &pairs,
        prompts: &prompts,
        signals: &signals,
    };
    let mut has_stepped = false;
    let retry = Retry {
        retries: config.retries,
        out: &out,
        open: &mut || open(&config),
        tell: &mut |note| tell!("note: {}", with_flags(&note)),
    };
    let ended = retry.run(engine, from, |engine, checkpoint| {
        let weights = weights.take().map_or_else(|| models.read(&dims), Ok)?;
        let resume = checkpoint.map(|checkpoint| Resume { checkpoint, anyway });
        let attempt = Attempt {
            weights,
            resume,
            folder: &mut folder,
            has_stepped: &mut has_stepped,
        };
        session.train(engine, attempt)
    });
    let OnDevice { engine, result } = match ended {
        Ok(ended) => ended,
        Err(error) => {
            match has_stepped {
                true => tell!("note: what was done is kept; {}", how_to_go_on(&out)),
                false => folder.abandon(),
            }
            return Err(error);
        }
    };
    let (ending, profile) = result;
    let outcome = match ending {
        Ending::Finished(outcome) => outcome,
        Ending::Interrupted { step, total, saved } => {
            let from = match saved {
                Some(saved) if saved == step => String::new(),
                Some(saved) => format!(", with a checkpoint of step {saved}"),
                None => ", without a checkpoint".to_owned(),
            };
            say!(
                "stopped after step {step} of {total}{from}; {}",
                how_to_go_on(&out)
            );
            return Ok(signals.exit_code());
        }
    };
    let (mut folder, mut weights) = (Replacing::on_disk(&out), &outcome.weights);
    let adapter = config.adapter_config();
    let saved = match &adapter {
        Some(adapter) => outline.save_adapter(&mut folder, adapter, &mut weights),
        None => outline.save(&mut folder, &mut weights),
    };
    saved.inspect_err(|_| tell!("note: what was done is kept; {}", how_to_go_on(&out)))?;
    signals.nothing_to_save();
    if let Some(unwritten) = outcome.unwritten {
        tell!("note: {} holds the trained model", out.display());
        return Err(unwritten);
    }
    if let (Some(before), Some(after)) = (&outcome.before, &outcome.after) {
        show_change(before, after);
    }
    let result = outcome.best.map_or(outcome.steps, |best| best.step);
    samples::show(&out, result, outcome.sampling);
    doctor::show_at_end(&out);
    if let Some((profile, ceilings)) = &profile {
        write_trace(profile, &out)?;
        show_profile(engine.as_ref(), profile, ceilings);
    }
    let steps = counted(outcome.steps, "step");
    say!("\nsaved   {} after {steps}", out.display());
    if let (Some(best), Some(metric)) = (outcome.best, config.save_best) {
        say!(
            "        the weights of step {}, the best: {metric} {:.4}",
            best.step,
            metric.of(&best.summary)
        );
    }
    if outcome.skipped > 0 {
        say!("skipped {} of them: a gradient overflowed", outcome.skipped);
    }
    Ok(ExitCode::SUCCESS)
}

/// The folders of the models that a run begins with; `None` = the starter, and for the reference the model before
/// training.
struct Models {
    start: Option<PathBuf>,
    /// The adapter to go on with.
    adapter: Option<Adapter>,
    reference: Option<PathBuf>,
}

/// The weights of [`Models`].
struct StartWeights {
    start: Weights,
    adapter: Option<Adapter>,
    reference: Option<Weights>,
}

impl Models {
    fn read(&self, dims: &Dims) -> Result<StartWeights> {
        let start = match &self.start {
            Some(dir) => Weights::load(dir, dims)?,
            None => starter::weights(dims)?,
        };
        let reference = self.reference.as_deref().map(|dir| {
            let theirs = Outline::load(dir)?.config.dims;
            if theirs != *dims {
                return Err(Error::Option {
                    option: Setting::Field("ref_model"),
                    what: format!("{} is a model of other sizes than `.model`", dir.display()),
                    help: "name a model of the same config.json".into(),
                });
            }
            Weights::load(dir, dims)
        });
        Ok(StartWeights {
            start,
            adapter: self.adapter.clone(),
            reference: reference.transpose()?,
        })
    }

    /// Says which model is the reference where it may not be the one that a user expects.
    fn say_reference(&self, config: &TrainConfig) {
        if let Some(named) = &config.ref_model {
            let moves = match config.sync_ref_steps {
                0 => "which stays as it is".to_owned(),
                steps => format!("which moves every {}", counted(steps, "step")),
            };
            say!("against {}, {moves}", named.display());
        } else if config.adapter.is_some() && config.objective().needs_reference() {
            say!("against the model without the adapter");
        } else if let (Some(dir), Some(model)) = (&self.start, &config.model)
            && config.objective().needs_reference()
            && recorded::reference_of(dir).is_some()
        {
            tell!(
                "note: {} is the result of a run, and as it is now it is the reference of this run too; --ref-model \
                 names another",
                model.display()
            );
        }
    }
}

/// What the attempts of a run have in common.
struct Session<'a> {
    config: &'a TrainConfig,
    outline: &'a Arc<Outline>,
    pairs: &'a Pairs,
    /// The prompts that evaluations answer, as ids.
    prompts: &'a [Vec<u32>],
    signals: &'a Signals,
}

/// One attempt at a run, on one device.
struct Attempt<'a> {
    weights: StartWeights,
    resume: Option<Resume>,
    folder: &'a mut RunFolder,
    /// Set after the first step: then the folder holds something.
    has_stepped: &'a mut bool,
}

/// The end of a run, and the times of its kernels if they were asked for.
type Ended = (Ending, Option<(Profile, Ceilings)>);

impl Session<'_> {
    /// Writes the files that tell what the run does.
    fn begin(&self, out: &Path) -> Result<()> {
        write_json(&out.join(run_folder::DATA_FILE), &self.pairs.report)?;
        let text = self.config.to_toml();
        storage::write_atomically(&out.join(run_folder::RUN_FILE), |file| {
            file.write_all(text.as_bytes())
        })
    }

    /// Trains to the end, or until a signal.
    fn train(&self, engine: &mut dyn Device, attempt: Attempt) -> Result<Ended> {
        if !self.config.profile {
            return Ok((self.learn(engine, attempt)?, None));
        }
        let ceilings = Ceilings::measure(engine)?;
        let mut profile = Profile::new(engine);
        let mut on_run = |engine: &mut dyn Device, rec: &Recording| profile.run(engine, rec);
        let mut tap = Tap::new(engine, &mut on_run);
        let ending = self.learn(&mut tap, attempt)?;
        Ok((ending, Some((profile, ceilings))))
    }

    fn learn(&self, engine: &mut dyn Device, attempt: Attempt) -> Result<Ending> {
        let Attempt {
            weights,
            resume,
            folder,
            has_stepped,
        } = attempt;
        if let Some(Resume { checkpoint, .. }) = &resume {
            let position = checkpoint.position();
            let path = checkpoint.path().display();
            say!(
                "resume  after step {} of {}, from {path}",
                position.step,
                position.total
            );
        }
        let inputs = Inputs {
            outline: Arc::clone(self.outline),
            weights: weights.start,
            adapter: weights.adapter,
            reference: weights.reference,
            train: &self.pairs.train,
            eval: self.pairs.eval.as_ref(),
            eval_sets: self.pairs.eval_sets.clone(),
            samples: self.prompts.to_vec(),
            resume,
        };
        let host = Host {
            cache_dir: user::cache_dir(None),
            stop: self.signals.stop.clone(),
            free_memory: || user::memory().map(|memory| memory.free as u64),
            ..Host::default()
        };
        let out = folder.path().to_owned();
        let mut progress = Progress::default();
        let mut watch = Watch::new(
            &out,
            self.config.total_steps(self.pairs.train.examples.len()),
        );
        let mut tell = |event: Event| {
            *has_stepped |= matches!(event, Event::Step { .. } | Event::Saved { .. });
            let evaluated = match event {
                Event::Eval { step, .. } => Some(step),
                _ => None,
            };
            show(&mut progress, event);
            if let Some(step) = evaluated {
                watch.look(step, &mut progress);
            }
        };
        let run = Run::new(engine, self.config, inputs, &out, host, &mut tell)?;
        // From here on a signal is a request to the run. Nothing of an earlier run was touched before.
        self.signals.running();
        folder.begin()?;
        self.begin(&out)?;
        let ended = run.train();
        self.signals.saving();
        progress.clear();
        ended
    }
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
                tell!(
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
        grow: !config.no_grow,
        gentle: config.gentle,
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
fn claim_out(config: &TrainConfig, models: &Models) -> Result<RunFolder> {
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
    // A run empties the directory that it overwrites, which must not hold the models that it takes.
    let real = |path: &Path| path.canonicalize().ok();
    let folders = models
        .start
        .iter()
        .chain(&models.reference)
        .chain(&config.adapter);
    for model in folders.filter_map(|model| real(model)) {
        if let Some(target) = real(&out)
            && model.starts_with(&target)
        {
            return Err(Error::Option {
                option: Setting::Field("out"),
                what: match model == target {
                    true => format!("{} is the directory of a model of this run", out.display()),
                    false => format!("{} holds a model of this run", out.display()),
                },
                help: "name another output directory".into(),
            });
        }
    }
    RunFolder::claim(&out, config.overwrite)
}

fn write_trace(profile: &Profile, out: &Path) -> Result<()> {
    storage::write_atomically(&out.join(run_folder::TRACE_FILE), |file| {
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
        run_folder::TRACE_FILE
    );
    if profile.is_cut() {
        say!("        which holds the first {MAX_TRACED} kernels");
    }
    say!("note    each kernel ran alone to be timed: the run was slower for it");
}

fn show(progress: &mut Progress, event: Event) {
    match event {
        Event::Note(note) => progress.say(&format!("note: {}", with_flags(&note))),
        Event::Reference { done, total } => progress.at("reference", done, total, String::new()),
        Event::Evaluating { done, total } => progress.at("evaluating", done, total, String::new()),
        Event::Saved { checkpoint } => progress.say(&format!("saved   {}", checkpoint.display())),
        Event::Step { row, total } => progress.at("training", row.step, total, brief(row)),
        Event::Eval { step, name, report } => {
            progress.clear();
            say!("step {step}: {}", held_out(name, report));
        }
    }
}

/// The numbers of a held-out set on one line.
fn held_out(name: &str, report: &Report) -> String {
    let which = match name {
        "" => "held-out".to_owned(),
        name => format!("{name}:"),
    };
    let loss = format!("{which} loss {:.4}", report.summary.loss);
    match (&report.summary.rewards, &report.both) {
        (Some(rewards), Some(both)) => format!(
            "{loss}, accuracy {:.1} % ({:.1} to {:.1}), margin {:.4}",
            100.0 * rewards.accuracy,
            100.0 * both.accuracy.low,
            100.0 * both.accuracy.high,
            rewards.margin
        ),
        _ => loss,
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
