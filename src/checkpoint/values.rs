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

/// The tensors of one file.
pub(super) struct Tensors {
    pub shapes: Vec<NamedShape>,
    /// The ranges on the device that hold each tensor's values.
    pieces: Vec<Vec<Buffer>>,
}

impl Tensors {
    fn of(state: &State, name: impl Fn(StateKind) -> Option<&'static str>) -> Tensors {
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
        Tensors { shapes, pieces }
    }

    pub fn weights(state: &State) -> Tensors {
        Tensors::of(state, |kind| (kind == StateKind::Weight).then_some(""))
    }

    pub fn moments(state: &State) -> Tensors {
        Tensors::of(state, |kind| match kind {
            StateKind::FirstMoment => Some(FIRST),
            StateKind::SecondMoment => Some(SECOND),
            StateKind::Weight | StateKind::Gradient => None,
        })
    }

    /// Writes the values of one tensor to the device.
    pub fn put(&self, engine: &mut dyn Engine, tensor: usize, values: &[f32]) -> Result<()> {
        let mut rest = values;
        for &piece in &self.pieces[tensor] {
            let (own, later) = rest.split_at(piece.words);
            engine.write(piece, bytemuck::cast_slice(own))?;
            rest = later;
        }
        Ok(())
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
        let mut copy = |tensors: &Tensors| -> Result<Vec<Vec<u32>>> {
            let each = 0..tensors.pieces.len();
            each.map(|i| read(engine, &tensors.pieces[i])).collect()
        };
        let shapes = Tensors::weights(state);
        let weights = copy(&shapes)?;
        for (values, shape) in weights.iter().zip(&shapes.shapes) {
            refuse_not_finite(values, &shape.name)?;
        }
        Ok(Snapshot {
            weights,
            moments: copy(&Tensors::moments(state))?,
        })
    }

    /// The bytes that a snapshot of this state takes.
    pub fn bytes(state: &State) -> u64 {
        let kept = state.tensors.iter();
        let kept = kept.filter(|tensor| tensor.kind != StateKind::Gradient);
        let words: usize = kept.flat_map(|t| &t.pieces).map(|piece| piece.words).sum();
        (size_of::<u32>() * words) as u64
    }
}

/// The values of one file: copies, or ranges on a device.
pub(super) enum Source<'a> {
    Copied(&'a [Vec<u32>]),
    OnDevice {
        engine: &'a mut dyn Engine,
        tensors: &'a Tensors,
        /// The weights, which must be finite.
        finite: bool,
        /// The error of the device that made the source fail.
        failure: &'a mut Option<Error>,
    },
}

impl TensorSource for Source<'_> {
    fn write(&mut self, tensor: usize, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Source::Copied(values) => out.write_all(bytemuck::cast_slice(&values[tensor])),
            Source::OnDevice {
                engine,
                tensors,
                finite,
                failure,
            } => {
                let read = read(*engine, &tensors.pieces[tensor]).and_then(|values| {
                    if *finite {
                        refuse_not_finite(&values, &tensors.shapes[tensor].name)?;
                    }
                    Ok(values)
                });
                match read {
                    Ok(values) => out.write_all(bytemuck::cast_slice(&values)),
                    Err(error) => {
                        **failure = Some(error);
                        Err(io::Error::other("the device failed"))
                    }
                }
            }
        }
    }
}

impl Snapshot {
    pub(super) fn weights(&self) -> Source<'_> {
        Source::Copied(&self.weights)
    }

    pub(super) fn moments(&self) -> Source<'_> {
        Source::Copied(&self.moments)
    }
}

fn read(engine: &mut dyn Engine, pieces: &[Buffer]) -> Result<Vec<u32>> {
    let mut words = Vec::with_capacity(pieces.iter().map(|piece| piece.words).sum());
    for &piece in pieces {
        words.extend(engine.read(piece)?);
    }
    Ok(words)
}

fn refuse_not_finite(words: &[u32], tensor: &str) -> Result<()> {
    if words.iter().all(|&word| f32::from_bits(word).is_finite()) {
        return Ok(());
    }
    Err(Error::NotFinite {
        step: 0,
        what: format!("tensor `{tensor}` holds NaN or infinity"),
        help: "lower `.learning_rate`; `gpt2-dpo selftest` checks the device".into(),
    })
}
