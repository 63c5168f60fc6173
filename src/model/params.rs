//! The one table of GPT-2's parameters: names, shapes and what decays.

use super::Dims;

/// What a parameter is; decides its initial value and whether `decay` matrices decays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `wte`, `wpe`.
    Embedding,
    /// A linear layer's `[in, out]` matrix.
    Matrix,
    /// A linear layer's `[out]` bias.
    Bias,
    /// A layernorm's gain, 1 at the start.
    Gain,
    /// A layernorm's shift, 0 at the start.
    Shift,
}

impl Role {
    /// True for the parameters that transformers' `Trainer` decays: everything but biases and layernorms.
    pub fn is_matrix(self) -> bool {
        matches!(self, Role::Embedding | Role::Matrix)
    }
}

/// One named parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Hugging Face's name without the `transformer.` prefix, for example `h.0.attn.c_attn.weight`.
    pub name: String,
    /// `[rows, cols]`, or `[1, n]` for a vector. For a matrix this is its `in`.
    pub rows: usize,
    /// The row's length; for a matrix its `out`.
    pub cols: usize,
    /// Kind of parameter.
    pub role: Role,
}

impl Param {
    /// The shape as a file stores it: a vector has one dimension.
    pub fn shape(&self) -> Vec<usize> {
        match self.role {
            Role::Embedding | Role::Matrix => vec![self.rows, self.cols],
            Role::Bias | Role::Gain | Role::Shift => vec![self.cols],
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// True if the parameter has no elements; never so in a table of [`table`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Parameters of one transformer block, in the order of [`table`].
pub const PER_BLOCK: usize = 12;

/// All parameters of a GPT-2 of these dims: `wte`, `wpe`, [`PER_BLOCK`] for each block, `ln_f`.
/// The head is `wte` (tied) and has no row of its own.
pub fn table(dims: &Dims) -> Vec<Param> {
    let (c, f) = (dims.n_embd, dims.n_inner);
    let param = |name: String, rows, cols, role| Param {
        name,
        rows,
        cols,
        role,
    };
    let mut out = vec![
        param("wte.weight".into(), dims.vocab_size, c, Role::Embedding),
        param("wpe.weight".into(), dims.n_positions, c, Role::Embedding),
    ];
    for layer in 0..dims.n_layer {
        let mut push = |name: &str, rows, cols, role| {
            out.push(param(format!("h.{layer}.{name}"), rows, cols, role));
        };
        push("ln_1.weight", 1, c, Role::Gain);
        push("ln_1.bias", 1, c, Role::Shift);
        push("attn.c_attn.weight", c, 3 * c, Role::Matrix);
        push("attn.c_attn.bias", 1, 3 * c, Role::Bias);
        push("attn.c_proj.weight", c, c, Role::Matrix);
        push("attn.c_proj.bias", 1, c, Role::Bias);
        push("ln_2.weight", 1, c, Role::Gain);
        push("ln_2.bias", 1, c, Role::Shift);
        push("mlp.c_fc.weight", c, f, Role::Matrix);
        push("mlp.c_fc.bias", 1, f, Role::Bias);
        push("mlp.c_proj.weight", f, c, Role::Matrix);
        push("mlp.c_proj.bias", 1, c, Role::Bias);
    }
    out.push(param("ln_f.weight".into(), 1, c, Role::Gain));
    out.push(param("ln_f.bias".into(), 1, c, Role::Shift));
    out
}
