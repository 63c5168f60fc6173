//! The options in a trained model's run.toml, which later commands follow.

use std::path::{Path, PathBuf};

use gpt2_dpo::config::{TemplateChoice, TrainConfig, TrainOptions, unescape};
use gpt2_dpo::ops::preference::Settings;
use gpt2_dpo::run_folder;

use super::{tell, with_flags};

/// The flags, completed by the options of the run that made the model in `dir`, if a run did. Prints each option
/// in which the run differs from the defaults, or a flag from the run.
pub fn followed(flags: TrainOptions, dir: &Path) -> TrainOptions {
    let file = dir.join(run_folder::RUN_FILE);
    if !file.exists() {
        return flags;
    }
    let run = match TrainOptions::read(&file) {
        Ok(run) => run,
        // Another program or a later version may have written the file.
        Err(error) => {
            let error = with_flags(&error.to_string());
            tell!("note: the run that made the model is not followed: {error}");
            return flags;
        }
    };
    let losses = match flags.data.is_some() && flags.loss.is_none() {
        true => of_losses(&run),
        false => TrainOptions::default(),
    };
    let mut recorded = of_texts(run).or(losses);
    if flags.template.is_some() && flags.chat_template.is_none() {
        // The flag's text replaces the chat template of the run, too.
        recorded.chat_template = None;
    }
    for note in differences(&flags, &recorded, &file) {
        tell!("note: {note}");
    }
    flags.or(recorded)
}

/// The reference of the run in `dir`, which is the model that it began with unless the run named another:
/// `Some(None)` is the starter; `None` if `dir` has no run.toml.
pub fn reference_of(dir: &Path) -> Option<Option<PathBuf>> {
    let run = TrainOptions::read(&dir.join(run_folder::RUN_FILE)).ok()?;
    Some(run.ref_model.or(run.model))
}

/// Of a run's options, those that decide how the model is prompted and judged.
fn of_texts(run: TrainOptions) -> TrainOptions {
    let chat_template = run.chat_template.map(|choice| {
        let named = TrainConfig {
            chat_template: choice,
            ..TrainConfig::default()
        };
        // The run saved a file's template with the model, so the template is now the model's own.
        match named.template_choice() {
            TemplateChoice::File(_) => TemplateChoice::MODEL.to_owned(),
            _ => named.chat_template,
        }
    });
    TrainOptions {
        // The value means nothing where the loss does not use it.
        beta: run.beta.filter(|_| {
            run.loss
                .is_none_or(|loss| loss.objective(Settings::DEFAULT).uses_beta())
        }),
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

/// Of a run's options, those that decide which loss is reported of its model.
fn of_losses(run: &TrainOptions) -> TrainOptions {
    TrainOptions {
        loss: run.loss,
        sft_weight: run.sft_weight,
        label_smoothing: run.label_smoothing,
        discopop_tau: run.discopop_tau,
        dpop_lambda: run.dpop_lambda,
        simpo_gamma: run.simpo_gamma,
        f_divergence_type: run.f_divergence_type,
        f_alpha_divergence_coef: run.f_alpha_divergence_coef,
        ld_alpha: run.ld_alpha,
        average_log_prob: run.average_log_prob,
        ..TrainOptions::default()
    }
}

/// Notes on the flags that override the run, and on the run's options that differ from the defaults.
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

/// The given options by name.
pub(super) fn table(options: &TrainOptions) -> toml::Table {
    // A detour over text: it shortens an f32 to 0.2, not to the f64 nearest to it. Numbers, texts and names of
    // choices always have a form in TOML.
    let text = toml::to_string(options).unwrap_or_default();
    text.parse().unwrap_or_default()
}

/// A value on one line; a newline appears as in flags, `\n`.
pub(super) fn show(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("{text:?}"),
        value => value.to_string(),
    }
}
