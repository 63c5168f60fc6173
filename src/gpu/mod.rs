//! GPUs through wgpu. No other module names wgpu.

mod cards;
mod device;
mod driver;
mod engine;
mod kept;
mod measure;
mod once;
mod pace;
mod pipeline;
mod pipelines;
mod readback;
mod timer;
mod tuner;
mod variants;

pub use cards::{CardMemory, PassedOver};
pub use device::{AdapterReport, Adapters, Ask, Backends, OpenOptions};
pub use engine::GpuEngine;
#[doc(hidden)]
pub use tuner::rewritten_table;
pub use variants::{Variant, usual_variant};
