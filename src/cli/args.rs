//! Options that several commands share.

use gpt2_dpo::config::{TrainConfig, TrainOptions};
use gpt2_dpo::data::{Audit, Boundary, Truncation};
use gpt2_dpo::device::{BackendName, DeviceChoice};
use gpt2_dpo::engine::Device;
use gpt2_dpo::pretrained::Outline;
use gpt2_dpo::target::Precision;
use gpt2_dpo::{Error, Result, Setting};

use super::values::Value;
use super::{noise, tell, user, with_flags};

/// Which device to use.
#[derive(clap::Args)]
pub struct DeviceArgs {
    /// auto, cpu, an index or a part of a name from `gpt2-dpo devices`
    #[arg(long, default_value_t = TrainConfig::default().device)]
    pub device: String,
    /// Which graphics API to use
    #[arg(long, value_parser = BackendName::parser(), default_value_t = TrainConfig::default().backend)]
    pub backend: BackendName,
    /// Compile shaders with bounds checks and zeroed workgroup memory
    #[arg(long)]
    pub checked: bool,
    /// Split weights into buffers of at most this many MiB; 0 = as large as the device binds
    #[arg(long, value_name = "MIB", default_value_t = TrainConfig::default().max_binding_mib)]
    pub max_binding_mib: usize,
    /// In what matrix products are multiplied
    #[arg(long, value_parser = Precision::parser(), default_value_t = TrainConfig::default().precision)]
    pub precision: Precision,
    /// Take each kernel's usual variant instead of measuring which is fastest on this device
    #[arg(long)]
    pub no_autotune: bool,
    /// Leave the GPU to others half of the time, in pieces of at most 8 ms: slower, with the same result
    #[arg(long)]
    pub gentle: bool,
}

impl DeviceArgs {
    /// The same, and a step's pairs go through the model at once where they fit.
    pub fn growing(&self) -> DeviceChoice {
        DeviceChoice {
            grow: true,
            ..self.choice()
        }
    }

    /// The device choice in the library's form.
    pub fn choice(&self) -> DeviceChoice {
        DeviceChoice {
            device: self.device.clone(),
            backend: self.backend,
            checked: self.checked,
            max_binding_mib: self.max_binding_mib,
            precision: self.precision,
            no_autotune: self.no_autotune,
            grow: false,
            gentle: self.gentle,
            cache_dir: user::cache_dir(None),
            adapter_name: user::adapter_name(),
            memory: user::memory(),
        }
    }

    /// Refuses each option that differs from its default, for a command that needs no device.
    ///
    /// # Errors
    /// `Error::Option` naming the first such option.
    pub fn refuse_given(&self) -> Result<()> {
        let default = TrainConfig::default();
        let given = [
            ("device", self.device != default.device),
            ("backend", self.backend != default.backend),
            ("checked", self.checked),
            (
                "max_binding_mib",
                self.max_binding_mib != default.max_binding_mib,
            ),
            ("precision", self.precision != default.precision),
            ("no_autotune", self.no_autotune),
            ("gentle", self.gentle),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Error::Option {
                option: Setting::Field(option),
                what: "has no effect without `.model`".into(),
                help: "leave it out; no device is used".into(),
            }),
        }
    }

    /// Opens the device, and prints the notes about the choice.
    pub fn open(&self) -> Result<Box<dyn Device>> {
        open(&self.choice())
    }
}

/// Opens the device, and prints the notes about the choice.
pub fn open(choice: &DeviceChoice) -> Result<Box<dyn Device>> {
    let opened = noise::marked(|| choice.open())?;
    say_all(opened.notes);
    Ok(opened.engine)
}

/// Prints the notes of the device.
pub fn say_notes(engine: &mut dyn Device) {
    say_all(engine.notes());
}

/// How records become examples: the text options that `eval`, `inspect` and `generate` share with `train`. Their
/// help is that of `train`.
#[derive(clap::Args)]
pub struct TextArgs {
    #[arg(long)]
    pub template: Option<String>,
    #[arg(long)]
    pub chat_template: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub allow_special_tokens: Option<bool>,
}

impl TextArgs {
    /// The options in the form of `train`.
    pub fn options(&self) -> TrainOptions {
        TrainOptions {
            template: self.template.clone(),
            chat_template: self.chat_template.clone(),
            allow_special_tokens: self.allow_special_tokens,
            ..TrainOptions::default()
        }
    }
}

/// [`TextArgs`] and the data options, for the commands that read data.
#[derive(clap::Args)]
pub struct DataArgs {
    #[arg(long)]
    pub columns: Option<String>,
    #[arg(long)]
    pub limit: Option<usize>,
    #[arg(long)]
    pub skip: Option<usize>,
    #[arg(long)]
    pub max_prompt_tokens: Option<usize>,
    #[arg(long)]
    pub max_response_tokens: Option<usize>,
    #[arg(long, value_parser = Truncation::parser())]
    pub truncation: Option<Truncation>,
    #[arg(long, value_parser = Boundary::parser())]
    pub boundary: Option<Boundary>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub response_prefix_space: Option<bool>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub skip_bad_records: Option<bool>,
    #[command(flatten)]
    pub text: TextArgs,
}

impl DataArgs {
    /// The options in the form of `train`.
    pub fn options(&self) -> TrainOptions {
        TrainOptions {
            columns: self.columns.clone(),
            limit: self.limit,
            skip: self.skip,
            max_prompt_tokens: self.max_prompt_tokens,
            max_response_tokens: self.max_response_tokens,
            truncation: self.truncation,
            boundary: self.boundary,
            response_prefix_space: self.response_prefix_space,
            skip_bad_records: self.skip_bad_records,
            ..self.text.options()
        }
    }
}

/// Prints the notes on a data set: records left out, texts cut, columns not used.
pub fn say_audit(audit: &Audit) {
    for note in audit.notes() {
        say_note(&format!("{}: {}", audit.data, with_flags(&note)));
    }
}

/// Prints the notes on a model's files.
pub fn say_outline(outline: &Outline) {
    say_all(outline.notes().map(str::to_owned));
}

/// Prints notes of the library.
fn say_all(notes: impl IntoIterator<Item = String>) {
    for note in notes {
        say_note(&with_flags(&note));
    }
}

fn say_note(note: &str) {
    tell!("note: {note}");
}
