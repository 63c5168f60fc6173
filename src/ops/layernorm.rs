//! Layernorm over the columns of each row (Ba, Kiros & Hinton 2016):
//! y = x̂ · gain + shift, x̂ = (x − mean) · rstd, rstd = 1/sqrt(variance + ε).

use multiversion::multiversion;
use rayon::prelude::*;

use super::case::Case;
use crate::buffer::Buffer;
use crate::cpu::vector::{sum, sum_rows};
use crate::kernel::{Bindings, Kernel, params, twin};
use crate::recording::{Cost, Grid, Recording};
use crate::wgsl::parts;

params! {
    struct Params {
        rows: u32,
        width: u32,
        epsilon: f32,
        accumulate: u32,
    }
}

/// `forward` of `shaders/layernorm.wgsl`.
pub static FORWARD: Kernel = Kernel::new(
    "layernorm",
    "forward",
    parts!["layernorm"],
    twin!(Params, forward_twin),
);
/// `backward_input` of `shaders/layernorm.wgsl`.
pub static BACKWARD_INPUT: Kernel = Kernel::new(
    "layernorm",
    "backward_input",
    parts!["layernorm"],
    twin!(Params, backward_input_twin),
);
/// `backward` of `shaders/layernorm.wgsl`.
pub static BACKWARD: Kernel = Kernel::new(
    "layernorm",
    "backward",
    parts!["layernorm"],
    twin!(Params, backward_twin),
);
/// The entry points of `shaders/layernorm.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD_INPUT, &BACKWARD];

/// Rows and columns of a layernorm, and its ε.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Rows; each is normalised by itself.
    pub rows: usize,
    /// C: elements of a row.
    pub width: usize,
    /// ε, which is added to the variance; above 0.
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

    /// The cost of reading or writing `passes` matrices `[rows, width]`, the stats `[rows, 2]`, and `vectors`
    /// vectors `[width]`.
    fn cost(&self, passes: usize, vectors: usize) -> Cost {
        let elements = self.rows * self.width;
        let words = passes * elements + 2 * self.rows + vectors * self.width;
        Cost::new(8 * elements as u64, words)
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
    let groups = shape.rows.div_ceil(FORWARD.constant("ROWS") as usize);
    let grid = Grid::Groups([groups, 1, 1]);
    let work = shape.cost(2, 2);
    rec.push(&FORWARD, &buffers, shape.params(false), grid, work);
}

/// The operands of [`backward`].
pub struct Backward {
    /// `[rows, width]`: the forward pass's input.
    pub x: Buffer,
    /// `[width]`.
    pub gain: Buffer,
    /// `[rows, 2]`: the stats that the forward pass wrote.
    pub stats: Buffer,
    /// `[rows, width]`.
    pub dy: Buffer,
    /// `[rows, width]`, overwritten or accumulated.
    pub dx: Buffer,
    /// Gradients of gain and shift; `None` if they are not trainable.
    pub params: Option<ParamGradients>,
    /// Add to `dx` instead of overwriting it.
    pub accumulate: bool,
}

/// Gradients of a layernorm's parameters.
#[derive(Clone, Copy)]
pub struct ParamGradients {
    /// `[width]`, accumulated.
    pub gain: Buffer,
    /// `[width]`, accumulated.
    pub shift: Buffer,
}

/// Records the gradients of input, gain and shift.
pub fn backward(rec: &mut Recording, op: &Backward, shape: Shape) {
    let params = shape.params(op.accumulate);
    let row_groups = shape.rows.div_ceil(BACKWARD.constant("ROWS") as usize);
    let passes = 3 + usize::from(op.accumulate);
    let Some(grads) = op.params else {
        let buffers = [op.x, op.gain, op.stats, op.dy, op.dx];
        let grid = Grid::Groups([row_groups, 1, 1]);
        rec.push(
            &BACKWARD_INPUT,
            &buffers,
            params,
            grid,
            shape.cost(passes, 1),
        );
        return;
    };
    let column_groups = shape.width.div_ceil(BACKWARD.constant("COLUMNS") as usize);
    rec.push(
        &BACKWARD,
        &[
            op.x,
            op.gain,
            op.stats,
            op.dy,
            op.dx,
            grads.gain,
            grads.shift,
        ],
        params,
        Grid::Groups([column_groups + row_groups, 1, 1]),
        shape.cost(passes + 2, 5),
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
            stats.copy_from_slice(&normalise(x, (gain, shift), y, p.epsilon));
        });
}

fn backward_input_twin(p: &Params, mut b: Bindings) {
    let (x, gain, stats) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<[f32; 2]>(2));
    input_gradient(p, (x, stats), gain, b.read::<f32>(3), b.write::<f32>(4));
}

fn backward_twin(p: &Params, mut b: Bindings) {
    let (x, gain, stats) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<[f32; 2]>(2));
    let dy = b.read::<f32>(3);
    input_gradient(p, (x, stats), gain, dy, b.write::<f32>(4));
    param_gradients(p, (x, stats), dy, [b.write::<f32>(5), b.write::<f32>(6)]);
}

fn input_gradient(
    p: &Params,
    (x, stats): (&[f32], &[[f32; 2]]),
    gain: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let (rows, width) = (p.rows as usize, p.width as usize);
    dx[..rows * width]
        .par_chunks_mut(width)
        .enumerate()
        .for_each(|(r, dx)| {
            if p.accumulate == 0 {
                dx.fill(0.0);
            }
            let (x, dy) = (&x[r * width..][..width], &dy[r * width..][..width]);
            add_input_gradient((x, stats[r]), gain, dy, dx);
        });
}

/// Adds to the gradients of gain and shift.
fn param_gradients(
    p: &Params,
    (x, stats): (&[f32], &[[f32; 2]]),
    dy: &[f32],
    gradients: [&mut [f32]; 2],
) {
    let width = p.width as usize;
    let sums = sum_rows(p.rows as usize, 2 * width, |rows, sums| {
        let elements = rows.start * width..rows.end * width;
        let of_rows = (&x[elements.clone()], &stats[rows], &dy[elements]);
        add_param_gradients(of_rows, sums.split_at_mut(width));
    });
    let sums = sums.chunks_exact(width);
    for (out, sums) in gradients.into_iter().zip(sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += *sum as f32;
        }
    }
}

/// Writes y of one row, and returns the row's mean and rstd.
#[multiversion(targets = "simd")]
fn normalise(x: &[f32], (gain, shift): (&[f32], &[f32]), y: &mut [f32], epsilon: f32) -> [f32; 2] {
    let n = x.len() as f64;
    let mean = sum([x], |[x]| f64::from(x)) / n;
    let squares = sum([x], |[x]| (f64::from(x) - mean) * (f64::from(x) - mean));
    let rstd = 1.0 / (squares / n + f64::from(epsilon)).sqrt();
    let (mean, rstd) = (mean as f32, rstd as f32);
    for (((y, x), gain), shift) in y.iter_mut().zip(x).zip(gain).zip(shift) {
        *y = (x - mean) * rstd * gain + shift;
    }
    [mean, rstd]
}

/// dx of one row += rstd · (g − mean(g) − x̂ · mean(g · x̂)) with g = dy · gain.
#[multiversion(targets = "simd")]
fn add_input_gradient(
    (x, [mean, rstd]): (&[f32], [f32; 2]),
    gain: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let n = x.len() as f64;
    let mean_g = sum([dy, gain], |[dy, gain]| f64::from(dy * gain)) / n;
    let g_normed = |[x, dy, gain]: [f32; 3]| f64::from(dy * gain * (x - mean) * rstd);
    let mean_g_normed = sum([x, dy, gain], g_normed) / n;
    let (mean_g, mean_g_normed) = (mean_g as f32, mean_g_normed as f32);
    for (((dx, x), dy), gain) in dx.iter_mut().zip(x).zip(dy).zip(gain) {
        let normed = (x - mean) * rstd;
        *dx += rstd * (dy * gain - mean_g - normed * mean_g_normed);
    }
}

/// gains += Σ dy · x̂ and shifts += Σ dy over the rows.
#[multiversion(targets = "simd")]
fn add_param_gradients(
    (x, stats, dy): (&[f32], &[[f32; 2]], &[f32]),
    (gains, shifts): (&mut [f64], &mut [f64]),
) {
    let width = gains.len();
    let rows = x.chunks_exact(width).zip(stats);
    for ((x, &[mean, rstd]), dy) in rows.zip(dy.chunks_exact(width)) {
        let sums = gains.iter_mut().zip(&mut *shifts);
        for (((gain, shift), x), dy) in sums.zip(x).zip(dy) {
            *gain += f64::from(dy * (x - mean) * rstd);
            *shift += f64::from(*dy);
        }
    }
}

/// Cases of widths below and above the lanes of a workgroup, and of one row and many.
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
        for (accumulate, frozen) in [(false, false), (true, false), (true, true)] {
            let how = if frozen { " frozen" } else { "" };
            let case = Case::new(format!(
                "backward {rows}x{width} accumulate {accumulate}{how}"
            ))
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
                            params: (!frozen).then_some(ParamGradients {
                                gain: b[5],
                                shift: b[6],
                            }),
                            accumulate,
                        };
                        backward(rec, &op, shape);
                    }),
            );
        }
    }
    cases
}
