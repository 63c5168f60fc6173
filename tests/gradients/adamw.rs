//! Ten steps beside a plain AdamW in f64.

use gpt2_dpo::ops::adamw;

use super::{Twin, assert_close};

const COUNT: usize = 37;

/// A parameter with random contents, zero moments, and what they hold.
fn slot(t: &mut Twin) -> (adamw::Slot, Vec<f64>) {
    let parameter = t.random(COUNT, 1.0);
    let slot = adamw::Slot {
        parameter: t.input(&parameter),
        gradient: t.output(COUNT),
        first: t.input(&[0.0; COUNT]),
        second: t.input(&[0.0; COUNT]),
        count: COUNT,
    };
    (slot, parameter)
}

/// A large rate and decay, so that ten steps show in the parameter's leading digits.
const SETTINGS: adamw::Settings = adamw::Settings {
    learning_rate: 0.05,
    weight_decay: 0.1,
    ..adamw::Settings::DEFAULT
};

#[test]
fn ten_steps() {
    let mut t = Twin::new();
    let (mut slot, mut theta) = slot(&mut t);
    let (mut m, mut v) = (vec![0.0; COUNT], vec![0.0; COUNT]);
    let clip = 0.25;
    let norm = t.input(&[4.0, clip, 0.0]);
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
        slot.gradient = t.input(&gradient);
        adamw::update(&mut t.rec, norm, &slot, &SETTINGS, step);
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
        assert_close(&what("parameter"), &t.read(slot.parameter), &theta);
        assert_close(&what("first"), &t.read(slot.first), &m);
        assert_close(&what("second"), &t.read(slot.second), &v);
        assert_eq!(t.read(slot.gradient), [0.0; COUNT]);
    }
    let (first, second) = (t.read(slot.first), t.read(slot.second));
    assert_close("small first", &first[30..], &m[30..]);
    assert_close("small second", &second[30..], &v[30..]);
    assert_eq!([first[0], second[0]], [0.0, 0.0]);
}

#[test]
fn changes_nothing_when_broken() {
    let mut t = Twin::new();
    let (mut slot, parameter) = slot(&mut t);
    let (gradient, moment) = (t.random(COUNT, 1.0), vec![0.125; COUNT]);
    slot.gradient = t.input(&gradient);
    (slot.first, slot.second) = (t.input(&moment), t.input(&moment));
    let norm = t.input(&[4.0, 0.25, 1.0]);
    adamw::update(&mut t.rec, norm, &slot, &SETTINGS, 3);
    t.run();
    assert_eq!(t.read(slot.parameter), parameter);
    assert_eq!(t.read(slot.gradient), gradient);
    assert_eq!(t.read(slot.first), moment);
    assert_eq!(t.read(slot.second), moment);
}
