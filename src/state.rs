//! The state of a training between steps, by name, for code that saves, restores or sums it.

use crate::buffer::Buffer;

/// The kind of a tensor of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// The parameter itself.
    Weight,
    /// The parameter itself, of a model beside which adapters are trained: it never changes.
    Base,
    /// The parameter's gradient since the last update; 0 between optimizer steps.
    Gradient,
    /// AdamW's running mean of the gradient.
    FirstMoment,
    /// AdamW's running mean of the squared gradient.
    SecondMoment,
    /// The reference's parameter, where it moves.
    Reference,
}

/// A tensor on a device.
#[derive(Clone, Debug)]
pub struct StateTensor {
    /// The kind of tensor.
    pub kind: StateKind,
    /// The parameter's name.
    pub name: String,
    /// The parameter's shape, as files store it.
    pub shape: Vec<usize>,
    /// The ranges that hold its values, row-major and in order, without padding.
    pub pieces: Vec<Buffer>,
}

/// The whole state on which the next optimizer step depends, apart from its data and its learning rate.
#[derive(Clone, Debug)]
pub struct State {
    /// The weights of all parameters, gradients and moments of the trainable parameters, and a moving reference.
    pub tensors: Vec<StateTensor>,
    /// A [`StepControl`](crate::ops::step_control::StepControl) on the device: loss scale and counters.
    pub control: Buffer,
    /// Optimizer steps, including the steps that a dynamic loss scale skipped.
    pub steps: u64,
}

impl State {
    /// The bytes of the weights that the training may change, and of those beside them if the model itself is trained.
    pub fn weight_bytes(&self) -> u64 {
        let weights = self.tensors.iter().filter(|t| t.kind == StateKind::Weight);
        let pieces = weights.flat_map(|tensor| &tensor.pieces);
        pieces.map(|piece| piece.bytes() as u64).sum()
    }

    /// True if adapters are trained beside a model that never changes.
    pub fn is_adapter(&self) -> bool {
        self.tensors
            .iter()
            .any(|tensor| tensor.kind == StateKind::Base)
    }
}
