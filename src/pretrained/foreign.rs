//! Recognizes models of unsupported kinds, and says how to convert them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{ADAPTER_FILE, CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE};
use crate::error::Error;

const WANTED: &str = "give the folder of a Hugging Face GPT-2 (config.json, model.safetensors, \
    tokenizer.json), or name one of the Hub: openai-community/gpt2";

/// An unsupported kind of model: its description, and advice.
pub(super) struct Foreign {
    pub what: &'static str,
    pub help: &'static str,
}

const ADAPTER: Foreign = Foreign {
    what: "an adapter, not a whole model",
    help: "give its base as `.model` and it as `.adapter`, or make a whole model of the two with `gpt2-dpo merge`; where \
        whole weights are beside it and it is not wanted, move its files away",
};
const PICKLE: Foreign = Foreign {
    what: "the weights are a Python pickle, which is not read here",
    help: "convert them once, in Python: \
        transformers.AutoModelForCausalLM.from_pretrained(\"OLD\").save_pretrained(\"NEW\")",
};
const STATE: Foreign = Foreign {
    what: "what a training script of its own has saved, which is not read here",
    help: "load it in Python as that script does, into a transformers.GPT2LMHeadModel, and use its \
        save_pretrained(\"NEW\")",
};
const OPENAI: Foreign = Foreign {
    what: "the weights are a TensorFlow checkpoint, as OpenAI published GPT-2, which is not read here",
    help: "take the same model from the Hub: openai-community/gpt2, or gpt2-medium, gpt2-large, gpt2-xl",
};
const TENSORFLOW: Foreign = Foreign {
    what: "the weights are TensorFlow's, which are not read here",
    help: "take the model's safetensors if there are any, or convert with transformers 4 (5 reads them \
        no more): GPT2LMHeadModel.from_pretrained(\"OLD\", from_tf=True).save_pretrained(\"NEW\")",
};
const FLAX: Foreign = Foreign {
    what: "the weights are Flax's, which are not read here",
    help: "take the model's safetensors if there are any, or convert with transformers 4 (5 reads them \
        no more): GPT2LMHeadModel.from_pretrained(\"OLD\", from_flax=True).save_pretrained(\"NEW\")",
};
const GGUF: Foreign = Foreign {
    what: "the weights are in llama.cpp's format, which is not read here",
    help: "take the model that they were converted from; or, with the digits they have left, in Python: \
        transformers.AutoModelForCausalLM.from_pretrained(\"OLD\", gguf_file=\"NAME.gguf\")\
        .save_pretrained(\"NEW\")",
};
const EXPORT: Foreign = Foreign {
    what: "a model exported for inference, which cannot be trained",
    help: "take the model that it was exported from: one with model.safetensors",
};
const SHARDS: Foreign = Foreign {
    what: "shards without their model.safetensors.index.json, which says what is in which",
    help: "download that file too",
};
const OTHER_NAME: Foreign = Foreign {
    what: "no model.safetensors here, but another safetensors file",
    help: "rename it to model.safetensors if it holds a whole GPT-2",
};
const NO_CONFIG: Foreign = Foreign {
    what: "weights without a config.json",
    help: "copy config.json from the model that they belong to: no size of a model is guessed",
};

const CLASSIFIER: Foreign = Foreign {
    what: "the head of a classifier, and a language model has none",
    help: "give a language model: the one that this classifier began as",
};
const SECOND_HEAD: Foreign = Foreign {
    what: "the second head of a GPT2DoubleHeadsModel, which is not implemented",
    help: "take the language model out of it, in Python: \
        transformers.GPT2LMHeadModel.from_pretrained(\"OLD\").save_pretrained(\"NEW\")",
};
const VALUE_HEAD: Foreign = Foreign {
    what: "the value head of a model for PPO, and a language model has none",
    help: "take the language model out of it, in Python, with the TRL that saved it (version 1 has no \
        such class): trl.AutoModelForCausalLMWithValueHead.from_pretrained(\"OLD\")\
        .pretrained_model.save_pretrained(\"NEW\")",
};
const WRAPPED: Foreign = Foreign {
    what: "saved from within a wrapper, torch.compile's or DataParallel's",
    help: "save the model inside it, in Python: model._orig_mod or model.module, and its \
        save_pretrained(\"NEW\")",
};
const QUANTISED: Foreign = Foreign {
    what: "a part of quantised weights, which are not implemented",
    help: "take the model that was quantised, in F32, F16 or BF16",
};

/// Recognizes a file that stands in place of a model's weights, by its name.
fn of_file(name: &str) -> Option<Foreign> {
    // Files of training state that transformers' `Trainer` writes beside the model.
    const STATE_OF_A_RUN: [&str; 4] = ["optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state"];
    let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let kinds = [
        (begins(&["adapter_"]), ADAPTER),
        (begins(&["pytorch_model"]), PICKLE),
        (begins(&["model.ckpt"]), OPENAI),
        (ends(&[".gguf"]) || begins(&["ggml-model"]), GGUF),
        (begins(&["flax_model"]), FLAX),
        (ends(&[".h5"]), TENSORFLOW),
        (ends(&[".onnx", ".tflite", ".ot", ".mlpackage"]), EXPORT),
        (name == "onnx" || begins(&["openvino_model"]), EXPORT),
        (
            ends(&[".pt", ".pth", ".ckpt"]) && !begins(&STATE_OF_A_RUN),
            STATE,
        ),
        (name == WEIGHTS_FILE || name == INDEX_FILE, NO_CONFIG),
        (begins(&["model-"]) && ends(&[".safetensors"]), SHARDS),
        (ends(&[".safetensors"]), OTHER_NAME),
    ];
    first(kinds)
}

/// Recognizes the bytes of a file that is not a safetensors file.
pub(super) fn of_bytes(bytes: &[u8]) -> Option<Foreign> {
    first([
        (bytes.starts_with(b"PK\x03\x04"), PICKLE),
        (bytes.starts_with(b"\x80\x02"), PICKLE), // as PyTorch wrote it before 1.6
        (bytes.starts_with(b"GGUF"), GGUF),
        (bytes.starts_with(b"\x89HDF"), TENSORFLOW),
    ])
}

/// Recognizes a model by the name of a tensor that GPT-2 does not have.
pub(super) fn of_tensor(name: &str) -> Option<Foreign> {
    // Tensor names of GPTQ and AWQ, then of bitsandbytes.
    const PARTS: [&str; 6] = [
        ".qweight",
        ".qzeros",
        ".g_idx",
        ".absmax",
        ".quant_map",
        ".SCB",
    ];
    let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    first([
        (name.contains("lora_") || begins(&["base_model."]), ADAPTER),
        (PARTS.iter().any(|part| name.contains(part)), QUANTISED),
        (
            begins(&["score.", "classifier.", "qa_outputs."]),
            CLASSIFIER,
        ),
        (begins(&["multiple_choice_head."]), SECOND_HEAD),
        (begins(&["v_head."]), VALUE_HEAD),
        (begins(&["_orig_mod.", "module."]), WRAPPED),
    ])
}

fn first<const N: usize>(kinds: [(bool, Foreign); N]) -> Option<Foreign> {
    let found = kinds.into_iter().find(|(is_it, _)| *is_it);
    found.map(|(_, foreign)| foreign)
}

/// The error for a folder `dir` without the file `missing`.
pub(super) fn no_model(dir: &Path, missing: &str) -> Error {
    if dir.is_file() {
        return a_file(dir);
    }
    let names = match names(dir) {
        Ok(names) => names,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Error::file(dir, "no such folder", WANTED);
        }
        Err(e) => return Error::io("list", dir, e),
    };
    // An adapter comes first: its folder may also hold files of the base model.
    let adapter = names.iter().find(|name| *name == ADAPTER_FILE);
    let mut candidates = adapter.into_iter().chain(&names);
    let found = candidates.find_map(|name| Some((name, of_file(name)?)));
    if let Some((name, Foreign { what, help })) = found {
        return Error::file(dir, format!("{what} ({name})"), help);
    }
    let below = models_below(dir, &names);
    if let Some(last) = below.last() {
        const SHOWN: usize = 4;
        let shown = below.iter().rev().take(SHOWN).rev();
        let mut shown: Vec<_> = shown.map(|path| path.display().to_string()).collect();
        if below.len() > SHOWN {
            shown.insert(0, "…".to_owned());
        }
        return Error::file(
            dir,
            format!(
                "no {missing} here, but models in folders of it: {}",
                shown.join(", ")
            ),
            format!("give one of them, such as {}", dir.join(last).display()),
        );
    }
    let what = if names.is_empty() {
        "the folder is empty".to_owned()
    } else {
        format!("no {missing} here")
    };
    Error::file(dir, what, WANTED)
}

fn a_file(path: &Path) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parent = path.parent().unwrap_or(Path::new(""));
    match of_file(&name) {
        Some(Foreign { what, help }) if !name.ends_with(".safetensors") => {
            Error::file(path, what, help)
        }
        _ => {
            let folder = if parent == Path::new("") {
                Path::new(".")
            } else {
                parent
            };
            Error::file(
                path,
                "this is a file, and a model is a folder of several",
                format!("give the folder that it lies in: {}", folder.display()),
            )
        }
    }
}

/// The names of all entries in a folder, sorted so that smaller numbers come first.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_by_key(|name| (name.len(), name.clone()));
    Ok(names)
}

/// The models one folder down (a `Trainer`'s checkpoints), else two folders down (snapshots in the Hub's
/// cache). Paths are relative to `dir`.
fn models_below(dir: &Path, names: &[String]) -> Vec<PathBuf> {
    let is_model = |path: &PathBuf| {
        let weights = [WEIGHTS_FILE, INDEX_FILE, "pytorch_model.bin"];
        let holds = |name: &str| dir.join(path).join(name).is_file();
        holds(CONFIG_FILE) && weights.into_iter().any(holds)
    };
    let below = |path: PathBuf| {
        let inner = self::names(&dir.join(&path)).unwrap_or_default();
        let inner = inner.into_iter().map(move |name| path.join(name));
        inner.collect::<Vec<_>>()
    };
    let first: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    let models: Vec<PathBuf> = first
        .iter()
        .filter(|path| is_model(path))
        .cloned()
        .collect();
    if !models.is_empty() {
        return models;
    }
    first.into_iter().flat_map(below).filter(is_model).collect()
}

#[cfg(test)]
mod tests;
