//! Ten steps of AdamW against a plain AdamW in f64.

use gpt2_dpo::buffer::Buffer;
use gpt2_dpo::ops::adamw;
use gpt2_dpo::ops::grad_norm::{self, SumSquares};
use gpt2_dpo::ops::step_control::{self, Advance, Moves, Scaling, StepControl};

use super::{Twin, assert_close};

const COUNT: usize = 37;

/// A parameter with random contents, zero moments, and what they hold.
fn slot(t: &mut Twin, control: Buffer) -> (adamw::Update, Vec<f64>) {
    let parameter = t.random(COUNT, 1.0);
    let slot = adamw::Update {
        control,
        parameters: t.input(&parameter),
        gradients: t.output(COUNT),
        first: t.input(&[0.0; COUNT]),
        second: t.input(&[0.0; COUNT]),
    };
    (slot, parameter)
}

/// A large learning rate and decay, so that ten steps change the parameter's leading digits.
const SETTINGS: adamw::Settings = adamw::Settings {
    learning_rate: 0.05,
    weight_decay: 0.1,
    ..adamw::Settings::DEFAULT
};

#[test]
fn ten_steps() {
    let mut t = Twin::new();
    let clip = 0.25;
    let control = StepControl {
        clip_factor: clip as f32,
        ..StepControl::new(1.0)
    };
    let control = t.words(&control.floats());
    let (mut slot, mut theta) = slot(&mut t, control);
    let (mut m, mut v) = (vec![0.0; COUNT], vec![0.0; COUNT]);
    let adamw::Settings {
        learning_rate: rate,
        beta1,
        beta2,
        epsilon,
        weight_decay,
    } = SETTINGS;
    for step in 1..=10 {
        let mut gradient = t.random(COUNT, 1.0);
        gradient[0] = 0.0; // decays, and nothing else: the decay is decoupled
        for g in &mut gradient[30..] {
            *g = f64::from((*g * 1e-7) as f32); // small enough for ε to matter
        }
        slot.gradients = t.input(&gradient);
        adamw::update(&mut t.rec, &slot, &SETTINGS, Some(step));
        t.run();
        for i in 0..COUNT {
            let g = clip * gradient[i];
            theta[i] -= rate * weight_decay * theta[i];
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            let m_hat = m[i] / (1.0 - beta1.powf(step as f64));
            let v_hat = v[i] / (1.0 - beta2.powf(step as f64));
            theta[i] -= rate * m_hat / (v_hat.sqrt() + epsilon);
        }
        let what = |name: &str| format!("{name} at step {step}");
        assert_close(&what("parameter"), &t.read(slot.parameters), &theta);
        assert_close(&what("first"), &t.read(slot.first), &m);
        assert_close(&what("second"), &t.read(slot.second), &v);
        assert_eq!(t.read(slot.gradients), [0.0; COUNT]);
    }
    let (first, second) = (t.read(slot.first), t.read(slot.second));
    assert_close("small first", &first[30..], &m[30..]);
    assert_close("small second", &second[30..], &v[30..]);
    assert_eq!([first[0], second[0]], [0.0, 0.0]);
}

#[test]
fn takes_no_step_when_broken() {
    let mut t = Twin::new();
    let control = StepControl {
        broken: 1.0,
        ..StepControl::new(1.0)
    };
    let control = t.words(&control.floats());
    let (mut slot, parameter) = slot(&mut t, control);
    let (mut gradient, moment) = (t.random(COUNT, 1.0), vec![0.125; COUNT]);
    (gradient[3], gradient[4]) = (f64::NAN, f64::INFINITY);
    slot.gradients = t.input(&gradient);
    (slot.first, slot.second) = (t.input(&moment), t.input(&moment));
    adamw::update(&mut t.rec, &slot, &SETTINGS, Some(3));
    t.run();
    assert_eq!(t.read(slot.parameters), parameter);
    assert_eq!(
        t.read(slot.gradients),
        [0.0; COUNT],
        "the next one adds to it"
    );
    assert_eq!(t.read(slot.first), moment);
    assert_eq!(t.read(slot.second), moment);
}

/// With a moving loss scale the device counts the steps and skips some. The result equals that of the taken steps
/// alone, with step numbers counted here.
#[test]
fn steps_that_are_not_taken_do_not_count() {
    let gradients: Vec<Vec<f64>> = {
        let mut t = Twin::new();
        (0..12).map(|_| t.random(COUNT, 1.0)).collect()
    };
    let overflows = |step: usize| matches!(step, 0 | 1 | 5);
    let mut t = Twin::new();
    let control = t.words(&StepControl::new(Scaling::DEFAULT.initial).floats());
    let (mut counted, _) = slot(&mut t, control);
    for (step, gradient) in gradients.iter().enumerate() {
        let scale = t.read(control)[3];
        let mut scaled: Vec<f64> = gradient.iter().map(|g| scale * g).collect();
        if overflows(step) {
            scaled[7] = f64::INFINITY;
        }
        counted.gradients = t.input(&scaled);
        let partials = t.output(grad_norm::shares(COUNT));
        let op = SumSquares {
            gradient: counted.gradients,
            partials,
            first_slot: 0,
        };
        let op = Advance {
            partials,
            slots: grad_norm::sum_squares(&mut t.rec, &op),
            control,
            max_norm: 0.0,
            scaling: Some(Moves {
                scaling: Scaling::DEFAULT,
                beta1: SETTINGS.beta1,
                beta2: SETTINGS.beta2,
            }),
        };
        step_control::advance(&mut t.rec, &op);
        adamw::update(&mut t.rec, &counted, &SETTINGS, None);
        t.run();
    }
    let mut plain = Twin::new();
    let control = plain.words(&StepControl::new(1.0).floats());
    let (mut alone, _) = slot(&mut plain, control);
    let taken = (0..gradients.len()).filter(|&step| !overflows(step));
    for (number, step) in (1..).zip(taken) {
        alone.gradients = plain.input(&gradients[step]);
        adamw::update(&mut plain.rec, &alone, &SETTINGS, Some(number));
        plain.run();
    }
    for (what, ours, theirs) in [
        ("parameter", counted.parameters, alone.parameters),
        ("first", counted.first, alone.first),
        ("second", counted.second, alone.second),
    ] {
        assert_close(what, &t.read(ours), &plain.read(theirs));
    }
}
