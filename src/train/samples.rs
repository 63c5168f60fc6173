//! Samples: greedy answers to a few prompts at each evaluation, the policy's beside the reference's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Run;
use crate::digest::{add_ids, hex};
use crate::engine::{Engine, Release};
use crate::error::{Error, Result};
use crate::generate::{Asked, Decoder, SAMPLED_TOKENS, Sampling};
use crate::model::{Gpt2, Tensor};
use crate::pretrained::Outline;

/// The prompts of a run, and what it answers them with.
pub(super) struct Samples {
    decoder: Decoder,
    outline: Arc<Outline>,
    /// The ids of each prompt.
    prompts: Vec<Vec<u32>>,
    /// The reference's answers; none before they are asked for.
    references: Vec<String>,
    /// True if the reference is another model than the one at the start.
    has_own_reference: bool,
    /// The time that the answers took so far.
    pub took: Duration,
}

/// A hash of these prompts; empty if there are none.
pub(super) fn hash_of(prompts: &[Vec<u32>]) -> String {
    if prompts.is_empty() {
        return String::new();
    }
    let mut hash = Sha256::new();
    for ids in prompts {
        add_ids(&mut hash, ids);
    }
    hex(hash.finalize())
}

/// A prompt and the answers to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The prompt as the model reads it.
    pub prompt: String,
    /// The policy's answer, up to the end-of-text token or [`SAMPLED_TOKENS`].
    pub policy: String,
    /// The reference's answer; that of the model at the start for a loss without a reference.
    pub reference: String,
}

/// One row of metrics.jsonl for a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    /// Optimizer steps before it; 0 = before training.
    pub step: usize,
    /// Passes over the training pairs so far, as a fraction.
    pub epoch: f64,
    /// The prompt's number, from 1.
    pub sample: usize,
    /// Prompt and answers.
    #[serde(flatten)]
    pub texts: Sample,
}

impl Samples {
    /// The prompts of a run, whose reference is another model than the one at the start if `has_own_reference`.
    pub fn new(
        decoder: Decoder,
        outline: &Arc<Outline>,
        prompts: Vec<Vec<u32>>,
        has_own_reference: bool,
    ) -> Samples {
        Samples {
            decoder,
            outline: Arc::clone(outline),
            prompts,
            references: Vec::new(),
            has_own_reference,
            took: Duration::ZERO,
        }
    }

    /// The greedy answer to each prompt with these weights. `stops` is asked after each token.
    fn answers(
        &self,
        engine: &mut dyn Engine,
        weights: &Gpt2<Tensor>,
        stops: &dyn Fn() -> bool,
    ) -> Result<Vec<String>> {
        let Outline { tokenizer, end, .. } = self.outline.as_ref();
        let Some(tokenizer) = tokenizer else {
            return Ok(Vec::new());
        };
        let mut answers = Vec::new();
        for prompt in &self.prompts {
            let asked = Asked {
                prompt,
                max_new_tokens: SAMPLED_TOKENS,
                stops: &end.stops,
                sampling: Sampling::GREEDY,
            };
            let mut ids = Vec::new();
            self.decoder.generate(engine, weights, asked, |id| {
                ids.push(id);
                match stops() {
                    true => Err(Error::Interrupted),
                    false => Ok(()),
                }
            })?;
            answers.push(tokenizer.decode(&ids)?);
        }
        Ok(answers)
    }
}

impl Release for Samples {
    fn release(self, engine: &mut dyn Engine) {
        self.decoder.release(engine);
    }
}

impl Run<'_> {
    /// Asks the reference for its answers. Before the state of the start is put on the device, the device holds the
    /// reference's weights in a place of their own or in the policy's.
    pub(super) fn sample_reference(&mut self) -> Result<()> {
        let weights = self
            .frozen
            .as_ref()
            .map_or(&self.bare, |frozen| &frozen.gpt2);
        if let Some(samples) = &mut self.samples {
            let stops = || self.host.stop.is_requested();
            let began = Instant::now();
            samples.references = samples.answers(self.engine, weights, &stops)?;
            samples.took += began.elapsed();
        }
        Ok(())
    }

    /// The answers at this step.
    pub(super) fn sample(&mut self) -> Result<Vec<SampleRow>> {
        let (step, epoch) = (self.position.step, self.epoch(self.position.step));
        let Some(samples) = &mut self.samples else {
            return Ok(Vec::new());
        };
        let outline = Arc::clone(&samples.outline);
        let Some(tokenizer) = &outline.tokenizer else {
            return Ok(Vec::new());
        };
        let stops = || self.host.stop.is_requested();
        let weights = &self.learner.policy.weights.gpt2;
        let began = Instant::now();
        let answers = match step == 0 && !samples.has_own_reference {
            true => samples.references.clone(),
            false => samples.answers(self.engine, weights, &stops)?,
        };
        samples.took += began.elapsed();
        let mut rows = Vec::new();
        let texts = samples.prompts.iter().zip(answers).zip(&samples.references);
        for (i, ((prompt, policy), reference)) in texts.enumerate() {
            rows.push(SampleRow {
                step,
                epoch,
                sample: i + 1,
                texts: Sample {
                    prompt: tokenizer.decode(prompt)?,
                    policy,
                    reference: reference.clone(),
                },
            });
        }
        Ok(rows)
    }
}
