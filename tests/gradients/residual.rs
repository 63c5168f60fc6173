//! The sum, and that its gradient is the identity.

use gpt2_dpo::ops::residual;

use super::{Twin, assert_close, assert_gradients};

#[test]
fn forward_and_gradients() {
    let mut t = Twin::new();
    let [x, y, dy] = std::array::from_fn(|_| t.random(37, 1.0));
    let (x_buffer, sum) = (t.input(&x), t.input(&y));
    residual::forward(&mut t.rec, x_buffer, sum, 37);
    t.run();
    let formula = |[x, y]: [&[f64]; 2]| x.iter().zip(y).map(|(x, y)| x + y).collect::<Vec<f64>>();
    assert_close("y", &t.read(sum), &formula([&x, &y]));
    // No backward kernel: one gradient serves both branches.
    assert_gradients(
        formula,
        [&x, &y],
        &dy,
        [("dx", dy.clone()), ("dy", dy.clone())],
    );
}
