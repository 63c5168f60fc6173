//! Model folders that cannot be used: the error names file and tensor or key.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};

use crate::models::{Stored, edit_config, edit_tensors, untrained};
use crate::sandbox::Sandbox;

/// Every command that loads a model must refuse a model after `spoil`.
#[track_caller]
fn refuses_model(spoil: impl FnOnce(&Path), fragments: &[&str]) {
    let sandbox = Sandbox::new();
    spoil(&sandbox.starter("model"));
    sandbox.refuses("--model model --data d.jsonl", fragments);
    sandbox
        .run("generate --model model --prompt hello --device cpu")
        .refused(fragments);
    sandbox.starter("good");
    let eval = "eval --model good --reference model --data d.jsonl --device cpu";
    sandbox.run(eval).refused(fragments);
}

#[test]
fn files_that_are_not_there() {
    refuses_model(
        |dir| fs::remove_dir_all(dir).unwrap(),
        &["model", "is not in the cache", "give a path"],
    );
    for file in ["config.json", "model.safetensors"] {
        refuses_model(
            |dir| fs::remove_file(dir.join(file)).unwrap(),
            &["model", file],
        );
    }
    let pickle = |dir: &Path| {
        let weights = dir.join("model.safetensors");
        fs::rename(weights, dir.join("pytorch_model.bin")).unwrap();
    };
    refuses_model(pickle, &["pytorch_model.bin", "save_pretrained"]);
}

#[test]
fn a_clone_without_its_large_files() {
    for file in [
        "config.json",
        "model.safetensors",
        "generation_config.json",
        "model.safetensors.index.json",
    ] {
        let point = |dir: &Path| {
            if file.ends_with(".index.json") {
                fs::remove_file(dir.join("model.safetensors")).unwrap();
            }
            let pointer = "version https://git-lfs.github.com/spec/v1\n\
                oid sha256:248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707\n\
                size 548105171\n";
            fs::write(dir.join(file), pointer).unwrap();
        };
        let place = format!("model/{file}: a Git LFS pointer");
        refuses_model(
            point,
            &[&place, "git lfs pull", "--model openai-community/gpt2"],
        );
    }
}

#[test]
fn a_folder_above_the_model_and_a_file_in_it() {
    let down = |dir: &Path| {
        for step in ["checkpoint-5", "checkpoint-10"] {
            fs::create_dir(dir.join(step)).unwrap();
            for file in ["config.json", "model.safetensors"] {
                fs::copy(dir.join(file), dir.join(step).join(file)).unwrap();
            }
        }
        fs::remove_file(dir.join("config.json")).unwrap();
        fs::remove_file(dir.join("model.safetensors")).unwrap();
    };
    refuses_model(
        down,
        &[
            "checkpoint-5, checkpoint-10",
            "give one of them, such as model/checkpoint-10",
        ],
    );
    let sandbox = Sandbox::new();
    sandbox.starter("folder");
    sandbox.refuses(
        "--model folder/model.safetensors --data d.jsonl",
        &["this is a file", "give the folder that it lies in: folder"],
    );
}

#[track_caller]
fn refuses_tensors(spoil: impl FnOnce(&mut BTreeMap<String, Stored>), fragments: &[&str]) {
    let mut all = vec!["model/model.safetensors"];
    all.extend(fragments);
    refuses_model(|dir| edit_tensors(dir, spoil), &all);
}

const C_FC: &str = "transformer.h.1.mlp.c_fc.weight";

#[test]
fn a_tensor_that_is_missing_misshapen_or_too_many() {
    refuses_tensors(
        |t| drop(t.remove(C_FC)),
        &["h.1.mlp.c_fc.weight", "missing"],
    );
    refuses_tensors(
        |t| t.get_mut(C_FC).unwrap().shape = vec![512, 128],
        &[C_FC, "[512, 128]", "[128, 512]"],
    );
    refuses_tensors(
        |t| {
            drop(t.insert(
                "transformer.h.9.ln_1.bias".into(),
                t["transformer.ln_f.bias"].clone(),
            ))
        },
        &["transformer.h.9.ln_1.bias"],
    );
}

#[test]
fn a_tensor_of_a_type_that_is_not_read() {
    let as_i64 = |t: &mut BTreeMap<String, Stored>| {
        let tensor = t.get_mut(C_FC).unwrap();
        tensor.dtype = Dtype::I64;
        tensor.bytes = vec![0; 2 * tensor.bytes.len()];
    };
    refuses_tensors(as_i64, &[C_FC, "I64", "F32"]);
}

#[test]
fn a_tensor_that_is_not_finite() {
    for value in [f32::NAN, f32::INFINITY] {
        let spoil = |t: &mut BTreeMap<String, Stored>| {
            t.get_mut(C_FC).unwrap().bytes[40..44].copy_from_slice(&value.to_le_bytes());
        };
        refuses_tensors(spoil, &[C_FC, &value.to_string()]);
    }
}

#[test]
fn a_file_that_is_cut_off_or_something_else() {
    for keep in [0, 4, 100, 100_000] {
        let cut = |dir: &Path| {
            let path = dir.join("model.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..keep]).unwrap();
        };
        refuses_model(cut, &["model/model.safetensors"]);
    }
    let page = |dir: &Path| fs::write(dir.join("model.safetensors"), "<!doctype html>").unwrap();
    refuses_model(page, &["model/model.safetensors: a web page"]);
}

#[track_caller]
fn refuses_config(spoil: impl FnOnce(&mut Map<String, Value>), fragments: &[&str]) {
    let mut all = vec!["model/config.json"];
    all.extend(fragments);
    refuses_model(|dir| edit_config(dir, spoil), &all);
}

#[test]
fn configs_that_ask_for_another_model() {
    for (key, value) in [
        ("activation_function", json!("relu")),
        ("scale_attn_by_inverse_layer_idx", json!(true)),
        ("scale_attn_weights", json!(false)),
        ("tie_word_embeddings", json!(false)),
    ] {
        let shown = value.to_string();
        refuses_config(
            |config| drop(config.insert(key.into(), value)),
            &[key, &shown, "not implemented", "use another model"],
        );
    }
    refuses_config(
        |config| drop(config.insert("quantization_config".into(), json!({"quant_method": "awq"}))),
        &["quantised (awq)"],
    );
    for (key, value) in [
        ("model_type", json!("llama")),
        ("n_layer", json!(0)),
        ("n_embd", json!("128")),
        ("eos_token_id", json!(1024)),
    ] {
        let shown = value.to_string();
        refuses_config(
            |config| drop(config.insert(key.into(), value)),
            &[key, &shown],
        );
    }
    for key in [
        "model_type",
        "n_embd",
        "n_head",
        "vocab_size",
        "n_positions",
    ] {
        refuses_config(|config| drop(config.remove(key)), &[key, "missing"]);
    }
    refuses_config(
        |config| drop(config.insert("n_head".into(), json!(3))),
        &["n_embd", "n_head"],
    );
    let not_json = |dir: &Path| fs::write(dir.join("config.json"), "{").unwrap();
    refuses_model(not_json, &["model/config.json", "JSON"]);
}

#[test]
fn a_tokenizer_that_does_not_fit() {
    let sandbox = Sandbox::new();
    untrained(&sandbox, "model", 1000, 32); // the tokenizer has 1024 tokens
    sandbox.refuses(
        "--model model --data d.jsonl",
        &["model", "1000 embedding rows", "`ĠAustr` (1000)"],
    );

    let garbage = |dir: &Path| fs::write(dir.join("tokenizer.json"), "{}").unwrap();
    refuses_model(garbage, &["model/tokenizer.json"]);
}
