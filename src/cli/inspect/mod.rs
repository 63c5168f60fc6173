//! `gpt2-dpo inspect`: shows data as training sees it, and what is wrong with it.

mod facts;
mod findings;
mod page;
mod ranking;
mod text;
mod tokens;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gpt2_dpo::batch::Sides;
use gpt2_dpo::config::{Losses, TrainConfig, TrainOptions};
use gpt2_dpo::data::{Audit, Boundary, Options, Truncation};
use gpt2_dpo::model::Dims;
use gpt2_dpo::ops::preference::{Kind, Settings};
use gpt2_dpo::pretrained::{Config, Outline};
use gpt2_dpo::storage::{check_writable, write_atomically};
use gpt2_dpo::tokenizer::Tokenizer;
use gpt2_dpo::{Error, Result, Setting};
use serde::Serialize;

use super::args::{DataArgs, DeviceArgs};
use super::pairs::{Pairs, Report};
use super::values::Value;
use super::{fetch, say, starter, with_flags};
use findings::{Facts, Finding};
use ranking::Ranked;
use tokens::{LoneSpace, Shown};

#[derive(clap::Args)]
pub struct Args {
    /// Pairs to look at, as --data of train; may be several
    #[arg(required = true, value_name = "DATA")]
    data: Vec<PathBuf>,
    #[arg(long, value_name = "[NAME=]PATH")]
    eval_data: Option<Vec<PathBuf>>,
    /// Model whose tokenizer and limits count, and which ranks the pairs: those that it ranks most strongly the
    /// other way may have their labels swapped
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Model of which only the tokenizer counts; the starter's if neither is given
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    tokenizer: Option<PathBuf>,
    #[arg(long, value_parser = Losses::parser())]
    loss: Option<Losses>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    drop_ties: Option<bool>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    dedupe: Option<bool>,
    #[arg(long)]
    min_score_margin: Option<f64>,
    #[arg(long)]
    eval_limit: Option<usize>,
    /// Pairs shown token by token
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    examples: usize,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Write a page for a browser, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    texts: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A loss over the same responses that needs no settings: no others matter to data.
fn alike(losses: Losses) -> Losses {
    Losses::from(match losses.objective(Settings::DEFAULT).sides() {
        Sides::Both => Kind::Sigmoid,
        Sides::Chosen => Kind::Sft,
    })
}

/// Everything that the command reports.
#[derive(Serialize)]
struct Inspection {
    #[serde(flatten)]
    report: Report,
    /// The tokenizer that counts the tokens.
    tokenizer: String,
    /// The template of the prompts.
    template: String,
    boundary: Boundary,
    truncation: Truncation,
    findings: Vec<Finding>,
    /// `null` if no prompt ends in a lone space.
    lone_space: Option<LoneSpace>,
    examples: Vec<Shown>,
    /// `null` without `--model`.
    ranked: Option<Ranked>,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let flags = TrainOptions {
        data: Some(args.data.clone()),
        eval_data: args.eval_data.clone(),
        loss: args.loss.map(alike),
        drop_ties: args.drop_ties,
        dedupe: args.dedupe,
        min_score_margin: args.min_score_margin,
        eval_limit: args.eval_limit,
        ..args.texts.options()
    };
    if args.model.is_none() {
        args.device.refuse_given()?;
    }
    args.html.as_deref().map_or(Ok(()), check_writable)?;
    let config = flags.clone().resolve()?;
    flags.refuse_idle(&config)?;
    let on_rejected = config.objective().sides() == Sides::Both;
    if args.model.is_some() && !on_rejected {
        return Err(Error::Option {
            option: Setting::Field("model"),
            what: format!(
                "ranks pairs, and --loss {} trains on chosen responses alone",
                config.loss
            ),
            help: "name the model with --tokenizer, or leave --loss out".into(),
        });
    }

    let (dir, outline, tokenizer) = match (&args.model, &args.tokenizer) {
        (Some(spec), _) => {
            let dir = fetch::model(spec)?;
            let outline = Outline::load(&dir)?;
            (Some(dir), outline, spec.display().to_string())
        }
        (None, Some(spec)) => {
            let outline = for_tokens(&fetch::model_outline(spec)?)?;
            (None, outline, spec.display().to_string())
        }
        (None, None) => (None, starter::outline()?, starter::NAME.to_owned()),
    };
    let template = config.template(outline.tokenizer.as_ref())?;
    let mut codec = outline.codec(&template);
    if dir.is_none() {
        // Without a model nothing is trained, so sequences may have any length.
        codec.n_positions = usize::MAX;
    }
    let looking = |options: Options| Options {
        compare_boundaries: true,
        // The report lists every bad record, not only the first.
        skip_bad_records: true,
        ..options
    };
    let options = [
        looking(config.data_options()?),
        looking(config.eval_options()?),
    ];
    let Pairs { train, report, .. } = Pairs::read(&config, &codec, &options)?;

    let ranked = match &dir {
        Some(dir) => Some(Ranked::by(dir, &outline, &train, &args.device)?),
        None => None,
    };
    let lone_space = LoneSpace::of(&train, outline.tokenizer.as_ref());
    let shown = train.examples.iter().take(args.examples);
    let examples: Vec<Shown> = shown
        .map(|example| Shown::of(example, outline.tokenizer.as_ref(), on_rejected))
        .collect();
    let model_notes: Vec<String> = outline.notes().map(with_flags).collect();
    let findings = findings::find(&Facts {
        config: &config,
        report: &report,
        starters_tokens: args.model.is_none() && args.tokenizer.is_none(),
        model_notes: &model_notes,
        lone_space: lone_space.as_ref(),
        ranked: ranked.as_ref(),
    });
    let inspection = Inspection {
        report,
        tokenizer,
        template: template.to_string(),
        boundary: config.boundary,
        truncation: config.truncation,
        findings,
        lone_space,
        examples,
        ranked,
    };
    if let Some(path) = &args.html {
        refuse_data_as_page(path, &config)?;
        let page = page::render(&inspection)?;
        write_atomically(path, |file| file.write_all(page.as_bytes()))?;
    }
    if args.json {
        let json = serde_json::to_string_pretty(&inspection);
        say!("{}", json.unwrap_or_default()); // numbers and texts always have a form in JSON
    } else {
        text::show(&inspection);
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses to write the page over the data.
fn refuse_data_as_page(page: &Path, config: &TrainConfig) -> Result<()> {
    let real = |path: &Path| path.canonicalize().ok();
    let held_out = config.eval_sets().into_iter().map(|set| set.data);
    let data = config.data.iter().cloned().chain(held_out);
    let is_page = |path: &PathBuf| real(path).is_some() && real(path) == real(page);
    match data.into_iter().find(is_page) {
        None => Ok(()),
        Some(path) => Err(Error::Option {
            option: Setting::Field("html"),
            what: format!("{} holds the data", path.display()),
            help: "name another file for the page".into(),
        }),
    }
}

impl Inspection {
    /// Each data set with its title.
    fn parts(&self) -> impl Iterator<Item = (String, &Audit)> {
        let train = self.report.train.iter();
        let train = train.map(|audit| (audit.data.clone(), audit));
        let eval = self.report.eval.iter();
        train.chain(eval.map(|audit| (format!("{}, held out", audit.data), audit)))
    }
}

/// The outline of a model folder of which only the tokenizer is needed; the folder may hold nothing else.
fn for_tokens(dir: &Path) -> Result<Outline> {
    if dir.join("config.json").exists() || !Tokenizer::exists(dir) {
        return Outline::load(dir);
    }
    let tokenizer = Tokenizer::load(dir)?;
    let dims = Dims {
        vocab_size: tokenizer.vocab_size(),
        ..starter::outline()?.config.dims
    };
    Ok(Outline::new(Config::new(&dims, None), Some(tokenizer)))
}
