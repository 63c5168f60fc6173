use super::*;

/// The error for a folder with these empty files.
fn said(files: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    no_model(dir.path(), CONFIG_FILE).to_string()
}

#[test]
fn a_folder_of_another_kind_is_named_with_the_way_out() {
    let adapter = &[
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ][..];
    let shard = "model-00001-of-00002.safetensors";
    for (files, what, help) in [
        (adapter, "an adapter", "`gpt2-dpo merge`"),
        (
            &["pytorch_model.bin", "optimizer.pt"],
            "pickle, which is not read here (pytorch_model.bin)",
            "save_pretrained",
        ),
        (
            &["pytorch_model-00001-of-00002.bin"],
            "pickle",
            "save_pretrained",
        ),
        (
            &["pytorch_model.bin.index.json"],
            "pickle",
            "save_pretrained",
        ),
        (
            &["ckpt.pt"],
            "a training script of its own",
            "GPT2LMHeadModel",
        ),
        (
            &["model.ckpt.index", "hparams.json"],
            "OpenAI",
            "openai-community/gpt2",
        ),
        (&["tf_model.h5"], "TensorFlow's", "from_tf=True"),
        (&["flax_model.msgpack"], "Flax's", "from_flax=True"),
        (&["gpt2.Q4_K_M.gguf"], "llama.cpp's format", "gguf_file"),
        (
            &["decoder_model.onnx"],
            "exported for inference",
            "model.safetensors",
        ),
        (
            &["onnx/decoder_model.onnx"],
            "exported for inference",
            "model.safetensors",
        ),
        (
            &[shard],
            "shards without their model.safetensors.index.json",
            "download that file",
        ),
        (
            &["gpt2.safetensors"],
            "another safetensors file (gpt2.safetensors)",
            "rename it",
        ),
        (
            &["model.safetensors"],
            "weights without a config.json",
            "copy config.json",
        ),
        (
            &["tokenizer.json", "optimizer.pt"],
            "no config.json here",
            "openai-community/gpt2",
        ),
        (&[], "the folder is empty", "openai-community/gpt2"),
    ] {
        let text = said(files);
        assert!(text.contains(what), "{files:?}: {text}");
        let (_, told) = text.split_once("help: ").unwrap();
        assert!(told.contains(help), "{files:?}: {text}");
    }
}

#[test]
fn models_a_level_down_are_named() {
    let text = said(&[
        "checkpoint-1000/config.json",
        "checkpoint-1000/model.safetensors",
        "checkpoint-500/config.json",
        "checkpoint-500/model.safetensors",
        "runs/events",
    ]);
    assert!(
        text.contains("folders of it: checkpoint-500, checkpoint-1000\n"),
        "{text}"
    );
    assert!(text.ends_with("/checkpoint-1000"), "{text}");

    // The layout of the Hub's cache.
    let text = said(&[
        "blobs/0",
        "refs/main",
        "snapshots/607a30d7/config.json",
        "snapshots/607a30d7/model.safetensors",
    ]);
    let snapshot = Path::new("snapshots")
        .join("607a30d7")
        .display()
        .to_string();
    assert!(
        text.contains(&format!("folders of it: {snapshot}\n")),
        "{text}"
    );
    assert!(text.ends_with(&snapshot), "{text}");
}

#[test]
fn a_file_is_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, "").unwrap();
        path
    };
    for name in ["model.safetensors", "config.json"] {
        let text = no_model(&path(name), CONFIG_FILE).to_string();
        assert!(text.contains("this is a file"), "{text}");
        let folder = format!("lies in: {}", dir.path().display());
        assert!(text.ends_with(&folder), "{text}");
    }
    for (name, what) in [
        ("gpt2.gguf", "llama.cpp's"),
        ("model.pt", "a training script"),
    ] {
        let text = no_model(&path(name), CONFIG_FILE).to_string();
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn a_folder_that_is_not_there() {
    let text = no_model(Path::new("no/such"), CONFIG_FILE).to_string();
    assert!(text.starts_with("no/such: no such folder"), "{text}");
}
