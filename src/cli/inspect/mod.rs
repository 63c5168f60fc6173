//! `gpt2-dpo inspect`: data as training would see it, and what is wrong with it.

mod page;
mod ranking;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use gpt2_dpo::Result;
use gpt2_dpo::checkpoint::{Outline, write_atomically};
use gpt2_dpo::config::TrainOptions;
use gpt2_dpo::data::{Dataset, Example, Options};
use gpt2_dpo::tokenizer::Tokenizer;
use serde::Serialize;

use super::args::{self, DataArgs, DeviceArgs};
use super::pairs::{Pairs, Report};
use super::{fetch, say, starter};
use ranking::Ranked;

#[derive(clap::Args)]
pub struct Args {
    /// Pairs to look at, as --data of train; may be several
    #[arg(required = true, value_name = "DATA")]
    data: Vec<PathBuf>,
    #[arg(long, value_name = "PATH")]
    eval_data: Option<PathBuf>,
    /// Model whose tokenizer and limits count, and which ranks the pairs: those that it ranks most strongly the
    /// other way may have their labels swapped
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Model of which only the tokenizer counts; the starter's if neither is given
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    tokenizer: Option<PathBuf>,
    #[arg(long, value_enum)]
    loss: Option<gpt2_dpo::config::LossName>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    drop_ties: Option<bool>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    dedupe: Option<bool>,
    #[arg(long)]
    min_score_margin: Option<f64>,
    #[arg(long)]
    eval_limit: Option<usize>,
    /// Pairs shown token by token
    #[arg(long, default_value_t = 2)]
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

/// All that is found.
#[derive(Serialize)]
struct Inspection {
    #[serde(flatten)]
    report: Report,
    /// Whose tokens are counted.
    tokenizer: String,
    /// What prompts are put into.
    template: String,
    /// The share of pairs that a guess by length alone gets right, for each `--data`.
    length_only_accuracy: Vec<Option<f64>>,
    /// The token of the space that a template ends in, if it is one of its own.
    lone_space: Option<Token>,
    examples: Vec<Shown>,
    /// `null` without `--model`.
    ranked: Option<Ranked>,
}

/// A pair token by token.
#[derive(Serialize)]
struct Shown {
    place: String,
    prompt: Vec<Token>,
    chosen: Vec<Token>,
    rejected: Vec<Token>,
}

#[derive(Serialize)]
struct Token {
    id: u32,
    text: String,
    /// Whether the loss sees its log-prob.
    scored: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let flags = TrainOptions {
        data: Some(args.data.clone()),
        eval_data: args.eval_data.clone(),
        loss: args.loss,
        drop_ties: args.drop_ties,
        dedupe: args.dedupe,
        min_score_margin: args.min_score_margin,
        eval_limit: args.eval_limit,
        ..args.texts.options()
    };
    let config = flags.clone().resolve()?;
    flags.refuse_idle(&config)?;

    let spec = args.model.as_ref().or(args.tokenizer.as_ref());
    let dir = spec.map(|spec| fetch::model(spec)).transpose()?;
    let outline = match &dir {
        Some(dir) => Outline::load(dir)?,
        None => starter::outline()?,
    };
    args::say_outline(&outline);
    let template = config.template(outline.tokenizer.as_ref())?;
    let mut codec = outline.codec(&template);
    if args.model.is_none() {
        // Nothing is trained: a sequence may be as long as it likes.
        codec.n_positions = usize::MAX;
    }
    let looking = |options: Options| Options {
        compare_boundaries: true,
        ..options
    };
    let options = [
        looking(config.data_options()?),
        looking(config.eval_options()?),
    ];
    let Pairs { train, report, .. } = Pairs::read(&config, &codec, &options)?;

    let ranked = match (&args.model, &dir) {
        (Some(_), Some(dir)) => Some(Ranked::by(dir, &outline, &train, &args.device)?),
        _ => None,
    };
    let inspection = Inspection {
        tokenizer: match spec {
            Some(spec) => spec.display().to_string(),
            None => starter::NAME.to_owned(),
        },
        template: template.to_string(),
        length_only_accuracy: report
            .train
            .iter()
            .map(|audit| audit.length_bias.accuracy())
            .collect(),
        lone_space: lone_space(&train, outline.tokenizer.as_ref()),
        examples: train
            .examples
            .iter()
            .take(args.examples)
            .map(|example| Shown::of(example, outline.tokenizer.as_ref()))
            .collect(),
        ranked,
        report,
    };
    if let Some(path) = &args.html {
        let page = page::render(&inspection)?;
        write_atomically(path, |file| file.write_all(page.as_bytes()))?;
    }
    if args.json {
        let json = serde_json::to_string_pretty(&inspection);
        say!("{}", json.unwrap_or_default()); // numbers and texts
    } else {
        text::show(&inspection);
    }
    Ok(ExitCode::SUCCESS)
}

impl Shown {
    fn of(example: &Example, tokenizer: Option<&Tokenizer>) -> Shown {
        let tokens = |ids: &[u32], scored| {
            ids.iter()
                .map(|&id| Token::of(id, scored, tokenizer))
                .collect::<Vec<_>>()
        };
        Shown {
            place: example.place.to_string(),
            prompt: tokens(&example.prompt, false),
            chosen: tokens(&example.chosen, true),
            rejected: tokens(&example.rejected, true),
        }
    }
}

impl Token {
    fn of(id: u32, scored: bool, tokenizer: Option<&Tokenizer>) -> Token {
        Token {
            id,
            text: tokenizer.map(|t| t.token_text(id)).unwrap_or_default(),
            scored,
        }
    }
}

/// The last token of all prompts, if that is a space alone: responses then begin without one.
fn lone_space(data: &Dataset, tokenizer: Option<&Tokenizer>) -> Option<Token> {
    let mut last = data.examples.iter().map(|example| example.prompt.last());
    let first = last.next().flatten();
    let Some(&id) = first.filter(|_| last.all(|other| other == first)) else {
        return None;
    };
    let token = Token::of(id, false, tokenizer);
    Some(token).filter(|token| token.text == " ")
}
