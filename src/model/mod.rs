//! GPT-2: dims, the parameter table, parameters and activations on a device, the walk forward and the
//! walk backward.

pub mod backward;
mod dims;
pub mod forward;
pub mod params;
mod tensors;
mod workspace;

pub use dims::Dims;
pub use tensors::{Block, Layout, Shard, Tensor, Tensors};
pub use workspace::{Backward, Head, Inputs, Kind, Layer, Purpose, Workspace};
