//! `gpt2-dpo eval`.

use std::path::PathBuf;
use std::process::ExitCode;

use gpt2_dpo::checkpoint::Model;
use gpt2_dpo::config::{TrainConfig, TrainOptions};
use gpt2_dpo::{Error, Result};

use super::args::{self, DeviceArgs};
use super::say;

#[derive(clap::Args)]
pub struct Args {
    /// Directory of the model to judge
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Directory of the model it began as
    #[arg(long, value_name = "DIR")]
    reference: PathBuf,
    /// Held-out preference pairs, JSONL
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Strength of the pull towards the reference
    #[arg(long, default_value_t = TrainConfig::default().beta)]
    beta: f32,
    /// Pairs of a micro-batch
    #[arg(long, default_value_t = TrainConfig::default().batch_size)]
    batch_size: usize,
    /// A longer prompt keeps its end
    #[arg(long, default_value_t = TrainConfig::default().max_prompt_tokens)]
    max_prompt_tokens: usize,
    /// A longer response keeps its beginning
    #[arg(long, default_value_t = TrainConfig::default().max_response_tokens)]
    max_response_tokens: usize,
    /// What a prompt is put into; \n is a newline
    #[arg(long, default_value_t = TrainConfig::default().template.replace('\n', "\\n"))]
    template: String,
    /// Leave out records that cannot be used, and count them, instead of stopping at the first
    #[arg(long)]
    skip_bad_records: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: Args) -> Result<ExitCode> {
    // The same checks as in training.
    let config = TrainOptions {
        beta: Some(args.beta),
        batch_size: Some(args.batch_size),
        max_prompt_tokens: Some(args.max_prompt_tokens),
        max_response_tokens: Some(args.max_response_tokens),
        template: Some(args.template),
        skip_bad_records: Some(args.skip_bad_records),
        ..TrainOptions::default()
    }
    .resolve()?;
    let policy = Model::load(&args.model)?;
    let reference = Model::load(&args.reference)?;
    if policy.config.dims != reference.config.dims {
        return Err(Error::Option {
            option: "--reference".into(),
            what: format!(
                "{} has another shape than {}",
                args.reference.display(),
                args.model.display()
            ),
            help: "give the model that training began with".into(),
        });
    }
    let words = (&policy.config, policy.tokenizer.as_ref());
    let data = args::read_pairs(&args.data, words, &config.data_options())?;
    let mut engine = args.device.open()?;
    let summary = gpt2_dpo::eval::evaluate(
        engine.as_mut(),
        &policy.config.dims,
        (&policy.weights, &reference.weights),
        &data,
        config.beta,
        config.batch_size,
    )?;
    args::say_notes(engine.as_mut());
    if !summary.loss.is_finite() {
        return Err(Error::NotFinite {
            step: 0,
            what: "the loss is NaN or infinite".into(),
            help: "check the models' weights; `gpt2-dpo selftest` checks the device".into(),
        });
    }
    let row = summary.named("eval_");
    if args.json {
        say!("{}", serde_json::Value::Object(row));
    } else {
        say!("device  {}", engine.name());
        say!("pairs   {}", data.examples.len());
        for (name, value) in row {
            say!("{name:26} {:10.4}", value.as_f64().unwrap_or(f64::NAN));
        }
    }
    Ok(ExitCode::SUCCESS)
}
