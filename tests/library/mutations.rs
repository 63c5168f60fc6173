//! Every parser of this crate on damaged inputs: the corpora of `fuzz/corpus` as they are, and seeded mutations of
//! them. cargo-fuzz calls the same functions; `fuzz/README.md` says how.

use std::any::Any;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[path = "../common/fuzz_targets.rs"]
mod fuzz_targets;

/// The mutations of all targets together.
const MUTATIONS: usize = 20_000;

/// The most bytes of a mutated input.
const LONGEST: usize = 1 << 16;

/// A parser, and the name of its corpus in `fuzz/corpus`.
struct Target {
    name: &'static str,
    /// True if the parser takes these bytes. It may refuse them, and must not panic.
    takes: fn(&[u8]) -> bool,
}

/// Makes the table of targets, and a test of each.
macro_rules! targets {
    ($($name:ident,)*) => {
        const TARGETS: &[Target] = &[$(
            Target {
                name: stringify!($name),
                takes: fuzz_targets::$name,
            },
        )*];

        $(
            #[test]
            fn $name() {
                no_input_makes_it_panic(stringify!($name));
            }
        )*
    };
}

targets! {
    autotune_table,
    records_jsonl,
    records_json,
    records_parquet,
    records_packed,
    config_json,
    generation_config,
    weights,
    adapter_config,
    adapter_weights,
    run_toml,
    checkpoint_manifest,
    checkpoint_position,
    tokenizer_json,
    tokenizer_folder,
    chat_template,
    reference_cache,
}

fn no_input_makes_it_panic(name: &str) {
    let at = TARGETS.iter().position(|target| target.name == name);
    let at = at.unwrap();
    let target = &TARGETS[at];
    let corpus = corpus(name);
    let mut taken = 0;
    for (file, bytes) in &corpus {
        taken += usize::from(takes(target, bytes, &format!("the corpus's {file}")));
    }
    assert!(
        taken > 0,
        "{name}: no file of the corpus is taken, so that mutations of them reach nothing"
    );
    let corpus: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    // The first targets take what the division leaves.
    let rest = usize::from(at < MUTATIONS % TARGETS.len());
    for seed in 0..MUTATIONS / TARGETS.len() + rest {
        let bytes = mutated(seed as u64, &corpus);
        takes(target, &bytes, &format!("the mutation of seed {seed}"));
    }
}

/// True if the target takes the bytes. A panic is told with the target's name, and its input is kept.
fn takes(target: &Target, bytes: &[u8], what: &str) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.takes)(bytes))).unwrap_or_else(|panic| {
        panic!(
            "{} panicked at {what}, which is kept in {}: {}",
            target.name,
            keep(target.name, bytes).display(),
            text_of(&*panic)
        )
    })
}

/// Writes an input into a file that stays.
fn keep(name: &str, bytes: &[u8]) -> PathBuf {
    let prefix = format!("gpt2-dpo-{name}-");
    let mut file = tempfile::Builder::new().prefix(&prefix).tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let (_, path) = file.keep().unwrap();
    path
}

/// The message of a panic.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    let text = owned.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message")
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The files of a corpus, by their names.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz_folder().join("corpus").join(name);
    let files = names(&folder).into_iter().map(|file| {
        let bytes = fs::read(folder.join(&file)).unwrap();
        (file, bytes)
    });
    files.collect()
}

#[test]
fn cargo_fuzz_has_the_same_targets() {
    let mut expected: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    expected.sort_unstable();
    let folder = fuzz_folder();
    assert_eq!(names(&folder.join("corpus")), expected);
    let programs = names(&folder.join("fuzz_targets"));
    let programs: Vec<&str> = programs
        .iter()
        .filter_map(|file| file.strip_suffix(".rs"))
        .collect();
    assert_eq!(programs, expected);
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for name in expected {
        let path = format!("path = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&path), "fuzz/Cargo.toml: no {path}");
        let program = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        let call = format!("fuzz_targets::{name}(");
        assert!(program.contains(&call), "{name}.rs: no {call}");
    }
}

/// Numbers at which parsers break.
const NUMBERS: [&str; 16] = [
    "0",
    "-0",
    "-1",
    "1",
    "0.5",
    "NaN",
    "1e999",
    "1e-999",
    "255",
    "65536",
    "4294967295",
    "9007199254740993",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "170141183460469231731687303715884105727",
];

/// Pieces of texts at which parsers break.
const PIECES: [&[u8]; 20] = [
    b"{",
    b"}",
    b"[",
    b"]]",
    b"\"",
    b"\\",
    b",",
    b": null",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xEF\xBB\xBF",
    b"\xFF",
    b"\xC3",
    b"\\ud800",
    b"\xF0\x9F\x98\x80",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{% for a in b %}",
    b"{{ 'a' * 9 }}",
    b"../",
];

/// An input of the corpus with one to four changes, the same for the same seed.
fn mutated(seed: u64, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rng = &mut rng;
    let mut bytes = pick(rng, corpus).clone();
    for _ in 0..rng.random_range(1..=4) {
        match rng.random_range(0..10) {
            0 => flip(rng, &mut bytes),
            1 => delete(rng, &mut bytes),
            2 => duplicate(rng, &mut bytes),
            3 => insert(rng, &mut bytes),
            4 => splice(rng, &mut bytes, corpus),
            5 | 6 => replace_digits(rng, &mut bytes),
            7 => replace_integer(rng, &mut bytes),
            8 => overwrite(rng, &mut bytes),
            _ => bytes.truncate(rng.random_range(0..=bytes.len())),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

fn pick<'a, T>(rng: &mut ChaCha8Rng, list: &'a [T]) -> &'a T {
    &list[rng.random_range(0..list.len())]
}

/// A range of so many bytes, most often a short one; it may be empty.
fn some_range(rng: &mut ChaCha8Rng, length: usize) -> Range<usize> {
    let start = rng.random_range(0..=length);
    let most = (1_usize << rng.random_range(0..10_u32)).min(length - start);
    start..start + rng.random_range(0..=most)
}

fn replace(bytes: &mut Vec<u8>, range: Range<usize>, by: &[u8]) {
    bytes.splice(range, by.iter().copied());
}

fn flip(rng: &mut ChaCha8Rng, bytes: &mut [u8]) {
    if !bytes.is_empty() {
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1_u8 << rng.random_range(0..u8::BITS);
    }
}

fn overwrite(rng: &mut ChaCha8Rng, bytes: &mut [u8]) {
    let range = some_range(rng, bytes.len());
    for byte in bytes[range].iter_mut().take(8) {
        *byte = rng.random_range(0..=u8::MAX);
    }
}

fn delete(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    let range = some_range(rng, bytes.len());
    replace(bytes, range, &[]);
}

/// Copies a range to another place.
fn duplicate(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    let copy = bytes[some_range(rng, bytes.len())].to_vec();
    let at = rng.random_range(0..=bytes.len());
    replace(bytes, at..at, &copy);
}

fn insert(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    let at = rng.random_range(0..=bytes.len());
    let piece: &[u8] = pick::<&[u8]>(rng, &PIECES);
    replace(bytes, at..at, piece);
}

/// Puts a range of an input of the corpus in place of a range.
fn splice(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let other = pick(rng, corpus);
    let theirs = some_range(rng, other.len());
    let range = some_range(rng, bytes.len());
    replace(bytes, range, &other[theirs]);
}

/// Replaces a number in digits.
fn replace_digits(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        match runs.last_mut() {
            _ if !byte.is_ascii_digit() => {}
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    if !runs.is_empty() {
        let run = pick(rng, &runs).clone();
        replace(bytes, run, pick(rng, &NUMBERS).as_bytes());
    }
}

/// Replaces an integer in bytes, the lowest first.
fn replace_integer(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    let values = [0, 1, 0x7F, 0x80, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, u64::MAX];
    let value = pick(rng, &values).to_le_bytes();
    let width = *pick(rng, &[1, 2, 4, 8]);
    let start = rng.random_range(0..=bytes.len());
    let end = bytes.len().min(start + width);
    replace(bytes, start..end, &value[..width]);
}
