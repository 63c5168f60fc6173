//! Adapters as PEFT saves and trains them: files, logits, merged weights, and ten AdamW steps. The fixtures are float64
//! results of tests/lora/make_fixtures.py.

mod fidelity;
mod files;
mod runs;

use std::path::{Path, PathBuf};

use gpt2_dpo::pretrained::{Adapter, Model};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::common;

/// The adapters of the fixture: every linear layer; and two kinds of layers of one block, by their number, with rsLoRA.
const NAMES: [&str; 2] = ["all", "part"];

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lora")
}

/// What PEFT and PyTorch make of the golden policy with the adapters.
struct Expected {
    tensors: Vec<u8>,
    scalars: Value,
}

impl Expected {
    fn load() -> Expected {
        let scalars = std::fs::read(dir().join("expected.json")).unwrap();
        Expected {
            tensors: std::fs::read(dir().join("expected.safetensors")).unwrap(),
            scalars: serde_json::from_slice(&scalars).unwrap(),
        }
    }

    fn tensor(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.tensors).unwrap();
        bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data())
    }

    /// The names of the tensors that begin so, without the beginning.
    fn names(&self, prefix: &str) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.tensors).unwrap();
        let names = file.names().into_iter();
        let mut names: Vec<String> = names
            .filter_map(|name| name.strip_prefix(prefix).map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    fn number(&self, path: &str) -> f64 {
        self.scalars.pointer(path).unwrap().as_f64().unwrap()
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        let list = self.scalars[key].as_array().unwrap();
        list.iter().map(|v| v.as_f64().unwrap()).collect()
    }
}

fn adapter(name: &str, model: &Model) -> Adapter {
    Adapter::load(&dir().join(name), &model.outline.config.dims).unwrap()
}

fn base() -> Model {
    common::model()
}
