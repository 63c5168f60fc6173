//! What the integration tests share; each of them uses its part.
#![allow(dead_code)]

use std::collections::BTreeSet;

use gpt2_dpo::gpu::{Adapters, Backends, GpuEngine, OpenOptions, Variant};
use gpt2_dpo::ops::Op;

/// Every runtime check on, WebGPU's default limits.
pub const CHECKED: OpenOptions = OpenOptions {
    checked: true,
    default_limits: true,
    max_binding_bytes: None,
    variant: Variant::Best,
    tuning: None,
};

/// A GPU opened so. A test that needs one fails without one: software Vulkan counts.
pub fn gpu() -> GpuEngine {
    gpu_with(CHECKED)
}

/// The first adapter, opened with these options.
pub fn gpu_with(options: OpenOptions) -> GpuEngine {
    let adapters = Adapters::enumerate(Backends::All);
    assert!(
        !adapters.is_empty(),
        "no GPU adapter. A software one counts: scripts/test installs Mesa's lavapipe \
         (Debian and Ubuntu: apt-get install mesa-vulkan-drivers)"
    );
    adapters.open(0, options).expect("the adapter opens")
}

/// The names of the variants that kernels of these ops have; `""` alone if there are none.
pub fn variants<'a>(ops: impl Iterator<Item = &'a Op>) -> BTreeSet<&'static str> {
    let kernels = ops.flat_map(|op| op.kernels.iter());
    let ways = kernels.flat_map(|kernel| kernel.ways().map(|way| way.variant));
    let mut names: BTreeSet<&str> = ways.collect();
    if names.len() > 1 {
        names.remove("");
    }
    names
}

/// ‖ours − theirs‖ / ‖theirs‖; NaN if either has one.
pub fn relative_l2(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let squares = |f: &dyn Fn(usize) -> f64| (0..ours.len()).map(|i| f(i).powi(2)).sum::<f64>();
    let error = squares(&|i| f64::from(ours[i]) - f64::from(theirs[i]));
    (error / squares(&|i| f64::from(theirs[i]))).sqrt()
}

/// max |ours − theirs|; NaN if either has one.
pub fn max_abs(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let mut worst = 0.0_f64;
    for (&a, &b) in ours.iter().zip(theirs) {
        let difference = (f64::from(a) - f64::from(b)).abs();
        if difference.is_nan() {
            return f64::NAN;
        }
        worst = worst.max(difference);
    }
    worst
}
