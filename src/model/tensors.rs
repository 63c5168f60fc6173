//! Parameters on a device, and their gradients and moments, which are laid out like the parameters.

use std::ops::Range;

use super::gpt2::Gpt2;
use super::layout::{Arena, Layout, Placed};
use crate::buffer::Buffer;
use crate::engine::{Engine, EngineExt, Release};
use crate::error::Result;

/// One row shard of a tensor on a device.
#[derive(Clone, Debug)]
pub struct Shard {
    /// `[padded_rows, cols]`, a range of an arena; padding rows are 0.
    pub buffer: Buffer,
    /// The tensor's rows in this shard.
    pub rows: Range<usize>,
    /// The number of rows, including the padding behind them; only `wte` has padding.
    pub padded_rows: usize,
}

/// One tensor on a device.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The parameter's name.
    pub name: String,
    /// Rows of the shape `[rows, cols]`, without padding; 1 for a vector.
    pub rows: usize,
    /// Columns; shards are never cut between columns.
    pub cols: usize,
    /// The shards, in the order of their rows; together they hold all rows of the tensor.
    pub shards: Vec<Shard>,
}

impl Placed {
    /// The parameter's tensor in these arenas.
    pub fn on(&self, arenas: &[Buffer]) -> Tensor {
        let cols = self.param.cols;
        let shards = self.shards.iter().map(|place| {
            let words = place.padded_rows * cols;
            Shard {
                buffer: arenas[place.arena].slice(place.offset..place.offset + words),
                rows: place.rows.clone(),
                padded_rows: place.padded_rows,
            }
        });
        Tensor {
            name: self.param.name.clone(),
            rows: self.param.rows,
            cols,
            shards: shards.collect(),
        }
    }
}

impl Tensor {
    /// The whole range of a tensor that has one shard: a vector, or `wpe`.
    pub fn whole(&self) -> Buffer {
        self.shards[0].buffer
    }

    /// The ranges that hold the tensor's values, row-major and in order, without padding.
    pub fn pieces(&self) -> impl Iterator<Item = Buffer> {
        let cols = self.cols;
        let shards = self.shards.iter();
        shards.map(move |shard| shard.buffer.first(shard.rows.len() * cols))
    }
}

/// The arenas of a layout on a device, and every tensor in them.
#[derive(Clone, Debug)]
pub struct Tensors {
    /// One buffer for each arena.
    pub arenas: Vec<Buffer>,
    /// Every tensor, by its field.
    pub gpt2: Gpt2<Tensor>,
}

impl Tensors {
    /// Makes tensors of zeros; `what` labels the buffers.
    ///
    /// # Errors
    /// `Error::OutOfMemory` if they do not fit.
    pub fn zeros(engine: &mut dyn Engine, layout: &Layout, what: &str) -> Result<Tensors> {
        let arenas = create(engine, &layout.arenas, what)?;
        Ok(Tensors {
            gpt2: layout.params.map(|placed| placed.on(&arenas)),
            arenas,
        })
    }

    /// Makes tensors of these values, each tensor row-major, in the order of [`Gpt2::iter`]; the padding is 0.
    ///
    /// # Errors
    /// `Error::OutOfMemory` if they do not fit.
    ///
    /// # Panics
    /// If a tensor has fewer values than the layout says.
    pub fn upload(
        engine: &mut dyn Engine,
        layout: &Layout,
        values: &[Vec<f32>],
        what: &str,
    ) -> Result<Tensors> {
        let tensors = Self::zeros(engine, layout, what)?;
        match tensors.write(engine, values) {
            Ok(()) => Ok(tensors),
            Err(e) => {
                tensors.release(engine);
                Err(e)
            }
        }
    }

    /// Replaces the values, in the form of [`Tensors::upload`]; the padding stays 0.
    ///
    /// # Errors
    /// Every error of the device.
    ///
    /// # Panics
    /// If a tensor has fewer values than its rows and columns say.
    pub fn write(&self, engine: &mut dyn Engine, values: &[Vec<f32>]) -> Result<()> {
        write(engine, self.gpt2.iter(), values)
    }

    /// Reads all values back, without padding, in the form of [`Tensors::upload`].
    ///
    /// # Errors
    /// Every error of the device.
    pub fn download(&self, engine: &mut dyn Engine) -> Result<Vec<Vec<f32>>> {
        let mut tensors = Vec::new();
        for tensor in self.gpt2.iter() {
            tensors.push(download(engine, tensor)?);
        }
        Ok(tensors)
    }
}

/// The gradient of every trainable parameter, in arenas laid out like the trainable arenas of the weights.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// One buffer for each trainable arena.
    pub arenas: Vec<Buffer>,
    /// The gradients by field; `None` for a parameter that is not trainable.
    pub gpt2: Gpt2<Option<Tensor>>,
}

impl Gradients {
    /// Makes gradients of zeros.
    ///
    /// # Errors
    /// `Error::OutOfMemory` if they do not fit.
    pub fn zeros(engine: &mut dyn Engine, layout: &Layout) -> Result<Gradients> {
        let arenas = create(engine, layout.trained(), "gradients")?;
        let tensor = |placed: &Placed| placed.param.trainable.then(|| placed.on(&arenas));
        Ok(Gradients {
            gpt2: layout.params.map(tensor),
            arenas,
        })
    }

    /// Reads every gradient back, in the order of [`Gpt2::iter`]; empty for a parameter that is not trainable.
    ///
    /// # Errors
    /// Every error of the device.
    pub fn download(&self, engine: &mut dyn Engine) -> Result<Vec<Vec<f32>>> {
        let mut tensors = Vec::new();
        for tensor in self.gpt2.iter() {
            tensors.push(match tensor {
                Some(tensor) => download(engine, tensor)?,
                None => Vec::new(),
            });
        }
        Ok(tensors)
    }
}

/// Replaces the values of tensors, each row-major, one after another; the padding stays 0. Values that are given away are
/// freed as soon as they are on the device, which may share the host's memory.
///
/// # Errors
/// Every error of the device.
///
/// # Panics
/// If a tensor has fewer values than its rows and columns say.
pub fn write<'t, V: AsRef<[f32]>>(
    engine: &mut dyn Engine,
    tensors: impl Iterator<Item = &'t Tensor>,
    values: impl IntoIterator<Item = V>,
) -> Result<()> {
    for (tensor, values) in tensors.zip(values) {
        engine.write_pieces(tensor.pieces(), bytemuck::cast_slice(values.as_ref()))?;
    }
    Ok(())
}

/// Makes a buffer of zeros for each arena; messages name a buffer by `what` and the arena's number.
///
/// # Errors
/// `Error::OutOfMemory` if they do not fit; nothing is left on the device then.
pub fn create(engine: &mut dyn Engine, arenas: &[Arena], what: &str) -> Result<Vec<Buffer>> {
    let mut made = Vec::with_capacity(arenas.len());
    for (i, arena) in arenas.iter().enumerate() {
        let kind = match arena.matrices {
            true => "matrices",
            false => "vectors",
        };
        match engine.create(&format!("{what} {i} ({kind})"), arena.words) {
            Ok(buffer) => made.push(buffer),
            Err(e) => {
                made.release(engine);
                return Err(e);
            }
        }
    }
    Ok(made)
}

impl Release for Tensors {
    fn release(self, engine: &mut dyn Engine) {
        self.arenas.release(engine);
    }
}

impl Release for Gradients {
    fn release(self, engine: &mut dyn Engine) {
        self.arenas.release(engine);
    }
}

/// The values of a tensor, row-major, without padding.
fn download(engine: &mut dyn Engine, tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(bytemuck::cast_vec(engine.read_pieces(tensor.pieces())?))
}
