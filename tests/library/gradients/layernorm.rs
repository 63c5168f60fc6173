//! Rows of random numbers, and a row of equal numbers, whose variance is 0.

use gpt2_dpo::ops::layernorm;

use super::{Twin, assert_close, assert_gradients};

const EPSILON: f32 = 1e-5;

fn formula(width: usize) -> impl Fn([&[f64]; 3]) -> Vec<f64> {
    move |[x, gain, shift]| {
        x.chunks(width)
            .flat_map(|x| {
                let mean = x.iter().sum::<f64>() / width as f64;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                let deviation = (variance + f64::from(EPSILON)).sqrt();
                (0..width).map(move |c| (x[c] - mean) / deviation * gain[c] + shift[c])
            })
            .collect()
    }
}

/// The output, and the gradients of input, gain and shift.
fn twin(
    t: &mut Twin,
    [x, gain, shift]: [&[f64]; 3],
    dy: &[f64],
    accumulate: bool,
) -> [Vec<f64>; 4] {
    let width = gain.len();
    let shape = layernorm::Shape {
        rows: x.len() / width,
        width,
        epsilon: EPSILON,
    };
    let forward = layernorm::Forward {
        x: t.input(x),
        gain: t.input(gain),
        shift: t.input(shift),
        y: t.output(x.len()),
        stats: t.output(2 * shape.rows),
    };
    let grads = layernorm::ParamGradients {
        gain: t.sum(width),
        shift: t.sum(width),
    };
    let backward = layernorm::Backward {
        x: forward.x,
        gain: forward.gain,
        stats: forward.stats,
        dy: t.input(dy),
        dx: if accumulate {
            t.sum(x.len())
        } else {
            t.output(x.len())
        },
        params: Some(grads),
        accumulate,
    };
    layernorm::forward(&mut t.rec, &forward, shape);
    layernorm::backward(&mut t.rec, &backward, shape);
    t.run();
    let dx = if accumulate {
        t.added(backward.dx)
    } else {
        t.read(backward.dx)
    };
    [
        t.read(forward.y),
        dx,
        t.added(grads.gain),
        t.added(grads.shift),
    ]
}

#[test]
fn forward_and_gradients() {
    let (rows, width) = (5, 7);
    for accumulate in [false, true] {
        let mut t = Twin::new();
        let (x, gain) = (t.random(rows * width, 2.0), t.random(width, 1.0));
        let (shift, dy) = (t.random(width, 1.0), t.random(rows * width, 1.0));
        let inputs = [&x[..], &gain, &shift];
        let [y, dx, dgain, dshift] = twin(&mut t, inputs, &dy, accumulate);
        assert_close("y", &y, &formula(width)(inputs));
        let gradients = [("dx", dx), ("dgain", dgain), ("dshift", dshift)];
        assert_gradients(formula(width), inputs, &dy, gradients);
    }
}

#[test]
fn of_a_constant_row() {
    let mut t = Twin::new();
    let (gain, shift, dy) = (t.random(7, 1.0), t.random(7, 1.0), t.random(7, 1.0));
    let x = vec![f64::from(0.3_f32); 7];
    let inputs = [&x[..], &gain, &shift];
    let [y, dx, dgain, _] = twin(&mut t, inputs, &dy, false);
    assert_eq!(y, shift);
    assert!(dgain.iter().all(|&g| g == 0.0));
    let of_x = |[x]: [&[f64]; 1]| formula(7)([x, &gain, &shift]);
    assert_gradients(of_x, [&x], &dy, [("dx", dx)]);
}
