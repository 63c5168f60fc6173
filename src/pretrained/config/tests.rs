use super::*;
use crate::pretrained::tiny_dims;

fn published() -> Value {
    json!({
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256,
        "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2",
        "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
        "resid_pdrop": 0.1, "summary_type": "cls_index", "vocab_size": 50257,
        "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}}
    })
}

fn parse(value: &Value) -> Result<Config> {
    Config::parse(value.to_string().as_bytes(), Path::new("config.json"))
}

/// The published config with one key changed.
fn with(key: &str, value: Value) -> Value {
    let mut config = published();
    config[key] = value;
    config
}

fn without(keys: &[&str]) -> Value {
    let mut config = published();
    for key in keys {
        config.as_object_mut().unwrap().remove(*key);
    }
    config
}

#[test]
fn reads_the_published_config() {
    let config = parse(&published()).unwrap();
    let expected = Dims {
        vocab_size: 50257,
        n_positions: 1024,
        n_embd: 768,
        n_layer: 12,
        n_head: 12,
        n_inner: 3072,
        epsilon: 1e-5,
    };
    assert_eq!(config.dims, expected);
    assert_eq!(config.end_of_text, ConfigIds::Ids(vec![50256]));
    assert_eq!(config.to_json(), published(), "nothing is lost");
}

#[test]
fn refuses_what_is_not_implemented_by_name() {
    for (key, value, otherwise) in [
        ("activation_function", json!("gelu"), "another activation"),
        ("scale_attn_weights", json!(false), "1/√head_dim"),
        (
            "scale_attn_by_inverse_layer_idx",
            json!(true),
            "scaled by 1/layer",
        ),
        (
            "add_cross_attention",
            json!(true),
            "attention to an encoder",
        ),
        (
            "tie_word_embeddings",
            json!(false),
            "a head that is not wte",
        ),
        ("pruned_heads", json!({"0": [1]}), "cut out"),
    ] {
        let text = parse(&with(key, value.clone())).unwrap_err().to_string();
        assert!(text.contains(&format!("`{key}` is {value}: ")), "{text}");
        assert!(text.contains(otherwise), "{text}");
        // Without the key, the file would load as another model.
        assert!(text.contains("help: use another model"), "{text}");
        assert!(!text.contains("no such key"), "{text}");
    }
    let text = parse(&with("model_type", json!("gpt_neo")))
        .unwrap_err()
        .to_string();
    assert!(text.contains("`model_type` is \"gpt_neo\""), "{text}");
    assert!(text.contains("openai-community/gpt2"), "{text}");
    let quantised = json!({"quant_method": "gptq", "bits": 4, "group_size": 128});
    let text = parse(&with("quantization_config", quantised))
        .unwrap_err()
        .to_string();
    assert!(text.contains("quantised (gptq)"), "{text}");
    assert!(text.contains("that it was quantised from"), "{text}");
}

#[test]
fn refuses_values_that_cannot_be_by_name() {
    let cases = [
        ("n_layer", json!(0)),
        ("n_embd", json!(-768)),
        ("n_inner", json!(0)),
        ("vocab_size", json!("many")),
        ("n_positions", json!(u64::MAX)),
        ("layer_norm_epsilon", json!(0)),
        ("layer_norm_epsilon", json!(-1e-5)),
        ("eos_token_id", json!("</s>")),
        ("eos_token_id", json!([1, null])),
    ];
    for (key, value) in cases {
        let error = parse(&with(key, value.clone())).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("`{key}` is {value}")), "{text}");
        assert!(text.contains("supported: "), "{text}");
    }
}

/// The published config with these sizes, of which each alone is within its bound.
fn sized(sizes: &[(&str, u64)]) -> Result<Config> {
    let mut config = published();
    config["n_head"] = json!(1 << 16);
    for (key, size) in sizes {
        config[*key] = json!(size);
    }
    config["eos_token_id"] = Value::Null;
    parse(&config)
}

#[test]
fn sizes_are_bounded_together() {
    let large = 1 << 24;
    let too_many: [&[(&str, u64)]; 5] = [
        &[("n_embd", large), ("vocab_size", large)],
        &[("n_embd", large), ("n_positions", large)],
        &[("n_embd", large), ("n_inner", large), ("n_layer", 1024)],
        &[("n_embd", 1 << 17), ("n_inner", 1), ("n_layer", 1024)],
        &[("n_embd", large), ("vocab_size", 1), ("n_layer", 1)],
    ];
    for sizes in too_many {
        let error = sized(sizes).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error:?}");
        let text = error.to_string();
        for (key, size) in sizes {
            assert!(text.contains(&format!("`{key}` {size}")), "{text}");
        }
        assert!(text.contains("1099511627776 parameters"), "{text}");
    }
    // Of 2^24 columns of 2^16, the one block takes 2^18 and the positions 1024.
    let most = [
        ("n_embd", 1 << 16),
        ("vocab_size", (1 << 24) - (1 << 18) - 2048),
        ("n_layer", 1),
        ("n_inner", 4),
    ];
    let dims = sized(&most).unwrap().dims;
    assert!(parameters(&dims) <= MAX_PARAMETERS);
    let one_more = [&most[..1], &[("vocab_size", large)], &most[2..]].concat();
    assert!(sized(&one_more).is_err());
}

#[test]
fn parameters_are_counted_as_the_table_has_them() {
    let dims = parse(&published()).unwrap().dims;
    assert_eq!(parameters(&dims), 124_439_808);
    for dims in [tiny_dims(), dims] {
        let table: usize = params::table(&dims).iter().map(params::Param::len).sum();
        assert_eq!(parameters(&dims), table as u128);
    }
}

#[test]
fn refuses_heads_that_do_not_divide_or_are_too_wide() {
    for (n_head, expected) in [(7, "n_head divides"), (2, "a head is 384 wide")] {
        let text = parse(&with("n_head", json!(n_head)))
            .unwrap_err()
            .to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_missing_size_is_named_and_the_rest_has_defaults() {
    for key in ["model_type", "n_layer", "n_head", "n_embd", "vocab_size"] {
        let text = parse(&without(&[key])).unwrap_err().to_string();
        assert!(text.contains(&format!("`{key}` is missing")), "{text}");
    }
    let text = parse(&without(&["n_positions", "n_ctx"]))
        .unwrap_err()
        .to_string();
    assert!(text.contains("`n_positions` is missing"), "{text}");

    let config = parse(&without(&["n_positions", "layer_norm_epsilon"])).unwrap();
    assert_eq!(config.dims, parse(&published()).unwrap().dims);
    assert_eq!(
        parse(&without(&["activation_function"])).unwrap().dims,
        config.dims
    );
}

#[test]
fn accepts_harmless_keys() {
    for (key, value) in [
        ("activation_function", json!("gelu_pytorch_tanh")),
        ("reorder_and_upcast_attn", json!(true)),
        ("is_decoder", json!(true)),
        ("pruned_heads", json!({})),
        ("quantization_config", Value::Null),
        ("n_inner", Value::Null),
    ] {
        parse(&with(key, value)).unwrap();
    }
}

#[test]
fn the_end_of_text_may_be_absent_null_or_a_list() {
    let read = |config: &Value| {
        let config = parse(config).unwrap();
        (config.eos_token_id(), config.end_of_text)
    };
    let ids = |ids: &[u32]| ConfigIds::Ids(ids.to_owned());
    let absent = without(&["eos_token_id"]);
    assert_eq!(read(&absent), (Some(50256), ConfigIds::Absent));
    let null = with("eos_token_id", Value::Null);
    assert_eq!(read(&null), (None, ConfigIds::Null));
    for (value, first, all) in [
        (json!(0), 0, ids(&[0])),
        (json!([5]), 5, ids(&[5])),
        (json!([7, 5]), 7, ids(&[7, 5])),
    ] {
        assert_eq!(read(&with("eos_token_id", value)), (Some(first), all));
    }
    let mut small = absent;
    small["vocab_size"] = json!(100);
    assert_eq!(read(&small), (None, ConfigIds::Absent));
}

#[test]
fn an_end_of_text_past_the_vocabulary_is_refused() {
    for value in [json!(50257), json!([0, 50257])] {
        let text = parse(&with("eos_token_id", value.clone()))
            .unwrap_err()
            .to_string();
        let what = format!("`eos_token_id` is {value}, and the model has the tokens 0 to 50256");
        assert!(text.contains(&what), "{text}");
    }
}

#[test]
fn what_is_saved_stops_where_training_ended_the_texts() {
    for (before, after) in [
        (json!(0), json!(7)),
        (Value::Null, json!(7)),
        (json!([0, 5]), json!([7, 0, 5])),
        (json!([0, 7]), json!([0, 7])),
    ] {
        let mut config = parse(&with("eos_token_id", before)).unwrap();
        config.end_in(7);
        assert_eq!(config.to_json(), with("eos_token_id", after.clone()));
        let generation = config.generation_json().unwrap();
        assert_eq!(generation["eos_token_id"], after);
        assert_eq!(parse(&config.to_json()).unwrap(), config);
    }
}

#[test]
fn the_saved_class_is_the_language_model() {
    // The config of a bare `GPT2Model`, of a script that wrote no class, and of a class with more parts than
    // are saved.
    for class in [
        json!(["GPT2Model"]),
        Value::Null,
        json!(["GPT2DoubleHeadsModel"]),
    ] {
        let saved = parse(&with("architectures", class)).unwrap().to_json();
        assert_eq!(saved, published());
    }
    let saved = parse(&without(&["architectures"])).unwrap().to_json();
    assert_eq!(saved["architectures"], json!(["GPT2LMHeadModel"]));
}

#[test]
fn a_config_made_here_reads_back() {
    for eos in [None, Some(10)] {
        let config = Config::new(&tiny_dims(), eos);
        assert_eq!(parse(&config.to_json()).unwrap(), config);
    }
}

#[test]
fn the_saved_type_is_that_of_the_saved_weights() {
    let saved = parse(&with("torch_dtype", json!("bfloat16")))
        .unwrap()
        .to_json();
    assert_eq!(saved["torch_dtype"], "float32");
}

#[test]
fn a_broken_or_absent_file_is_a_clear_error() {
    for bytes in [&b"{\"n_layer\": "[..], b"", b"[1]"] {
        let error = Config::parse(bytes, Path::new("config.json")).unwrap_err();
        assert!(error.to_string().contains("not a JSON object"), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 665\n";
    let error = Config::parse(pointer, Path::new("config.json")).unwrap_err();
    assert!(error.to_string().contains("a Git LFS pointer"), "{error}");
    let error = Config::load(dir.path()).unwrap_err();
    assert!(error.to_string().contains("the folder is empty"), "{error}");
    let error = Config::load(&dir.path().join("absent")).unwrap_err();
    assert!(error.to_string().contains("no such folder"), "{error}");
}
