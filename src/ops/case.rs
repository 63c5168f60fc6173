//! A case: one recording over made-up data that a device must compute as the CPU twins do.
//!
//! Each op lists its cases beside its kernels; the tests, `selftest` and the benches run them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::buffer::Buffer;
use crate::distance::POISON;
pub use crate::distance::{Distance, distance};
use crate::engine::Engine;
use crate::error::Result;
use crate::recording::Recording;

/// Words behind each buffer that no kernel may touch.
const CANARY_WORDS: usize = 64;
const CANARY: u32 = 0xdead_beef;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Only read; must come back as it was.
    Input,
    /// Compared.
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

    /// A buffer of `count` NaNs that kernels must overwrite to the last, or leave where nothing is due.
    pub fn output(self, count: usize) -> Self {
        self.field(vec![POISON; count], Role::Output)
    }

    /// A buffer of these numbers that kernels only read.
    pub fn floats(self, values: impl IntoIterator<Item = f32>) -> Self {
        self.indices(values.into_iter().map(f32::to_bits))
    }

    /// A buffer of these indices that kernels only read.
    pub fn indices(self, values: impl IntoIterator<Item = u32>) -> Self {
        self.field(values.into_iter().collect(), Role::Input)
    }

    /// Lets kernels change the last buffer, and compares it.
    pub fn writable(mut self) -> Self {
        if let Some(field) = self.fields.last_mut() {
            field.role = Role::Output;
        }
        self
    }

    /// What to run over the buffers, which come in the order in which they were added.
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

    /// Makes the case's buffers on a device, each with a canary behind its end, and records what runs
    /// over them.
    ///
    /// # Errors
    /// `Error::Device`.
    pub fn prepare(&self, engine: &mut dyn Engine) -> Result<(Vec<Buffer>, Recording)> {
        let mut buffers = Vec::new();
        for (i, field) in self.fields.iter().enumerate() {
            let mut words = field.words.clone();
            words.extend([CANARY; CANARY_WORDS]);
            buffers.push(engine.upload(&format!("case {i}"), &words)?);
        }
        let mut recording = Recording::new();
        if let Some(record) = &self.record {
            record(&mut recording, &buffers);
        }
        Ok((buffers, recording))
    }

    /// Runs the case on a device.
    ///
    /// # Errors
    /// `Error::Device`. What the kernels broke is in the outcome.
    pub fn run(&self, engine: &mut dyn Engine) -> Result<Outcome> {
        let (buffers, recording) = self.prepare(engine)?;
        engine.run(&recording)?;
        let mut outcome = Outcome::default();
        for (i, (field, &buffer)) in self.fields.iter().zip(&buffers).enumerate() {
            let mut words = engine.read(buffer, buffer.words)?;
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

/// What a case left behind.
#[derive(Default)]
pub struct Outcome {
    /// The compared buffers in order.
    pub outputs: Vec<Vec<f32>>,
    /// Canaries and inputs that were overwritten, in words.
    pub broken: Vec<String>,
}

/// Head rows of pairs with these (chosen, rejected) lengths: `[pairs, 3]` start, middle, end; and how
/// many there are.
pub(super) fn pairs(lengths: &[[usize; 2]]) -> (Vec<u32>, usize) {
    let mut table = Vec::new();
    let mut end = 0;
    for &[chosen, rejected] in lengths {
        table.extend([end, end + chosen, end + chosen + rejected].map(|r| r as u32));
        end += chosen + rejected;
    }
    (table, end)
}
