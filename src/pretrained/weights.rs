//! All parameters of a model, read from safetensors into f32.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::path::Path;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;
use sha2::{Digest, Sha256};

use super::foreign::{self, Foreign};
use super::save::{NamedShape, TensorSource};
use super::source::{self, Shard, Stored};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::model::Dims;
use crate::model::params::{self, Param, Role};

/// The output head. It is tied to `wte`: files store both tensors, or only one of the two.
const HEAD: &str = "lm_head.weight";

/// Values of a tensor that are read at once: large enough for few calls, small enough for a cache.
const BLOCK: usize = 1 << 16;

// Saved files and fingerprints take the values' bytes as they lie in memory.
const _: () = assert!(
    cfg!(target_endian = "little"),
    "little-endian machines only"
);

/// All parameters in the order of [`params::table`], row-major f32. Values read from a file are finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// One tensor per row of the table, with `rows * cols` values.
    pub tensors: Vec<Vec<f32>>,
}

impl Weights {
    /// Reads `model.safetensors`, or the shards of `model.safetensors.index.json`, from the model
    /// folder `dir`. F32, F16 and BF16 are read, names with and without `transformer.`, and the head
    /// where `wte`, which it is tied to, is not there. Each tensor is read straight into its vector:
    /// beside those no copy of the weights is held.
    ///
    /// # Errors
    /// `Error::Tensor`, naming file and tensor, if a parameter is missing, stored twice, misshapen, of
    /// another type or not finite, if there is a tensor that this GPT-2 does not have, or if the head is
    /// not tied to `wte`; `Error::File` if there are no weights in `dir`, or a file is damaged or
    /// becomes shorter while it is read; `Error::Io` if one cannot be read.
    pub fn load(dir: &Path, dims: &Dims) -> Result<Weights> {
        let files = source::find(dir)?;
        let shards = files.shards.iter().map(|path| Shard::open(path));
        let shards = shards.collect::<Result<Vec<_>>>()?;
        read(&files.main, source::tensors(&shards)?, dims)
    }

    /// Parses the bytes of one safetensors file as [`Weights::load`] does. Errors name the file `origin`.
    ///
    /// # Errors
    /// `Error::Tensor` and `Error::File` as for [`Weights::load`].
    pub fn parse(bytes: &[u8], origin: &Path, dims: &Dims) -> Result<Weights> {
        let shards = [Shard::in_memory(origin, bytes)];
        read(origin, source::tensors(&shards)?, dims)
    }
}

impl TensorSource for &Weights {
    fn write(&mut self, tensor: usize, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(bytemuck::cast_slice(&self.tensors[tensor]))
    }
}

/// SHA-256 in hex of the dims and all values. Equal models have equal fingerprints, whatever file and number
/// type they were read from.
pub fn fingerprint(dims: &Dims, weights: &Weights) -> String {
    let Dims {
        vocab_size,
        n_positions,
        n_embd,
        n_layer,
        n_head,
        n_inner,
        epsilon,
    } = *dims;
    let mut hash = Sha256::new();
    for size in [vocab_size, n_positions, n_embd, n_layer, n_head, n_inner] {
        hash.update((size as u64).to_le_bytes());
    }
    hash.update(epsilon.to_le_bytes());
    for values in &weights.tensors {
        hash.update(bytemuck::cast_slice(values));
    }
    hex(hash.finalize())
}

/// Reads the f32 tensors of a safetensors file that this crate wrote, one after another, and gives `take` the values
/// of each with its index.
///
/// # Errors
/// `Error::Tensor` for a tensor that is missing or of another type or shape; `Error::File` for a file that is damaged;
/// `Error::Io`; every error of `take`.
pub(crate) fn read_tensors(
    path: &Path,
    tensors: &[NamedShape],
    take: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let shards = [Shard::open(path)?];
    let stored = source::tensors(&shards)?;
    let mut values = Vec::new();
    for (i, NamedShape { name, shape }) in tensors.iter().enumerate() {
        let found = stored
            .get(name)
            .filter(|tensor| tensor.dtype == Dtype::F32 && tensor.shape == *shape);
        let Some(tensor) = found else {
            let what = format!("missing, or not F32 of the shape {shape:?}");
            return Err(Error::tensor(path, name, what, "take another checkpoint"));
        };
        values.resize(shape.iter().product(), 0.0);
        tensor.read_at(0, bytemuck::cast_slice_mut(&mut values))?;
        take(i, &values)?;
    }
    Ok(())
}

fn read(main: &Path, mut stored: BTreeMap<String, Stored>, dims: &Dims) -> Result<Weights> {
    let table = params::table(dims);
    let wte = &table[0].name;
    let mut head = stored.remove(HEAD);
    if !stored.contains_key(wte) {
        // `safetensors.torch.save_model` keeps only the first name of a tied tensor: the head.
        stored.extend(head.take().map(|head| (wte.clone(), head)));
    }
    refuse_unknown(&stored, &table, dims)?;

    let convert = |param: &Param| match stored.get(&param.name) {
        Some(tensor) => to_f32(tensor, param),
        None => Err(Error::tensor(
            main,
            &param.name,
            "missing",
            format!(
                "config.json says {} layers: is it of this model, and is the file whole?",
                dims.n_layer
            ),
        )),
    };
    // Errors are collected after the parallel conversion, so the first error in the table's order is reported.
    let converted: Vec<Result<Vec<f32>>> = table.par_iter().map(convert).collect();
    let tensors = converted.into_iter().collect::<Result<_>>()?;

    if let (Some(head), Some(wte)) = (head, stored.get(wte)) {
        refuse_untied(&head, wte)?;
    }
    Ok(Weights { tensors })
}

fn refuse_unknown(stored: &BTreeMap<String, Stored>, table: &[Param], dims: &Dims) -> Result<()> {
    let known: HashSet<&str> = table.iter().map(|param| param.name.as_str()).collect();
    let Some((name, tensor)) = stored.iter().find(|(name, _)| !known.contains(&name[..])) else {
        return Ok(());
    };
    let refused = |what: &str, help| Error::tensor(tensor.path(), &tensor.name, what, help);
    Err(match foreign::of_tensor(name) {
        Some(Foreign { what, help }) => refused(what, help),
        None => refused(
            &format!(
                "no parameter of the GPT-2 of {} layers that config.json describes",
                dims.n_layer
            ),
            "give the weights of a GPT2LMHeadModel, with the config.json that belongs to them",
        ),
    })
}

fn refuse_untied(head: &Stored, wte: &Stored) -> Result<()> {
    if head.equals(wte)? {
        return Ok(());
    }
    Err(Error::tensor(
        head.path(),
        &head.name,
        format!("differs from `{}`", wte.name),
        "a head of its own is not implemented: supported is GPT-2's, which is tied to wte",
    ))
}

/// Converts a stored tensor to the f32 values of `param`.
pub(super) fn to_f32(stored: &Stored, param: &Param) -> Result<Vec<f32>> {
    let fail = |what: String, help: &str| Error::tensor(stored.path(), &stored.name, what, help);
    if stored.shape != param.shape() {
        let transposed: Vec<usize> = param.shape().into_iter().rev().collect();
        let help = if param.role == Role::Matrix && stored.shape == transposed {
            "transpose it: GPT-2's matrices are [in, out], transformers' Conv1D, where a torch.nn.Linear \
             has [out, in]"
        } else {
            "use the config.json that belongs to these weights"
        };
        return Err(fail(
            format!(
                "its shape is {:?}, but config.json makes it {:?}",
                stored.shape,
                param.shape()
            ),
            help,
        ));
    }
    let read: ReadBlock = match stored.dtype {
        Dtype::F32 => read_block,
        Dtype::F16 => read_halves::<f16>,
        Dtype::BF16 => read_halves::<bf16>,
        other => {
            return Err(fail(
                format!("its type is {other}; read are F32, F16 and BF16"),
                "save the model anew in one of these types; of a quantised model, take the one that it was \
             made from",
            ));
        }
    };
    // The file holds as many values: its header was checked against its length, the shape against it.
    let mut values = vec![0.0; param.len()];
    let count = values.len();
    let fill = |scratch: &mut Vec<u8>, (block, values): (usize, &mut [f32])| {
        let first = block * BLOCK;
        read(stored, first, values, scratch)?;
        match values.iter().position(|x| !x.is_finite()) {
            Some(i) => Err(fail(
                format!("value {} of {count} is {}", first + i, values[i]),
                "the model is damaged, most likely by a training run that diverged: take another",
            )),
            None => Ok(()),
        }
    };
    let blocks = values.par_chunks_mut(BLOCK).enumerate();
    // In two steps, so that of several errors it is always the first in the tensor.
    let filled: Vec<Result<()>> = blocks.map_init(Vec::new, fill).collect();
    filled.into_iter().collect::<Result<()>>()?;
    Ok(values)
}

/// Fills the values from a tensor's value of that index on; the last argument is memory to use again.
type ReadBlock = fn(&Stored, usize, &mut [f32], &mut Vec<u8>) -> Result<()>;

/// Reads F32 from the tensor's value `first` on, straight to where they stay.
fn read_block(stored: &Stored, first: usize, out: &mut [f32], _: &mut Vec<u8>) -> Result<()> {
    stored.read_at(size_of::<f32>() * first, bytemuck::cast_slice_mut(out))
}

/// Reads F16 or BF16 from the tensor's value `first` on by way of `scratch`.
fn read_halves<T: Half>(
    stored: &Stored,
    first: usize,
    out: &mut [f32],
    scratch: &mut Vec<u8>,
) -> Result<()> {
    scratch.resize(2 * out.len(), 0);
    stored.read_at(2 * first, scratch)?;
    let (halves, _) = scratch.as_chunks::<2>();
    for (value, &half) in out.iter_mut().zip(halves) {
        *value = T::widen(half);
    }
    Ok(())
}

/// A type of two bytes, each of whose values an f32 holds exactly.
trait Half {
    fn widen(bytes: [u8; 2]) -> f32;
}

impl Half for f16 {
    fn widen(bytes: [u8; 2]) -> f32 {
        f16::from_le_bytes(bytes).to_f32()
    }
}

impl Half for bf16 {
    fn widen(bytes: [u8; 2]) -> f32 {
        bf16::from_le_bytes(bytes).to_f32()
    }
}

#[cfg(test)]
mod tests;
