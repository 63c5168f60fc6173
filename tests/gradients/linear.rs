//! The weight in one piece and in two row shards, input gradients written and added to.

use gpt2_dpo::ops::linear;

use super::{Twin, assert_close, assert_gradients, dot};

#[test]
fn forward_and_gradients() {
    let (rows, ins, outs) = (5, 7, 3);
    let first_row = 2; // of y's buffer
    let formula = |[x, w, bias]: [&[f64]; 3]| -> Vec<f64> {
        let column = |c: usize| {
            w.iter()
                .skip(c)
                .step_by(outs)
                .copied()
                .collect::<Vec<f64>>()
        };
        x.chunks(ins)
            .flat_map(|x| (0..outs).map(|c| dot(x, &column(c)) + bias[c]))
            .collect()
    };
    for cuts in [&[0, ins][..], &[0, 2, ins]] {
        let mut t = Twin::new();
        let (x, w) = (t.random(rows * ins, 1.0), t.random(ins * outs, 1.0));
        let (bias, dy) = (t.random(outs, 1.0), t.random(rows * outs, 1.0));
        let (x_buffer, bias_buffer, dy_buffer) = (t.input(&x), t.input(&bias), t.input(&dy));
        let y = t.output((first_row + rows) * outs);
        let (dx, dx_sum, dbias) = (t.output(rows * ins), t.sum(rows * ins), t.sum(outs));
        let mut dw = Vec::new();
        for (s, cut) in cuts.windows(2).enumerate() {
            let shard = cut[0]..cut[1];
            let shape = linear::Shape::whole(rows, ins, outs).shard(shard.clone());
            let w = t.input(&w[shard.start * outs..shard.end * outs]);
            let bias = (s == 0).then_some(bias_buffer);
            let dw_shard = t.sum(shard.len() * outs);
            linear::forward(&mut t.rec, (x_buffer, w, bias, y), shape, first_row, s > 0);
            linear::backward_input(&mut t.rec, (dy_buffer, w, dx), shape, false);
            linear::backward_input(&mut t.rec, (dy_buffer, w, dx_sum), shape, true);
            linear::backward_weight(&mut t.rec, (x_buffer, dy_buffer, dw_shard), shape);
            dw.push(dw_shard);
        }
        linear::backward_bias(&mut t.rec, (dy_buffer, dbias), rows, outs);
        t.run();

        let y = t.read(y);
        let (before, y) = y.split_at(first_row * outs);
        assert!(
            before.iter().all(|v| v.is_nan()),
            "rows before the first were written"
        );
        assert_close("y", y, &formula([&x, &w, &bias]));
        let dw: Vec<f64> = dw.into_iter().flat_map(|shard| t.added(shard)).collect();
        let gradients = [("dx", t.read(dx)), ("dw", dw), ("dbias", t.added(dbias))];
        assert_gradients(formula, [&x, &w, &bias], &dy, gradients);
        let of_x = |[x]: [&[f64]; 1]| formula([x, &w, &bias]);
        assert_gradients(of_x, [&x], &dy, [("dx added", t.added(dx_sum))]);
    }
}
