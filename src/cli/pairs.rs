//! The pairs of a run: read, weighed, held out, and what there is to say about them.

use std::collections::HashMap;
use std::path::Path;

use gpt2_dpo::Result;
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::data::{self, Audit, Codec, Dataset, Named, Options, Seen, Source, mixture};
use gpt2_dpo::words::{counted, either};
use serde::Serialize;

use super::{fetch, say, starter};

/// What is trained on, and what is held out.
pub struct Pairs {
    pub train: Dataset,
    pub eval: Option<Dataset>,
    pub report: Report,
}

/// What was found in the data: OUT/data.json, and `inspect --json`.
#[derive(Default, Serialize)]
pub struct Report {
    /// For each `--data`.
    pub train: Vec<Audit>,
    /// `null` without `--eval-data`.
    pub eval: Option<Audit>,
    /// Pairs that are trained on: those of all `--data`, without the held-out ones, by their weights.
    pub trained_on: usize,
    /// Held-out pairs, of `--eval-data` or `--eval-fraction`.
    pub held_out: usize,
    /// Held-out pairs whose prompt is among those trained on; `null` without held-out pairs.
    pub eval_prompts_trained_on: Option<Named>,
}

impl Pairs {
    /// Reads what the options name, or the starter's own.
    pub fn read(config: &TrainConfig, codec: &Codec, options: &[Options; 2]) -> Result<Pairs> {
        let [train_options, eval_options] = options;
        let (mut train, mut seen) = (Vec::new(), Seen::default());
        let mut eval = None;
        if config.data.is_empty() {
            let parse = |file: starter::Text, options| {
                data::read(
                    Source::text(file.text, Path::new(file.path)),
                    codec,
                    options,
                )
            };
            train.push(parse(starter::TRAIN, train_options)?);
            eval = Some(parse(starter::EVAL, eval_options)?);
        }
        for spec in &config.data {
            let source = fetch::data(spec)?;
            train.push(data::read_next(source, codec, train_options, &mut seen)?);
        }
        if let Some(spec) = &config.eval_data {
            eval = Some(data::read(fetch::data(spec)?, codec, eval_options)?);
        }
        let mut report = Report {
            train: train.iter().map(|data| data.audit.clone()).collect(),
            eval: eval.as_ref().map(|data| data.audit.clone()),
            ..Report::default()
        };
        // What is not trained on is nothing to hold out from.
        for (data, weight) in train.iter_mut().zip(&config.data_weights) {
            if *weight == 0.0 {
                data.examples.clear();
            }
        }
        if config.eval_fraction > 0.0 {
            eval = Some(mixture::hold_out(
                &mut train,
                config.eval_fraction,
                config.seed,
            )?);
        }
        mixture::weigh(&mut train, &config.data_weights, config.seed)?;
        let train = mixture::joined(train);
        report.trained_on = train.examples.len();
        report.held_out = eval.as_ref().map_or(0, |eval| eval.examples.len());
        report.eval_prompts_trained_on = eval.as_ref().map(|eval| shared(&train, eval));
        Ok(Pairs {
            train,
            eval,
            report,
        })
    }

    /// A few lines on what is trained on.
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

impl Report {
    /// Of all data, what is trained on first.
    pub fn all(&self) -> impl Iterator<Item = &Audit> {
        self.train.iter().chain(&self.eval)
    }

    /// Says what is not used as it stands.
    pub fn say_notes(&self) {
        for audit in self.all() {
            super::args::say_audit(audit);
        }
        if let Some(shared) = &self.eval_prompts_trained_on
            && let Some(first) = shared.first.first()
        {
            let count = shared.count;
            eprintln!(
                "note: {} {} a prompt that is trained on, and {} too kindly; the first: {first}",
                counted(count, "held-out pair"),
                either(count, "has", "have"),
                either(count, "judges", "judge"),
            );
        }
    }
}

/// Pairs of `eval` whose prompt `train` has too.
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
