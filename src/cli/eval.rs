//! `gpt2-dpo eval`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gpt2_dpo::config::{Losses, TrainConfig, TrainOptions};
use gpt2_dpo::data::{self, Dataset, Example};
use gpt2_dpo::eval::{Evaluation, Judged, Report, Response, Versus};
use gpt2_dpo::ops::preference::Divergence;
use gpt2_dpo::pretrained::{Model, Weights};
use gpt2_dpo::storage::{check_writable, write_atomically};
use gpt2_dpo::{Error, Result, Setting};
use serde::Serialize;

use super::adapted::Named;
use super::args::{self, DataArgs, DeviceArgs};
use super::values::Value;
use super::{fetch, recorded, say, starter};

#[derive(clap::Args)]
pub struct Args {
    /// Model to judge: a directory, or a name of the hub
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Adapter beside that model
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Model that it began as; what its run.toml says if not given
    #[arg(long, value_name = "DIR")]
    reference: Option<PathBuf>,
    /// Another model to judge on the same pairs, against the same reference: the difference is reported, pair by pair
    #[arg(long, value_name = "DIR")]
    versus: Option<PathBuf>,
    /// Held-out pairs, as --data of train
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Write the numbers of each pair too, one JSON object a line
    #[arg(long, value_name = "FILE")]
    per_pair: Option<PathBuf>,
    #[command(flatten)]
    losses: LossArgs,
    /// Pairs of a micro-batch
    #[arg(long, default_value_t = TrainConfig::default().batch_size)]
    batch_size: usize,
    #[command(flatten)]
    texts: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// The loss to report; what the model's run.toml says if not given. The help is that of `train`.
#[derive(clap::Args)]
struct LossArgs {
    #[arg(long, value_parser = Losses::parser())]
    loss: Option<Losses>,
    #[arg(long)]
    sft_weight: Option<f32>,
    #[arg(long)]
    label_smoothing: Option<f32>,
    #[arg(long)]
    discopop_tau: Option<f32>,
    #[arg(long)]
    dpop_lambda: Option<f32>,
    #[arg(long)]
    simpo_gamma: Option<f32>,
    #[arg(long, value_parser = Divergence::parser())]
    f_divergence_type: Option<Divergence>,
    #[arg(long)]
    f_alpha_divergence_coef: Option<f32>,
    #[arg(long)]
    ld_alpha: Option<f32>,
    #[arg(long)]
    average_log_prob: bool,
    #[arg(long)]
    beta: Option<f32>,
}

impl LossArgs {
    /// The options in the form of `train`.
    fn options(&self) -> TrainOptions {
        TrainOptions {
            loss: self.loss,
            sft_weight: self.sft_weight,
            label_smoothing: self.label_smoothing,
            discopop_tau: self.discopop_tau,
            dpop_lambda: self.dpop_lambda,
            simpo_gamma: self.simpo_gamma,
            f_divergence_type: self.f_divergence_type,
            f_alpha_divergence_coef: self.f_alpha_divergence_coef,
            ld_alpha: self.ld_alpha,
            average_log_prob: self.average_log_prob.then_some(true),
            beta: self.beta,
            ..TrainOptions::default()
        }
    }
}

/// A pair's line of the file of `--per-pair`.
#[derive(Serialize)]
struct PairRow<'a> {
    place: String,
    prompt_tokens: usize,
    #[serde(flatten)]
    model: Numbers<'a>,
    /// The same under the model of `--versus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    versus: Option<Numbers<'a>>,
}

/// A pair's numbers under one model.
#[derive(Serialize)]
struct Numbers<'a> {
    loss: f32,
    /// `null` for a loss that takes chosen responses alone, as what follows.
    margin: Option<f32>,
    chosen: &'a Response,
    rejected: Option<&'a Response>,
}

impl<'a> Numbers<'a> {
    fn of(pair: &'a Judged) -> Numbers<'a> {
        Numbers {
            loss: pair.metrics.loss,
            margin: pair.rejected.map(|_| pair.metrics.margin),
            chosen: &pair.chosen,
            rejected: pair.rejected.as_ref(),
        }
    }
}

pub fn run(args: Args) -> Result<ExitCode> {
    let named = Named::of(Some(&args.model), args.adapter.as_deref())?;
    let model = named.dir.clone().unwrap_or_default();
    let flags = TrainOptions {
        batch_size: Some(args.batch_size),
        // Names the data as training does, so that the options undergo the same checks.
        data: Some(vec![args.data.clone()]),
        ..args.losses.options().or(args.texts.options())
    };
    let options = recorded::followed(flags.clone(), &model);
    let config = options.resolve()?;
    flags.refuse_idle(&config)?;
    let objective = config.objective();
    if let Some(path) = &args.per_pair {
        check_writable(path)?;
        refuse_data_as_rows(path, &args.data)?;
    }
    let policy = named.load()?;
    // The reference of an adapter is its base, unless its run says otherwise.
    let base = named.beside.map(|base| base.name);
    let dims = policy.outline.config.dims;
    let same_dims =
        |option: &'static str, name: &str, model: &Model| match model.outline.config.dims == dims {
            true => Ok(()),
            false => Err(Error::Option {
                option: Setting::Field(option),
                what: format!("{name} has another shape than {}", args.model.display()),
                help: "give a model of the same sizes".into(),
            }),
        };
    let reference = match objective.needs_reference() {
        true => Some(reference(&args, &model, base)?),
        false if args.reference.is_some() => {
            return Err(Error::Option {
                option: Setting::Field("reference"),
                what: format!("has no effect with --loss {objective}"),
                help: "leave one of the two out".into(),
            });
        }
        false => None,
    };
    if let Some((reference, name)) = &reference {
        same_dims("reference", name, reference)?;
    }
    let versus = args
        .versus
        .as_ref()
        .map(|dir| Named::of(Some(dir), None)?.load());
    let versus = versus.transpose()?;
    if let (Some(model), Some(dir)) = (&versus, &args.versus) {
        same_dims("versus", &dir.display().to_string(), model)?;
    }
    let template = config.template(policy.outline.tokenizer.as_ref())?;
    let codec = policy.outline.codec(&template);
    args::say_outline(&policy.outline);
    let data = data::read(fetch::data(&args.data)?, &codec, &config.data_options()?)?;
    args::say_audit(&data.audit);
    let mut engine = args.device.open()?;
    let policies: Vec<&Weights> = [Some(&policy), versus.as_ref()]
        .into_iter()
        .flatten()
        .map(|model| &model.weights)
        .collect();
    let evaluation = Evaluation {
        dims: &dims,
        policies: &policies,
        reference: reference.as_ref().map(|(model, _)| &model.weights),
        data: &data,
        objective,
        batch_size: config.batch_size,
        end: policy.outline.end.id,
    };
    let judged = gpt2_dpo::eval::evaluate(engine.as_mut(), &evaluation)?;
    args::say_notes(engine.as_mut());
    let reports: Vec<Report> = judged
        .iter()
        .map(|pairs| Report::of(objective, pairs))
        .collect();
    if reports
        .iter()
        .any(|report| !report.summary.loss.is_finite())
    {
        return Err(Error::NotFinite {
            step: 0,
            what: "the loss is NaN or infinite".into(),
            help: "check the models' weights; `gpt2-dpo selftest` checks the device".into(),
        });
    }
    if let Some(path) = &args.per_pair {
        write_rows(path, &data, &judged)?;
    }
    let mut row = serde_json::Map::new();
    for (report, prefix) in reports.iter().zip(["eval_", "versus_"]) {
        row.extend(report.named(prefix));
    }
    if let [ours, theirs] = &judged[..] {
        row.extend(Versus::of(ours, theirs).named("difference_"));
    }
    if args.json {
        say!("{}", serde_json::Value::Object(row));
        return Ok(ExitCode::SUCCESS);
    }
    say!("device  {}", engine.name());
    if let Some((_, name)) = &reference {
        say!("against {name}");
    }
    if let Some(dir) = &args.versus {
        say!("versus  {}", dir.display());
    }
    say!("loss    {objective}");
    say!("pairs   {}", data.examples.len());
    for (name, value) in row {
        say!("{name:42} {:10.4}", value.as_f64().unwrap_or(f64::NAN));
    }
    Ok(ExitCode::SUCCESS)
}

/// The reference and its name: the model that is named, or that the run in the folder `model` began with, or else the base
/// of an adapter.
fn reference(args: &Args, model: &Path, base: Option<Option<PathBuf>>) -> Result<(Model, String)> {
    let named = match &args.reference {
        Some(named) => Some(named.clone()),
        // An adapter that is laid beside a model is judged against that.
        None if args.adapter.is_some() => base.flatten(),
        None => recorded::reference_of(model)
            .or(base)
            .ok_or_else(|| Error::Option {
                option: Setting::Field("reference"),
                what: format!(
                    "is not given, and no run.toml in {} says it",
                    args.model.display()
                ),
                help: "give the model that training began with".into(),
            })?,
    };
    match named {
        Some(named) => {
            let model = Model::load(&fetch::model(&named)?)?;
            Ok((model, named.display().to_string()))
        }
        None => Ok((starter::model()?, starter::NAME.to_owned())),
    }
}

/// Refuses to write the rows over the data.
fn refuse_data_as_rows(rows: &Path, data: &Path) -> Result<()> {
    let real = |path: &Path| path.canonicalize().ok();
    match real(data).is_some() && real(data) == real(rows) {
        false => Ok(()),
        true => Err(Error::Option {
            option: Setting::Field("per_pair"),
            what: format!("{} holds the data", rows.display()),
            help: "name another file".into(),
        }),
    }
}

/// Writes the numbers of each pair, in the order of the data.
fn write_rows(path: &Path, data: &Dataset, judged: &[Vec<Judged>]) -> Result<()> {
    let row = |at: usize, example: &Example| PairRow {
        place: example.place.to_string(),
        prompt_tokens: example.prompt.len(),
        model: Numbers::of(&judged[0][at]),
        versus: judged.get(1).map(|pairs| Numbers::of(&pairs[at])),
    };
    write_atomically(path, |file| {
        for (at, example) in data.examples.iter().enumerate() {
            serde_json::to_writer(&mut *file, &row(at, example))?;
            writeln!(file)?;
        }
        Ok(())
    })
}
