//! Makes models for a test, and damages models for a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gpt2_dpo::model::Dims;
use gpt2_dpo::pretrained::{self, Config};
use gpt2_dpo::storage::Replacing;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::{Map, Value};

use crate::sandbox::Sandbox;

/// Puts an untrained model with the starter's tokenizer into the sandbox.
pub fn untrained(sandbox: &Sandbox, name: &str, vocab_size: usize, n_embd: usize) {
    untrained_with_positions(sandbox, name, 128, vocab_size, n_embd);
}

/// [`untrained`] for texts of up to `n_positions` tokens.
pub fn untrained_with_positions(
    sandbox: &Sandbox,
    name: &str,
    n_positions: usize,
    vocab_size: usize,
    n_embd: usize,
) {
    let dims = Dims {
        vocab_size,
        n_positions,
        n_embd,
        n_layer: 2,
        n_head: 4,
        n_inner: 4 * n_embd,
        epsilon: 1e-5,
    };
    let dir = sandbox.starter(name);
    let weights = pretrained::initial(&dims, 5);
    let mut folder = Replacing::on_disk(&dir);
    pretrained::save(&mut folder, &Config::new(&dims, Some(0)), &mut &weights).unwrap();
}

/// A tensor as it is stored in a file.
#[derive(Clone)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// The tensors of a model folder's file.
pub fn tensors(dir: &Path) -> BTreeMap<String, Stored> {
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |(name, view): (String, TensorView)| {
        let stored = Stored {
            dtype: view.dtype(),
            shape: view.shape().to_owned(),
            bytes: view.data().to_owned(),
        };
        (name, stored)
    };
    file.tensors().into_iter().map(stored).collect()
}

/// Changes the tensors of a model folder's file.
pub fn edit_tensors(dir: &Path, edit: impl FnOnce(&mut BTreeMap<String, Stored>)) {
    let mut all = tensors(dir);
    edit(&mut all);
    let views = all.iter().map(|(name, t)| {
        let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap();
        (name, view)
    });
    let file = serialize(views, None).unwrap();
    fs::write(dir.join("model.safetensors"), file).unwrap();
}

/// Changes a model folder's config.json.
pub fn edit_config(dir: &Path, edit: impl FnOnce(&mut Map<String, Value>)) {
    let path = dir.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(path, Value::Object(config).to_string()).unwrap();
}
