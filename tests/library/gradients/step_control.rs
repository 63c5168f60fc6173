//! Norm and clip factor, the detection of numbers that are not finite, and the moves of the loss scale.

use gpt2_dpo::buffer::Buffer;
use gpt2_dpo::engine::EngineExt;
use gpt2_dpo::ops::grad_norm::{self, SumSquares};
use gpt2_dpo::ops::step_control::{self, Advance, Moves, Scaling, StepControl};

use super::{Twin, assert_close};

const BETAS: [f64; 2] = [0.9, 0.999];

/// Sums the gradients' squares, advances `control`, and gives all of it.
fn twin(
    t: &mut Twin,
    gradients: &[Vec<f64>],
    control: Buffer,
    max_norm: f32,
    scaling: Option<Scaling>,
) -> StepControl {
    let slots = gradients.iter().map(|g| grad_norm::shares(g.len())).sum();
    let partials = t.output(slots);
    let mut first_slot = 0;
    for gradient in gradients {
        let op = SumSquares {
            gradient: t.input(gradient),
            partials,
            first_slot,
        };
        first_slot += grad_norm::sum_squares(&mut t.rec, &op);
    }
    assert_eq!(first_slot, slots);
    let op = Advance {
        partials,
        slots,
        control,
        max_norm,
        scaling: scaling.map(|scaling| Moves {
            scaling,
            beta1: BETAS[0],
            beta2: BETAS[1],
        }),
    };
    step_control::advance(&mut t.rec, &op);
    t.run();
    let words = t.engine.read(control).unwrap();
    StepControl::from_words(&words)
}

#[test]
fn norm_and_clip_factor() {
    for amplitude in [1e-3, 1.0] {
        for max_norm in [0.0, 1.0, 1000.0_f32] {
            let mut t = Twin::new();
            let gradients = [1, 1025, 5000].map(|count| t.random(count, amplitude));
            let fresh = t.words(&StepControl::new(1.0).floats());
            let ours = twin(&mut t, &gradients, fresh, max_norm, None);
            let norm = gradients.concat().iter().map(|g| g * g).sum::<f64>().sqrt();
            // The definition of torch.nn.utils.clip_grad_norm_; 0 switches clipping off.
            let clip = match f64::from(max_norm) {
                0.0 => 1.0,
                max_norm => (max_norm / (norm + 1e-6)).min(1.0),
            };
            assert_close("norm", &[ours.grad_norm.into()], &[norm]);
            assert_close("clip", &[ours.clip_factor.into()], &[clip]);
            assert_eq!(
                ours.clip_factor == 1.0,
                clip == 1.0,
                "clip is exactly 1 where nothing is clipped"
            );
            assert_eq!(ours.broken, 0.0);
        }
    }
}

#[test]
fn finds_every_nan_and_infinity_and_remembers() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (g, i) in [(0, 0), (0, 1024), (0, 2999), (1, 0), (1, 4)] {
            let mut t = Twin::new();
            let clean = [t.random(3000, 1.0), t.random(5, 1.0)];
            let norm = t.words(&StepControl::new(1.0).floats());
            assert_eq!(twin(&mut t, &clean, norm, 1.0, None).broken, 0.0);
            let mut dirty = clean.clone();
            dirty[g][i] = bad;
            assert_eq!(
                twin(&mut t, &dirty, norm, 1.0, None).broken,
                1.0,
                "{bad} in {g} at {i}"
            );
            let after = twin(&mut t, &clean, norm, 1.0, None);
            assert_eq!(after.broken, 1.0, "forgotten");
        }
    }
}

/// What [`step_control::advance`] leaves after a gradient of one element.
fn step(t: &mut Twin, control: Buffer, gradient: f64, scaling: Scaling) -> StepControl {
    twin(t, &[vec![gradient]], control, 1.0, Some(scaling))
}

#[test]
fn the_scale_is_taken_out() {
    let mut t = Twin::new();
    let norm = t.words(&StepControl::new(1024.0).floats());
    let after = step(&mut t, norm, 1024.0 * 2.0, Scaling::DEFAULT);
    assert_eq!(after.grad_norm, 2.0);
    assert_close(
        "factor",
        &[f64::from(after.clip_factor)],
        &[1.0 / (2.0 + 1e-6) / 1024.0],
    );
}

#[test]
fn the_scale_halves_at_an_overflow_and_doubles_after_good_steps() {
    let scaling = Scaling {
        initial: 8.0,
        growth_interval: 3,
    };
    let (good, bad) = (1.0, f64::INFINITY);
    let mut t = Twin::new();
    let norm = t.words(&StepControl::new(scaling.initial).floats());
    // gradient, scale, steps taken
    for (i, (gradient, scale, taken)) in [
        (bad, 4.0, 0),
        (good, 4.0, 1),
        (good, 4.0, 2),
        (f64::NAN, 2.0, 2),
        (good, 2.0, 3),
        (good, 2.0, 4),
        (good, 4.0, 5),
        (good, 4.0, 6),
        (good, 4.0, 7),
        (good, 8.0, 8),
    ]
    .into_iter()
    .enumerate()
    {
        let after = step(&mut t, norm, gradient, scaling);
        assert_eq!(after.loss_scale, scale, "step {i}");
        assert_eq!(after.taken, taken as f32, "step {i}");
        assert_eq!(after.broken != 0.0, gradient != good, "step {i}");
        assert!(!after.gave_up());
        if taken > 0 {
            let [first, second] = BETAS.map(|beta| 1.0 - beta.powi(taken));
            let factors = [after.step_factor, after.root_factor].map(f64::from);
            assert_close("corrections", &factors, &[1.0 / first, 1.0 / second.sqrt()]);
        }
    }
}

#[test]
fn at_scale_1_it_gives_up_after_some_failures_and_for_good() {
    let scaling = Scaling {
        initial: 2.0,
        growth_interval: 2,
    };
    let limit = step_control::ADVANCE.constant("GIVE_UP");
    let mut t = Twin::new();
    let norm = t.words(&StepControl::new(scaling.initial).floats());
    assert_eq!(step(&mut t, norm, f64::NAN, scaling).loss_scale, 1.0);
    for _ in 1..limit {
        let after = step(&mut t, norm, f64::NAN, scaling);
        assert!(after.broken != 0.0 && !after.gave_up() && after.loss_scale == 1.0);
    }
    let after = step(&mut t, norm, 1.0, scaling);
    assert_eq!((after.broken, after.failures), (0.0, 0.0), "forgiven");
    for _ in 1..limit {
        assert!(!step(&mut t, norm, f64::NAN, scaling).gave_up());
    }
    for gradient in [f64::NAN, 1.0, 1.0, 1.0] {
        let after = step(&mut t, norm, gradient, scaling);
        assert!(after.broken != 0.0 && after.gave_up());
    }
}

#[test]
fn the_scale_stays_within_its_bounds() {
    let every_step = Scaling {
        initial: 1.0,
        growth_interval: 1,
    };
    let mut t = Twin::new();
    let norm = t.words(&StepControl::new(every_step.initial).floats());
    for _ in 0..40 {
        let after = step(&mut t, norm, 1.0, every_step);
        assert!(after.loss_scale.is_finite() && after.broken == 0.0);
    }
    let after = step(&mut t, norm, 1.0, every_step);
    assert_eq!(after.loss_scale, 16_777_216.0);
}
