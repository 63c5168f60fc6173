//! Low-rank adapters on disk, as PEFT saves and loads them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! PEFT keeps A and B as two `torch.nn.Linear`, of the shapes `[rank, in]` and `[out, rank]`. Here they are `[in, rank]`
//! and `[rank, out]`, as all matrices of a GPT-2, so both are transposed on their way.

mod config;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::initial::uniform;
use super::save::{NamedShape, TensorSource, write_json, write_tensors};
use super::source::{self, Shard, Stored};
use super::weights::to_f32;
use super::{ADAPTER_FILE, PREFIX, Weights};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::model::params::{self, Param};
use crate::model::{Dims, Gpt2, Targets};
use crate::storage::Folder;

pub use config::{AdapterConfig, MAX_RANK};

/// The file of an adapter's weights. It is written last, so a folder with this file holds a whole adapter.
pub const ADAPTER_WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// The prefix of PEFT's names of tensors.
const PEFT_PREFIX: &str = "base_model.model.";

/// An adapter: its settings and its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// The settings; their targets are known.
    pub config: AdapterConfig,
    /// A `[in, rank]` and B `[rank, out]` of each layer with an adapter, in the order of [`Gpt2::adapters`].
    pub tensors: Vec<Vec<f32>>,
}

impl Adapter {
    /// The adapter before its first step, which changes nothing: B is 0, and A is uniform between ±1/√in, as PEFT's
    /// (`kaiming_uniform_` with a = √5).
    ///
    /// The values of a seed are the same on every platform: the A of linear layer `i` draws from stream `i` of ChaCha8, in
    /// f64, and is rounded once to f32. So they do not depend on which other layers have an adapter.
    pub fn initial(config: AdapterConfig, dims: &Dims, seed: u64) -> Adapter {
        let model = with_adapters(dims, &config);
        let mut tensors = Vec::new();
        for (stream, linear) in model.linears().enumerate() {
            let Some(adapter) = &linear.adapter else {
                continue;
            };
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream as u64);
            let bound = 1.0 / (adapter.a.rows as f64).sqrt();
            let mut draw = || ((2.0 * uniform(&mut rng) - 1.0) * bound) as f32;
            tensors.push((0..adapter.a.len()).map(|_| draw()).collect());
            tensors.push(vec![0.0; adapter.b.len()]);
        }
        Adapter { config, tensors }
    }

    /// Reads the adapter in the folder `dir`, of a model of these dims. F32, F16 and BF16 are read.
    ///
    /// # Errors
    /// As [`AdapterConfig::load`]; `Error::File` if there are no weights or their file is damaged; `Error::Tensor` for a
    /// tensor that is missing, not an adapter's, of another shape or type, or not finite.
    pub fn load(dir: &Path, dims: &Dims) -> Result<Adapter> {
        let config = AdapterConfig::load(dir)?;
        let path = dir.join(ADAPTER_WEIGHTS_FILE);
        if !path.is_file() {
            let pickle = dir.join("adapter_model.bin").is_file();
            let what = match pickle {
                true => "the adapter's weights are a Python pickle, which is not read here",
                false => "there are no weights beside adapter_config.json",
            };
            let help = "save it in Python with PEFT's save_pretrained, which writes adapter_model.safetensors";
            return Err(Error::file(&path, what, help));
        }
        let shards = [Shard::open(&path)?];
        read(&path, source::tensors(&shards)?, config, dims)
    }

    /// Parses the bytes of an `adapter_model.safetensors` as [`Adapter::load`] does. Errors name the file `origin`.
    ///
    /// # Errors
    /// `Error::File` and `Error::Tensor` as there.
    pub fn parse(
        bytes: &[u8],
        origin: &Path,
        config: AdapterConfig,
        dims: &Dims,
    ) -> Result<Adapter> {
        let shards = [Shard::in_memory(origin, bytes)];
        read(origin, source::tensors(&shards)?, config, dims)
    }

    /// The parameters of a model of these dims with these adapters.
    pub fn model(&self, dims: &Dims) -> Gpt2<Param> {
        with_adapters(dims, &self.config)
    }

    /// Adds scale · A · B to the weights of its layers: the model that the base computes with the adapter. The sums are
    /// made in f64 and rounded once.
    pub fn merge_into(&self, dims: &Dims, weights: &mut Weights) {
        let table = params::table(dims);
        let places: HashMap<&str, usize> = table
            .iter()
            .enumerate()
            .map(|(i, param)| (&param.name[..], i))
            .collect();
        let (rank, scale) = (self.config.rank, f64::from(self.config.scale()));
        let model = self.model(dims);
        let adapted = model.linears().filter(|linear| linear.adapter.is_some());
        for (linear, ab) in adapted.zip(self.tensors.chunks_exact(2)) {
            let (a, b, cols) = (&ab[0], &ab[1], linear.weight.cols);
            let weight = &mut weights.tensors[places[&linear.weight.name[..]]];
            let rows = weight
                .par_chunks_exact_mut(cols)
                .zip(a.par_chunks_exact(rank));
            rows.for_each_init(
                || vec![0.0; cols],
                |sums, (row, a)| {
                    sums.fill(0.0);
                    for (&a, b) in a.iter().zip(b.chunks_exact(cols)) {
                        let a = scale * f64::from(a);
                        for (sum, &b) in sums.iter_mut().zip(b) {
                            *sum += a * f64::from(b);
                        }
                    }
                    for (weight, sum) in row.iter_mut().zip(sums) {
                        *weight = (f64::from(*weight) + *sum) as f32;
                    }
                },
            );
        }
    }

    /// SHA-256 in hex of the base's fingerprint and of what the adapter adds to it.
    pub fn fingerprint(&self, base: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(base);
        hash.update((self.config.rank as u64).to_le_bytes());
        hash.update(self.config.scale().to_le_bytes());
        for values in &self.tensors {
            hash.update((values.len() as u64).to_le_bytes());
            hash.update(bytemuck::cast_slice(values));
        }
        hex(hash.finalize())
    }
}

/// Writes an adapter's two files, the weights last. `values` gives A `[in, rank]` and B `[rank, out]` of each layer of a
/// model of these dims, in the order of [`Gpt2::adapters`].
///
/// # Errors
/// `Error::Io` if a file cannot be written.
pub(super) fn save(
    folder: &mut dyn Folder,
    config: &AdapterConfig,
    dims: &Dims,
    values: &mut dyn TensorSource,
) -> Result<()> {
    write_json(folder, ADAPTER_FILE, &config.to_json())?;
    let model = with_adapters(dims, config);
    let params: Vec<&Param> = model.adapters().collect();
    let stored: Vec<NamedShape> = params.iter().map(|param| stored(param)).collect();
    let mut turned = Turned {
        params: &params,
        values,
    };
    folder.write(ADAPTER_WEIGHTS_FILE, &mut |out| {
        write_tensors(out, &stored, &mut turned)
    })
}

/// A tensor of an adapter as PEFT names and shapes it.
fn stored(param: &Param) -> NamedShape {
    NamedShape {
        name: stored_name(&param.name),
        shape: vec![param.cols, param.rows],
    }
}

/// PEFT's name of an adapter's tensor.
fn stored_name(name: &str) -> String {
    format!("{PEFT_PREFIX}{PREFIX}{name}")
}

/// A source of matrices, transposed.
struct Turned<'a> {
    params: &'a [&'a Param],
    values: &'a mut dyn TensorSource,
}

impl TensorSource for Turned<'_> {
    fn write(&mut self, tensor: usize, out: &mut dyn Write) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.values.write(tensor, &mut bytes)?;
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
        let param = self.params[tensor];
        if values.len() != param.len() {
            let what = format!("{} has not the size of its shape", param.name);
            return Err(io::Error::other(what));
        }
        out.write_all(bytemuck::cast_slice(&transposed(&values, param.cols)))
    }
}

/// A matrix with so many columns, transposed.
fn transposed(values: &[f32], cols: usize) -> Vec<f32> {
    let rows = values.len() / cols.max(1);
    let column = |col| (0..rows).map(move |row| values[row * cols + col]);
    (0..cols).flat_map(column).collect()
}

/// Reads the adapter in the folder `dir` that this crate wrote for these parameters, and gives `take` the values of each
/// in its order, as it lies on a device.
///
/// # Errors
/// `Error::Tensor` and `Error::File` for other files; `Error::Io`; every error of `take`.
pub(crate) fn read_adapter(
    dir: &Path,
    params: &[NamedShape],
    take: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let turned: Vec<NamedShape> = params
        .iter()
        .map(|param| NamedShape {
            name: stored_name(&param.name),
            shape: param.shape.iter().rev().copied().collect(),
        })
        .collect();
    let path = dir.join(ADAPTER_WEIGHTS_FILE);
    super::read_tensors(&path, &turned, &mut |i, values| {
        let cols = turned[i].shape.last().copied().unwrap_or(1);
        take(i, &transposed(values, cols))
    })
}

fn with_adapters(dims: &Dims, config: &AdapterConfig) -> Gpt2<Param> {
    params::gpt2(dims).with_adapters(&config.adapters())
}

/// The two tensors of an adapter in a file.
#[derive(Default)]
struct Halves<'a> {
    a: Option<Stored<'a>>,
    b: Option<Stored<'a>>,
}

fn read(
    path: &Path,
    stored: BTreeMap<String, Stored>,
    config: AdapterConfig,
    dims: &Dims,
) -> Result<Adapter> {
    let mut layers: BTreeMap<String, Halves> = BTreeMap::new();
    for (name, tensor) in stored {
        let short = name.strip_prefix(PEFT_PREFIX).unwrap_or(&name);
        let short = short.strip_prefix(PREFIX).unwrap_or(short);
        if let Some(layer) = short.strip_suffix(".lora_A.weight") {
            layers.entry(layer.to_owned()).or_default().a = Some(tensor);
        } else if let Some(layer) = short.strip_suffix(".lora_B.weight") {
            layers.entry(layer.to_owned()).or_default().b = Some(tensor);
        } else {
            let what = "no part of a LoRA beside a linear layer: not implemented";
            let help = "give an adapter with lora_A and lora_B of c_attn, c_proj or c_fc alone";
            return Err(Error::tensor(path, &tensor.name, what, help));
        }
    }
    let config = AdapterConfig {
        targets: Some(targets(path, &layers, &config, dims)?),
        ..config
    };
    let model = with_adapters(dims, &config);
    let mut tensors = Vec::new();
    for linear in model.linears() {
        let Some(adapter) = &linear.adapter else {
            continue;
        };
        let Halves { a, b } = layers.remove(linear.weight.layer()).unwrap_or_default();
        for (param, tensor) in [(&adapter.a, a), (&adapter.b, b)] {
            let Some(tensor) = tensor else {
                let name = stored_name(&param.name);
                let help = "save the adapter anew with PEFT's save_pretrained";
                return Err(Error::tensor(path, &name, "missing", help));
            };
            tensors.push(values(path, &tensor, param)?);
        }
    }
    Ok(Adapter { config, tensors })
}

/// The layers that have an adapter in a file.
fn targets(
    path: &Path,
    layers: &BTreeMap<String, Halves>,
    config: &AdapterConfig,
    dims: &Dims,
) -> Result<Targets> {
    let model = params::gpt2(dims);
    let all: Vec<&str> = model
        .linears()
        .map(|linear| linear.weight.layer())
        .collect();
    let help = "give the base model that the adapter was trained beside";
    if let Some(layer) = layers.keys().find(|layer| !all.contains(&&layer[..])) {
        let name = stored_name(&format!("{layer}.lora_A.weight"));
        let what = format!("no linear layer of a GPT-2 of {} layers", dims.n_layer);
        return Err(Error::tensor(path, &name, what, help));
    }
    if layers.is_empty() {
        return Err(Error::file(
            path,
            "it has no adapter of a linear layer",
            help,
        ));
    }
    let asked = |targets: &Targets| -> Vec<&str> {
        all.iter()
            .copied()
            .filter(|layer| targets.has(layer))
            .collect()
    };
    let found: Vec<&str> = all
        .iter()
        .copied()
        .filter(|layer| layers.contains_key(*layer))
        .collect();
    if let Some(targets) = &config.targets {
        let asked = asked(targets);
        if let Some(absent) = asked.iter().find(|layer| !found.contains(layer)) {
            let name = stored_name(&format!("{absent}.lora_A.weight"));
            let what = "missing, and `target_modules` of adapter_config.json names its layer";
            return Err(Error::tensor(path, &name, what, help));
        }
        let names_others = targets.first_absent(all.iter().copied()).is_some();
        if asked == found && found.len() < all.len() && !names_others {
            return Ok(targets.clone());
        }
    }
    if found.len() == all.len() {
        return Ok(Targets::all());
    }
    let names = found.iter().map(|layer| (*layer).to_owned()).collect();
    Ok(Targets::of(names).unwrap_or_else(Targets::all))
}

/// The values of an adapter's parameter, from a tensor of the transposed shape.
fn values(path: &Path, tensor: &Stored, param: &Param) -> Result<Vec<f32>> {
    let as_stored = Param {
        rows: param.cols,
        cols: param.rows,
        ..param.clone()
    };
    if tensor.shape != as_stored.shape() {
        let what = format!(
            "its shape is {:?}, but rank and base model make it {:?}",
            tensor.shape,
            as_stored.shape()
        );
        let help = "give the base model that the adapter was trained beside, and its own adapter_config.json";
        return Err(Error::tensor(path, &tensor.name, what, help));
    }
    Ok(transposed(&to_f32(tensor, &as_stored)?, as_stored.cols))
}

/// The folder of an adapter, if `dir` is one.
pub fn is_adapter(dir: &Path) -> bool {
    dir.join(ADAPTER_FILE).is_file()
}

/// The folder or hub name of a base model, and its revision, from the text by which an option names it.
pub fn base_of(model: Option<&PathBuf>) -> (Option<String>, Option<String>) {
    let Some(model) = model else {
        return (None, None);
    };
    let text = model.to_string_lossy().into_owned();
    match text.split_once('@') {
        Some((name, revision)) if !model.exists() => {
            (Some(name.to_owned()), Some(revision.to_owned()))
        }
        _ => (Some(text), None),
    }
}

#[cfg(test)]
mod tests;
