//! Runs that stop and go on, on a device or a disk that fails: they end with the bytes of the run that was never stopped.

mod audit;
mod best;
mod damage;
mod device;
mod disk;
mod flat;
mod not_finite;
mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gpt2_dpo::checkpoint::{self, Checkpoint};
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::data::Dataset;
use gpt2_dpo::engine::{Device, OnRun, Tap};
use gpt2_dpo::pretrained::Model;
use gpt2_dpo::recording::Recording;
use gpt2_dpo::storage::Disk;
use gpt2_dpo::train::{Ending, EvalSet, Event, Host, Inputs, Outcome, Resume, Run};
use gpt2_dpo::{Error, Result};
use serde_json::Value;

use crate::common::{self, bits, metrics};

/// A run of four steps over the golden model's seven pairs, which evaluates and saves after each.
struct World {
    /// The folder of the model.
    folder: PathBuf,
    model: Model,
    pairs: Dataset,
    /// Prompts that evaluations answer.
    samples: Vec<Vec<u32>>,
    config: TrainConfig,
    dir: tempfile::TempDir,
}

/// One attempt at a run.
struct Attempt<'a> {
    config: &'a TrainConfig,
    host: Host,
    /// The checkpoint to go on from.
    from: Option<Checkpoint>,
    anyway: bool,
    observe: &'a mut dyn FnMut(&Event),
}

impl World {
    fn new() -> World {
        let model = common::model();
        let dir = tempfile::tempdir().unwrap();
        World {
            folder: common::golden(),
            pairs: common::pairs(&model),
            samples: Vec::new(),
            model,
            config: TrainConfig {
                batch_size: 2,
                gradient_accumulation_steps: 2,
                epochs: 2,
                learning_rate: 1e-3,
                eval_steps: 1,
                save_steps: 1,
                save_minutes: 0.0,
                save_total_limit: 2,
                cache_dir: Some(dir.path().join("cache")),
                ..TrainConfig::default()
            },
            dir,
        }
    }

    /// The output folder, made if it is not there.
    fn out(&self, name: &str) -> std::path::PathBuf {
        let out = self.dir.path().join(name);
        fs::create_dir_all(&out).unwrap();
        out
    }

    fn attempt(&self, engine: &mut dyn Device, out: &str, attempt: Attempt) -> Result<Ending> {
        let out = self.out(out);
        let inputs = Inputs {
            outline: Arc::new(Model::load(&self.folder).unwrap().outline),
            weights: self.model.weights.clone(),
            adapter: None,
            reference: None,
            train: &self.pairs,
            eval: Some(&self.pairs),
            eval_sets: vec![EvalSet::whole(&self.pairs)],
            samples: self.samples.clone(),
            resume: attempt.from.map(|checkpoint| Resume {
                checkpoint,
                anyway: attempt.anyway,
            }),
        };
        let observe = attempt.observe;
        let mut tell = |event: Event| observe(&event);
        Run::new(
            engine,
            attempt.config,
            inputs,
            &out,
            attempt.host,
            &mut tell,
        )?
        .train()
    }

    /// Trains from the newest checkpoint, or from the start.
    fn train(&self, engine: &mut dyn Device, out: &str, host: Host) -> Result<Ending> {
        checkpoint::tidy(&Disk, &self.out(out))?;
        let attempt = Attempt {
            config: &self.config,
            host,
            from: checkpoint::find(&self.out(out))?,
            anyway: false,
            observe: &mut |_| {},
        };
        self.attempt(engine, out, attempt)
    }

    fn finish(&self, engine: &mut dyn Device, out: &str) -> Left {
        let ending = self.train(engine, out, Host::default()).unwrap();
        self.result(out, ending.finished().unwrap())
    }

    fn result(&self, out: &str, outcome: Outcome) -> Left {
        let out = self.out(out);
        Left {
            weights: bits(&outcome.weights),
            metrics: metrics(&out),
            checkpoints: checkpoint::list(&out)
                .unwrap()
                .iter()
                .map(|entry| (entry.step, files(&entry.path)))
                .collect(),
        }
    }
}

/// Everything that a run leaves, without times.
#[derive(PartialEq)]
struct Left {
    weights: Vec<u32>,
    metrics: Vec<Value>,
    checkpoints: BTreeMap<usize, BTreeMap<String, Vec<u8>>>,
}

#[track_caller]
fn assert_same(ours: &Left, theirs: &Left, which: &str) {
    assert!(ours.weights == theirs.weights, "{which}: weights differ");
    assert_eq!(ours.metrics, theirs.metrics, "{which}");
    let steps = |result: &Left| result.checkpoints.keys().copied().collect::<Vec<_>>();
    assert_eq!(steps(ours), steps(theirs), "{which}: checkpoints");
    for (step, files) in &ours.checkpoints {
        for (name, bytes) in files {
            let same = theirs.checkpoints[step].get(name) == Some(bytes);
            assert!(same, "{which}: step {step}: {name} differs");
        }
    }
}

/// The files of a checkpoint that hold no times.
fn files(checkpoint: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = [
        "config.json",
        "model.safetensors",
        "optimizer.safetensors",
        "training.json",
    ];
    let read = |name: &str| (name.to_owned(), fs::read(checkpoint.join(name)).unwrap());
    names.map(read).into()
}

/// Runs `train` on a device whose run number `at`, from 1, goes to `on_run` instead. Returns the number of runs too.
fn tapped<T>(
    engine: &mut dyn Device,
    at: usize,
    on_run: &mut OnRun,
    train: impl FnOnce(&mut dyn Device) -> T,
) -> (T, usize) {
    let mut runs = 0;
    let mut count = |engine: &mut dyn Device, recording: &Recording| {
        runs += 1;
        match runs == at {
            true => on_run(engine, recording),
            false => engine.run(recording),
        }
    };
    let result = train(&mut Tap::new(engine, &mut count));
    (result, runs)
}

fn lost() -> Error {
    Error::Lost {
        what: "a test pulled the plug".into(),
    }
}
