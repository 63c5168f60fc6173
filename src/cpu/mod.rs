//! The CPU as a device: it runs a recording with the kernels' twins.

mod engine;
pub mod gelu;
pub mod matmul;
mod pages;
pub mod vector;

pub use engine::CpuEngine;
