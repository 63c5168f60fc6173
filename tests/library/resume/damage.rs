//! Damaged checkpoints: every one is refused by name.

use std::fs;
use std::path::Path;

use gpt2_dpo::Error;
use gpt2_dpo::checkpoint::{self, Checkpoint};
use gpt2_dpo::cpu::CpuEngine;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::World;

/// Opening the checkpoint must fail and name the file.
#[track_caller]
fn refused(checkpoint: &Path, name: &str, how: &str) {
    match Checkpoint::open(checkpoint) {
        Err(Error::File { path, help, .. }) => {
            assert!(path.ends_with(name), "{how} {name}: {}", path.display());
            assert!(help.contains("`.resume`"), "{help}");
        }
        other => panic!("{how} {name}: {other:?}"),
    }
}

#[test]
fn flipped_bytes_are_refused_by_the_name_of_their_file() {
    let world = World::new();
    world.finish(&mut CpuEngine::new(), "out");
    let newest = checkpoint::folder(&world.out("out"), 4);
    Checkpoint::open(&newest).unwrap();
    let names = fs::read_dir(&newest)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    let files: Vec<_> = names
        .iter()
        .filter(|name| *name != "manifest.sha256")
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    for round in 0..2000 {
        let name = files[round % files.len()];
        let path = newest.join(name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= rng.random_range(1..=u8::MAX);
        fs::write(&path, bytes).unwrap();
        refused(&newest, name, &format!("byte {at} of"));
        fs::write(&path, whole).unwrap();
    }
    Checkpoint::open(&newest).unwrap();

    for name in &names {
        let path = newest.join(name);
        let whole = fs::read(&path).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            refused(&newest, name, &format!("cut to {cut}:"));
        }
        fs::remove_file(&path).unwrap();
        refused(&newest, name, "without");
        if let Ok(earlier) = fs::read(checkpoint::folder(&world.out("out"), 3).join(name))
            && earlier != whole
        {
            fs::write(&path, earlier).unwrap();
            let swapped = Checkpoint::open(&newest);
            // Another manifest makes some other file the wrong one.
            assert!(
                matches!(swapped, Err(Error::File { .. })),
                "{name}: {swapped:?}"
            );
        }
        fs::write(&path, whole).unwrap();
    }
    Checkpoint::open(&newest).unwrap();
}

#[test]
fn the_checkpoint_before_a_damaged_one_is_offered() {
    let world = World::new();
    let whole = world.finish(&mut CpuEngine::new(), "out");
    let out = world.out("out");
    let newest = checkpoint::folder(&out, 4);
    fs::write(newest.join("optimizer.safetensors"), "x").unwrap();
    let text = checkpoint::find(&out).unwrap_err().to_string();
    let earlier = checkpoint::folder(&out, 3);
    assert!(text.contains("optimizer.safetensors"), "{text}");
    assert!(text.contains(&earlier.display().to_string()), "{text}");
    fs::remove_dir_all(newest).unwrap();
    assert!(world.finish(&mut CpuEngine::new(), "out") == whole);

    for entry in checkpoint::list(&out).unwrap() {
        fs::write(entry.path.join("training.json"), "{}").unwrap();
    }
    let text = checkpoint::find(&out).unwrap_err().to_string();
    assert!(text.contains("no whole checkpoint is left"), "{text}");
}

#[test]
fn a_checkpoint_under_the_name_of_another_is_refused() {
    let world = World::new();
    world.finish(&mut CpuEngine::new(), "out");
    let out = world.out("out");
    let moved = checkpoint::folder(&out, 9);
    fs::rename(checkpoint::folder(&out, 4), &moved).unwrap();
    let text = Checkpoint::open(&moved).unwrap_err().to_string();
    assert!(text.contains("a checkpoint of step 4"), "{text}");
}

#[test]
fn what_a_killed_run_left_is_removed_and_nothing_else() {
    let world = World::new();
    world.finish(&mut CpuEngine::new(), "out");
    let checkpoints = world.out("out").join("checkpoints");
    for name in [".step-2.partial", "mine", "step-2x"] {
        fs::create_dir(checkpoints.join(name)).unwrap();
    }
    world.finish(&mut CpuEngine::new(), "out");
    let names = fs::read_dir(&checkpoints).unwrap();
    let mut names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["mine", "step-2x", "step-3", "step-4"]);
}
