//! Continues a prompt through the library, on the CPU engine.
//!
//! `cargo run --release --example generate [MODEL_DIR [PROMPT]]`; without MODEL_DIR it uses the starter's model.

use std::path::PathBuf;

use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::generate::{Generator, Sampling};
use gpt2_dpo::pretrained::Model;
use gpt2_dpo::{Error, Result};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or("examples/starter".into()));
    let prompt = args
        .next()
        .unwrap_or("What is the capital of France?".into());

    let model = Model::load(&dir)?;
    let Some(tokenizer) = &model.outline.tokenizer else {
        return Err(Error::File {
            path: dir,
            what: "no tokenizer".into(),
            help: "copy one into the directory".into(),
        });
    };
    let config = TrainConfig::default();
    let template = config.template(Some(tokenizer))?;
    let prompt = template.prompt_ids(tokenizer, &prompt, &config.data_options()?)?;
    let dims = &model.outline.config.dims;
    let mut engine = CpuEngine::new();
    let generator = Generator::new(&mut engine, dims, &model.weights, dims.n_positions)?;
    let mut ids = Vec::new();
    let (stops, greedy) = (&model.outline.end.stops, Sampling::GREEDY);
    generator.generate(&mut engine, &prompt, 64, stops, greedy, |id| {
        ids.push(id);
        Ok(())
    })?;
    println!("{}", tokenizer.decode(&ids)?);
    Ok(())
}
