//! `gpt2-dpo generate`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use gpt2_dpo::config::unescape;
use gpt2_dpo::generate::{Generator, Sampling};
use gpt2_dpo::pretrained::Outline;
use gpt2_dpo::words::counted;
use gpt2_dpo::{Error, Result};

use super::adapted::Named;
use super::args::{self, DeviceArgs, TextArgs};
use super::{recorded, tell};

#[derive(clap::Args)]
pub struct Args {
    /// Model directory, or a name of the hub; the built-in starter if not given
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Adapter beside that model, or beside the base that its adapter_config.json names
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Text to continue as it stands; \n is a newline
    #[arg(long, required_unless_present = "message", conflicts_with_all = ["message", "template", "chat_template"])]
    prompt: Option<String>,
    /// A user's message to answer: it is put into the template that the model was trained with; \n is a
    /// newline
    #[arg(long)]
    message: Option<String>,
    /// Stop after this many tokens
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// 0 = greedy: always the most probable token
    #[arg(long, default_value_t = Sampling::GREEDY.temperature)]
    temperature: f64,
    /// Sample among this many most probable tokens; 0 = all
    #[arg(long, requires = "temperature", default_value_t = Sampling::GREEDY.top_k)]
    top_k: usize,
    /// Sample among the fewest tokens that hold this probability together
    #[arg(long, requires = "temperature", default_value_t = Sampling::GREEDY.top_p)]
    top_p: f64,
    /// Seed of the draw
    #[arg(long, requires = "temperature", default_value_t = Sampling::GREEDY.seed)]
    seed: u64,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed,
    };
    sampling.check()?;
    let named = Named::of(args.model.as_deref(), args.adapter.as_deref())?;
    let model = named.load()?;
    let dir = named.dir;
    let options = match &dir {
        Some(dir) => recorded::followed(args.texts.options(), dir),
        None => args.texts.options(),
    };
    let Outline {
        config,
        tokenizer,
        end,
        ..
    } = &model.outline;
    let Some(tokenizer) = tokenizer else {
        return Err(Error::File {
            path: dir.unwrap_or_default(),
            what: "no tokenizer beside the model".into(),
            help: "copy tokenizer.json, or vocab.json and merges.txt, into the directory".into(),
        });
    };
    let options = options.fill();
    let allow = options.allow_special_tokens;
    let prompt = match (&args.message, &args.prompt) {
        (Some(message), _) => {
            let template = options.template(Some(tokenizer))?;
            template.prompt_ids(tokenizer, &unescape(message), &options.data_options()?)?
        }
        (None, prompt) => {
            let text = unescape(prompt.as_deref().unwrap_or_default());
            let ids = match allow {
                true => tokenizer.encode(&text)?,
                false => tokenizer.encode_plain(&text)?,
            };
            [tokenizer.begin(), &ids].concat()
        }
    };
    let typed = args.message.as_ref().or(args.prompt.as_ref());
    let spelled = typed.map_or(0, |text| tokenizer.guard(text).tokens);
    if spelled > 0 && !allow {
        tell!(
            "note: {} spelled out in what is asked: read as text (--allow-special-tokens reads them as tokens)",
            counted(spelled, "special token")
        );
    }
    let mut engine = args.device.open()?;
    let engine = engine.as_mut();
    let dims = &config.dims;
    let room = prompt.len().saturating_add(args.max_new_tokens);
    let generator = Generator::new(engine, dims, &model.weights, room)?;
    let mut text = tokenizer.stream();
    let mut count = 0;
    generator.generate(
        engine,
        &prompt,
        args.max_new_tokens,
        &end.stops,
        sampling,
        |id| {
            count += 1;
            show(text.push(id)?)
        },
    )?;
    show(text.flush()?)?;
    show(Some("\n".to_owned()))?;
    if count < args.max_new_tokens && prompt.len() + count >= dims.n_positions {
        tell!(
            "note: the text ends at the model's last position ({}), not where the model would end it",
            dims.n_positions
        );
    }
    args::say_notes(engine);
    Ok(ExitCode::SUCCESS)
}

/// Prints text at once, without waiting for a whole line.
fn show(text: Option<String>) -> Result<()> {
    let mut out = std::io::stdout();
    let text = text.unwrap_or_default();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|e| Error::io("write", "standard output", e))
}
