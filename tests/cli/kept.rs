//! The parts of a model's folder that a training leaves unchanged.

use serde_json::{Value, json};

use crate::models::{edit_config, edit_tensors, tensors};
use crate::sandbox::Sandbox;

fn json_of(sandbox: &Sandbox, name: &str) -> Value {
    serde_json::from_slice(&sandbox.read(name)).unwrap()
}

#[test]
fn the_generation_config_comes_through_whole() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    let source = json!({
        "_from_model_config": true, "bos_token_id": 0, "do_sample": true, "eos_token_id": [0, 7],
        "max_new_tokens": 40, "pad_token_id": 0, "temperature": 0.7, "top_p": 0.95,
        "transformers_version": "5.23.0"
    });
    sandbox.write("model/generation_config.json", source.to_string());
    sandbox.metrics_of("out", "--model model --max-steps 1");
    assert_eq!(json_of(&sandbox, "out/generation_config.json"), source);
}

#[test]
fn without_one_the_least_is_written() {
    let sandbox = Sandbox::new();
    let model = sandbox.starter("model");
    edit_config(&model, |config| {
        config["eos_token_id"] = json!([0, 7]);
    });
    sandbox.metrics_of("out", "--model model --max-steps 1");
    let least = json!({ "bos_token_id": 0, "eos_token_id": [0, 7] });
    assert_eq!(json_of(&sandbox, "out/generation_config.json"), least);
    assert_eq!(
        json_of(&sandbox, "out/config.json")["eos_token_id"],
        json!([0, 7])
    );
}

#[test]
fn a_bare_model_is_saved_as_the_language_model_that_it_becomes() {
    let sandbox = Sandbox::new();
    let model = sandbox.starter("model");
    edit_config(&model, |config| {
        config["architectures"] = json!(["GPT2Model"]);
        config.insert("resid_pdrop".into(), json!(0.25));
    });
    edit_tensors(&model, |tensors| {
        let bare = std::mem::take(tensors).into_iter().map(|(name, tensor)| {
            (
                name.strip_prefix("transformer.").unwrap().to_owned(),
                tensor,
            )
        });
        tensors.extend(bare);
    });
    let mut expected = json_of(&sandbox, "model/config.json");
    sandbox.metrics_of("out", "--model model --max-steps 1");
    expected["architectures"] = json!(["GPT2LMHeadModel"]);
    assert_eq!(json_of(&sandbox, "out/config.json"), expected);
    let names = tensors(&sandbox.path("out")).into_keys();
    assert!(
        names
            .into_iter()
            .all(|name| name.starts_with("transformer."))
    );
}

#[test]
fn a_head_in_place_of_the_embedding_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.starter("usual");
    // `safetensors.torch.save_model` uses this name.
    let model = sandbox.starter("model");
    edit_tensors(&model, |tensors| {
        let wte = tensors.remove("transformer.wte.weight").unwrap();
        tensors.insert("lm_head.weight".into(), wte);
    });
    for model in ["usual", "model"] {
        sandbox.metrics_of(
            &format!("{model}-out"),
            &format!("--model {model} --max-steps 2"),
        );
    }
    let weights = |out: &str| sandbox.read(&format!("{out}/model.safetensors"));
    assert_eq!(weights("model-out"), weights("usual-out"));
}
