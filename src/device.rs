//! Finds and opens the device that the user names.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::cache;
use crate::cpu::CpuEngine;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gpu::{AdapterReport, Adapters, Backends, OpenOptions};
use crate::target::Precision;
use crate::twins;

/// Which graphics API to use: `auto` looks in all that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // a doc comment would become help text, and the names say it
pub enum BackendName {
    Auto,
    Vulkan,
    Metal,
    Dx12,
}

/// The user's choice of a device.
#[derive(Clone, Debug)]
pub struct DeviceChoice {
    /// `auto`, `cpu`, an index, or a part of the name of an adapter or its driver.
    pub device: String,
    /// The graphics API in which to look for GPUs; without meaning for `cpu`.
    pub backend: BackendName,
    /// Compile shaders with bounds checks, bounded loops and zeroed workgroup memory.
    pub checked: bool,
    /// The largest size of a buffer, in MiB; 0 = as large as the device binds.
    pub max_binding_mib: usize,
    /// The precision of matrix products. The CPU engine rounds as matrix units do.
    pub precision: Precision,
    /// Take each kernel's usual variant instead of measuring the fastest.
    pub no_autotune: bool,
    /// The folder for measurements; the user's cache directory if `None`.
    pub cache_dir: Option<PathBuf>,
}

/// The device that was found.
pub enum Found {
    /// The CPU engine.
    Cpu {
        /// A note for the user if `auto` found no GPU.
        note: Option<&'static str>,
    },
    /// A GPU.
    Gpu {
        /// The adapters of this machine.
        adapters: Adapters,
        /// The index of the adapter.
        index: usize,
        /// The options for opening it.
        options: OpenOptions,
    },
}

/// An opened device, and notes on the choice.
pub struct Opened {
    /// The engine, ready for buffers and recordings.
    pub engine: Box<dyn Engine>,
    /// Notes for the user: that `auto` found no GPU, that mixed precision is no gain.
    pub notes: Vec<String>,
}

impl From<BackendName> for Backends {
    fn from(name: BackendName) -> Self {
        match name {
            BackendName::Auto => Backends::All,
            BackendName::Vulkan => Backends::Vulkan,
            BackendName::Metal => Backends::Metal,
            BackendName::Dx12 => Backends::Dx12,
        }
    }
}

/// The environment variable with which programs on wgpu select an adapter by a part of its name. It replaces
/// `--device auto`.
pub const ADAPTER_NAME: &str = "WGPU_ADAPTER_NAME";

/// The environment variable that restricts programs on wgpu to some graphics APIs.
const BACKEND: &str = "WGPU_BACKEND";

const SEE_DEVICES: &str = "`gpt2-dpo devices` lists what there is; --device cpu always works";

impl DeviceChoice {
    /// The name of the CPU engine as a device.
    pub const CPU: &str = "cpu";

    /// Finds the device. `auto` takes the adapter that [`ADAPTER_NAME`] names. Without that it takes a discrete
    /// GPU, then an integrated one, then the CPU engine, unless a backend is named. Software Vulkan is slower
    /// than the CPU engine and is taken only by name.
    ///
    /// # Errors
    /// `Error::Device` if there is no such device; `Error::Option` if a name fits several devices, or if `cpu`
    /// is combined with an option for GPUs.
    pub fn find(&self) -> Result<Found> {
        if self.device == Self::CPU {
            let about_gpus = [
                ("--backend", self.backend != BackendName::Auto),
                ("--checked", self.checked),
                ("--no-autotune", self.no_autotune),
            ];
            if let Some((option, _)) = about_gpus.iter().find(|(_, given)| *given) {
                return Err(Error::option(
                    *option,
                    "has no meaning with --device cpu",
                    "leave one of the two out",
                ));
            }
            return Ok(Found::Cpu { note: None });
        }
        let adapters = Adapters::enumerate(self.backend.into());
        let index = match self.device.as_str() {
            "auto" => match auto(self.backend, &adapters)? {
                Some(index) => index,
                None => {
                    let note = "no discrete or integrated GPU found: using the CPU engine";
                    return Ok(Found::Cpu { note: Some(note) });
                }
            },
            name => by_index_or_name(&adapters, name)?,
        };
        let options = OpenOptions {
            checked: self.checked,
            max_binding_bytes: self.max_binding_bytes(),
            precision: self.precision,
            tuning: self.tuning_file(&adapters.report(index)),
            measure: !self.no_autotune,
            ..OpenOptions::default()
        };
        Ok(Found::Gpu {
            adapters,
            index,
            options,
        })
    }

    /// Opens the device that [`DeviceChoice::find`] finds.
    ///
    /// # Errors
    /// The errors of `find`; `Error::Device` if the driver refuses, if the device is below WebGPU's default
    /// limits, or if it lacks matrix units for mixed precision or they disagree with their twins.
    pub fn open(&self) -> Result<Opened> {
        match self.find()? {
            Found::Cpu { note } => {
                let engine = match self.max_binding_bytes() {
                    Some(bytes) => CpuEngine::with_max_binding(bytes),
                    None => CpuEngine::new(),
                };
                let no_gain = "the CPU engine only rounds as matrix units do: f32 is faster on it";
                let mixed = (self.precision == Precision::Mixed).then_some(no_gain);
                Ok(Opened {
                    engine: Box::new(engine.with_precision(self.precision)),
                    notes: note.into_iter().chain(mixed).map(str::to_owned).collect(),
                })
            }
            Found::Gpu {
                adapters,
                index,
                options,
            } => {
                if self.precision == Precision::Mixed {
                    let untuned = OpenOptions {
                        tuning: None,
                        ..options.clone()
                    };
                    twins::hold_matrix_units(&mut adapters.open(index, untuned)?)?;
                }
                Ok(Opened {
                    engine: Box::new(adapters.open(index, options)?),
                    notes: Vec::new(),
                })
            }
        }
    }

    fn max_binding_bytes(&self) -> Option<usize> {
        let bytes = self.max_binding_mib.saturating_mul(1 << 20);
        (bytes > 0).then_some(bytes)
    }

    /// The cache file of this adapter, driver, set of kernels and precision, with or without checks in shaders.
    fn tuning_file(&self, adapter: &AdapterReport) -> Option<PathBuf> {
        let mut hash = cache::key();
        let Self {
            checked, precision, ..
        } = self;
        hash.update(format!(
            "{adapter}, {}, {checked}, {precision:?}",
            adapter.driver
        ));
        let dir = cache::dir(self.cache_dir.as_deref())?;
        Some(dir.join(cache::file_name(hash, "tuning", "json")))
    }
}

/// The adapter that `auto` takes of those found with `backend`; `None` = the CPU engine.
///
/// # Errors
/// `Error::Device` if no adapter has the name in [`ADAPTER_NAME`], or if a backend is named and has no GPU;
/// `Error::Option` if several adapters have the name.
pub fn auto(backend: BackendName, adapters: &Adapters) -> Result<Option<usize>> {
    if let Ok(name) = std::env::var(ADAPTER_NAME)
        && !name.is_empty()
    {
        return by_name(adapters, ADAPTER_NAME, &name).map(Some);
    }
    match adapters.best_gpu() {
        None if backend != BackendName::Auto => Err(Error::device(
            format!("no discrete or integrated {backend:?} GPU found"),
            SEE_DEVICES,
        )),
        best => Ok(best),
    }
}

fn by_index_or_name(adapters: &Adapters, name: &str) -> Result<usize> {
    let Ok(index) = name.parse::<usize>() else {
        return by_name(adapters, "--device", name);
    };
    if index < adapters.len() {
        return Ok(index);
    }
    if !adapters.matching(name).is_empty() {
        return by_name(adapters, "--device", name); // "4090"
    }
    let narrowed = match std::env::var_os(BACKEND) {
        Some(_) => format!(", and {BACKEND} is set"),
        None => String::new(),
    };
    Err(Error::device(
        format!("no device {index}: there are {}{narrowed}", adapters.len()),
        SEE_DEVICES,
    ))
}

/// The only adapter whose name or driver contains `name`; `option` is where the name comes from.
fn by_name(adapters: &Adapters, option: &str, name: &str) -> Result<usize> {
    match adapters.matching(name)[..] {
        [index] => Ok(index),
        [] => Err(Error::device(
            format!("{option}: no device whose name or driver contains {name:?}"),
            SEE_DEVICES,
        )),
        ref several => Err(Error::option(
            option,
            format!(
                "{name:?} fits {}",
                several
                    .iter()
                    .map(|&i| format!("{i}: {}", adapters.report(i)))
                    .collect::<Vec<_>>()
                    .join(" and ")
            ),
            "give --device the index, more of the name, or --backend",
        )),
    }
}
