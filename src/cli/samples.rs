//! The prompts that a run answers at its evaluations, and the answers at its end.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gpt2_dpo::config::{SamplePrompts, TrainConfig, TrainOptions};
use gpt2_dpo::data::{self, Dataset, Template};
use gpt2_dpo::pretrained::Outline;
use gpt2_dpo::run_folder::METRICS_FILE;
use gpt2_dpo::train::{Sample, SampleRow};
use gpt2_dpo::{Error, Result, Setting};

use super::say;

/// The ids of the prompts: those of the option, or of the first different ones of the held-out pairs. None for a model
/// without a tokenizer, whose answers nobody could read, unless they are asked for.
pub fn prompts(
    flags: &TrainOptions,
    config: &TrainConfig,
    outline: &Outline,
    template: &Template,
    eval: Option<&Dataset>,
) -> Result<Vec<Vec<u32>>> {
    let samples = config.samples();
    let Some(tokenizer) = &outline.tokenizer else {
        let asked = flags.sample_prompts.is_some() && samples != SamplePrompts::Count(0);
        return match asked || matches!(samples, SamplePrompts::File(_)) {
            false => Ok(Vec::new()),
            true => Err(Error::Option {
                option: Setting::Field("sample_prompts"),
                what: "is given, and the model has no tokenizer: nobody could read the answers"
                    .into(),
                help: "give 0, or copy the tokenizer's files into the model's folder".into(),
            }),
        };
    };
    let file = match samples {
        SamplePrompts::File(file) => file,
        SamplePrompts::Count(count) => {
            let mut prompts: Vec<Vec<u32>> = Vec::new();
            for example in eval.iter().flat_map(|eval| &eval.examples) {
                if prompts.len() == count {
                    break;
                }
                if !prompts.contains(&example.prompt) {
                    prompts.push(example.prompt.clone());
                }
            }
            return Ok(prompts);
        }
    };
    let room = outline.config.dims.n_positions;
    let options = config.data_options()?;
    let mut prompts = Vec::new();
    for message in data::read_prompts(&file)? {
        let ids = template.prompt_ids(tokenizer, &message, &options)?;
        if ids.is_empty() || ids.len() >= room {
            return Err(Error::File {
                what: format!("{message:?} is a prompt of {} tokens", ids.len()),
                help: format!(
                    "write a message with which the prompt has 1 to {} tokens",
                    room.saturating_sub(1)
                ),
                path: file,
            });
        }
        prompts.push(ids);
    }
    Ok(prompts)
}

/// Prints the answers before the first step and at the step whose weights are the result, from the run's metrics.
pub fn show(out: &Path, step: usize, took: Duration) {
    let text = fs::read_to_string(out.join(METRICS_FILE)).unwrap_or_default();
    let rows = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let rows: Vec<SampleRow> = rows.collect();
    let at = |step: usize, sample: usize| {
        let mut rows = rows.iter();
        let found = rows.find(|row| row.step == step && row.sample == sample);
        found.map(|row| &row.texts)
    };
    let mut shown = 0;
    while let Some(after) = at(step, shown + 1) {
        shown += 1;
        show_one(at(0, shown), after);
    }
    if shown > 0 {
        say!(
            "\n(the answers of all evaluations took {:.1} s)",
            took.as_secs_f64()
        );
    }
}

fn show_one(before: Option<&Sample>, after: &Sample) {
    say!("\n{}", indented(&after.prompt, ""));
    if let Some(before) = before {
        say!("  before:    {}", indented(&before.policy, "             "));
    }
    if before.is_none_or(|before| before.policy != before.reference) {
        say!(
            "  reference: {}",
            indented(&after.reference, "             ")
        );
    }
    say!("  after:     {}", indented(&after.policy, "             "));
}

/// The text with further lines below its first.
fn indented(text: &str, indent: &str) -> String {
    text.trim_end().replace('\n', &format!("\n{indent}"))
}
