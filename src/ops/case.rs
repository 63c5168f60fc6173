//! A case: one recording over random data. A device must compute the same results as the CPU twins.
//!
//! Each op lists its cases beside its kernels; the tests, `selftest` and the benches run them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::batch::{Pair, Rivals};
use crate::buffer::Buffer;
use crate::distance::POISON;
pub use crate::distance::{Distance, distance};
use crate::engine::{Engine, EngineExt};
use crate::error::Result;
use crate::recording::Recording;

/// Words behind each buffer that no kernel may touch.
const CANARY_WORDS: usize = 64;
const CANARY: u32 = 0xdead_beef;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Kernels only read it; its content must not change.
    Input,
    /// Kernels change it; its content is compared with the twin's.
    Output,
}

struct Field {
    words: Vec<u32>,
    role: Role,
}

type Record = Box<dyn Fn(&mut Recording, &[Buffer]) + Send + Sync>;

/// One recording and its buffers, filled with random numbers that depend on the label alone.
pub struct Case {
    /// Unique in its op; seeds the numbers and names the case in reports.
    pub label: String,
    fields: Vec<Field>,
    record: Option<Record>,
    rng: ChaCha8Rng,
}

impl Case {
    /// A case without buffers; the label seeds its numbers.
    pub fn new(label: String) -> Self {
        let mut seed = [0; 32];
        for (i, byte) in label.bytes().enumerate() {
            seed[i % 32] ^= byte.rotate_left(i as u32 / 32);
        }
        Case {
            label,
            fields: Vec::new(),
            record: None,
            rng: ChaCha8Rng::from_seed(seed),
        }
    }

    /// A buffer of `count` numbers, uniform in ±`amplitude`, that kernels only read.
    pub fn input(self, count: usize, amplitude: f32) -> Self {
        self.random(count, amplitude, Role::Input)
    }

    /// A buffer of `count` numbers, uniform in ±`amplitude`, that kernels change.
    pub fn inout(self, count: usize, amplitude: f32) -> Self {
        self.random(count, amplitude, Role::Output)
    }

    /// A buffer of `count` NaNs. Kernels must overwrite every NaN that the twin overwrites, and no other.
    pub fn output(self, count: usize) -> Self {
        self.field(vec![POISON; count], Role::Output)
    }

    /// A buffer that holds `values` and that kernels only read.
    pub fn floats(self, values: impl IntoIterator<Item = f32>) -> Self {
        self.indices(values.into_iter().map(f32::to_bits))
    }

    /// A buffer that holds the indices `values` and that kernels only read.
    pub fn indices(self, values: impl IntoIterator<Item = u32>) -> Self {
        self.field(values.into_iter().collect(), Role::Input)
    }

    /// Makes the last buffer an output: kernels may change it, and its content is compared.
    pub fn writable(mut self) -> Self {
        if let Some(field) = self.fields.last_mut() {
            field.role = Role::Output;
        }
        self
    }

    /// Makes the numbers of the last buffer negative, as log-probs are.
    pub fn negative(mut self) -> Self {
        if let Some(field) = self.fields.last_mut() {
            for word in &mut field.words {
                *word |= 1 << 31;
            }
        }
        self
    }

    /// Sets the function that records the case's steps. It gets the buffers in the order in which they were
    /// added.
    pub fn record(
        mut self,
        record: impl Fn(&mut Recording, &[Buffer]) + Send + Sync + 'static,
    ) -> Self {
        self.record = Some(Box::new(record));
        self
    }

    fn random(mut self, count: usize, amplitude: f32, role: Role) -> Self {
        let mut uniform = || (f64::from(self.rng.next_u32()) / f64::from(u32::MAX)) as f32;
        let words = (0..count)
            .map(|_| (amplitude * (2.0 * uniform() - 1.0)).to_bits())
            .collect();
        self.field(words, role)
    }

    fn field(mut self, words: Vec<u32>, role: Role) -> Self {
        self.fields.push(Field { words, role });
        self
    }

    /// Makes the case's buffers on a device, each with a canary behind its end, and records the case's steps.
    ///
    /// # Errors
    /// An error of the device.
    pub fn prepare(&self, engine: &mut dyn Engine) -> Result<Prepared> {
        let mut buffers = Vec::new();
        for (i, field) in self.fields.iter().enumerate() {
            let mut words = field.words.clone();
            words.extend([CANARY; CANARY_WORDS]);
            buffers.push(engine.upload(&format!("case {i}"), &words)?);
        }
        let mut recording = engine.recording();
        if let Some(record) = &self.record {
            record(&mut recording, &buffers);
        }
        Ok(Prepared { buffers, recording })
    }

    /// Runs the case on a device.
    ///
    /// # Errors
    /// An error of the device. The outcome names the canaries and inputs that the kernels overwrote.
    pub fn run(&self, engine: &mut dyn Engine) -> Result<Outcome> {
        let Prepared { buffers, recording } = self.prepare(engine)?;
        engine.run(&recording)?;
        let mut outcome = Outcome::default();
        for (i, (field, &buffer)) in self.fields.iter().zip(&buffers).enumerate() {
            let mut words = engine.read(buffer)?;
            let canary = words.split_off(field.words.len());
            if canary.iter().any(|&w| w != CANARY) {
                outcome.broken.push(format!("wrote beyond buffer {i}"));
            }
            match field.role {
                Role::Output => outcome.outputs.push(bytemuck::cast_vec(words)),
                Role::Input if words != field.words => {
                    outcome.broken.push(format!("changed input {i}"));
                }
                Role::Input => {}
            }
            engine.release(buffer);
        }
        Ok(outcome)
    }
}

/// A case on a device.
pub struct Prepared {
    /// In the order in which the case's buffers were added.
    pub buffers: Vec<Buffer>,
    /// The case's steps over these buffers.
    pub recording: Recording,
}

/// The results of a run of a case.
#[derive(Default)]
pub struct Outcome {
    /// The compared buffers in order.
    pub outputs: Vec<Vec<f32>>,
    /// The canaries and inputs that the kernels overwrote, each as a sentence.
    pub broken: Vec<String>,
}

/// The pairs with these (chosen, rejected) lengths, `[pairs, Pair::WORDS]`, with other weights than 1 and rivals. Beside
/// them the number of head rows.
pub(super) fn pairs(lengths: &[[usize; 2]]) -> (Vec<u32>, usize) {
    let mut pairs = Vec::new();
    let mut end = 0;
    for (i, &[chosen, rejected]) in lengths.iter().enumerate() {
        let [start, middle, last] = [end, end + chosen, end + chosen + rejected].map(|r| r as u32);
        let half = i as f32 / 2.0;
        pairs.push(Pair {
            weight: 1.0 + half,
            rivals: Rivals {
                of_chosen: 3.0 - half,
                of_rejected: half - 2.0,
                reference_shift: half - 1.5,
            },
            ..Pair::of_rows(start, middle, last)
        });
        end += chosen + rejected;
    }
    (bytemuck::cast_slice(&pairs).to_vec(), end)
}
