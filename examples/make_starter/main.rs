//! Makes the starter: text, tokenizer, preference pairs, and a small GPT-2 pretrained on that text.
//!
//! `cargo run --release --example make_starter [DIR]` writes the starter's directory anew
//! (`examples/starter` if not given): tokenizer.json, train.jsonl, eval.jsonl, config.json and
//! model.safetensors. The text comes from `corpus`, the training is this library's own, with the
//! supervised loss, on the CPU engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gpt2_dpo::config::{Losses, TrainConfig};
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::data::{Dataset, Example, Place};
use gpt2_dpo::model::Dims;
use gpt2_dpo::ops::preference;
use gpt2_dpo::pretrained::{self, Config, Outline, Weights};
use gpt2_dpo::schedule::SchedulerName;
use gpt2_dpo::storage::{self, Replacing};
use gpt2_dpo::tokenizer::Tokenizer;
use gpt2_dpo::train::{Event, Host, Inputs, Run};
use gpt2_dpo::{Error, Result};

mod corpus;
mod tokenizer;

const SEED: u64 = 13;

const DIMS: Dims = Dims {
    vocab_size: 1024,
    n_positions: 128,
    n_embd: 128,
    n_layer: 4,
    n_head: 4,
    n_inner: 512,
    epsilon: 1e-5,
};

fn main() -> Result<()> {
    let dir = std::env::args().nth(1);
    let dir = PathBuf::from(dir.unwrap_or_else(|| "examples/starter".to_owned()));
    fs::create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e))?;

    let exchanges = corpus::pretraining(SEED);
    let (train, eval) = corpus::preferences(SEED);
    write_pairs(&dir.join("train.jsonl"), &train)?;
    write_pairs(&dir.join("eval.jsonl"), &eval)?;

    let texts: Vec<String> = exchanges
        .iter()
        .flat_map(|exchange| [exchange.prompt(), exchange.answer.clone()])
        .collect();
    let trained = tokenizer::train(texts.into_iter(), DIMS.vocab_size)?;
    let path = dir.join("tokenizer.json");
    trained.save(&path, false).map_err(|e| Error::File {
        path: path.clone(),
        what: format!("not written: {e}"),
        help: "check the disk".into(),
    })?;
    let tokenizer = Tokenizer::load(&dir)?;

    let weights = pretrain(&tokenizer, &exchanges)?;
    pretrained::save(
        &mut Replacing::on_disk(&dir),
        &Config::new(&DIMS, tokenizer.eos()),
        &mut &weights,
    )
}

/// The model trained on the exchanges' answers.
fn pretrain(tokenizer: &Tokenizer, exchanges: &[corpus::Exchange]) -> Result<Weights> {
    let config = TrainConfig {
        loss: Losses::from(preference::Kind::Sft),
        learning_rate: 2e-3,
        lr_scheduler: SchedulerName::Cosine,
        warmup_steps: 50,
        batch_size: 32,
        gradient_accumulation_steps: 1,
        epochs: 8,
        seed: SEED,
        ..TrainConfig::default()
    };
    let data = Dataset::of("pretraining text", encode(tokenizer, exchanges)?);
    let scratch = std::env::temp_dir().join("make_starter");
    fs::create_dir_all(&scratch).map_err(|e| Error::io("create", &scratch, e))?;
    let mut engine = CpuEngine::new();
    let mut tell = |event: Event| {
        if let Event::Step { row, total } = event
            && (row.step % 50 == 0 || row.step == total)
        {
            println!("step {}/{total}: loss {:.4}", row.step, row.summary.loss);
        }
    };
    let outline = Outline::new(Config::new(&DIMS, tokenizer.eos()), None);
    let weights = pretrained::initial(&DIMS, SEED);
    let inputs = Inputs::new(Arc::new(outline), weights, &data, None);
    let run = Run::new(
        &mut engine,
        &config,
        inputs,
        &scratch,
        Host::default(),
        &mut tell,
    )?;
    Ok(run.train()?.finished()?.weights)
}

/// Each exchange as an example with a chosen answer alone, ended by the end-of-text token.
fn encode(tokenizer: &Tokenizer, exchanges: &[corpus::Exchange]) -> Result<Vec<Example>> {
    let mut examples = Vec::with_capacity(exchanges.len());
    for (i, exchange) in exchanges.iter().enumerate() {
        let mut chosen = tokenizer.encode(&exchange.answer)?;
        chosen.extend(tokenizer.eos());
        examples.push(Example::new(
            tokenizer.encode(&exchange.prompt())?,
            chosen,
            Vec::new(),
            Place::new("pretraining text", i + 1),
        ));
    }
    Ok(examples)
}

fn write_pairs(path: &Path, pairs: &[corpus::Pair]) -> Result<()> {
    storage::write_atomically(path, |out| {
        for pair in pairs {
            serde_json::to_writer(&mut *out, pair)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}
