use super::*;
use crate::pretrained::tiny_dims;

fn config(targets: &str) -> AdapterConfig {
    AdapterConfig {
        rank: 2,
        alpha: 3.0,
        use_rslora: false,
        dropout: 0.0,
        targets: Some(targets.parse().unwrap()),
        base: None,
        revision: None,
    }
}

#[test]
fn a_matrix_turns_and_turns_back() {
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(transposed(&values, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(transposed(&transposed(&values, 3), 2), values);
    assert_eq!(transposed(&[], 3), [0.0; 0]);
}

#[test]
fn the_factor_follows_rank_and_root() {
    assert_eq!(config("c_fc").scale(), 1.5);
    let root = AdapterConfig {
        use_rslora: true,
        rank: 4,
        ..config("c_fc")
    };
    assert_eq!(root.scale(), 1.5);
}

#[test]
fn a_fingerprint_tells_adapters_apart() {
    let dims = tiny_dims();
    let adapter = Adapter::initial(config("c_fc"), &dims, 1);
    let mut others = vec![
        Adapter::initial(config("c_fc"), &dims, 2),
        Adapter::initial(config("c_attn"), &dims, 1),
    ];
    let mut scaled = adapter.clone();
    scaled.config.alpha = 4.0;
    others.push(scaled);
    let mut changed = adapter.clone();
    changed.tensors[1][0] = 1e-9;
    others.push(changed);
    assert_eq!(adapter.fingerprint("a"), adapter.clone().fingerprint("a"));
    assert_ne!(adapter.fingerprint("a"), adapter.fingerprint("b"));
    for other in others {
        assert_ne!(adapter.fingerprint("a"), other.fingerprint("a"));
    }
}

#[test]
fn a_base_is_named_as_peft_names_it() {
    let of = |text: &str| base_of(Some(&PathBuf::from(text)));
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of("models/gpt2"), (some("models/gpt2"), None));
    assert_eq!(of("org/name@v1"), (some("org/name"), some("v1")));
    assert_eq!(base_of(None), (None, None));
}
