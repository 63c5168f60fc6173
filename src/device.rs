//! Finds and opens the device that the user names.

use std::path::PathBuf;

use sha2::Digest;

use crate::cache;
use crate::choice::choices;
use crate::cpu::CpuEngine;
use crate::engine::{Device, Memory};
use crate::error::{Error, Result, Setting};
use crate::gpu::{AdapterReport, Adapters, Backends, OpenOptions};
use crate::ops;
use crate::target::Precision;
use crate::twins;

choices! {
    /// Which graphics API to use: `auto` looks in all that there are.
    #[allow(missing_docs)] // a doc comment would become help text, and the names say it
    pub enum BackendName {
        Auto = "auto",
        Vulkan = "vulkan",
        Metal = "metal",
        Dx12 = "dx12",
    }
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
    /// Let a micro-batch have as many pairs of a step as fit a GPU.
    pub grow: bool,
    /// Leave the GPU to others half of the time.
    pub gentle: bool,
    /// The folder for the measurements of variants; `None` = measure in each run.
    pub cache_dir: Option<PathBuf>,
    /// The value of the environment variable [`ADAPTER_NAME`]: a part of an adapter's name, which replaces `device`
    /// if that is `auto`.
    pub adapter_name: Option<String>,
    /// The machine's memory, which bounds the CPU engine, and the growth of micro-batches on a GPU that shares it; the CPU
    /// engine counts on allocation alone if `None`.
    pub memory: Option<Memory>,
}

/// The device that was found.
pub enum Found {
    /// The CPU engine.
    Cpu {
        /// Notes for the user if `auto` found no GPU: that it did not, and what it passed over.
        notes: Vec<String>,
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
    /// Ready for buffers and recordings.
    pub engine: Box<dyn Device>,
    /// Each worth a line to the user: that `auto` found no GPU, that mixed precision is no gain.
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

/// The environment variable by which programs on wgpu take an adapter.
pub const ADAPTER_NAME: &str = "WGPU_ADAPTER_NAME";

/// The environment variable that restricts programs on wgpu to some graphics APIs.
const BACKEND: &str = "WGPU_BACKEND";

const SEE_DEVICES: &str = "`gpt2-dpo devices` lists what there is; `.device` cpu always works";

impl DeviceChoice {
    /// The name of the CPU engine as a device.
    pub const CPU: &str = "cpu";

    /// Finds the device. `auto` takes the adapter that [`DeviceChoice::adapter_name`] names, or a discrete, then
    /// an integrated GPU, else, unless a backend is named, the CPU engine: software Vulkan is slower than that
    /// and is taken only by name.
    ///
    /// # Errors
    /// `Error::Device` if there is no such device; `Error::Option` if a name fits several devices, or if `cpu`
    /// is combined with an option for GPUs.
    pub fn find(&self) -> Result<Found> {
        if self.device == Self::CPU {
            let about_gpus = [
                ("backend", self.backend != BackendName::Auto),
                ("checked", self.checked),
                ("no_autotune", self.no_autotune),
                ("gentle", self.gentle),
            ];
            if let Some((option, _)) = about_gpus.iter().find(|(_, given)| *given) {
                return Err(Error::option(
                    option,
                    "has no meaning with `.device` cpu",
                    "leave one of the two out",
                ));
            }
            return Ok(Found::Cpu { notes: Vec::new() });
        }
        let adapters = Adapters::enumerate(self.backend.into());
        let index = match self.device.as_str() {
            "auto" => match auto(self.backend, &adapters, self.adapter_name.as_deref())? {
                Some(index) => index,
                None if self.gentle => {
                    return Err(Error::option(
                        "gentle",
                        "spares a GPU, and `.device` auto found none",
                        SEE_DEVICES,
                    ));
                }
                None => {
                    let note = "no discrete or integrated GPU found: using the CPU engine";
                    let passed_over = adapters.passed_over().into_iter();
                    let passed_over = passed_over.map(|passed| passed.to_string());
                    let notes = std::iter::once(note.to_owned()).chain(passed_over);
                    return Ok(Found::Cpu {
                        notes: notes.collect(),
                    });
                }
            },
            name => by_index_or_name(&adapters, name)?,
        };
        let options = OpenOptions {
            checked: self.checked,
            max_binding_bytes: self.max_binding_bytes(),
            precision: self.precision,
            tuning: self.cache_file(&adapters.report(index), "tuning", "json"),
            room_to_grow: match self.grow {
                true => self.room_to_grow(&adapters.report(index)),
                false => 0,
            },
            measure: !self.no_autotune,
            gentle: self.gentle,
            compiled: self.cache_file(&adapters.report(index), "pipelines", "bin"),
            kernels: ops::passes().collect(),
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
            Found::Cpu { mut notes } => {
                let mut engine = match self.max_binding_bytes() {
                    Some(bytes) => CpuEngine::with_max_binding(bytes),
                    None => CpuEngine::new(),
                };
                if let Some(memory) = self.memory {
                    engine = engine.with_memory(memory);
                }
                let no_gain = "the CPU engine only rounds as matrix units do: f32 is faster on it";
                if self.precision == Precision::Mixed {
                    notes.push(no_gain.to_owned());
                }
                Ok(Opened {
                    engine: Box::new(engine.with_precision(self.precision)),
                    notes,
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
                        compiled: None,
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

    /// The bytes that a run may take on this adapter for more pairs at once. A discrete GPU's driver refuses what does not
    /// fit; an integrated one shares the machine's memory with every other program.
    fn room_to_grow(&self, adapter: &AdapterReport) -> usize {
        match adapter.kind {
            "discrete" => usize::MAX,
            "integrated" => self.memory.map_or(0, |memory| memory.free / 2),
            _ => 0,
        }
    }

    /// A cache file of this adapter, driver, set of kernels and precision, with or without checks in shaders.
    fn cache_file(&self, adapter: &AdapterReport, stem: &str, extension: &str) -> Option<PathBuf> {
        let mut hash = cache::key();
        let Self {
            checked, precision, ..
        } = self;
        hash.update(format!(
            "{adapter}, {}, {checked}, {precision:?}",
            adapter.driver
        ));
        let dir = self.cache_dir.as_ref()?;
        Some(dir.join(cache::file_name(hash, stem, extension)))
    }
}

/// The adapter that `auto` takes among those found with this backend. The environment may name it by
/// [`ADAPTER_NAME`]. `None` = the CPU engine.
///
/// # Errors
/// `Error::Device` if [`ADAPTER_NAME`] names none, or if a backend is named and has no GPU;
/// `Error::Option` if the name fits several.
pub fn auto(
    backend: BackendName,
    adapters: &Adapters,
    adapter_name: Option<&str>,
) -> Result<Option<usize>> {
    if let Some(name) = adapter_name {
        return by_name(
            adapters,
            Setting::Environment(ADAPTER_NAME.to_owned()),
            name,
        )
        .map(Some);
    }
    match adapters.best_gpu() {
        None if backend != BackendName::Auto => {
            let mut what = format!("no discrete or integrated {backend:?} GPU found");
            for passed_over in adapters.passed_over() {
                what.push_str(&format!("\n{passed_over}"));
            }
            Err(Error::device(what, SEE_DEVICES))
        }
        best => Ok(best),
    }
}

fn by_index_or_name(adapters: &Adapters, name: &str) -> Result<usize> {
    let Ok(index) = name.parse::<usize>() else {
        return by_name(adapters, Setting::Field("device"), name);
    };
    if index < adapters.len() {
        return Ok(index);
    }
    if !adapters.matching(name).is_empty() {
        return by_name(adapters, Setting::Field("device"), name); // "4090"
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

/// The one adapter whose name or driver contains `name`, which came from `option`.
fn by_name(adapters: &Adapters, option: Setting, name: &str) -> Result<usize> {
    if name.trim().is_empty() {
        return Err(Error::Option {
            option,
            what: "is empty, and a part of a name is expected".to_owned(),
            help: SEE_DEVICES.to_owned(),
        });
    }
    match adapters.matching(name)[..] {
        [index] => Ok(index),
        [] => Err(Error::device(
            format!("{option}: no device whose name or driver contains {name:?}"),
            SEE_DEVICES,
        )),
        ref several => Err(Error::Option {
            option,
            what: format!(
                "{name:?} fits {}",
                several
                    .iter()
                    .map(|&i| format!("{i}: {}", adapters.report(i)))
                    .collect::<Vec<_>>()
                    .join(" and ")
            ),
            help: "give `.device` the index, more of the name, or `.backend`".to_owned(),
        }),
    }
}
