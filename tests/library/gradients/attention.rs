//! The shared-prefix mask over two pairs, with gradients of queries, keys and values.

use gpt2_dpo::batch::{Span, Tile};
use gpt2_dpo::ops::attention;

use super::{Twin, assert_close, assert_gradients, dot};

/// Rows of prompt, chosen and rejected response of two pairs. The chosen response of the second pair has one
/// token and thus no row.
const PAIRS: [[usize; 3]; 2] = [[3, 2, 4], [2, 0, 3]];
const HEADS: usize = 2;
const HEAD_DIM: usize = 3;

/// The output `[rows, C]` and the log-sum-exp of the scores `[rows, H]` by the definition of the mask: a row
/// attends to the rows of its own pair, up to itself, that are prompt or on its own side.
fn formula([q, k, v]: [&[f64]; 3]) -> (Vec<f64>, Vec<f64>) {
    let mut labels = Vec::new(); // (pair, side) of each row, side 0 being the prompt
    for (pair, rows) in PAIRS.iter().enumerate() {
        for (side, &count) in rows.iter().enumerate() {
            labels.extend(vec![(pair, side); count]);
        }
    }
    let (mut y, mut lse) = (Vec::new(), Vec::new());
    for (r, &(pair, side)) in labels.iter().enumerate() {
        for h in 0..HEADS {
            let part =
                |m: &[f64], row: usize| m[(row * HEADS + h) * HEAD_DIM..][..HEAD_DIM].to_vec();
            let visible = |j: &usize| labels[*j] == (pair, 0) || labels[*j] == (pair, side);
            let keys: Vec<usize> = (0..=r).filter(visible).collect();
            let score = |&j: &usize| dot(&part(q, r), &part(k, j)) / (HEAD_DIM as f64).sqrt();
            let weights: Vec<f64> = keys.iter().map(|j| score(j).exp()).collect();
            let total: f64 = weights.iter().sum();
            for d in 0..HEAD_DIM {
                let values: Vec<f64> = keys.iter().map(|&j| part(v, j)[d]).collect();
                y.push(dot(&weights, &values) / total);
            }
            lse.push(total.ln());
        }
    }
    (y, lse)
}

#[test]
fn forward_and_gradients() {
    let mut t = Twin::new();
    let mut spans: Vec<Span> = Vec::new();
    for [prompt, chosen, rejected] in PAIRS {
        spans.extend(Span::of_pair(spans.len(), prompt, chosen, rejected));
    }
    let (rows, width) = (spans.len(), HEADS * HEAD_DIM);
    let [q, k, v, dy] = std::array::from_fn(|_| t.random(rows * width, 2.0));
    let row = |m: &[f64], r: usize| m[r * width..(r + 1) * width].to_vec();
    let qkv: Vec<f64> = (0..rows)
        .flat_map(|r| [row(&q, r), row(&k, r), row(&v, r)].concat())
        .collect();
    let (all, last) = (Tile::of(&spans, 0..rows), Tile::of(&spans, rows - 1..rows));
    let shape = |tiles| attention::Shape {
        tiles,
        heads: HEADS,
        head_dim: HEAD_DIM,
    };
    let forward = attention::Forward {
        qkv: t.input(&qkv),
        spans: t.words(&spans),
        tiles: t.words(&all),
        y: t.output(rows * width),
        lse: t.output(rows * HEADS),
    };
    let op = attention::Backward {
        qkv: forward.qkv,
        spans: forward.spans,
        tiles: forward.tiles,
        y: forward.y,
        lse: forward.lse,
        dy: t.input(&dy),
        row_dots: t.output(rows * HEADS),
        dqkv: t.output(rows * 3 * width),
    };
    attention::forward(&mut t.rec, &forward, shape(&all));
    attention::backward(&mut t.rec, &op, shape(&all));
    // As in generation: one query row attends to all rows before it.
    let last_row = attention::Forward {
        tiles: t.words(&last),
        y: t.output(width),
        lse: t.output(HEADS),
        ..forward
    };
    attention::forward(&mut t.rec, &last_row, shape(&last));
    t.run();

    let (y, lse) = formula([&q, &k, &v]);
    assert_close("y", &t.read(op.y), &y);
    assert_close("lse", &t.read(op.lse), &lse);
    assert_close("last y", &t.read(last_row.y), &row(&y, rows - 1));
    assert_close(
        "last lse",
        &t.read(last_row.lse),
        &lse[(rows - 1) * HEADS..],
    );
    let dqkv = t.read(op.dqkv);
    let part = |p: usize| {
        (0..rows)
            .flat_map(|r| row(&dqkv, 3 * r + p))
            .collect::<Vec<f64>>()
    };
    let gradients = [("dq", part(0)), ("dk", part(1)), ("dv", part(2))];
    assert_gradients(|inputs| formula(inputs).0, [&q, &k, &v], &dy, gradients);
}
