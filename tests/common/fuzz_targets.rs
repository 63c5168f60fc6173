//! The functions that fuzzing calls. Each gives bytes to a parser, which must not panic, whatever the bytes are. Where
//! the parser has a writer, what is written must be read as the same again. A function returns true if its parser
//! took the bytes.
//!
//! `tests/library/mutations.rs` calls them on stable Rust, `fuzz/fuzz_targets` calls them with cargo-fuzz.

// Each of cargo-fuzz's programs calls one function.
#![allow(dead_code, unused_imports)]

#[path = "fuzz_targets/models.rs"]
mod models;
#[path = "fuzz_targets/records.rs"]
mod records;
#[path = "fuzz_targets/runs.rs"]
mod runs;
#[path = "fuzz_targets/tokenizers.rs"]
mod tokenizers;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use gpt2_dpo::model::Dims;
use gpt2_dpo::pretrained::WEIGHTS_FILE;
use gpt2_dpo::storage::{Fill, Folder};
use gpt2_dpo::{Error, Result};
use tempfile::TempDir;

pub use models::{adapter_config, adapter_weights, config_json, generation_config, weights};
pub use records::{records_json, records_jsonl, records_packed, records_parquet};
pub use runs::{
    autotune_table, checkpoint_manifest, checkpoint_position, reference_cache, run_toml,
};
pub use tokenizers::{chat_template, tokenizer_folder, tokenizer_json};

/// For cargo-fuzz, whose panic hook ends the program: the hook passes over the panics of other crates that this one turns
/// into errors.
pub fn pass_over_guarded_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !gpt2_dpo::guard::is_guarded() {
            hook(panic);
        }
    }));
}

/// The sizes of a model whose weights fit into a small file.
const DIMS: Dims = Dims {
    vocab_size: 3,
    n_positions: 2,
    n_embd: 2,
    n_layer: 1,
    n_head: 1,
    n_inner: 2,
    epsilon: 1e-5,
};

thread_local! {
    /// The folder of all files that a thread writes.
    static FOLDER: TempDir = tempfile::tempdir().unwrap();
}

/// A folder of that name in the thread's folder.
fn folder(name: &str) -> PathBuf {
    let path = FOLDER.with(|folder| folder.path().join(name));
    fs::create_dir_all(&path).unwrap();
    path
}

/// A folder in memory.
#[derive(Debug, Default, PartialEq)]
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    /// Leave the weights out: a file may claim that they are larger than the machine's memory.
    without_weights: bool,
}

impl Folder for Memory {
    fn write(&mut self, name: &str, fill: Fill) -> Result<()> {
        let mut bytes = Vec::new();
        if !self.without_weights || name != WEIGHTS_FILE {
            fill(&mut bytes).map_err(|e| Error::io("write", name, e))?;
        }
        self.files.insert(name.to_owned(), bytes);
        Ok(())
    }
}
