//! From the user's words to a device.

use crate::config::BackendName;
use crate::cpu::CpuEngine;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gpu::{Adapters, Backends, OpenOptions};

/// Which device to use, as the user says it.
#[derive(Clone, Debug)]
pub struct DeviceChoice {
    /// `auto`, `cpu`, an index, or a part of a name.
    pub device: String,
    pub backend: BackendName,
    /// Compile shaders with runtime checks.
    pub checked: bool,
    /// Buffers at most this large; 0 = as large as the device binds.
    pub max_binding_mib: usize,
}

/// An opened device, and what there is to say about the choice.
pub struct Opened {
    pub engine: Box<dyn Engine>,
    pub note: Option<String>,
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

const SEE_DEVICES: &str = "`gpt2-dpo devices` lists what there is; --device cpu always works";

impl DeviceChoice {
    /// Opens the device. `auto` takes a discrete, then an integrated GPU, else the CPU engine:
    /// software Vulkan is slower than that and is taken only by name.
    ///
    /// # Errors
    /// `Error::Device` if there is no such device, or its driver refuses; `Error::Option` if a name
    /// fits several.
    pub fn open(&self) -> Result<Opened> {
        let max_binding_bytes = (self.max_binding_mib > 0).then_some(self.max_binding_mib << 20);
        let cpu = |note: Option<String>| Opened {
            engine: Box::new(match max_binding_bytes {
                Some(bytes) => CpuEngine::with_max_binding(bytes),
                None => CpuEngine::new(),
            }),
            note,
        };
        if self.device == "cpu" {
            return Ok(cpu(None));
        }
        let adapters = Adapters::enumerate(self.backend.into());
        let index = match self.device.as_str() {
            "auto" => match adapters.best_gpu() {
                Some(index) => index,
                None if self.backend == BackendName::Auto => {
                    return Ok(cpu(Some("no GPU found: using the CPU engine".to_owned())));
                }
                None => {
                    return Err(Error::device(
                        format!("no {:?} GPU on this machine", self.backend),
                        SEE_DEVICES,
                    ));
                }
            },
            name => self.named(&adapters, name)?,
        };
        let options = OpenOptions {
            checked: self.checked,
            default_limits: false,
            max_binding_bytes,
        };
        Ok(Opened {
            engine: Box::new(adapters.open(index, options)?),
            note: None,
        })
    }

    fn named(&self, adapters: &Adapters, name: &str) -> Result<usize> {
        if let Ok(index) = name.parse::<usize>() {
            if index < adapters.len() {
                return Ok(index);
            }
            return Err(Error::device(
                format!("no device {index}: there are {}", adapters.len()),
                SEE_DEVICES,
            ));
        }
        match adapters.matching(name)[..] {
            [index] => Ok(index),
            [] => Err(Error::device(
                format!("no device whose name or driver contains {name:?}"),
                SEE_DEVICES,
            )),
            ref several => Err(Error::option(
                "--device",
                format!(
                    "{name:?} fits {}",
                    several
                        .iter()
                        .map(|&i| format!("{i}: {}", adapters.report(i)))
                        .collect::<Vec<_>>()
                        .join(" and ")
                ),
                "give the index, or more of the name",
            )),
        }
    }
}
