//! The structure of a GPT-2, generic over the type that stands for a parameter.

/// A GPT-2 whose parameters are `T`s: descriptions, tensors on a device, gradients.
///
/// The head has no parameter of its own: its matrix is `wte`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpt2<T> {
    /// `[V, C]` token embedding.
    pub wte: T,
    /// `[T, C]` position embedding.
    pub wpe: T,
    /// The L transformer blocks.
    pub blocks: Vec<Block<T>>,
    /// The final layernorm.
    pub ln_f: Norm<T>,
}

/// A transformer block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block<T> {
    /// The layernorm before attention.
    pub ln_1: Norm<T>,
    /// C to 3C: queries, keys and values.
    pub c_attn: Linear<T>,
    /// C to C: projects attention's output onto the residual stream.
    pub attn_c_proj: Linear<T>,
    /// The layernorm before the feed-forward layer.
    pub ln_2: Norm<T>,
    /// C to F: the input of GELU.
    pub c_fc: Linear<T>,
    /// F to C: projects GELU's output onto the residual stream.
    pub mlp_c_proj: Linear<T>,
}

/// A layernorm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Norm<T> {
    /// `[C]`.
    pub gain: T,
    /// `[C]`.
    pub shift: T,
}

/// A linear layer: y = x · W + bias + scale · (x · A) · B. A term whose parameters are `None` is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Linear<T> {
    /// W `[in, out]`.
    pub weight: T,
    /// `[out]`.
    pub bias: Option<T>,
    /// The low-rank term beside W (Hu et al. 2021, "LoRA").
    pub adapter: Option<Adapter<T>>,
}

/// The low-rank term of a linear layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapter<T> {
    /// A `[in, rank]`.
    pub a: T,
    /// B `[rank, out]`.
    pub b: T,
    /// Factor of the product; LoRA's α / rank.
    pub scale: f32,
}

impl<T> Gpt2<T> {
    /// Every parameter, in the order of Hugging Face's files; the parameters of an adapter follow its layer's bias.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let mut all = vec![&self.wte, &self.wpe];
        for block in &self.blocks {
            block.collect(&mut all);
        }
        self.ln_f.collect(&mut all);
        all.into_iter()
    }

    /// Returns the same structure with `f` of each parameter; calls `f` in the order of [`Gpt2::iter`].
    pub fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> Gpt2<U> {
        let f = &mut f;
        Gpt2 {
            wte: f(&self.wte),
            wpe: f(&self.wpe),
            blocks: self.blocks.iter().map(|block| block.map(f)).collect(),
            ln_f: self.ln_f.map(f),
        }
    }

    /// Every linear layer.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<T>> {
        self.blocks.iter().flat_map(|block| {
            [
                &block.c_attn,
                &block.attn_c_proj,
                &block.c_fc,
                &block.mlp_c_proj,
            ]
        })
    }

    /// Every linear layer, to change it.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear<T>> {
        self.blocks.iter_mut().flat_map(|block| {
            [
                &mut block.c_attn,
                &mut block.attn_c_proj,
                &mut block.c_fc,
                &mut block.mlp_c_proj,
            ]
        })
    }

    /// The first block that a backward pass enters, if it computes the gradients of these parameters and no others: 0
    /// for those of the embeddings, which lie below all blocks.
    pub fn first_block_of(&self, is_one: impl Fn(&T) -> bool) -> usize {
        if is_one(&self.wte) || is_one(&self.wpe) {
            return 0;
        }
        let mut blocks = self.blocks.iter();
        let first = blocks.position(|block| block.iter().any(&is_one));
        first.unwrap_or(self.blocks.len())
    }

    /// The parameters of all adapters: A and B of each, in the order of [`Gpt2::iter`].
    pub fn adapters(&self) -> impl Iterator<Item = &T> {
        let adapters = self.linears().filter_map(|linear| linear.adapter.as_ref());
        adapters.flat_map(|adapter| [&adapter.a, &adapter.b])
    }

    /// The same model without its adapters.
    pub fn without_adapters(&self) -> Gpt2<T>
    where
        T: Clone,
    {
        let mut bare = self.clone();
        for linear in bare.linears_mut() {
            linear.adapter = None;
        }
        bare
    }
}

impl<T> Block<T> {
    /// Every parameter.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let mut all = Vec::new();
        self.collect(&mut all);
        all.into_iter()
    }

    fn collect<'a>(&'a self, all: &mut Vec<&'a T>) {
        self.ln_1.collect(all);
        self.c_attn.collect(all);
        self.attn_c_proj.collect(all);
        self.ln_2.collect(all);
        self.c_fc.collect(all);
        self.mlp_c_proj.collect(all);
    }

    fn map<U>(&self, f: &mut impl FnMut(&T) -> U) -> Block<U> {
        Block {
            ln_1: self.ln_1.map(f),
            c_attn: self.c_attn.map(f),
            attn_c_proj: self.attn_c_proj.map(f),
            ln_2: self.ln_2.map(f),
            c_fc: self.c_fc.map(f),
            mlp_c_proj: self.mlp_c_proj.map(f),
        }
    }
}

impl<T> Norm<T> {
    fn collect<'a>(&'a self, all: &mut Vec<&'a T>) {
        all.extend([&self.gain, &self.shift]);
    }

    fn map<U>(&self, f: &mut impl FnMut(&T) -> U) -> Norm<U> {
        Norm {
            gain: f(&self.gain),
            shift: f(&self.shift),
        }
    }
}

impl<T> Linear<T> {
    /// Every parameter.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let mut all = Vec::new();
        self.collect(&mut all);
        all.into_iter()
    }

    fn collect<'a>(&'a self, all: &mut Vec<&'a T>) {
        all.push(&self.weight);
        all.extend(&self.bias);
        all.extend(
            self.adapter
                .iter()
                .flat_map(|adapter| [&adapter.a, &adapter.b]),
        );
    }

    fn map<U>(&self, f: &mut impl FnMut(&T) -> U) -> Linear<U> {
        Linear {
            weight: f(&self.weight),
            bias: self.bias.as_ref().map(&mut *f),
            adapter: self.adapter.as_ref().map(|adapter| Adapter {
                a: f(&adapter.a),
                b: f(&adapter.b),
                scale: adapter.scale,
            }),
        }
    }
}
