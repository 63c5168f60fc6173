//! A weight in one piece and in two row shards; input gradients written and accumulated; an added residual; and
//! GELU before and behind the product.

use gpt2_dpo::ops::linear::{self, Sum};

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
            let op = linear::Nn {
                x: x_buffer,
                weight: w,
                bias,
                residual: None,
                y,
                first_row,
            };
            linear::nn(&mut t.rec, &op, shape, Sum::first(s == 0));
            for (dx, sum) in [(dx, Sum::SET), (dx_sum, Sum::ADD)] {
                let op = linear::Nt {
                    dy: dy_buffer,
                    weight: w,
                    dx,
                };
                linear::nt(&mut t.rec, &op, shape, sum);
            }
            let op = linear::Tn {
                x: x_buffer,
                dy: dy_buffer,
                dw: dw_shard,
            };
            linear::tn(&mut t.rec, &op, shape, Sum::ADD);
            dw.push(dw_shard);
        }
        let op = linear::Bias {
            dy: dy_buffer,
            dbias,
        };
        linear::bias(&mut t.rec, &op, linear::Shape::whole(rows, ins, outs));
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
    let op = linear::Nn {
        x: t.input(&x),
        weight: t.input(&w),
        bias: Some(t.input(&bias)),
        residual: Some(t.input(&residual)),
        y,
        first_row: 0,
    };
    linear::nn(&mut t.rec, &op, shape, Sum::SET);
    let op = linear::NnGelu {
        x: op.x,
        weight: op.weight,
        bias: op.bias,
        y: wide,
        activated,
    };
    linear::nn_gelu(&mut t.rec, &op, shape, Sum::SET);
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
    let op = linear::NtGelu {
        dy: dy_buffer,
        weight: w_buffer,
        wide: wide_buffer,
        dwide,
        activated,
    };
    linear::nt_gelu(&mut t.rec, &op, shape, Sum::SET);
    t.run();
    let of_gelu: Vec<f64> = wide.iter().map(|&v| gelu(v)).collect();
    assert_close("activated", &t.read(activated), &of_gelu);
    let formula = |[wide]: [&[f64]; 1]| {
        let x: Vec<f64> = wide.iter().map(|&v| gelu(v)).collect();
        product(&x, &w, ins, outs)
    };
    assert_gradients(formula, [&wide], &dy, [("dwide", t.read(dwide))]);
}

/// A layer behind GELU with an adapter: y = x · w + scale · (x · a) · b with x = gelu(wide). The gradient of
/// `wide` is the sum of two products, of which the last takes it through GELU.
#[test]
fn adapter_and_gradients() {
    const SCALE: f64 = 0.375; // a sum of powers of two: the same in f32
    let (rows, ins, outs, rank) = (5, 7, 3, 2);
    let mut t = Twin::new();
    let (wide, w) = (t.random(rows * ins, 3.0), t.random(ins * outs, 1.0));
    let (a, b) = (t.random(ins * rank, 1.0), t.random(rank * outs, 1.0));
    let dy = t.random(rows * outs, 1.0);
    let x: Vec<f64> = wide.iter().map(|&v| gelu(v)).collect();
    let (x_buffer, w_buffer, dy_buffer) = (t.input(&x), t.input(&w), t.input(&dy));
    let (a_buffer, b_buffer) = (t.input(&a), t.input(&b));
    let (xa, dxa) = (t.output(rows * rank), t.output(rows * rank));
    let (y, activated) = (t.output(rows * outs), t.output(rows * ins));
    let (dwide, da, db) = (t.output(rows * ins), t.sum(ins * rank), t.sum(rank * outs));
    let whole = linear::Shape::whole(rows, ins, outs);
    let down = linear::Shape::whole(rows, ins, rank);
    let up = linear::Shape::whole(rows, rank, outs);
    let scaled = |sum: Sum| Sum {
        scale: SCALE as f32,
        ..sum
    };
    for (x, weight, y, shape, sum) in [
        (x_buffer, w_buffer, y, whole, Sum::SET),
        (x_buffer, a_buffer, xa, down, Sum::SET),
        (xa, b_buffer, y, up, scaled(Sum::ADD)),
    ] {
        let op = linear::Nn {
            x,
            weight,
            bias: None,
            residual: None,
            y,
            first_row: 0,
        };
        linear::nn(&mut t.rec, &op, shape, sum);
    }
    for (weight, dx, shape, sum) in [
        (b_buffer, dxa, up, scaled(Sum::SET)),
        (w_buffer, dwide, whole, Sum::SET),
    ] {
        let op = linear::Nt {
            dy: dy_buffer,
            weight,
            dx,
        };
        linear::nt(&mut t.rec, &op, shape, sum);
    }
    let op = linear::NtGelu {
        dy: dxa,
        weight: a_buffer,
        wide: t.input(&wide),
        dwide,
        activated,
    };
    linear::nt_gelu(&mut t.rec, &op, down, Sum::ADD);
    for (x, dy, dw, shape, sum) in [
        (x_buffer, dxa, da, down, Sum::ADD),
        (xa, dy_buffer, db, up, scaled(Sum::ADD)),
    ] {
        linear::tn(&mut t.rec, &linear::Tn { x, dy, dw }, shape, sum);
    }
    t.run();
    let formula = |[wide, a, b]: [&[f64]; 3]| -> Vec<f64> {
        let x: Vec<f64> = wide.iter().map(|&v| gelu(v)).collect();
        let adapted = product(&product(&x, a, ins, rank), b, rank, outs);
        let ys = product(&x, &w, ins, outs).into_iter().zip(adapted);
        ys.map(|(y, adapted)| y + SCALE * adapted).collect()
    };
    assert_close("y", &t.read(y), &formula([&wide, &a, &b]));
    assert_close("activated", &t.read(activated), &x);
    let gradients = [
        ("dwide", t.read(dwide)),
        ("da", t.added(da)),
        ("db", t.added(db)),
    ];
    assert_gradients(formula, [&wide, &a, &b], &dy, gradients);
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
        let op = linear::NtGelu {
            dy: t.input(&[1.0]),
            weight: t.input(&[1.0]),
            wide: t.input(&[wide]),
            dwide: t.output(1),
            activated: t.output(1),
        };
        linear::nt_gelu(&mut t.rec, &op, linear::Shape::whole(1, 1, 1), Sum::SET);
        t.run();
        assert_eq!(
            (t.read(op.activated)[0], t.read(op.dwide)[0]),
            (value, slope)
        );
    }
}
