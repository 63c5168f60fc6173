//! The files of a run: its options, its checkpoints, and the cache of the reference's log-probs.

use std::fs;
use std::path::{Path, PathBuf};

use gpt2_dpo::Result;
use gpt2_dpo::checkpoint::{Checkpoint, MANIFEST_FILE, OPTIMIZER_FILE, POSITION_FILE};
use gpt2_dpo::config::TrainOptions;
use gpt2_dpo::data::{Example, Place};
use gpt2_dpo::gpu::rewritten_table;
use gpt2_dpo::pretrained::WEIGHTS_FILE;
use gpt2_dpo::reference::Cache;
use gpt2_dpo::run_folder::{METRICS_FILE, RUN_FILE, checkpoint_name};
use sha2::{Digest, Sha256};

use super::folder;

/// `run.toml`.
pub fn run_toml(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let parse = |text: &str| TrainOptions::parse(text, Path::new(RUN_FILE));
    let Ok(options) = parse(&text) else {
        return false;
    };
    let written = options.clone().fill().to_toml();
    // As text, because NaN is not equal to itself.
    assert_eq!(parse(&written).unwrap().fill().to_toml(), written);
    if let Ok(resolved) = options.clone().resolve() {
        let _ = options.refuse_idle(&resolved);
        resolved.data_options().unwrap();
        resolved.eval_options().unwrap();
        resolved.objective();
        resolved.optimizer();
        resolved.template_choice();
        resolved.total_steps(1000);
    }
    true
}

/// The table of autotune's measurements.
pub fn autotune_table(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some(once) = rewritten_table(&text) else {
        return false;
    };
    assert_eq!(rewritten_table(&once), Some(once));
    true
}

/// The step of the checkpoint that the corpora describe.
const STEP: usize = 3;

/// The `training.json` of the checkpoint whose manifests the corpora hold.
const POSITION: &[u8] = include_bytes!("../../../fuzz/corpus/checkpoint_position/whole.json");

/// The files of a checkpoint that are empty here, because opening it does not parse them.
const EMPTY: [&str; 4] = [METRICS_FILE, WEIGHTS_FILE, OPTIMIZER_FILE, RUN_FILE];

/// A checkpoint's folder without a manifest.
fn checkpoint(name: &str, position: &[u8]) -> PathBuf {
    let path = folder(name).join(checkpoint_name(STEP));
    if !path.exists() {
        fs::create_dir(&path).unwrap();
        for name in EMPTY {
            fs::write(path.join(name), "").unwrap();
        }
    }
    fs::write(path.join(POSITION_FILE), position).unwrap();
    path
}

/// A checkpoint's `manifest.sha256`.
pub fn checkpoint_manifest(bytes: &[u8]) -> bool {
    let path = checkpoint("manifest", POSITION);
    fs::write(path.join(MANIFEST_FILE), bytes).unwrap();
    Checkpoint::open(&path).is_ok()
}

/// A checkpoint's `training.json`, under a manifest that has its hash.
pub fn checkpoint_position(bytes: &[u8]) -> bool {
    let Ok(opened) = open(bytes) else {
        return false;
    };
    let written = serde_json::to_vec_pretty(opened.position()).unwrap();
    assert_eq!(open(&written).unwrap().position(), opened.position());
    true
}

fn open(position: &[u8]) -> Result<Checkpoint> {
    let path = checkpoint("position", position);
    let mut lines = EMPTY.map(|name| line(name, b"")).to_vec();
    lines.push(line(POSITION_FILE, position));
    // By their names, which begin behind hash and spaces.
    lines.sort_by(|one, other| one[64..].cmp(&other[64..]));
    fs::write(path.join(MANIFEST_FILE), lines.concat()).unwrap();
    Checkpoint::open(&path)
}

/// A manifest's line.
fn line(name: &str, contents: &[u8]) -> String {
    let hash = Sha256::digest(contents);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hash}  {name}\n")
}

/// A cache of two pairs, and its files.
struct Stored {
    examples: [Example; 2],
    cache: Cache,
    whole: PathBuf,
    part: PathBuf,
}

thread_local! {
    static STORED: Stored = Stored::new();
}

impl Stored {
    fn new() -> Stored {
        let examples = [
            Example::new(vec![1], vec![2, 3], vec![4], Place::new("pairs", 1)),
            Example::new(vec![1, 2], vec![5], vec![6, 7, 8], Place::new("pairs", 2)),
        ];
        let folder = folder("reference");
        let cache = Cache::new(&folder, "weights", "device", &examples);
        let whole = folder.join(cache.name());
        Stored {
            part: whole.with_extension("part.safetensors"),
            examples,
            cache,
            whole,
        }
    }

    fn read(&self, bytes: &[u8]) -> bool {
        fs::write(&self.whole, bytes).unwrap();
        fs::write(&self.part, bytes).unwrap();
        let mut taken = false;
        for micro_batch in [1, 2] {
            if let Some(part) = self.cache.load_part(&self.examples, micro_batch) {
                taken = true;
                assert!(part.pairs <= self.examples.len());
            }
        }
        let Some(logps) = self.cache.load(&self.examples) else {
            return taken;
        };
        assert_eq!(logps.gather(&[1, 0]), [logps.of(1), logps.of(0)].concat());
        // The writer waits for the disk, so it gets one of 16 inputs.
        let sum: usize = bytes.iter().map(|&byte| usize::from(byte)).sum();
        if sum.is_multiple_of(16) {
            self.cache.store(&logps).unwrap();
            assert_eq!(self.cache.load(&self.examples), Some(logps));
        }
        true
    }
}

/// The file of the reference's log-probs, whole and as the part that an unfinished pass left.
pub fn reference_cache(bytes: &[u8]) -> bool {
    STORED.with(|stored| stored.read(bytes))
}
