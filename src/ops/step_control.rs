//! The optimizer's state between steps: the gradient norm, the clip factor, the flag for a norm that is NaN or
//! infinite, and the loss scale.
//!
//! Small gradients vanish when they pass through f16. So in mixed precision the loss is multiplied by a loss
//! scale. [`advance`] moves the scale on the device, as PyTorch's `GradScaler` does; the host takes no part.

use super::case::Case;
use super::grad_norm;
use crate::buffer::Buffer;
use crate::kernel::{Bindings, Kernel, Layout, params, twin};
use crate::recording::{Grid, Recording};
use crate::wgsl::parts;

params! {
    struct Params {
        count: u32,
        max_norm: f32,
        growth_interval: u32,
        log_beta1: f32,
        log_beta2: f32,
    }
}

params! {
    /// The loss's backward pass and the optimizer read it on the device.
    struct StepControl {
        grad_norm: f32,
        clip_factor: f32,
        broken: f32,
        loss_scale: f32,
        good_steps: f32,
        taken: f32,
        step_factor: f32,
        root_factor: f32,
        failures: f32,
    }
}

/// `advance` of `shaders/step_control.wgsl`.
pub static ADVANCE: Kernel = Kernel::new(
    "step_control",
    "advance",
    parts!["sum_over_lanes", "step_control_struct", "step_control"],
    twin!(Params, advance_twin),
);
/// Every kernel of this op.
pub const KERNELS: &[&Kernel] = &[&ADVANCE];

/// PyTorch's `clip_grad_norm_` adds this to the norm.
const CLIP_EPSILON: f32 = 1e-6;

/// Length of a [`StepControl`] in 32-bit words.
pub const WORDS: usize = size_of::<StepControl>() / size_of::<f32>();

/// The largest loss scale.
const MAX_SCALE: f32 = 16_777_216.0;

impl StepControl {
    /// The state before the first step.
    pub fn new(loss_scale: f32) -> StepControl {
        StepControl {
            clip_factor: 1.0,
            loss_scale,
            step_factor: 1.0,
            root_factor: 1.0,
            ..StepControl::default()
        }
    }

    /// The state from its words on the device.
    ///
    /// # Panics
    /// If there are not [`WORDS`] words.
    pub fn from_words(words: &[u32]) -> StepControl {
        assert_eq!(words.len(), WORDS);
        StepControl::of(bytemuck::cast_slice(words))
    }

    /// The layout of the Rust struct, which a test compares with the shader's.
    pub fn fields() -> Layout {
        StepControl::layout()
    }

    /// The words of the struct on the device, as floats.
    pub fn floats(self) -> [f32; WORDS] {
        bytemuck::cast(self)
    }

    /// True if steps fail and the loss scale cannot be the cause; the optimizer takes no step any more.
    pub fn gave_up(&self) -> bool {
        self.failures >= ADVANCE.constant("GIVE_UP") as f32
    }
}

/// How the loss scale moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// The scale of the first step, a power of two of at least 1.
    pub initial: f32,
    /// This many good steps in a row double the scale. Each broken step halves it, down to 1.
    pub growth_interval: u32,
}

impl Scaling {
    /// The defaults of PyTorch's `GradScaler`.
    pub const DEFAULT: Scaling = Scaling {
        initial: 65536.0,
        growth_interval: 2000,
    };
}

/// The operands of [`advance`].
#[derive(Clone, Copy)]
pub struct Advance {
    /// `[slots]`: the partial sums of `grad_norm::sum_squares`.
    pub partials: Buffer,
    /// The number of partial sums.
    pub slots: usize,
    /// A [`StepControl`].
    pub control: Buffer,
    /// The largest norm of a clipped gradient; 0 = no clipping.
    pub max_norm: f32,
    /// A dynamic loss scale; `None` if the loss scale is fixed.
    pub scaling: Option<Moves>,
}

/// A dynamic loss scale, for an AdamW with these betas.
#[derive(Clone, Copy)]
pub struct Moves {
    /// How the loss scale moves.
    pub scaling: Scaling,
    /// AdamW's β₁.
    pub beta1: f64,
    /// AdamW's β₂.
    pub beta2: f64,
}

/// Records the update of `control` from all partial sums: the gradient norm, the clip factor, `broken`, and the
/// loss scale. With a fixed loss scale `broken` is set if Σ g² is not finite, and stays set. With a dynamic loss
/// scale `broken` is about this step alone, and the loss scale moves.
pub fn advance(rec: &mut Recording, op: &Advance) {
    let mut params = Params {
        count: op.slots as u32,
        max_norm: op.max_norm,
        ..Params::default()
    };
    if let Some(moves) = op.scaling {
        params.growth_interval = moves.scaling.growth_interval;
        [params.log_beta1, params.log_beta2] =
            [moves.beta1, moves.beta2].map(|beta| beta.ln() as f32);
    }
    let grid = Grid::Groups([1, 1, 1]);
    let flops = op.slots as u64;
    rec.push(&ADVANCE, &[op.partials, op.control], params, grid, flops);
}

fn advance_twin(p: &Params, mut b: Bindings) {
    let (partials, control) = (b.read::<f32>(0), &mut b.write::<StepControl>(1)[0]);
    let partials = &partials[..p.count as usize];
    let total: f64 = partials.iter().map(|&s| f64::from(s)).sum();
    let unscale = 1.0 / control.loss_scale;
    control.grad_norm = total.sqrt() as f32 / control.loss_scale;
    control.clip_factor = unscale;
    if p.max_norm > 0.0 {
        let clip = (p.max_norm / (control.grad_norm + CLIP_EPSILON)).min(1.0);
        control.clip_factor = clip / control.loss_scale;
    }
    let is_good = (total as f32).is_finite();
    if p.growth_interval > 0 {
        move_scale(p, control, is_good);
    } else if !is_good {
        control.broken = 1.0;
    }
}

fn move_scale(p: &Params, control: &mut StepControl, is_good: bool) {
    if !is_good || control.gave_up() {
        control.broken = 1.0;
        control.good_steps = 0.0;
        control.failures += f32::from(u8::from(control.loss_scale == 1.0));
        control.loss_scale = (0.5 * control.loss_scale).max(1.0);
        return;
    }
    control.broken = 0.0;
    control.failures = 0.0;
    control.taken += 1.0;
    let correction = |log_beta: f32| -f64::exp_m1(f64::from(log_beta) * f64::from(control.taken));
    control.step_factor = (1.0 / correction(p.log_beta1)) as f32;
    control.root_factor = (1.0 / correction(p.log_beta2).sqrt()) as f32;
    control.good_steps += 1.0;
    if control.good_steps >= p.growth_interval as f32 {
        control.good_steps = 0.0;
        control.loss_scale = (2.0 * control.loss_scale).min(MAX_SCALE);
    }
}

/// Cases of norms below and above the clip, of several gradients, and of a dynamic loss scale: at a good step,
/// at a step that doubles the scale, and after many steps with a failure before.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let every_step = Scaling {
        growth_interval: 1,
        ..Scaling::DEFAULT
    };
    let later = StepControl {
        good_steps: 12.0,
        taken: 700.0,
        failures: 1.0,
        ..StepControl::new(4.0)
    };
    for (counts, amplitude, max_norm, scaling, before) in [
        (vec![1], 0.5, 1.0, None, StepControl::new(1.0)),
        (vec![1023, 1, 1025], 0.01, 1.0, None, StepControl::new(1.0)),
        (vec![300_007, 64], 1.0, 1.0, None, StepControl::new(1.0)),
        (vec![5000], 1.0, 0.0, None, StepControl::new(1.0)),
        (
            vec![5000],
            100.0,
            1.0,
            Some(Scaling::DEFAULT),
            StepControl::new(65536.0),
        ),
        (
            vec![70, 7],
            1.0,
            1.0,
            Some(every_step),
            StepControl::new(8.0),
        ),
        (vec![5000], 1.0, 0.0, Some(Scaling::DEFAULT), later),
    ] {
        let slots: usize = counts.iter().map(|&c| grad_norm::shares(c)).sum();
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
                let op = grad_norm::SumSquares {
                    gradient: b[2 + g].first(count),
                    partials: b[0],
                    first_slot: slot,
                };
                slot += grad_norm::sum_squares(rec, &op);
            }
            let scaling = scaling.map(|scaling| Moves {
                scaling,
                beta1: 0.9,
                beta2: 0.999,
            });
            let op = Advance {
                partials: b[0],
                slots,
                control: b[1],
                max_norm,
                scaling,
            };
            advance(rec, &op);
        }));
    }
    cases
}
