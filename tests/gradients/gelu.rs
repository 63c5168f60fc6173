//! Around the bend, and far out where `x³` is large.

use gpt2_dpo::ops::gelu;

use super::{Twin, assert_close, assert_gradients};

pub fn formula(x: f64) -> f64 {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    0.5 * x * (1.0 + (root * (x + 0.044715 * x.powi(3))).tanh())
}

/// Output, and gradient for `dy`.
fn twin(t: &mut Twin, x: &[f64], dy: &[f64]) -> [Vec<f64>; 2] {
    let (x_buffer, dy) = (t.input(x), t.input(dy));
    let (y, dx) = (t.output(x.len()), t.output(x.len()));
    gelu::forward(&mut t.rec, x_buffer, y, x.len());
    gelu::backward(&mut t.rec, x_buffer, dy, dx, x.len());
    t.run();
    [t.read(y), t.read(dx)]
}

#[test]
fn forward_and_gradients() {
    let mut t = Twin::new();
    let (x, dy) = (t.random(101, 5.0), t.random(101, 1.0));
    let [y, dx] = twin(&mut t, &x, &dy);
    let formula = |[x]: [&[f64]; 1]| -> Vec<f64> { x.iter().map(|&x| formula(x)).collect() };
    assert_close("y", &y, &formula([&x]));
    assert_gradients(formula, [&x], &dy, [("dx", dx)]);
}

#[test]
fn far_out_is_the_identity_or_nothing() {
    let x = [1e4, 100.0, 30.0, -30.0, -100.0, -1e4];
    let [y, dx] = twin(&mut Twin::new(), &x, &[1.0; 6]);
    assert_eq!(y, [1e4, 100.0, 30.0, 0.0, 0.0, 0.0]);
    assert_eq!(dx, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
}
