//! What a trained model was trained with: its run.toml, which later commands follow.

use std::path::{Path, PathBuf};

use gpt2_dpo::checkpoint;
use gpt2_dpo::config::{LossName, TemplateChoice, TrainConfig, TrainOptions, unescape};

use super::with_flags;

/// The flags, and for what they leave open the run that made the model in `dir`, if a run did. Says
/// where the run and the defaults, or a flag and the run, differ.
pub fn followed(flags: TrainOptions, dir: &Path) -> TrainOptions {
    let file = dir.join(checkpoint::RUN_FILE);
    if !file.exists() {
        return flags;
    }
    let run = match TrainOptions::read(&file) {
        Ok(run) => run,
        // It may be another program's, or a later version's.
        Err(error) => {
            let error = with_flags(&error.to_string());
            eprintln!("note: the run that made the model is not followed: {error}");
            return flags;
        }
    };
    if run.loss == Some(LossName::Sft) && flags.data.is_some() {
        eprintln!(
            "note: {} says --loss sft; what is reported is DPO's loss and accuracy, against the reference",
            file.display()
        );
    }
    let mut recorded = of_texts(run);
    if flags.template.is_some() && flags.chat_template.is_none() {
        // The text is to be taken, not the template of the run.
        recorded.chat_template = None;
    }
    for note in differences(&flags, &recorded, &file) {
        eprintln!("note: {note}");
    }
    flags.or(recorded)
}

/// The model that the run in `dir` began with: `Some(None)` is the starter, `None` if no run made `dir`.
pub fn began_as(dir: &Path) -> Option<Option<PathBuf>> {
    let run = TrainOptions::read(&dir.join(checkpoint::RUN_FILE)).ok()?;
    Some(run.model)
}

/// Of a run's options those that say how a model is talked to and judged.
fn of_texts(run: TrainOptions) -> TrainOptions {
    let chat_template = run.chat_template.map(|choice| {
        let named = TrainConfig {
            chat_template: choice,
            ..TrainConfig::default()
        };
        // A file's template is the model's own since.
        match named.template_choice() {
            TemplateChoice::File(_) => TemplateChoice::MODEL.to_owned(),
            _ => named.chat_template,
        }
    });
    TrainOptions {
        // Supervised training has no use for it, and may have had any.
        beta: run.beta.filter(|_| run.loss != Some(LossName::Sft)),
        template: run.template,
        chat_template,
        max_prompt_tokens: run.max_prompt_tokens,
        max_response_tokens: run.max_response_tokens,
        truncation: run.truncation,
        boundary: run.boundary,
        response_prefix_space: run.response_prefix_space,
        allow_special_tokens: run.allow_special_tokens,
        ..TrainOptions::default()
    }
}

/// Where flags win over the run, and where the run differs from the defaults.
fn differences(flags: &TrainOptions, recorded: &TrainOptions, file: &Path) -> Vec<String> {
    let flags = TrainOptions {
        template: flags.template.as_deref().map(unescape),
        ..flags.clone()
    };
    let (flags, recorded) = (table(&flags), table(recorded));
    let defaults: toml::Table = TrainConfig::default().to_toml().parse().unwrap_or_default();
    let file = file.display();
    let mut notes = Vec::new();
    let mut taken = Vec::new();
    for (option, value) in &recorded {
        let said = show(value);
        match flags.get(option) {
            Some(flag) if flag != value => {
                let flag = show(flag);
                notes.push(format!("--{option} {flag} is taken; {file} says {said}"));
            }
            None if defaults.get(option) != Some(value) => taken.push(format!("--{option} {said}")),
            _ => {}
        }
    }
    if !taken.is_empty() {
        notes.push(format!("from {file}: {}", taken.join(" ")));
    }
    notes
}

/// Options by their names, those that are given.
fn table(options: &TrainOptions) -> toml::Table {
    // By way of text, which has 0.2 for the single that is nearest to it. Numbers, texts and names of choices:
    // nothing that TOML could refuse.
    let text = toml::to_string(options).unwrap_or_default();
    text.parse().unwrap_or_default()
}

/// A value on one line, a newline as flags take it.
fn show(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("{text:?}"),
        value => value.to_string(),
    }
}
