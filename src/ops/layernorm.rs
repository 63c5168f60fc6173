//! Layernorm over the columns of each row (Ba, Kiros & Hinton 2016):
//! y = x̂ · gain + shift, x̂ = (x − mean) · rstd, rstd = 1/sqrt(variance + ε).

use rayon::prelude::*;

use super::case::Case;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Buffer, Grid, Recording, Work};

params! {
    struct Params {
        rows: u32,
        width: u32,
        epsilon: f32,
        accumulate: u32,
    }
}

kernel!(FORWARD, "layernorm", "forward", Params, forward_twin);
kernel!(
    BACKWARD_INPUT,
    "layernorm",
    "backward_input",
    Params,
    backward_input_twin
);
kernel!(
    BACKWARD_PARAMS,
    "layernorm",
    "backward_params",
    Params,
    backward_params_twin
);
/// The entry points of `shaders/layernorm.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD_INPUT, &BACKWARD_PARAMS];

/// Rows and columns of a layernorm, and what is added to the variance.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Each is normalised by itself.
    pub rows: usize,
    /// C: elements of a row.
    pub width: usize,
    /// ε, above 0.
    pub epsilon: f32,
}

impl Shape {
    fn params(&self, accumulate: bool) -> Params {
        Params {
            rows: self.rows as u32,
            width: self.width as u32,
            epsilon: self.epsilon,
            accumulate: accumulate.into(),
        }
    }

    /// `passes` over a `[rows, width]`, beside the stats of the rows and `vectors` over a `[width]`.
    fn work(&self, passes: usize, vectors: usize) -> Work {
        let elements = self.rows * self.width;
        let words = passes * elements + 2 * self.rows + vectors * self.width;
        Work::new(8 * elements as u64, words)
    }
}

/// The operands of [`forward`].
pub struct Forward {
    /// `[rows, width]`.
    pub x: Buffer,
    /// `[width]`.
    pub gain: Buffer,
    /// `[width]`.
    pub shift: Buffer,
    /// `[rows, width]`.
    pub y: Buffer,
    /// `[rows, 2]`: mean and rstd, for the backward pass.
    pub stats: Buffer,
}

/// y = layernorm(x).
pub fn forward(rec: &mut Recording, op: &Forward, shape: Shape) {
    let buffers = [op.x, op.gain, op.shift, op.y, op.stats];
    let grid = Grid::Groups([shape.rows, 1, 1]);
    let work = shape.work(2, 2);
    rec.push(&FORWARD, &buffers, shape.params(false), grid, work);
}

/// The operands of [`backward`].
pub struct Backward {
    /// `[rows, width]`: the forward pass's input.
    pub x: Buffer,
    /// `[width]`.
    pub gain: Buffer,
    /// `[rows, 2]`, as the forward pass left them.
    pub stats: Buffer,
    /// `[rows, width]`.
    pub dy: Buffer,
    /// `[rows, width]`, written or added to.
    pub dx: Buffer,
    /// `[width]`, added to.
    pub dgain: Buffer,
    /// `[width]`, added to.
    pub dshift: Buffer,
    /// Add to `dx` instead of writing it.
    pub accumulate: bool,
}

/// Gradients of input, gain and shift.
pub fn backward(rec: &mut Recording, op: &Backward, shape: Shape) {
    let params = shape.params(op.accumulate);
    rec.push(
        &BACKWARD_INPUT,
        &[op.x, op.gain, op.stats, op.dy, op.dx],
        params,
        Grid::Groups([shape.rows, 1, 1]),
        shape.work(3 + usize::from(op.accumulate), 1),
    );
    let columns = BACKWARD_PARAMS.constant("COLUMNS") as usize;
    rec.push(
        &BACKWARD_PARAMS,
        &[op.x, op.stats, op.dy, op.dgain, op.dshift],
        params,
        Grid::Groups([shape.width.div_ceil(columns), 1, 1]),
        shape.work(2, 4),
    );
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (x, gain, shift) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<f32>(2));
    let (y, stats) = (b.write::<f32>(3), b.write::<f32>(4));
    let (rows, width) = (p.rows as usize, p.width as usize);
    y[..rows * width]
        .par_chunks_mut(width)
        .zip(stats.par_chunks_mut(2))
        .zip(x.par_chunks(width))
        .for_each(|((y, stats), x)| {
            let n = width as f64;
            let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let variance = x
                .iter()
                .map(|&v| (f64::from(v) - mean).powi(2))
                .sum::<f64>()
                / n;
            let (mean, rstd) = (
                mean as f32,
                (1.0 / (variance + f64::from(p.epsilon)).sqrt()) as f32,
            );
            for c in 0..width {
                y[c] = (x[c] - mean) * rstd * gain[c] + shift[c];
            }
            stats.copy_from_slice(&[mean, rstd]);
        });
}

fn backward_input_twin(p: &Params, mut b: Bindings) {
    let (x, gain, stats) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<f32>(2));
    let (dy, dx) = (b.read::<f32>(3), b.write::<f32>(4));
    let (rows, width) = (p.rows as usize, p.width as usize);
    dx[..rows * width]
        .par_chunks_mut(width)
        .enumerate()
        .for_each(|(r, dx)| {
            let (x, dy) = (&x[r * width..][..width], &dy[r * width..][..width]);
            let (mean, rstd) = (stats[2 * r], stats[2 * r + 1]);
            let (mut sum_g, mut sum_gx) = (0.0_f64, 0.0_f64);
            for c in 0..width {
                let g = dy[c] * gain[c];
                sum_g += f64::from(g);
                sum_gx += f64::from(g * (x[c] - mean) * rstd);
            }
            let mean_g = (sum_g / width as f64) as f32;
            let mean_gx = (sum_gx / width as f64) as f32;
            for c in 0..width {
                let normed = (x[c] - mean) * rstd;
                let value = rstd * (dy[c] * gain[c] - mean_g - normed * mean_gx);
                dx[c] = if p.accumulate != 0 {
                    dx[c] + value
                } else {
                    value
                };
            }
        });
}

fn backward_params_twin(p: &Params, mut b: Bindings) {
    let (x, stats, dy) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<f32>(2));
    let (dgain, dshift) = (b.write::<f32>(3), b.write::<f32>(4));
    let (rows, width) = (p.rows as usize, p.width as usize);
    let mut sums = vec![(0.0_f64, 0.0_f64); width];
    for r in 0..rows {
        let (mean, rstd) = (stats[2 * r], stats[2 * r + 1]);
        for (c, (sum_gain, sum_shift)) in sums.iter_mut().enumerate() {
            let g = dy[r * width + c];
            *sum_gain += f64::from(g * (x[r * width + c] - mean) * rstd);
            *sum_shift += f64::from(g);
        }
    }
    for (c, (sum_gain, sum_shift)) in sums.into_iter().enumerate() {
        dgain[c] += sum_gain as f32;
        dshift[c] += sum_shift as f32;
    }
}

/// Widths below, at and above the lanes of a workgroup; one row and many.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, width) in [(1, 1), (3, 63), (5, 65), (67, 129), (130, 768)] {
        let shape = Shape {
            rows,
            width,
            epsilon: 1e-5,
        };
        let elements = rows * width;
        cases.push(
            Case::new(format!("forward {rows}x{width}"))
                .input(elements, 2.0)
                .input(width, 1.0)
                .input(width, 1.0)
                .output(elements)
                .output(2 * rows)
                .record(move |rec, b| {
                    let op = Forward {
                        x: b[0],
                        gain: b[1],
                        shift: b[2],
                        y: b[3],
                        stats: b[4],
                    };
                    forward(rec, &op, shape);
                }),
        );
        for accumulate in [false, true] {
            let case = Case::new(format!("backward {rows}x{width} accumulate {accumulate}"))
                .input(elements, 2.0)
                .input(width, 1.0)
                .floats((0..rows).flat_map(|r| [0.01 * (r % 7) as f32, 0.5 + 0.1 * (r % 5) as f32]))
                .input(elements, 1.0);
            let case = if accumulate {
                case.inout(elements, 1.0)
            } else {
                case.output(elements)
            };
            cases.push(
                case.inout(width, 1.0)
                    .inout(width, 1.0)
                    .record(move |rec, b| {
                        let op = Backward {
                            x: b[0],
                            gain: b[1],
                            stats: b[2],
                            dy: b[3],
                            dx: b[4],
                            dgain: b[5],
                            dshift: b[6],
                            accumulate,
                        };
                        backward(rec, &op, shape);
                    }),
            );
        }
    }
    cases
}
