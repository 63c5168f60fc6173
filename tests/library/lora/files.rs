//! The files of an adapter: what PEFT reads and writes, and what is refused.

use std::fs;
use std::path::Path;

use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::model::{Dims, Targets};
use gpt2_dpo::pretrained::adapter::ADAPTER_WEIGHTS_FILE;
use gpt2_dpo::pretrained::{Adapter, AdapterConfig, Weights};
use gpt2_dpo::storage::Replacing;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::{NAMES, adapter, base, dir};

const CONFIG: &str = "adapter_config.json";

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn save(adapter: &Adapter, to: &Path) {
    let values = Weights {
        tensors: adapter.tensors.clone(),
    };
    let mut folder = Replacing::on_disk(to);
    let outline = base().outline;
    outline
        .save_adapter(&mut folder, &adapter.config, &mut &values)
        .unwrap();
}

/// What PEFT saved is saved again with the same tensors to the bit, and read again.
#[test]
fn a_saved_adapter_is_as_peft_saves_it() {
    let model = base();
    for name in NAMES {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), dir().join(name));
        let read = adapter(name, &model);
        save(&read, ours.path());
        let bytes =
            [ours.path(), &theirs].map(|dir| fs::read(dir.join(ADAPTER_WEIGHTS_FILE)).unwrap());
        let [ours_file, theirs_file] = [0, 1].map(|i| SafeTensors::deserialize(&bytes[i]).unwrap());
        let mut names = theirs_file.names();
        names.sort();
        let mut our_names = ours_file.names();
        our_names.sort();
        assert_eq!(our_names, names);
        for tensor in names {
            let (a, b) = (
                ours_file.tensor(tensor).unwrap(),
                theirs_file.tensor(tensor).unwrap(),
            );
            assert_eq!(
                (a.shape(), a.dtype()),
                (b.shape(), b.dtype()),
                "{name}: {tensor}"
            );
            assert!(a.data() == b.data(), "{name}: {tensor}");
        }

        let (said, theirs) = (
            json_of(&ours.path().join(CONFIG)),
            json_of(&theirs.join(CONFIG)),
        );
        for (key, value) in said.as_object().unwrap() {
            // PEFT says by the layer's number, and this program by its name.
            let by_number = ["layers_to_transform", "target_modules", "lora_dropout"];
            if by_number.contains(&&key[..]) && name == "part" {
                continue;
            }
            // They are a set.
            let sorted = |value: &Value| match value.as_array() {
                Some(names) => {
                    let mut names: Vec<String> = names.iter().map(Value::to_string).collect();
                    names.sort();
                    json!(names)
                }
                None => value.clone(),
            };
            assert_eq!(sorted(value), sorted(&theirs[key]), "{name}: {key}");
        }
        let again = Adapter::load(ours.path(), &model.outline.config.dims).unwrap();
        assert_eq!(again.tensors, read.tensors);
        assert_eq!(again.config.adapters(), read.config.adapters());
    }
    let part = adapter("part", &model).config;
    let layers = ["h.1.attn.c_attn", "h.1.mlp.c_proj"].map(str::to_owned);
    assert_eq!(part.targets, Targets::of(layers.into()));
    assert_eq!(part.dropout, 0.05);
    assert_eq!(adapter("all", &model).config.targets, Some(Targets::all()));
}

/// A folder with the adapter `all`, and one key of its config changed.
fn edited(key: &str, value: Value) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let from = dir().join("all");
    fs::copy(
        from.join(ADAPTER_WEIGHTS_FILE),
        to.path().join(ADAPTER_WEIGHTS_FILE),
    )
    .unwrap();
    let mut config = json_of(&from.join(CONFIG));
    config[key] = value;
    fs::write(to.path().join(CONFIG), config.to_string()).unwrap();
    to
}

#[track_caller]
fn refused(dir: &Path, dims: &Dims, fragments: &[&str]) {
    let error = Adapter::load(dir, dims).err().unwrap().to_string();
    for fragment in fragments {
        assert!(error.contains(fragment), "no {fragment:?} in: {error}");
    }
    assert!(error.contains("help: "), "{error}");
}

#[test]
fn features_that_are_not_implemented_are_refused_by_name() {
    let dims = base().outline.config.dims;
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("peft_type", json!(null)),
        ("bias", json!("all")),
        ("modules_to_save", json!(["lm_head"])),
        ("use_dora", json!(true)),
        ("rank_pattern", json!({"c_attn": 8})),
        ("alpha_pattern", json!({"c_attn": 8})),
        ("lora_bias", json!(true)),
        ("layer_replication", json!([[0, 2]])),
        ("target_parameters", json!(["x"])),
        ("trainable_token_indices", json!([1])),
        ("use_some_later_feature", json!(1)),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("r", json!(0)),
        ("r", json!(-1)),
        ("r", json!(1e30)),
        ("r", json!("4")),
        ("lora_alpha", json!("x")),
        ("target_modules", json!(["c_attn", "wte"])),
        ("target_modules", json!([1])),
    ] {
        let said = format!("`{key}` is {value}");
        refused(edited(key, value).path(), &dims, &[CONFIG, &said]);
    }
    for (key, value) in [
        ("init_lora_weights", json!("gaussian")),
        ("fan_in_fan_out", json!(false)),
        ("target_modules", json!("all-linear")),
        ("target_modules", json!(".*(attn|mlp).*")),
        ("some_later_feature", json!(null)),
        ("exclude_modules", json!(["lm_head"])),
    ] {
        let config = Adapter::load(edited(key, value).path(), &dims)
            .unwrap()
            .config;
        assert_eq!(config.targets, Some(Targets::all()), "{key}");
    }
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let dims = base().outline.config.dims;
    let empty = tempfile::tempdir().unwrap();
    refused(empty.path(), &dims, &["there is no adapter_config.json"]);
    refused(
        &empty.path().join("absent"),
        &dims,
        &["there is no adapter_config.json"],
    );
    let from = dir().join("all");
    fs::copy(from.join(CONFIG), empty.path().join(CONFIG)).unwrap();
    refused(empty.path(), &dims, &["no weights beside"]);
    fs::write(empty.path().join("adapter_model.bin"), "").unwrap();
    refused(empty.path(), &dims, &["pickle"]);

    let other = |n_embd, n_layer| Dims {
        n_embd,
        n_layer,
        n_inner: 4 * n_embd,
        ..dims
    };
    refused(
        &from,
        &other(96, 2),
        &["its shape is [4, 48]", "make it [4, 96]", "base model"],
    );
    refused(
        &from,
        &other(48, 1),
        &["no linear layer of a GPT-2 of 1 layers", "h.1."],
    );
    refused(
        &from,
        &other(48, 3),
        &["h.2.attn.c_attn.lora_A.weight", "missing"],
    );
    refused(
        edited("r", json!(5)).path(),
        &dims,
        &["its shape is [4, 48]"],
    );

    // A tensor of another kind, one that is missing, and one with NaN.
    let edits: [(&str, &str, f32, &[&str]); 3] = [
        (
            "lora_B.weight",
            "lora_magnitude_vector",
            1.0,
            &["no part of a LoRA"],
        ),
        (
            "h.0.attn.c_attn.lora_B.weight",
            "",
            1.0,
            &["missing", "h.0.attn.c_attn.lora_B"],
        ),
        ("", "", f32::NAN, &["is NaN"]),
    ];
    for (from_name, to_name, factor, fragments) in edits {
        let folder = edited("bias", json!("none"));
        let path = folder.path().join(ADAPTER_WEIGHTS_FILE);
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors = Vec::new();
        for (name, view) in file.tensors() {
            if !from_name.is_empty() && to_name.is_empty() && name.ends_with(from_name) {
                continue;
            }
            let name = match to_name {
                "" => name,
                to => name.replace(from_name, to),
            };
            let mut values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
            values.iter_mut().for_each(|value| *value *= factor);
            let data: Vec<u8> = bytemuck::cast_slice(&values).to_vec();
            tensors.push((name, view.shape().to_vec(), data));
        }
        let views = tensors.iter().map(|(name, shape, data)| {
            (
                name,
                TensorView::new(Dtype::F32, shape.clone(), data).unwrap(),
            )
        });
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        refused(folder.path(), &dims, fragments);
    }
}

#[test]
fn a_new_adapter_is_as_peft_begins() {
    let dims = Dims {
        n_embd: 64,
        n_inner: 256,
        ..base().outline.config.dims
    };
    let config = |targets: &str| -> AdapterConfig {
        let config = TrainConfig {
            lora_rank: 16,
            lora_targets: targets.parse().unwrap(),
            ..TrainConfig::default()
        };
        config.adapter_config().unwrap()
    };
    let all = Adapter::initial(config("all-linear"), &dims, 7);
    assert_eq!(all.tensors.len(), 2 * 4 * dims.n_layer);
    let mut inputs = all
        .model(&dims)
        .adapters()
        .map(|param| param.rows)
        .collect::<Vec<_>>();
    for (ab, rows) in all.tensors.chunks_exact(2).zip(inputs.drain(..).step_by(2)) {
        assert!(ab[1].iter().all(|&b| b == 0.0));
        // Uniform in ±1/√in has the variance 1/(3 in).
        let bound = 1.0 / (rows as f64).sqrt();
        let squares: f64 = ab[0].iter().map(|&a| f64::from(a).powi(2)).sum();
        let spread = (squares / ab[0].len() as f64).sqrt() / bound * 3.0_f64.sqrt();
        let largest = ab[0]
            .iter()
            .fold(0.0_f64, |most, &a| most.max(f64::from(a).abs()));
        assert!((spread - 1.0).abs() < 0.06, "{spread}");
        assert!(
            largest <= bound && largest > 0.98 * bound,
            "{largest} {bound}"
        );
    }
    assert_eq!(all, Adapter::initial(config("all-linear"), &dims, 7));
    assert_ne!(
        all.tensors,
        Adapter::initial(config("all-linear"), &dims, 8).tensors
    );
    // A layer's A does not depend on which other layers have one.
    let some = Adapter::initial(config("c_fc"), &dims, 7);
    assert_eq!(some.tensors[0], all.tensors[4]);
    assert_ne!(all.tensors[0], all.tensors[2]);
}
