use std::collections::HashMap;
use std::fs;

use safetensors::tensor::TensorView;

use super::*;
use crate::pretrained::{INDEX_FILE, WEIGHTS_FILE, initial, tiny_dims};

/// A tensor to store: name, type, shape, bytes.
type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

fn le_bytes<const N: usize>(values: &[f32], convert: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&x| convert(x)).collect()
}

/// The tiny model's parameters in F32, with `prefix` before each name.
fn entries(prefix: &str) -> Vec<Entry> {
    let dims = tiny_dims();
    let weights = initial(&dims, 5);
    let entry = |(param, values): (&Param, &Vec<f32>)| {
        let bytes = le_bytes(values, f32::to_le_bytes);
        let name = format!("{prefix}{}", param.name);
        (name, Dtype::F32, param.shape(), bytes)
    };
    let table = params::table(&dims);
    table.iter().zip(&weights.tensors).map(entry).collect()
}

fn entry<'a>(entries: &'a mut [Entry], name: &str) -> &'a mut Entry {
    entries.iter_mut().find(|entry| entry.0 == name).unwrap()
}

fn file(entries: &[Entry]) -> Vec<u8> {
    file_saying(entries, None)
}

fn file_saying(entries: &[Entry], metadata: Option<HashMap<String, String>>) -> Vec<u8> {
    let views = entries.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name, view)
    });
    safetensors::serialize(views, metadata).unwrap()
}

fn parse(entries: &[Entry]) -> Result<Weights> {
    Weights::parse(&file(entries), Path::new("w.safetensors"), &tiny_dims())
}

/// Asserts that the error is about `tensor` and contains `expected`.
fn assert_refused(entries: &[Entry], tensor: &str, expected: &str) {
    let error = parse(entries).unwrap_err();
    assert!(
        matches!(&error, Error::Tensor { tensor: named, .. } if named == tensor),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains("w.safetensors"), "{text}");
    assert!(text.contains(expected), "{text}");
}

#[test]
fn names_with_and_without_prefix_are_the_same() {
    let expected = initial(&tiny_dims(), 5);
    assert_eq!(parse(&entries("")).unwrap(), expected);
    assert_eq!(parse(&entries("transformer.")).unwrap(), expected);
}

#[test]
fn half_types_are_widened_exactly() {
    let expected = initial(&tiny_dims(), 5);
    let rounded = |round: fn(f32) -> f32| Weights {
        tensors: expected
            .tensors
            .iter()
            .map(|t| t.iter().map(|&x| round(x)).collect())
            .collect(),
    };
    type Case = (Dtype, fn(f32) -> [u8; 2], fn(f32) -> f32);
    let cases: [Case; 2] = [
        (
            Dtype::F16,
            |x| f16::from_f32(x).to_le_bytes(),
            |x| f16::from_f32(x).to_f32(),
        ),
        (
            Dtype::BF16,
            |x| bf16::from_f32(x).to_le_bytes(),
            |x| bf16::from_f32(x).to_f32(),
        ),
    ];
    for (dtype, to_bytes, round) in cases {
        let mut entries = entries("transformer.");
        for (entry, values) in entries.iter_mut().zip(&expected.tensors) {
            entry.1 = dtype;
            entry.3 = le_bytes(values, to_bytes);
        }
        assert_eq!(parse(&entries).unwrap(), rounded(round), "{dtype}");
    }
}

#[test]
fn masks_and_a_tied_head_are_passed_over() {
    let mut entries = entries("transformer.");
    let head = entry(&mut entries, "transformer.wte.weight").clone();
    entries.push((HEAD.into(), head.1, head.2, head.3));
    for name in ["transformer.h.0.attn.bias", "transformer.h.1.attn.bias"] {
        entries.push((name.into(), Dtype::BOOL, vec![1, 1, 2, 2], vec![1, 0, 1, 1]));
    }
    let masked = "transformer.h.0.attn.masked_bias";
    entries.push((masked.into(), Dtype::F32, vec![], vec![0; 4]));
    assert_eq!(parse(&entries).unwrap(), initial(&tiny_dims(), 5));
}

/// The parameters with the names that `safetensors.torch.save_model(GPT2LMHeadModel)` gives them (safetensors
/// 0.8.0): of the two names of the tied tensor, it keeps the head's.
fn entries_with_head_alone(prefix: &str) -> Vec<Entry> {
    let mut entries = entries(prefix);
    entry(&mut entries, &format!("{prefix}wte.weight")).0 = HEAD.into();
    entries
}

#[test]
fn a_head_alone_is_the_embedding() {
    let expected = initial(&tiny_dims(), 5);
    for prefix in ["transformer.", ""] {
        let entries = entries_with_head_alone(prefix);
        assert_eq!(parse(&entries).unwrap(), expected);
    }
    // `save_model` records the omitted name in the file's metadata.
    let alias = HashMap::from([("transformer.wte.weight".into(), HEAD.into())]);
    let file = file_saying(&entries_with_head_alone("transformer."), Some(alias));
    let weights = Weights::parse(&file, Path::new("w.safetensors"), &tiny_dims());
    assert_eq!(weights.unwrap(), expected);
}

#[test]
fn a_head_alone_is_held_to_what_the_embedding_is() {
    let mut entries = entries_with_head_alone("");
    let head = entry(&mut entries, HEAD);
    head.2 = vec![12, 6];
    head.3.extend([0; 24]);
    assert_refused(&entries, HEAD, "its shape is [12, 6]");
    entries.retain(|entry| entry.0 != HEAD);
    assert_refused(&entries, "wte.weight", "missing");
}

#[test]
fn a_head_of_its_own_is_refused() {
    let mut entries = entries("transformer.");
    let mut head = entry(&mut entries, "transformer.wte.weight").clone();
    head.3[0] ^= 1; // the last bit of one value
    entries.push((HEAD.into(), head.1, head.2, head.3));
    assert_refused(&entries, HEAD, "differs from `transformer.wte.weight`");
}

#[test]
fn an_unknown_tensor_is_refused() {
    let mut entries = entries("transformer.");
    for (name, expected) in [
        ("scores.weight", "no parameter of the GPT-2"),
        ("score.weight", "the head of a classifier"),
        (
            "multiple_choice_head.summary.weight",
            "GPT2DoubleHeadsModel",
        ),
        ("v_head.summary.weight", "value head"),
        ("h.0.attn.c_attn.qweight", "quantised"),
        (
            "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight",
            "an adapter",
        ),
        ("_orig_mod.transformer.wte.weight", "torch.compile's"),
    ] {
        entries.push((name.into(), Dtype::F32, vec![1], vec![0; 4]));
        assert_refused(&entries, name, expected);
        entries.pop();
    }
    let name = "transformer.h.2.ln_1.bias";
    entries.push((name.into(), Dtype::F32, vec![6], vec![0; 24]));
    assert_refused(&entries, name, "of 2 layers");
}

#[test]
fn a_missing_tensor_is_named() {
    let mut entries = entries("");
    entries.retain(|entry| entry.0 != "h.1.mlp.c_fc.bias");
    assert_refused(&entries, "h.1.mlp.c_fc.bias", "missing");
}

#[test]
fn a_tensor_stored_twice_is_refused() {
    let mut entries = entries("transformer.");
    let twice = entry(&mut entries, "transformer.wpe.weight").clone();
    entries.push(("wpe.weight".into(), twice.1, twice.2, twice.3));
    let text = parse(&entries).unwrap_err().to_string();
    assert!(text.contains("stored twice"), "{text}");
}

#[test]
fn a_wrong_shape_says_both() {
    let mut entries = entries("");
    // A torch Linear would store the matrix transposed.
    entry(&mut entries, "h.0.mlp.c_fc.weight").2 = vec![10, 6];
    let expected = "its shape is [10, 6], but config.json makes it [6, 10]";
    assert_refused(&entries, "h.0.mlp.c_fc.weight", expected);
    assert_refused(&entries, "h.0.mlp.c_fc.weight", "transpose it");
}

#[test]
fn another_type_is_named() {
    let mut entries = entries("");
    let bias = entry(&mut entries, "ln_f.bias");
    (bias.1, bias.3) = (Dtype::F64, vec![0; 48]);
    assert_refused(&entries, "ln_f.bias", "its type is F64");
}

#[test]
fn the_first_value_that_is_not_finite_is_named() {
    for (value, expected) in [
        (f32::NAN, "value 4 of 6 is NaN"),
        (f32::NEG_INFINITY, "value 4 of 6 is -inf"),
    ] {
        let mut entries = entries("");
        let bytes = &mut entry(&mut entries, "h.0.ln_1.weight").3;
        bytes[16..20].copy_from_slice(&value.to_le_bytes());
        bytes[20..24].copy_from_slice(&value.to_le_bytes());
        assert_refused(&entries, "h.0.ln_1.weight", expected);
    }
}

/// Dims whose `wte` is read in several blocks, the last of them not full.
fn wide_dims() -> Dims {
    Dims {
        vocab_size: 3 * BLOCK / 6 + 5,
        ..tiny_dims()
    }
}

/// The tensors of a model of these dims in a type of `N` bytes, as `convert` makes it of the f32.
fn entries_of<const N: usize>(
    dims: &Dims,
    weights: &Weights,
    dtype: Dtype,
    convert: fn(f32) -> [u8; N],
) -> Vec<Entry> {
    let table = params::table(dims);
    let entry = |(param, values): (&Param, &Vec<f32>)| {
        let bytes = le_bytes(values, convert);
        (param.name.clone(), dtype, param.shape(), bytes)
    };
    table.iter().zip(&weights.tensors).map(entry).collect()
}

#[test]
fn a_tensor_of_several_blocks_is_read_whole() {
    let dims = wide_dims();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(WEIGHTS_FILE);
    let mut weights = initial(&dims, 3);
    // BF16 holds these exactly.
    for value in weights.tensors.iter_mut().flatten() {
        *value = bf16::from_f32(*value).to_f32();
    }
    let singles = file(&entries_of(&dims, &weights, Dtype::F32, f32::to_le_bytes));
    let to_half = |x| bf16::from_f32(x).to_le_bytes();
    let halves = file(&entries_of(&dims, &weights, Dtype::BF16, to_half));
    for bytes in [singles, halves] {
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Weights::load(dir.path(), &dims).unwrap(), weights);
        assert_eq!(Weights::parse(&bytes, &path, &dims).unwrap(), weights);
    }

    let count = weights.tensors[0].len();
    for (at, value) in [(2 * BLOCK + 7, f32::INFINITY), (count - 1, f32::NAN)] {
        weights.tensors[0][at] = value;
    }
    let bad = file(&entries_of(&dims, &weights, Dtype::F32, f32::to_le_bytes));
    let text = Weights::parse(&bad, &path, &dims).unwrap_err().to_string();
    let expected = format!("value {} of {count} is inf", 2 * BLOCK + 7);
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn a_head_is_compared_to_its_last_byte() {
    let dims = Dims {
        vocab_size: (1 << 20) / 24 + 9, // more bytes than are compared at once
        ..tiny_dims()
    };
    let weights = initial(&dims, 3);
    let mut entries = entries_of(&dims, &weights, Dtype::F32, f32::to_le_bytes);
    let wte = entries[0].clone();
    entries.push((HEAD.into(), wte.1, wte.2, wte.3));
    let parse = |entries: &[Entry]| Weights::parse(&file(entries), Path::new("w"), &dims);
    assert_eq!(parse(&entries).unwrap(), weights);
    *entry(&mut entries, HEAD).3.last_mut().unwrap() ^= 1;
    let text = parse(&entries).unwrap_err().to_string();
    assert!(text.contains("differs from `wte.weight`"), "{text}");
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let dims = tiny_dims();
    let whole = file(&entries(""));
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(WEIGHTS_FILE);
    for left in [whole.len() as u64 - 1, header + 40, header, 8, 0] {
        fs::write(&path, &whole).unwrap();
        let shards = [Shard::open(&path).unwrap()];
        let stored = source::tensors(&shards).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(left).unwrap();
        let error = read(&path, stored, &dims).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{left}: {error:?}");
        let text = error.to_string();
        assert!(text.contains("became shorter while it was read"), "{text}");
    }
    // Between the look at its length and the header.
    fs::write(&path, &whole).unwrap();
    let shards = [Shard::open(&path).unwrap()];
    fs::write(&path, "").unwrap();
    let error = source::tensors(&shards).err().unwrap();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
}

#[test]
fn a_file_that_another_thread_cuts_ends_in_no_panic() {
    let dims = wide_dims();
    let weights = initial(&dims, 3);
    let whole = file(&entries_of(&dims, &weights, Dtype::F32, f32::to_le_bytes));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(WEIGHTS_FILE);
    for round in 0..40 {
        fs::write(&path, &whole).unwrap();
        std::thread::scope(|scope| {
            let cut = scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_micros(50 * round));
                let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
                file.set_len(4096).unwrap();
            });
            match Weights::load(dir.path(), &dims) {
                Ok(read) => assert_eq!(read, weights),
                Err(error) => assert!(matches!(error, Error::File { .. }), "{error:?}"),
            }
            cut.join().unwrap();
        });
    }
}

/// A safetensors file with this header and `data` bytes of zeros behind it.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn headers_that_lie_are_refused() {
    let tensor = |shape: &str, begin: u64, end: u64| {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    let one = |shape: &str, begin, end| format!(r#"{{"a":{}}}"#, tensor(shape, begin, end));
    let two = |first: String, second: String| format!(r#"{{"a":{first},"b":{second}}}"#);
    let most = u64::MAX;
    let large = 1_u64 << 62;
    let cases = [
        ("beyond the file", one("[4]", 0, 16), 12),
        ("before the file's end", one("[4]", 0, 16), 20),
        ("backwards", one("[4]", 16, 0), 16),
        ("a gap", one("[4]", 4, 20), 20),
        (
            "overlapping",
            two(tensor("[4]", 0, 16), tensor("[4]", 8, 24)),
            24,
        ),
        (
            "the same bytes twice",
            two(tensor("[4]", 0, 16), tensor("[4]", 0, 16)),
            16,
        ),
        ("another length than the shape's", one("[3]", 0, 16), 16),
        (
            "a size that overflows",
            one("[4294967296, 4294967296]", 0, 0),
            0,
        ),
        (
            "as many bytes as a u64 counts",
            one(&format!("[{large}]"), 0, most),
            16,
        ),
        (
            "more bytes than the file",
            one("[1099511627776]", 0, 1 << 42),
            16,
        ),
        (
            "a negative offset",
            one("[4]", 0, 16).replace("[0,16]", "[-16,0]"),
            16,
        ),
        ("no object", "[]".to_owned(), 0),
        ("cut off", "{\"a\":".to_owned(), 0),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (what, header, data) in cases {
        let bytes = with_header(&header, data);
        fs::write(dir.path().join(WEIGHTS_FILE), &bytes).unwrap();
        for read in [
            Weights::load(dir.path(), &tiny_dims()),
            Weights::parse(&bytes, Path::new(WEIGHTS_FILE), &tiny_dims()),
        ] {
            let error = read.unwrap_err();
            assert!(matches!(error, Error::File { .. }), "{what}: {error:?}");
            let text = error.to_string();
            assert!(
                text.contains("not a whole safetensors file"),
                "{what}: {text}"
            );
        }
    }
}

#[test]
fn a_shard_that_is_damaged_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let whole = file(&entries("")[..3]);
    let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
    fs::write(dir.path().join(INDEX_FILE), index).unwrap();
    fs::write(dir.path().join("1.safetensors"), &whole).unwrap();
    fs::write(dir.path().join("2.safetensors"), &whole[..whole.len() - 4]).unwrap();
    let error = Weights::load(dir.path(), &tiny_dims()).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("2.safetensors: not a whole"), "{text}");
}

#[test]
fn a_damaged_file_is_one_clear_error() {
    let whole = file(&entries(""));
    let mut bad_header = whole.clone();
    bad_header[8] = b'?';
    let mut long_header = whole.clone();
    long_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let longer = [&whole[..], b"more"].concat();
    let cases = [
        &whole[..whole.len() - 1],
        &whole[..100],
        &whole[..5],
        b"",
        &bad_header,
        &long_header,
        &longer,
    ];
    let dir = tempfile::tempdir().unwrap();
    for bytes in cases {
        fs::write(dir.path().join(WEIGHTS_FILE), bytes).unwrap();
        let error = Weights::load(dir.path(), &tiny_dims()).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("model.safetensors: not a whole"), "{text}");
    }
}

#[test]
fn shards_are_read_as_one() {
    let dir = tempfile::tempdir().unwrap();
    for entries in [entries("transformer."), entries_with_head_alone("")] {
        let (first, second) = entries.split_at(9);
        let mut map = BTreeMap::new();
        for (name, part) in [("a.safetensors", first), ("b.safetensors", second)] {
            fs::write(dir.path().join(name), file(part)).unwrap();
            map.extend(part.iter().map(|entry| (&entry.0, name)));
        }
        let index = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
        fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
        let weights = Weights::load(dir.path(), &tiny_dims()).unwrap();
        assert_eq!(weights, initial(&tiny_dims(), 5));
    }

    fs::remove_file(dir.path().join("b.safetensors")).unwrap();
    let error = Weights::load(dir.path(), &tiny_dims()).unwrap_err();
    assert!(error.to_string().contains("b.safetensors"), "{error}");
}

#[test]
fn the_fingerprint_sees_every_change() {
    let dims = tiny_dims();
    let weights = initial(&dims, 5);
    let print = fingerprint(&dims, &weights);
    assert_eq!(print.len(), 64);
    assert_eq!(print, fingerprint(&dims, &weights.clone()));

    let mut other = weights.clone();
    other.tensors[27][5] = f32::from_bits(1);
    assert_ne!(print, fingerprint(&dims, &other));
    let heads = Dims { n_head: 2, ..dims };
    assert_ne!(print, fingerprint(&heads, &weights));
}
