//! GPUs through wgpu: the only place that names it.

mod device;
mod engine;
mod timer;

pub use device::{AdapterReport, Adapters, Backends, OpenOptions, Variant};
pub use engine::GpuEngine;
