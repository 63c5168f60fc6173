//! Rows that are taken never, once and twice, in chunks.

use std::ops::Range;

use gpt2_dpo::batch;
use gpt2_dpo::ops::gather;

use super::{Twin, assert_gradients};

#[test]
fn forward_and_gradients() {
    let mut t = Twin::new();
    // Two chunks of head rows; row 2 and row 4 are taken twice, rows 0 and 3 never.
    let sources = [2, 1, 2, 4, 4_u32];
    let none = batch::NONE;
    let inverse = [[none, none], [1, none], [0, 2], [none, none], [3, 4]];
    let chunks: [(Range<usize>, Range<usize>); 2] = [(0..3, 0..3), (3..5, 3..5)]; // heads, rows
    let width = 3;
    let (x, dy) = (t.random(5 * width, 1.0), t.random(5 * width, 1.0));
    let (x_buffer, sources_buffer) = (t.input(&x), t.words(&sources));
    let (inverse, dx) = (t.words(&inverse), t.output(5 * width));
    let mut ys = Vec::new();
    for (heads, rows) in chunks {
        let y = t.output(heads.len() * width);
        let op = gather::Forward {
            x: x_buffer,
            sources: sources_buffer,
            y,
        };
        gather::forward(&mut t.rec, &op, heads.clone(), width);
        let op = gather::Backward {
            dy: t.input(&dy[heads.start * width..heads.end * width]),
            inverse,
            dx,
            first_head: heads.start,
        };
        gather::backward(&mut t.rec, &op, rows, width);
        ys.push(y);
    }
    t.run();
    let formula = |[x]: [&[f64]; 1]| -> Vec<f64> {
        let row = |&r: &u32| x[r as usize * width..][..width].to_vec();
        sources.iter().flat_map(row).collect()
    };
    let y = [t.read(ys[0]), t.read(ys[1])].concat();
    assert_eq!(y, formula([&x]));
    assert_gradients(formula, [&x], &dy, [("dx", t.read(dx))]);
}
