//! GPUs through wgpu: the only place that names it.

mod device;
mod engine;
mod timer;
mod tuner;
mod variants;

pub use device::{AdapterReport, Adapters, Backends, OpenOptions};
pub use engine::GpuEngine;
pub use variants::Variant;
