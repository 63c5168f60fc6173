//! The numbers of a run from which findings follow, as its folder has them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::{TrainConfig, TrainOptions};
use crate::error::{Error, Result};
use crate::run_folder::{DATA_FILE, METRICS_FILE, RUN_FILE};

/// The numbers of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The optimizer steps, in order.
    pub steps: Vec<Step>,
    /// The held-out sets.
    pub sets: Vec<Set>,
    /// How far the weights moved, at each evaluation.
    pub moved: Vec<Moved>,
    /// The options that rules look at.
    pub settings: Settings,
    /// What the token budgets cut of each data set.
    pub cuts: Vec<Cut>,
    /// True if no more steps come.
    pub has_ended: bool,
}

/// An optimizer step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub step: usize,
    /// The mean loss over its pairs, in nats.
    pub loss: f64,
    /// `None` for a loss without rewards, as `ties` and `chosen_reward`.
    pub accuracy: Option<f64>,
    /// The share of pairs whose margin is 0.
    pub ties: Option<f64>,
    /// The mean reward of the chosen responses: β · log-ratio.
    pub chosen_reward: Option<f64>,
    /// ‖g‖ before clipping; `None` if it was not finite.
    pub grad_norm: Option<f64>,
}

/// A held-out set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    /// Its name; empty for none.
    pub name: String,
    /// Its evaluations, in order.
    pub evals: Vec<Eval>,
}

/// An evaluation of one set. What a loss does not have is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Eval {
    /// Optimizer steps before it.
    pub step: usize,
    /// The mean loss, in nats.
    pub loss: f64,
    /// The number of pairs.
    pub pairs: f64,
    /// The share of pairs whose margin is above 0.
    pub accuracy: Option<f64>,
    /// The lower end of its 95 % interval.
    pub accuracy_low: Option<f64>,
    /// The upper end.
    pub accuracy_high: Option<f64>,
    /// The share of pairs whose margin is 0.
    pub ties: Option<f64>,
    /// The mean Σ of log-probs of the chosen responses, in nats.
    pub chosen_logp: Option<f64>,
    /// The mean log-prob of the end-of-text token behind chosen responses, in nats.
    pub chosen_end: Option<f64>,
    /// The rank correlation of margin and difference of lengths.
    pub length_correlation: Option<f64>,
    /// The pairs whose chosen response is the longer one.
    pub chosen_longer: Option<Bucket>,
    /// The pairs whose chosen response is the shorter one.
    pub chosen_shorter: Option<Bucket>,
}

/// Some of a set's pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Their number.
    pub pairs: f64,
    /// The share of them whose margin is above 0.
    pub accuracy: f64,
}

/// How far the weights moved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moved {
    /// Optimizer steps before.
    pub step: usize,
    /// Mean |w − w₀| / mean |w₀| over a sample of the trained weights.
    pub relative_change: f64,
}

/// The options that rules look at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// The norm to which gradients are clipped; 0 = no clipping.
    pub max_grad_norm: f32,
    /// β.
    pub beta: f64,
    /// True if rewards are against a reference that stays as it is.
    pub has_fixed_reference: bool,
}

impl Settings {
    /// Those of a run.
    pub fn of(config: &TrainConfig) -> Settings {
        Settings {
            max_grad_norm: config.max_grad_norm,
            beta: config.beta.into(),
            has_fixed_reference: config.objective().needs_reference() && !config.moves_reference(),
        }
    }
}

/// What the token budgets cut of a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cut {
    /// The data set.
    pub data: String,
    /// Its pairs.
    pub pairs: usize,
    /// Prompts over `max_prompt_tokens`.
    pub prompts: usize,
    /// Chosen responses over `max_response_tokens`.
    pub chosen: usize,
    /// Rejected responses over it.
    pub rejected: usize,
}

/// The part of data.json that counts cuts.
#[derive(Deserialize)]
struct Data {
    train: Vec<Audit>,
}

#[derive(Deserialize)]
struct Audit {
    data: String,
    kept: usize,
    cut: Counts,
}

#[derive(Deserialize)]
struct Counts {
    prompts: usize,
    chosen: usize,
    rejected: usize,
}

impl Record {
    /// Reads the folder of a run, or of a checkpoint: `metrics.jsonl` and `run.toml`, and `data.json` where there is
    /// one. A row that a killed run left half is passed over.
    ///
    /// # Errors
    /// `Error::Io`; `Error::File` for a file that a run did not write, or without a single step.
    pub fn read(folder: &Path) -> Result<Record> {
        let options = TrainOptions::read(&folder.join(RUN_FILE))?;
        let mut record = Record {
            settings: Settings::of(&options.fill()),
            has_ended: true,
            ..Record::default()
        };
        let path = folder.join(METRICS_FILE);
        let file = File::open(&path).map_err(|e| Error::io("read", &path, e))?;
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        for number in 1.. {
            line.clear();
            let read = lines.read_line(&mut line);
            read.map_err(|e| Error::io("read", &path, e))?;
            if !line.ends_with('\n') {
                break;
            }
            match serde_json::from_str(&line) {
                Ok(Value::Object(row)) => record.add(&row),
                _ => {
                    return Err(Error::file(
                        &path,
                        format!("line {number} is no JSON object"),
                        "give the folder of a run",
                    ));
                }
            }
        }
        if record.steps.is_empty() {
            return Err(Error::file(
                &path,
                "no row of an optimizer step",
                "give the folder of a run that took one",
            ));
        }
        record.cuts = cuts(&folder.join(DATA_FILE))?;
        Ok(record)
    }

    /// Adds a row of metrics.jsonl.
    pub fn add(&mut self, row: &Map<String, Value>) {
        let number = |name: &str| row.get(name).and_then(Value::as_f64);
        let Some(step) = number("step").map(|step| step as usize) else {
            return;
        };
        if let Some(loss) = number("loss") {
            self.steps.push(Step {
                step,
                loss,
                accuracy: number("rewards/accuracies"),
                ties: number("rewards/ties"),
                chosen_reward: number("rewards/chosen"),
                grad_norm: number("grad_norm"),
            });
        }
        if let Some(relative_change) = number("weights/relative_change") {
            self.moved.push(Moved {
                step,
                relative_change,
            });
        }
        // Of a set's names this alone ends so.
        let losses = row.keys().filter(|name| name.starts_with("eval_"));
        for prefix in losses.filter_map(|name| name.strip_suffix("loss")) {
            let of_set = |name: &str| number(&format!("{prefix}{name}"));
            let Some(loss) = of_set("loss") else {
                continue;
            };
            let bucket = |name: &str| {
                Some(Bucket {
                    pairs: of_set(&format!("by_length/{name}/pairs"))?,
                    accuracy: of_set(&format!("by_length/{name}/accuracies"))?,
                })
            };
            let eval = Eval {
                step,
                loss,
                pairs: of_set("pairs").unwrap_or(0.0),
                accuracy: of_set("rewards/accuracies"),
                accuracy_low: of_set("rewards/accuracies_low"),
                accuracy_high: of_set("rewards/accuracies_high"),
                ties: of_set("rewards/ties"),
                chosen_logp: of_set("logps/chosen"),
                chosen_end: of_set("logps/chosen_end"),
                length_correlation: of_set("rewards/length_correlation"),
                chosen_longer: bucket("chosen_longer"),
                chosen_shorter: bucket("chosen_shorter"),
            };
            let name = prefix.strip_prefix("eval_").unwrap_or_default();
            let name = name.strip_suffix('_').unwrap_or_default();
            match self.sets.iter_mut().find(|set| set.name == name) {
                Some(set) => set.evals.push(eval),
                None => self.sets.push(Set {
                    name: name.to_owned(),
                    evals: vec![eval],
                }),
            }
        }
    }

    /// Optimizer steps done.
    pub fn last_step(&self) -> usize {
        self.steps.last().map_or(0, |step| step.step)
    }
}

impl Set {
    /// The evaluation before the first step.
    pub(super) fn before(&self) -> Option<&Eval> {
        self.evals.first().filter(|eval| eval.step == 0)
    }

    /// The last evaluation after a step.
    pub(super) fn after(&self) -> Option<&Eval> {
        self.evals.last().filter(|eval| eval.step > 0)
    }
}

/// The cuts in data.json; none without that file, as in a checkpoint.
fn cuts(path: &Path) -> Result<Vec<Cut>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let data: Data = serde_json::from_reader(BufReader::new(file))
        .map_err(|e| Error::file(path, e.to_string(), "give the folder of a run"))?;
    let cut = |audit: Audit| Cut {
        data: audit.data,
        pairs: audit.kept,
        prompts: audit.cut.prompts,
        chosen: audit.cut.chosen,
        rejected: audit.cut.rejected,
    };
    Ok(data.train.into_iter().map(cut).collect())
}
