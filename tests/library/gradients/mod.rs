//! The calculus of every op: its CPU twin gives what the formula gives, written here in f64 straight
//! from the definition, and the twin's backward pass gives the central differences of that formula,
//! element by element. `tests/library/ops.rs` then holds every device to the twins.
//!
//! A file an op; `tests/library/registry.rs` sees to it that none is missing.

mod adamw;
mod attention;
mod blend;
mod ceiling;
mod embedding;
mod gather;
mod grad_norm;
mod head;
mod layernorm;
mod linear;
mod preference;
mod step_control;

use bytemuck::Pod;
use gpt2_dpo::buffer::Buffer;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::{Engine, EngineExt};
use gpt2_dpo::recording::Recording;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The largest relative L2 distance of a twin from the formula, and of a gradient from the differences, whose own
/// error is near 1e-9: a few roundings of f32, which are 6e-8 each.
const BOUND: f64 = 5e-7;
/// The step of the central differences, for numbers around 1.
const STEP: f64 = 1e-6;
/// The value of an accumulated gradient's elements beforehand.
const START: f64 = 0.5;

/// The CPU engine and a recording for it. Numbers go in and come out as f64.
struct Twin {
    engine: CpuEngine,
    rec: Recording,
    rng: ChaCha8Rng,
}

impl Twin {
    fn new() -> Self {
        let engine = CpuEngine::new();
        Twin {
            rec: engine.recording(),
            engine,
            rng: ChaCha8Rng::seed_from_u64(13),
        }
    }

    /// Numbers uniform in ±`amplitude` and exact in f32, so that twin and formula get the same ones.
    fn random(&mut self, count: usize, amplitude: f64) -> Vec<f64> {
        let mut unit = || f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        (0..count)
            .map(|_| f64::from((amplitude * (2.0 * unit() - 1.0)) as f32))
            .collect()
    }

    fn words<T: Pod>(&mut self, data: &[T]) -> Buffer {
        self.engine.upload("test", data).unwrap()
    }

    fn input(&mut self, data: &[f64]) -> Buffer {
        let data: Vec<f32> = data.iter().map(|&v| v as f32).collect();
        self.words(&data)
    }

    /// A buffer of NaNs, which the op must overwrite.
    fn output(&mut self, count: usize) -> Buffer {
        self.input(&vec![f64::NAN; count])
    }

    /// A buffer that the op adds to, for [`Twin::added`].
    fn sum(&mut self, count: usize) -> Buffer {
        self.input(&vec![START; count])
    }

    /// Runs the steps recorded since the last run.
    fn run(&mut self) {
        let next = self.engine.recording();
        self.engine
            .run(&std::mem::replace(&mut self.rec, next))
            .unwrap();
    }

    fn read(&mut self, buffer: Buffer) -> Vec<f64> {
        let data = self.engine.read_f32(buffer).unwrap();
        data.into_iter().map(f64::from).collect()
    }

    /// The numbers that were added to a buffer from [`Twin::sum`].
    fn added(&mut self, buffer: Buffer) -> Vec<f64> {
        self.read(buffer).into_iter().map(|v| v - START).collect()
    }
}

/// Compares by relative L2. A NaN fails, and so does a reference of zeros, which would test nothing.
#[track_caller]
fn assert_close(what: &str, ours: &[f64], reference: &[f64]) {
    assert_eq!(ours.len(), reference.len(), "{what}: length");
    let error: f64 = ours
        .iter()
        .zip(reference)
        .map(|(a, b)| (a - b).powi(2))
        .sum();
    let norm: f64 = reference.iter().map(|b| b * b).sum();
    let distance = (error / norm).sqrt();
    println!("{what}: {distance:.1e}");
    assert!(distance <= BOUND, "{what}: {distance:.1e}");
}

/// Compares the gradient of each input with the central differences of L = Σ dy · formula(inputs).
#[track_caller]
fn assert_gradients<const K: usize>(
    formula: impl Fn([&[f64]; K]) -> Vec<f64>,
    inputs: [&[f64]; K],
    dy: &[f64],
    gradients: [(&str, Vec<f64>); K],
) {
    for (k, (name, gradient)) in gradients.iter().enumerate() {
        let outputs = |i: usize, value: f64| {
            let mut changed = inputs[k].to_vec();
            changed[i] = value;
            formula(std::array::from_fn(|j| {
                if j == k { &changed[..] } else { inputs[j] }
            }))
        };
        let difference = |i: usize| -> f64 {
            let at = inputs[k][i];
            let step = STEP * at.abs().max(1.0);
            let (above, below) = (outputs(i, at + step), outputs(i, at - step));
            assert_eq!(above.len(), dy.len());
            let rise: f64 = (0..dy.len()).map(|o| dy[o] * (above[o] - below[o])).sum();
            rise / (2.0 * step)
        };
        let differences: Vec<f64> = (0..inputs[k].len()).map(difference).collect();
        assert_close(name, gradient, &differences);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
