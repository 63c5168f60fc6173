//! Options that several commands share.

use std::path::Path;

use gpt2_dpo::Result;
use gpt2_dpo::checkpoint::Config;
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::data::{self, Dataset};
use gpt2_dpo::device::{BackendName, DeviceChoice};
use gpt2_dpo::engine::Engine;
use gpt2_dpo::kernel::Precision;
use gpt2_dpo::tokenizer::Tokenizer;

/// Which device to use.
#[derive(clap::Args)]
pub struct DeviceArgs {
    /// auto, cpu, an index or a part of a name from `gpt2-dpo devices`
    #[arg(long, default_value_t = TrainConfig::default().device)]
    pub device: String,
    /// Which graphics API to use
    #[arg(long, value_enum, default_value_t = TrainConfig::default().backend)]
    pub backend: BackendName,
    /// Compile shaders with bounds checks and zeroed workgroup memory
    #[arg(long)]
    pub checked: bool,
    /// Split weights into buffers of at most this many MiB; 0 = as large as the device binds
    #[arg(long, value_name = "MIB", default_value_t = TrainConfig::default().max_binding_mib)]
    pub max_binding_mib: usize,
    /// In what matrix products are multiplied
    #[arg(long, value_enum, default_value_t = TrainConfig::default().precision)]
    pub precision: Precision,
    /// Take each kernel's usual variant instead of measuring which is fastest on this device
    #[arg(long)]
    pub no_autotune: bool,
}

impl DeviceArgs {
    /// As the library takes it.
    pub fn choice(&self) -> DeviceChoice {
        DeviceChoice {
            device: self.device.clone(),
            backend: self.backend,
            checked: self.checked,
            max_binding_mib: self.max_binding_mib,
            precision: self.precision,
            no_autotune: self.no_autotune,
            cache_dir: None,
        }
    }

    /// Opens the device, saying what there is to say about the choice.
    pub fn open(&self) -> Result<Box<dyn Engine>> {
        open(&self.choice())
    }
}

/// Opens the device, saying what there is to say about the choice.
pub fn open(choice: &DeviceChoice) -> Result<Box<dyn Engine>> {
    let opened = choice.open()?;
    for note in opened.notes {
        eprintln!("note: {note}");
    }
    Ok(opened.engine)
}

/// Passes on what the device has to tell.
pub fn say_notes(engine: &mut dyn Engine) {
    for note in engine.notes() {
        eprintln!("note: {note}");
    }
}

/// Reads preference pairs for a model, saying what was left out.
pub fn read_pairs(
    path: &Path,
    (config, tokenizer): (&Config, Option<&Tokenizer>),
    options: &data::Options,
) -> Result<Dataset> {
    let eos = config.eos(tokenizer);
    let data = data::read(path, tokenizer, eos, options, &config.dims)?;
    say_dropped(&data);
    Ok(data)
}

/// Says once what of a file is not used.
pub fn say_dropped(data: &Dataset) {
    let path = data.path.display();
    if data.equal_dropped > 0 {
        let count = data.equal_dropped;
        eprintln!("note: {path}: {count} pairs dropped: both responses are equal");
    }
    if let Some(first) = data.skipped.first() {
        let count = data.skipped.len();
        eprintln!("note: {path}: {count} records skipped; the first: {first}");
    }
}
