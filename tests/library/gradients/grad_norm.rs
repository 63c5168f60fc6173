//! The partial sums of the gradient norm: together they are Σ g², and each gradient has slots of its own.

use gpt2_dpo::ops::grad_norm::{self, SumSquares};

use super::{Twin, assert_close};

#[test]
fn partial_sums_add_up() {
    let mut t = Twin::new();
    let gradients = [1, 1025, 5000].map(|count| t.random(count, 1.0));
    let slots: usize = gradients.iter().map(|g| grad_norm::shares(g.len())).sum();
    let partials = t.output(slots);
    let mut starts = vec![0];
    for gradient in &gradients {
        let op = SumSquares {
            gradient: t.input(gradient),
            partials,
            first_slot: starts[starts.len() - 1],
        };
        starts.push(op.first_slot + grad_norm::sum_squares(&mut t.rec, &op));
    }
    assert_eq!(starts[3], slots);
    t.run();
    let partials = t.read(partials);
    for (g, gradient) in gradients.iter().enumerate() {
        let ours: f64 = partials[starts[g]..starts[g + 1]].iter().sum();
        let squares: f64 = gradient.iter().map(|g| g * g).sum();
        assert_close("Σ g²", &[ours], &[squares]);
    }
}
