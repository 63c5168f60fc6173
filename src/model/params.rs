//! The parameters of a GPT-2: names, shapes, roles, and which of them are trainable.

use super::gpt2::{Adapter, Block, Gpt2, Linear, Norm};
use super::{Dims, Targets};

/// The role of a parameter. It decides the initial value, and whether `decay = matrices` decays the parameter.
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
    /// Rows of the shape `[rows, cols]`: 1 for a vector, `in` for a linear layer's matrix.
    pub rows: usize,
    /// Columns: the length of a vector, `out` for a linear layer's matrix.
    pub cols: usize,
    /// The role of the parameter in the model.
    pub role: Role,
    /// False for a frozen parameter, which has neither a gradient nor moments.
    pub trainable: bool,
}

impl Param {
    fn new(name: String, rows: usize, cols: usize, role: Role) -> Param {
        Param {
            name,
            rows,
            cols,
            role,
            trainable: true,
        }
    }

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

    /// True if the parameter has no elements; no parameter of a GPT-2 is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The parameters of a GPT-2 of these dims, all trainable.
pub fn gpt2(dims: &Dims) -> Gpt2<Param> {
    let (c, f) = (dims.n_embd, dims.n_inner);
    let norm = |name: String| Norm {
        gain: Param::new(format!("{name}.weight"), 1, c, Role::Gain),
        shift: Param::new(format!("{name}.bias"), 1, c, Role::Shift),
    };
    let linear = |name: String, ins, outs| Linear {
        weight: Param::new(format!("{name}.weight"), ins, outs, Role::Matrix),
        bias: Some(Param::new(format!("{name}.bias"), 1, outs, Role::Bias)),
        adapter: None,
    };
    let block = |layer: usize| Block {
        ln_1: norm(format!("h.{layer}.ln_1")),
        c_attn: linear(format!("h.{layer}.attn.c_attn"), c, 3 * c),
        attn_c_proj: linear(format!("h.{layer}.attn.c_proj"), c, c),
        ln_2: norm(format!("h.{layer}.ln_2")),
        c_fc: linear(format!("h.{layer}.mlp.c_fc"), c, f),
        mlp_c_proj: linear(format!("h.{layer}.mlp.c_proj"), f, c),
    };
    let embedding = |name: &str, rows| Param::new(name.into(), rows, c, Role::Embedding);
    Gpt2 {
        wte: embedding("wte.weight", dims.vocab_size),
        wpe: embedding("wpe.weight", dims.n_positions),
        blocks: (0..dims.n_layer).map(block).collect(),
        ln_f: norm("ln_f".into()),
    }
}

/// The parameters of [`gpt2`] as a list, in the order of Hugging Face's files: `wte`, `wpe`, the blocks, `ln_f`.
pub fn table(dims: &Dims) -> Vec<Param> {
    gpt2(dims).iter().cloned().collect()
}

/// Low-rank adapters beside linear layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapters {
    /// Columns of A and rows of B.
    pub rank: usize,
    /// Factor of the product x · A · B.
    pub scale: f32,
    /// The linear layers that get one.
    pub targets: Targets,
}

impl Gpt2<Param> {
    /// This model with an adapter beside the weight of each linear layer that is a target. Only the adapters are
    /// trainable.
    ///
    /// # Panics
    /// If the rank is 0: a mistake of the caller.
    pub fn with_adapters(&self, adapters: &Adapters) -> Gpt2<Param> {
        assert!(adapters.rank > 0, "an adapter of rank 0");
        let mut model = self.map(|param| param.frozen());
        for linear in model.linears_mut() {
            if adapters.targets.has(linear.weight.layer()) {
                linear.adapter = Some(linear.weight.adapter(adapters));
            }
        }
        model
    }

    /// This model with only the last `layers` blocks and the final layernorm trainable.
    pub fn with_last_layers(&self, layers: usize) -> Gpt2<Param> {
        let mut model = self.map(|param| param.frozen());
        let first = self.blocks.len().saturating_sub(layers);
        model.blocks.truncate(first);
        model.blocks.extend_from_slice(&self.blocks[first..]);
        model.ln_f = self.ln_f.clone();
        model
    }

    /// This model with `wte` and `wpe` frozen.
    pub fn with_frozen_embeddings(&self) -> Gpt2<Param> {
        Gpt2 {
            wte: self.wte.frozen(),
            wpe: self.wpe.frozen(),
            ..self.clone()
        }
    }
}

impl Param {
    /// The name of the layer whose weight this is: `h.0.attn.c_attn`.
    pub fn layer(&self) -> &str {
        self.name.strip_suffix(".weight").unwrap_or(&self.name)
    }

    fn frozen(&self) -> Param {
        Param {
            trainable: false,
            ..self.clone()
        }
    }

    fn adapter(&self, adapters: &Adapters) -> Adapter<Param> {
        let (layer, rank) = (self.layer(), adapters.rank);
        let name = |letter: &str| format!("{layer}.lora_{letter}.weight");
        Adapter {
            a: Param::new(name("A"), self.rows, rank, Role::Matrix),
            b: Param::new(name("B"), rank, self.cols, Role::Matrix),
            scale: adapters.scale,
        }
    }
}
