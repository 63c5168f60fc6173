//! The CPU as a device: it runs a recording with the kernels' twins.

mod engine;
pub mod matmul;
mod memory;
pub mod vector;

pub use engine::CpuEngine;
