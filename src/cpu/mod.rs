//! The CPU as a device: it runs a recording with the kernels' twins.

mod engine;
pub mod matmul;

pub use engine::CpuEngine;

/// Σ a·b over slices of one length, in eight running sums, which compilers turn into vector
/// instructions.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8
        .remainder()
        .iter()
        .zip(b8.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a8.zip(b8) {
        for k in 0..8 {
            sums[k] += a[k] * b[k];
        }
    }
    sums.iter().sum::<f32>() + rest
}
