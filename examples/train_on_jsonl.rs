//! Trains a model on a file of preference pairs through the library, on the CPU engine.
//!
//! `cargo run --release --example train_on_jsonl [MODEL_DIR PAIRS.jsonl]`; without arguments it uses the starter's
//! model and pairs. It prints loss and accuracy of each optimizer step, and saves no weights.

use std::path::PathBuf;
use std::sync::Arc;

use gpt2_dpo::Result;
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::data::{self, Source};
use gpt2_dpo::pretrained::Model;
use gpt2_dpo::train::{Event, Host, Inputs, Run};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).map(PathBuf::from);
    let model_dir = args.next().unwrap_or("examples/starter".into());
    let pairs = args.next().unwrap_or("examples/starter/train.jsonl".into());

    // The model card's recipe, with a learning rate and a length that suit a small model.
    let config = TrainConfig {
        learning_rate: 3e-4,
        max_steps: 5,
        ..TrainConfig::default()
    };
    let model = Model::load(&model_dir)?;
    let template = config.template(model.outline.tokenizer.as_ref())?;
    let codec = model.outline.codec(&template);
    let train = data::read(Source::open(&pairs)?, &codec, &config.data_options()?)?;

    let out = std::env::temp_dir(); // the run writes metrics.jsonl there
    let mut engine = CpuEngine::new();
    let mut tell = |event: Event| {
        if let Event::Step { row, total } = event {
            let accuracy = row.summary.rewards.map_or(0.0, |r| r.accuracy);
            println!(
                "step {}/{total}: loss {:.4}, accuracy {accuracy:.3}",
                row.step, row.summary.loss
            );
        }
    };
    let inputs = Inputs::new(Arc::new(model.outline), model.weights, &train, None);
    let run = Run::new(
        &mut engine,
        &config,
        inputs,
        &out,
        Host::default(),
        &mut tell,
    )?;
    run.train()?.finished()?;
    Ok(())
}
