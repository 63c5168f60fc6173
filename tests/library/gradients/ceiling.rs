//! The multiply-add sums and the copy, which have no gradients.

use gpt2_dpo::ops::ceiling::{self, LANES, Operands, Sums};

use super::{Twin, assert_close};

#[test]
fn the_sums_are_the_recurrence() {
    let mut t = Twin::new();
    let x = t.random(ceiling::starts() * LANES, 0.9);
    let x_buffer = t.input(&x);
    let y = t.output(ceiling::outputs(1) * LANES);
    let rounds = 3;
    ceiling::multiply_add(
        &mut t.rec,
        Operands { x: x_buffer, y },
        Sums::Sixteen,
        1,
        rounds,
    );
    t.run();
    // s after k steps is mᵏ s + n (mᵏ − 1) / (m − 1), with four steps a round.
    let after = |start: f64, m: f64, n: f64| {
        let power = m.powi(4 * rounds as i32);
        power * start + n * (power - 1.0) / (m - 1.0)
    };
    let element = |i: usize, c: usize| x[i % ceiling::starts() * LANES + c];
    let total = |i: usize, c: usize| -> f64 {
        let starts = (0..4).map(|part| element(i + part, c));
        starts.map(|s| after(s, element(0, c), element(1, c))).sum()
    };
    let formula: Vec<f64> = (0..ceiling::outputs(1))
        .flat_map(|i| (0..LANES).map(move |c| (i, c)))
        .map(|(i, c)| total(i, c))
        .collect();
    assert_close("y", &t.read(y), &formula);
}

#[test]
fn a_copy_is_a_copy() {
    let mut t = Twin::new();
    let x = t.random(33 * LANES, 1.0);
    let (x_buffer, y) = (t.input(&x), t.output(33 * LANES));
    ceiling::copy(&mut t.rec, Operands { x: x_buffer, y }, 33, 2);
    t.run();
    assert_eq!(t.read(y), x);
}
