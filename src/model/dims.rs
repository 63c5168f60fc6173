//! The sizes of a GPT-2.

/// The sizes of a GPT-2, and the ε of its layernorms.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Dims {
    /// V: rows of `wte`.
    pub vocab_size: usize,
    /// T: rows of `wpe`, the longest sequence.
    pub n_positions: usize,
    /// C: width of the residual stream.
    pub n_embd: usize,
    /// L: transformer blocks.
    pub n_layer: usize,
    /// H: attention heads; divides C.
    pub n_head: usize,
    /// F: width of the feed-forward layer, 4C in every published GPT-2.
    pub n_inner: usize,
    /// Added to the variance in every layernorm.
    pub epsilon: f32,
}

impl Dims {
    /// D: width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }
}
