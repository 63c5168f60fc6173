//! GPT-2: its structure, its parameters and activations on a device, the forward walk and the backward walk.

pub mod backward;
mod dims;
pub mod forward;
mod gpt2;
mod layout;
mod linear;
pub mod params;
mod targets;
mod tensors;
mod workspace;

pub use dims::Dims;
pub use gpt2::{Adapter, Block, Gpt2, Linear, Norm};
pub use layout::{Arena, Layout, Limits, Placed, ShardPlace};
pub use targets::{NoTarget, Targets};
pub use tensors::{Gradients, Shard, Tensor, Tensors, create, write};
pub use workspace::{
    Allocation, Backward, BufferKind, Head, Inputs, Layer, LowRank, Purpose, Workspace,
};
