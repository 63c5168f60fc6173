//! The global gradient norm, the clip factor, the watch for NaN and infinity, and the loss scale.
//!
//! Gradients that pass through f16 vanish where they are small: in mixed precision the loss is multiplied
//! by a scale that [`finish`] moves as PyTorch's `GradScaler` does, without the host being asked.
//!
//! Two passes with a fixed order: a share of Σ g² per workgroup, then the sum of the shares.

use rayon::prelude::*;

use super::case::Case;
use crate::buffer::Buffer;
use crate::cpu::vector::dot;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Grid, Recording};

params! {
    struct Params {
        count: u32,
        first_slot: u32,
        max_norm: f32,
        growth_interval: u32,
        log_beta1: f32,
        log_beta2: f32,
    }
}

kernel!(
    SUM_SQUARES,
    "grad_norm",
    "sum_squares",
    Params,
    sum_squares_twin
);
kernel!(FINISH, "grad_norm", "finish", Params, finish_twin);
/// The entry points of `shaders/grad_norm.wgsl`.
pub const KERNELS: &[&Kernel] = &[&SUM_SQUARES, &FINISH];

/// The most workgroups that share one gradient buffer.
const MAX_SHARES: usize = 256;

/// What PyTorch's `clip_grad_norm_` adds to the norm.
const CLIP_EPSILON: f32 = 1e-6;

/// Numbers of a [`Norm`].
pub const NORM: usize = size_of::<Norm>() / size_of::<f32>();

/// A loss scale never grows beyond this.
const MAX_SCALE: f32 = 16_777_216.0;

/// What [`finish`] leaves and goes on from, as it lies on the device. The loss, its gradient and the
/// optimizer read it there.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Norm {
    /// ‖g‖ of the unscaled gradient, before clipping.
    pub norm: f32,
    /// What the gradient is multiplied with: it clips, and takes the loss scale out.
    pub factor: f32,
    /// Not 0: ‖g‖ is not finite, and the step is not to be taken.
    pub broken: f32,
    /// The loss's from now on; 1 unless it moves.
    pub scale: f32,
    /// Steps taken in a row since the scale moved.
    pub good_steps: f32,
    /// Steps taken in all, if the scale moves.
    pub taken: f32,
    /// AdamW's corrections 1 / (1 − β₁ᵗ) and 1 / √(1 − β₂ᵗ) for the steps taken, if the scale moves:
    /// then only the device knows how many they are. Else 1.
    pub step_factor: f32,
    /// The second of them.
    pub root_factor: f32,
    /// Steps in a row that were broken at scale 1.
    pub failures: f32,
}

impl Norm {
    /// Before the first step.
    pub fn new(scale: f32) -> Norm {
        Norm {
            norm: 0.0,
            factor: 1.0,
            broken: 0.0,
            scale,
            good_steps: 0.0,
            taken: 0.0,
            step_factor: 1.0,
            root_factor: 1.0,
            failures: 0.0,
        }
    }

    /// As they lie on the device.
    pub fn floats(self) -> [f32; NORM] {
        bytemuck::cast(self)
    }

    /// True if steps fail although the scale cannot be what breaks them; none is taken any more.
    pub fn gave_up(&self) -> bool {
        self.failures >= FINISH.constant("GIVE_UP") as f32
    }
}

/// How the loss scale moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// The scale of the first step, a power of two of at least 1.
    pub initial: f32,
    /// Good steps in a row after which it doubles. It halves, down to 1, at each that is not.
    pub growth_interval: u32,
}

impl Scaling {
    /// PyTorch's `GradScaler`'s.
    pub const DEFAULT: Scaling = Scaling {
        initial: 65536.0,
        growth_interval: 2000,
    };
}

/// Partial sums that a gradient of `count` elements takes.
pub fn shares(count: usize) -> usize {
    // Four elements a lane before another workgroup is worth it.
    count.div_ceil(4 * lanes()).min(MAX_SHARES)
}

/// Elements that a workgroup takes at a time.
fn lanes() -> usize {
    SUM_SQUARES.reflection().workgroup_size[0] as usize
}

/// partials `[first_slot .. first_slot + shares(count)]` = the shares of Σ g² of one gradient.
pub fn sum_squares(
    rec: &mut Recording,
    (gradient, partials): (Buffer, Buffer),
    count: usize,
    first_slot: usize,
) {
    let params = Params {
        count: count as u32,
        first_slot: first_slot as u32,
        ..Params::default()
    };
    rec.push(
        &SUM_SQUARES,
        &[gradient, partials],
        params,
        Grid::Groups([shares(count), 1, 1]),
        2 * count as u64,
    );
}

/// norm, a [`Norm`], from all partial sums: the gradient norm, the factor that clips it to `max_norm`
/// (not at all if that is 0), and whether Σ g² was ever not finite. With `scaling`, for an AdamW with
/// these `betas`, it is whether Σ g² is not finite now, and the scale moves.
pub fn finish(
    rec: &mut Recording,
    (partials, norm): (Buffer, Buffer),
    slots: usize,
    max_norm: f32,
    scaling: Option<(Scaling, [f64; 2])>,
) {
    let mut params = Params {
        count: slots as u32,
        max_norm,
        ..Params::default()
    };
    if let Some((scaling, betas)) = scaling {
        params.growth_interval = scaling.growth_interval;
        [params.log_beta1, params.log_beta2] = betas.map(|beta| beta.ln() as f32);
    }
    let grid = Grid::Groups([1, 1, 1]);
    rec.push(&FINISH, &[partials, norm], params, grid, slots as u64);
}

fn sum_squares_twin(p: &Params, mut b: Bindings) {
    let (gradient, partials) = (b.read::<f32>(0), b.write::<f32>(1));
    let gradient = &gradient[..p.count as usize];
    let (shares, lanes) = (shares(gradient.len()), lanes());
    partials[p.first_slot as usize..][..shares]
        .par_iter_mut()
        .enumerate()
        .for_each(|(share, out)| {
            // A lane reads four at a time.
            let own = gradient.chunks(4 * lanes).skip(share).step_by(shares);
            let sum: f64 = own.map(|g| dot(g, g)).sum();
            *out = sum as f32;
        });
}

fn finish_twin(p: &Params, mut b: Bindings) {
    let (partials, norm) = (b.read::<f32>(0), &mut b.write::<Norm>(1)[0]);
    let total: f64 = partials[..p.count as usize]
        .iter()
        .map(|&s| f64::from(s))
        .sum();
    norm.norm = total.sqrt() as f32 / norm.scale;
    norm.factor = 1.0 / norm.scale;
    if p.max_norm > 0.0 {
        norm.factor = (p.max_norm / (norm.norm + CLIP_EPSILON)).min(1.0) / norm.scale;
    }
    let good = (total as f32).is_finite();
    if p.growth_interval > 0 {
        move_scale(p, norm, good);
    } else if !good {
        norm.broken = 1.0;
    }
}

fn move_scale(p: &Params, norm: &mut Norm, good: bool) {
    if !good || norm.gave_up() {
        norm.broken = 1.0;
        norm.good_steps = 0.0;
        norm.failures += f32::from(u8::from(norm.scale == 1.0));
        norm.scale = (0.5 * norm.scale).max(1.0);
        return;
    }
    norm.broken = 0.0;
    norm.failures = 0.0;
    norm.taken += 1.0;
    let correction = |log_beta: f32| -f64::exp_m1(f64::from(log_beta) * f64::from(norm.taken));
    norm.step_factor = (1.0 / correction(p.log_beta1)) as f32;
    norm.root_factor = (1.0 / correction(p.log_beta2).sqrt()) as f32;
    norm.good_steps += 1.0;
    if norm.good_steps >= p.growth_interval as f32 {
        norm.good_steps = 0.0;
        norm.scale = (2.0 * norm.scale).min(MAX_SCALE);
    }
}

/// Norms below and above the clip, several gradients, a gradient of more than all shares hold; the scale
/// after a good step, at its growth, and many steps on.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let every_step = Scaling {
        growth_interval: 1,
        ..Scaling::DEFAULT
    };
    let later = Norm {
        scale: 4.0,
        good_steps: 12.0,
        taken: 700.0,
        failures: 1.0,
        ..Norm::new(1.0)
    };
    for (counts, amplitude, max_norm, scaling, before) in [
        (vec![1], 0.5, 1.0, None, Norm::new(1.0)),
        (vec![1023, 1, 1025], 0.01, 1.0, None, Norm::new(1.0)),
        (vec![300_007, 64], 1.0, 1.0, None, Norm::new(1.0)),
        (vec![5000], 1.0, 0.0, None, Norm::new(1.0)),
        (
            vec![5000],
            100.0,
            1.0,
            Some(Scaling::DEFAULT),
            Norm::new(65536.0),
        ),
        (vec![70, 7], 1.0, 1.0, Some(every_step), Norm::new(8.0)),
        (vec![5000], 1.0, 0.0, Some(Scaling::DEFAULT), later),
    ] {
        let slots: usize = counts.iter().map(|&c| shares(c)).sum();
        let mut case = Case::new(format!("{counts:?} to {max_norm}, {scaling:?}"))
            .output(slots)
            .floats(before.floats())
            .writable();
        for &count in &counts {
            case = case.input(count, amplitude);
        }
        cases.push(case.record(move |rec, b| {
            let mut slot = 0;
            for (g, &count) in counts.iter().enumerate() {
                sum_squares(rec, (b[2 + g], b[0]), count, slot);
                slot += shares(count);
            }
            let scaling = scaling.map(|s| (s, [0.9, 0.999]));
            finish(rec, (b[0], b[1]), slots, max_norm, scaling);
        }));
    }
    cases
}
