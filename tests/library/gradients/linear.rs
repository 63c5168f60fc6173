//! A weight in one piece and in two row shards; input gradients written and accumulated; an added residual; and
//! GELU before and behind the product.

use gpt2_dpo::ops::linear;

use super::{Twin, assert_close, assert_gradients, dot};

/// GPT-2's GELU, with tanh.
fn gelu(x: f64) -> f64 {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    0.5 * x * (1.0 + (root * (x + 0.044715 * x.powi(3))).tanh())
}

/// y `[rows, outs]` = x `[rows, ins]` · w `[ins, outs]`.
fn product(x: &[f64], w: &[f64], ins: usize, outs: usize) -> Vec<f64> {
    let column = |c: usize| {
        w.iter()
            .skip(c)
            .step_by(outs)
            .copied()
            .collect::<Vec<f64>>()
    };
    x.chunks(ins)
        .flat_map(|x| (0..outs).map(move |c| dot(x, &column(c))))
        .collect()
}

#[test]
fn forward_and_gradients() {
    let (rows, ins, outs) = (5, 7, 3);
    let first_row = 2; // of y's buffer
    let formula = |[x, w, bias]: [&[f64]; 3]| -> Vec<f64> {
        let products = product(x, w, ins, outs).into_iter();
        products
            .zip(bias.iter().cycle())
            .map(|(y, b)| y + b)
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
            let op = linear::Forward {
                x: x_buffer,
                weight: w,
                bias,
                residual: None,
                y,
            };
            linear::forward(&mut t.rec, &op, shape, first_row, s > 0);
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

/// y = residual + x · w + bias; and GELU of x · w + bias.
#[test]
fn residual_and_gelu() {
    let (rows, ins, outs) = (5, 7, 3);
    let mut t = Twin::new();
    let (x, w, bias) = (
        t.random(rows * ins, 1.0),
        t.random(ins * outs, 1.0),
        t.random(outs, 1.0),
    );
    let residual = t.random(rows * outs, 1.0);
    let (y, wide, activated) = (
        t.output(rows * outs),
        t.output(rows * outs),
        t.output(rows * outs),
    );
    let shape = linear::Shape::whole(rows, ins, outs);
    let op = linear::Forward {
        x: t.input(&x),
        weight: t.input(&w),
        bias: Some(t.input(&bias)),
        residual: Some(t.input(&residual)),
        y,
    };
    linear::forward(&mut t.rec, &op, shape, 0, false);
    let op = linear::Forward {
        residual: None,
        y: wide,
        ..op
    };
    linear::forward_gelu(&mut t.rec, &op, activated, shape, false);
    t.run();
    let products = product(&x, &w, ins, outs).into_iter();
    let sums: Vec<f64> = products
        .zip(bias.iter().cycle())
        .map(|(y, b)| y + b)
        .collect();
    let of_y: Vec<f64> = sums.iter().zip(&residual).map(|(y, r)| y + r).collect();
    assert_close("y", &t.read(y), &of_y);
    assert_close("wide", &t.read(wide), &sums);
    let of_gelu: Vec<f64> = sums.iter().map(|&y| gelu(y)).collect();
    assert_close("activated", &t.read(activated), &of_gelu);
}

/// The gradient of GELU's input, where GELU's output is the input of a layer.
#[test]
fn gradient_through_gelu() {
    let (rows, ins, outs) = (5, 7, 3);
    let mut t = Twin::new();
    let (wide, w) = (t.random(rows * ins, 3.0), t.random(ins * outs, 1.0));
    let dy = t.random(rows * outs, 1.0);
    let (wide_buffer, w_buffer, dy_buffer) = (t.input(&wide), t.input(&w), t.input(&dy));
    let dwide = t.output(rows * ins);
    let shape = linear::Shape::whole(rows, ins, outs);
    let activated = t.output(rows * ins);
    let op = linear::BackwardInputGelu {
        dy: dy_buffer,
        weight: w_buffer,
        wide: wide_buffer,
        dwide,
        activated,
    };
    linear::backward_input_gelu(&mut t.rec, &op, shape);
    t.run();
    let of_gelu: Vec<f64> = wide.iter().map(|&v| gelu(v)).collect();
    assert_close("activated", &t.read(activated), &of_gelu);
    let formula = |[wide]: [&[f64]; 1]| {
        let x: Vec<f64> = wide.iter().map(|&v| gelu(v)).collect();
        product(&x, &w, ins, outs)
    };
    assert_gradients(formula, [&wide], &dy, [("dwide", t.read(dwide))]);
}

/// A layer with one row and a weight of 1 gives dy · gelu'(wide), also far out, where x³ is large.
#[test]
fn gelu_far_out_is_the_identity_or_nothing() {
    for (wide, value, slope) in [
        (1e4, 1e4, 1.0),
        (100.0, 100.0, 1.0),
        (30.0, 30.0, 1.0),
        (-30.0, 0.0, 0.0),
        (-100.0, 0.0, 0.0),
        (-1e4, 0.0, 0.0),
    ] {
        let mut t = Twin::new();
        let op = linear::BackwardInputGelu {
            dy: t.input(&[1.0]),
            weight: t.input(&[1.0]),
            wide: t.input(&[wide]),
            dwide: t.output(1),
            activated: t.output(1),
        };
        linear::backward_input_gelu(&mut t.rec, &op, linear::Shape::whole(1, 1, 1));
        t.run();
        assert_eq!(
            (t.read(op.activated)[0], t.read(op.dwide)[0]),
            (value, slope)
        );
    }
}
