//! All parameters of a model, read from safetensors into f32.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;
use sha2::{Digest, Sha256};

use super::foreign::{self, Foreign};
use super::source::{self, Stored};
use crate::error::{Error, Result};
use crate::model::Dims;
use crate::model::params::{self, Param, Role};

/// The output head. It is tied to `wte`: files store both tensors, or only one of the two.
const HEAD: &str = "lm_head.weight";

// Saved files and fingerprints use the in-memory bytes of the values.
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
    /// Reads `model.safetensors`, or the shards of `model.safetensors.index.json`, from the model folder `dir`.
    /// Supports F32, F16 and BF16, and names with and without `transformer.`. If `wte` is missing, the tied
    /// head takes its place.
    ///
    /// # Errors
    /// `Error::Tensor` with the file and the tensor: if a parameter is missing, stored twice, or not finite, or
    /// has a wrong shape or an unsupported type; if this GPT-2 has no such tensor; or if the head is not tied
    /// to `wte`. `Error::File` if `dir` holds no weights or a file is damaged. `Error::Io` if a file cannot be
    /// read.
    pub fn load(dir: &Path, dims: &Dims) -> Result<Weights> {
        let files = source::find(dir)?;
        let maps = files
            .shards
            .iter()
            .map(|path| source::map(path))
            .collect::<Result<Vec<_>>>()?;
        let bytes = maps.iter().map(|map| &map[..]);
        let shards = files.shards.iter().map(|path| path.as_path()).zip(bytes);
        read(&files.main, source::tensors(shards)?, dims)
    }

    /// Parses the bytes of one safetensors file as [`Weights::load`] does. Errors name the file `origin`.
    ///
    /// # Errors
    /// `Error::Tensor` and `Error::File` as for [`Weights::load`].
    pub fn parse(bytes: &[u8], origin: &Path, dims: &Dims) -> Result<Weights> {
        read(origin, source::tensors([(origin, bytes)])?, dims)
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
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
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
    let refused = |what: &str, help| Error::tensor(tensor.path, &tensor.name, what, help);
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
    let same = head.view.dtype() == wte.view.dtype()
        && head.view.shape() == wte.view.shape()
        && head.view.data() == wte.view.data();
    if same {
        return Ok(());
    }
    Err(Error::tensor(
        head.path,
        &head.name,
        format!("differs from `{}`", wte.name),
        "a head of its own is not implemented: supported is GPT-2's, which is tied to wte",
    ))
}

/// Converts a stored tensor to the f32 values of `param`.
fn to_f32(stored: &Stored, param: &Param) -> Result<Vec<f32>> {
    let fail = |what: String, help: &str| Error::tensor(stored.path, &stored.name, what, help);
    if stored.view.shape() != param.shape() {
        let transposed: Vec<usize> = param.shape().into_iter().rev().collect();
        let help = if param.role == Role::Matrix && stored.view.shape() == transposed {
            "transpose it: GPT-2's matrices are [in, out], transformers' Conv1D, where a torch.nn.Linear \
             has [out, in]"
        } else {
            "use the config.json that belongs to these weights"
        };
        return Err(fail(
            format!(
                "its shape is {:?}, but config.json makes it {:?}",
                stored.view.shape(),
                param.shape()
            ),
            help,
        ));
    }
    let bytes = stored.view.data();
    let values = match stored.view.dtype() {
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        other => {
            return Err(fail(
                format!("its type is {other}; read are F32, F16 and BF16"),
                "save the model anew in one of these types; of a quantised model, take the one that it was \
             made from",
            ));
        }
    };
    match values.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(fail(
            format!("value {i} of {} is {}", values.len(), values[i]),
            "the model is damaged, most likely by a training run that diverged: take another",
        )),
        None => Ok(values),
    }
}

/// Converts `bytes` to f32, `N` bytes per value.
fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|&value| convert(value)).collect()
}

#[cfg(test)]
mod tests;
