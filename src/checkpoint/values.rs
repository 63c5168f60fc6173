//! What a checkpoint keeps of the tensors of a [`State`]: copied into memory, or read from the device one by one.

use std::io::{self, Write};

use crate::buffer::Buffer;
use crate::engine::{Engine, EngineExt};
use crate::error::{Error, Result};
use crate::pretrained::{NamedShape, TensorSource};
use crate::state::{State, StateKind};

/// The prefix of a moment's name in the optimizer's file; they are those of PyTorch's AdamW.
const FIRST: &str = "exp_avg.";
const SECOND: &str = "exp_avg_sq.";
/// The prefix of a moving reference's parameter there.
const REFERENCE: &str = "reference.";

/// A checkpoint's two files of tensors.
#[derive(Clone, Copy, PartialEq)]
enum TensorFile {
    Weights,
    Moments,
}

/// The tensors of one file.
pub(super) struct Tensors {
    file: TensorFile,
    pub shapes: Vec<NamedShape>,
    /// The ranges on the device that hold each tensor's values.
    pieces: Vec<Vec<Buffer>>,
}

impl Tensors {
    fn of(
        state: &State,
        file: TensorFile,
        name: impl Fn(StateKind) -> Option<&'static str>,
    ) -> Tensors {
        let (mut shapes, mut pieces) = (Vec::new(), Vec::new());
        for tensor in &state.tensors {
            if let Some(prefix) = name(tensor.kind) {
                shapes.push(NamedShape {
                    name: format!("{prefix}{}", tensor.name),
                    shape: tensor.shape.clone(),
                });
                pieces.push(tensor.pieces.clone());
            }
        }
        Tensors {
            file,
            shapes,
            pieces,
        }
    }

    pub fn weights(state: &State) -> Tensors {
        Tensors::of(state, TensorFile::Weights, |kind| {
            (kind == StateKind::Weight).then_some("")
        })
    }

    pub fn moments(state: &State) -> Tensors {
        Tensors::of(state, TensorFile::Moments, |kind| match kind {
            StateKind::FirstMoment => Some(FIRST),
            StateKind::SecondMoment => Some(SECOND),
            StateKind::Reference => Some(REFERENCE),
            StateKind::Weight | StateKind::Base | StateKind::Gradient => None,
        })
    }

    /// Writes the values of one tensor to the device.
    pub fn put(&self, engine: &mut dyn Engine, tensor: usize, values: &[f32]) -> Result<()> {
        let pieces = self.pieces[tensor].iter().copied();
        engine.write_pieces(pieces, bytemuck::cast_slice(values))
    }

    /// Reads the values of one tensor from the device.
    ///
    /// # Errors
    /// `Error::NotFinite` if a weight is NaN or infinite; every error of the device.
    fn get(&self, engine: &mut dyn Engine, tensor: usize) -> Result<Vec<u32>> {
        let words = engine.read_pieces(self.pieces[tensor].iter().copied())?;
        let is_finite = |&word: &u32| f32::from_bits(word).is_finite();
        if self.file == TensorFile::Weights && !words.iter().all(is_finite) {
            let name = &self.shapes[tensor].name;
            return Err(Error::NotFinite {
                step: 0,
                what: format!("tensor `{name}` holds NaN or infinity"),
                help: "lower `.learning_rate`; `gpt2-dpo selftest` checks the device".into(),
            });
        }
        Ok(words)
    }
}

/// Copies of the values of a checkpoint's tensors, so that they can be written while training goes on.
pub struct Snapshot {
    weights: Vec<Vec<u32>>,
    moments: Vec<Vec<u32>>,
}

impl Snapshot {
    /// Copies all values.
    ///
    /// # Errors
    /// `Error::NotFinite` if a weight is NaN or infinite; every error of the device.
    pub fn take(engine: &mut dyn Engine, state: &State) -> Result<Snapshot> {
        let mut copy = |tensors: Tensors| -> Result<Vec<Vec<u32>>> {
            let each = 0..tensors.shapes.len();
            each.map(|i| tensors.get(engine, i)).collect()
        };
        Ok(Snapshot {
            weights: copy(Tensors::weights(state))?,
            moments: copy(Tensors::moments(state))?,
        })
    }

    /// The bytes that a snapshot of this state takes.
    pub fn bytes(state: &State) -> u64 {
        let kept = state.tensors.iter();
        let kept =
            kept.filter(|tensor| !matches!(tensor.kind, StateKind::Gradient | StateKind::Base));
        let words: usize = kept.flat_map(|t| &t.pieces).map(|piece| piece.words).sum();
        (size_of::<u32>() * words) as u64
    }
}

/// The values of a checkpoint's tensors.
pub enum Values<'a> {
    /// Copies in memory.
    Copied(&'a Snapshot),
    /// The device, from which each tensor is read when its turn comes.
    OnDevice(&'a mut dyn Engine),
}

/// The values of one file.
pub(super) struct Source<'s, 'a> {
    pub values: &'s mut Values<'a>,
    pub tensors: &'s Tensors,
    /// The error of the device that made the source fail.
    pub failure: Option<Error>,
}

impl TensorSource for Source<'_, '_> {
    fn write(&mut self, tensor: usize, out: &mut dyn Write) -> io::Result<()> {
        match self.values {
            Values::Copied(snapshot) => {
                let copies = match self.tensors.file {
                    TensorFile::Weights => &snapshot.weights,
                    TensorFile::Moments => &snapshot.moments,
                };
                out.write_all(bytemuck::cast_slice(&copies[tensor]))
            }
            Values::OnDevice(engine) => match self.tensors.get(*engine, tensor) {
                Ok(words) => out.write_all(bytemuck::cast_slice(&words)),
                Err(error) => {
                    self.failure = Some(error);
                    Err(io::Error::other("the device failed"))
                }
            },
        }
    }
}
