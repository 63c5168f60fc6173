//! The preference pairs of a run: read, weighted and held out; and the report on them.

use std::collections::HashMap;
use std::path::Path;

use gpt2_dpo::Result;
use gpt2_dpo::config::{NamedData, TrainConfig};
use gpt2_dpo::data::{self, Audit, Codec, Dataset, Named, Options, Seen, Source, mixture};
use gpt2_dpo::train::EvalSet;
use gpt2_dpo::words::{counted, either};
use serde::Serialize;

use super::{fetch, say, starter, tell, with_flags};

/// The pairs for training and the held-out pairs.
pub struct Pairs {
    pub train: Dataset,
    /// All held-out pairs, one set after another.
    pub eval: Option<Dataset>,
    pub eval_sets: Vec<EvalSet>,
    pub report: Report,
}

/// The report on the data: OUT/data.json, and `inspect --json`.
#[derive(Default, Serialize)]
pub struct Report {
    /// One audit for each `--data`.
    pub train: Vec<Audit>,
    /// One audit for each `--eval-data`.
    pub eval: Vec<Audit>,
    /// The number of training pairs: all pairs of `--data` by their weights, without the held-out ones.
    pub trained_on: usize,
    /// The number of held-out pairs, from `--eval-data` or `--eval-fraction`.
    pub held_out: usize,
    /// Held-out pairs whose prompt is also a training prompt; `null` without held-out pairs.
    pub eval_prompts_trained_on: Option<Named>,
}

impl Pairs {
    /// Reads the data that the options name, or the starter's own pairs.
    pub fn read(config: &TrainConfig, codec: &Codec, options: &[Options; 2]) -> Result<Pairs> {
        let [train_options, eval_options] = options;
        let (mut train, mut seen) = (Vec::new(), Seen::default());
        let (mut eval, mut names) = (Vec::new(), vec![String::new()]);
        if config.data.is_empty() {
            let parse = |file: starter::Text, options| {
                data::read(
                    Source::text(file.text, Path::new(file.path)),
                    codec,
                    options,
                )
            };
            train.push(parse(starter::TRAIN, train_options)?);
            eval.push(parse(starter::EVAL, eval_options)?);
        }
        for spec in &config.data {
            let source = fetch::data(spec)?;
            train.push(data::read_next(source, codec, train_options, &mut seen)?);
        }
        let sets = config.eval_sets();
        for NamedData { data, .. } in &sets {
            eval.push(data::read(fetch::data(data)?, codec, eval_options)?);
        }
        if !sets.is_empty() {
            names = sets.into_iter().map(|set| set.name).collect();
        }
        let mut report = Report {
            train: train.iter().map(said).collect(),
            eval: eval.iter().map(said).collect(),
            ..Report::default()
        };
        // Data of weight 0 is not trained on, so no pairs are held out from it.
        for (data, weight) in train.iter_mut().zip(&config.data_weights) {
            if *weight == 0.0 {
                data.examples.clear();
            }
        }
        if config.eval_fraction > 0.0 {
            eval = vec![mixture::hold_out(
                &mut train,
                config.eval_fraction,
                config.seed,
            )?];
        }
        mixture::weigh(&mut train, &config.data_weights, config.seed)?;
        let train = mixture::joined(train);
        let mut eval_sets: Vec<EvalSet> = Vec::new();
        for (name, data) in names.into_iter().zip(&eval) {
            let first = eval_sets.last().map_or(0, |set| set.pairs.end);
            let pairs = first..first + data.examples.len();
            eval_sets.push(EvalSet { name, pairs });
        }
        let eval = (!eval.is_empty()).then(|| mixture::joined(eval));
        report.trained_on = train.examples.len();
        report.held_out = eval.as_ref().map_or(0, |eval| eval.examples.len());
        report.eval_prompts_trained_on = eval.as_ref().map(|eval| shared(&train, eval));
        Ok(Pairs {
            train,
            eval,
            eval_sets,
            report,
        })
    }

    /// Prints a few lines on the training data.
    pub fn introduce(&self) {
        let Report {
            trained_on,
            held_out,
            ..
        } = self.report;
        say!("pairs   {trained_on} to train on, {held_out} held out");
        for audit in self.report.all() {
            for (shape, count) in &audit.read_as {
                say!("read as {shape}: {count} of {}", audit.data);
            }
        }
    }
}

/// The audit of a data set, with flags in the messages on its records.
fn said(data: &Dataset) -> Audit {
    let mut audit = data.audit.clone();
    for message in audit
        .dropped
        .values_mut()
        .flat_map(|named| &mut named.first)
    {
        *message = with_flags(message);
    }
    audit
}

impl Report {
    /// The audits of all data, those of the training data first.
    pub fn all(&self) -> impl Iterator<Item = &Audit> {
        self.train.iter().chain(&self.eval)
    }

    /// Prints the notes on all data.
    pub fn say_notes(&self) {
        for audit in self.all() {
            super::args::say_audit(audit);
        }
        if let Some(shared) = &self.eval_prompts_trained_on
            && let Some(first) = shared.first.first()
        {
            let count = shared.count;
            tell!(
                "note: {} {} a prompt that is trained on, and {} too kindly; the first: {first}",
                counted(count, "held-out pair"),
                either(count, "has", "have"),
                either(count, "judges", "judge"),
            );
        }
    }
}

/// The pairs of `eval` whose prompt is also in `train`.
fn shared(train: &Dataset, eval: &Dataset) -> Named {
    let mut prompts = HashMap::new();
    for example in &train.examples {
        prompts.entry(example.asked).or_insert(&example.place);
    }
    let mut shared = Named::default();
    for example in &eval.examples {
        if let Some(place) = prompts.get(&example.asked) {
            shared.add(format_args!("{} and {place}", example.place));
        }
    }
    shared
}
