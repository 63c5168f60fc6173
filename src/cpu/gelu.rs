//! GELU in GPT-2's tanh approximation, elementwise.
//!
//! y = x/2 · (1 + tanh u), u = sqrt(2/π) · (x + 0.044715 x³)   (Hendrycks & Gimpel 2016, §2)
//!
//! ½ (1 + tanh u) is written as σ = 1/(1 + e^(−2u)): y = x·σ and y' = σ + 2x·σ(1 − σ)·u'.

use multiversion::multiversion;

use super::vector::exp;

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044715;

/// σ(2u).
#[inline(always)]
fn gate(x: f32) -> f32 {
    let u = SQRT_2_OVER_PI * (x + CUBIC * x * x * x);
    1.0 / (1.0 + exp(-2.0 * u))
}

/// y = gelu(x).
#[multiversion(targets = "simd")]
pub fn gelu(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * gate(x);
    }
}

/// y = gelu(x), and dx = dx · gelu'(x).
#[multiversion(targets = "simd")]
pub fn gelu_and_slope(x: &[f32], y: &mut [f32], dx: &mut [f32]) {
    for ((y, dx), &x) in y.iter_mut().zip(dx).zip(x) {
        let gate = gate(x);
        let du = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
        *y = x * gate;
        *dx *= gate + 2.0 * x * gate * (1.0 - gate) * du;
    }
}
