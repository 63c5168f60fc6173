//! GPUs through wgpu: the only place that names it.

mod device;
mod engine;
mod pace;
mod pipeline;
mod timer;
mod tuner;
mod twin;
mod variants;

pub use device::{AdapterReport, Adapters, Ask, Backends, OpenOptions};
pub use engine::GpuEngine;
pub use variants::Variant;
