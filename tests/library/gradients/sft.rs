//! The mean over the chosen tokens; the rejected tokens do not count.

use gpt2_dpo::ops::grad_norm::Norm;
use gpt2_dpo::ops::{dpo, sft};

use super::dpo::{pair_table, sides};
use super::{Twin, assert_close, assert_gradients};

#[test]
fn forward_and_gradients() {
    let lengths = [[3, 1], [5, 0], [1, 7]];
    let (scale, loss_scale) = (0.25, 1024.0);
    let mut t = Twin::new();
    let logps = t.random(17, 4.0);
    let op = sft::Loss {
        pairs: t.words(&pair_table(&lengths)),
        logps: t.input(&logps),
        metrics: t.output((1 + lengths.len()) * dpo::METRICS),
        drows: t.output(logps.len()),
        scale: scale as f32,
        first_slot: 1,
    };
    let norm = t.words(&Norm::new(loss_scale as f32).floats());
    for range in [0..1, 1..3] {
        sft::forward(&mut t.rec, &op, range.clone());
        sft::backward(&mut t.rec, &op, norm, range);
    }
    t.run();
    let losses = |[logps]: [&[f64]; 1]| -> Vec<f64> {
        let chosen = |&pair: &[u32; 3]| sides(logps, pair)[0];
        let loss = |logps: &[f64]| -logps.iter().sum::<f64>() / logps.len() as f64;
        pair_table(&lengths).iter().map(chosen).map(loss).collect()
    };
    let metrics = t.read(op.metrics);
    let column = |k: usize| metrics.iter().skip(dpo::METRICS + k).step_by(dpo::METRICS);
    let (loss, logp): (Vec<f64>, Vec<f64>) = column(0).zip(column(4)).unzip();
    let sums: Vec<f64> = (0..3)
        .map(|i| -losses([&logps])[i] * lengths[i][0] as f64)
        .collect();
    assert_close("loss", &loss, &losses([&logps]));
    assert_close("chosen log-prob", &logp, &sums);
    for k in [1, 2, 3, 5] {
        assert!(column(k).all(|&v| v == 0.0), "metric {k}");
    }
    let seeds = [scale * loss_scale; 3];
    assert_gradients(losses, [&logps], &seeds, [("drows", t.read(op.drows))]);
}
