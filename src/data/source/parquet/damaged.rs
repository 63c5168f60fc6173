//! The error of a file whose columns contradict each other.

/// The columns of a row contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the columns of the row do not fit together")]
pub(in super::super) struct Damaged;
