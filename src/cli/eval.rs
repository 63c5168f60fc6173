//! `gpt2-dpo eval`.

use std::path::PathBuf;
use std::process::ExitCode;

use gpt2_dpo::config::{TrainConfig, TrainOptions};
use gpt2_dpo::data;
use gpt2_dpo::eval::Evaluation;
use gpt2_dpo::pretrained::Model;
use gpt2_dpo::{Error, Result, Setting};

use super::adapted::Named;
use super::args::{self, DataArgs, DeviceArgs};
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
    /// Held-out pairs, as --data of train
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    #[arg(long)]
    beta: Option<f32>,
    /// Pairs of a micro-batch
    #[arg(long, default_value_t = TrainConfig::default().batch_size)]
    batch_size: usize,
    #[command(flatten)]
    texts: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let named = Named::of(Some(&args.model), args.adapter.as_deref())?;
    let model = named.dir.clone().unwrap_or_default();
    let flags = TrainOptions {
        beta: args.beta,
        batch_size: Some(args.batch_size),
        // Names the data as training does, so that the options undergo the same checks.
        data: Some(vec![args.data.clone()]),
        ..args.texts.options()
    };
    let options = recorded::followed(flags, &model);
    let config = options.resolve()?;
    let policy = named.load()?;
    // The reference of an adapter is its base, unless its run says otherwise.
    let base = named.beside.map(|base| base.name);
    let reference_is = match &args.reference {
        Some(named) => Some(named.clone()),
        None => recorded::reference_of(&model)
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
    let (reference, name) = match &reference_is {
        Some(named) => (
            Model::load(&fetch::model(named)?)?,
            named.display().to_string(),
        ),
        None => (starter::model()?, starter::NAME.to_owned()),
    };
    let dims = policy.outline.config.dims;
    if dims != reference.outline.config.dims {
        return Err(Error::Option {
            option: Setting::Field("reference"),
            what: format!("{name} has another shape than {}", args.model.display()),
            help: "give the model that training began with".into(),
        });
    }
    let template = config.template(policy.outline.tokenizer.as_ref())?;
    let codec = policy.outline.codec(&template);
    args::say_outline(&policy.outline);
    let data = data::read(fetch::data(&args.data)?, &codec, &config.data_options()?)?;
    args::say_audit(&data.audit);
    let mut engine = args.device.open()?;
    let evaluation = Evaluation {
        dims: &dims,
        policy: &policy.weights,
        reference: &reference.weights,
        data: &data,
        beta: config.beta,
        batch_size: config.batch_size,
    };
    let summary = gpt2_dpo::eval::evaluate(engine.as_mut(), &evaluation)?;
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
        say!("against {name}");
        say!("pairs   {}", data.examples.len());
        for (name, value) in row {
            say!("{name:26} {:10.4}", value.as_f64().unwrap_or(f64::NAN));
        }
    }
    Ok(ExitCode::SUCCESS)
}
