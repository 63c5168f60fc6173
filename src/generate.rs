//! Generates text with a model, token by token, with a key/value cache on the device.
//!
//! The cache is the `qkv` buffer of each layer: a new token's row is written behind the earlier rows, and its
//! attention reads all of them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::batch::{Extent, Span, Stream, Tile};
use crate::engine::{Engine, Release};
use crate::error::{Error, Result};
use crate::model::forward::{self, Rows};
use crate::model::{Allocation, Dims, Gpt2, Layout, Limits, Purpose, Tensor, Tensors, Workspace};
use crate::pretrained::Weights;

/// The most tokens of an answer that a run samples at an evaluation.
pub const SAMPLED_TOKENS: usize = 48;

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 = greedy: always the most probable token.
    pub temperature: f64,
    /// Draw among the k most probable tokens; 0 = all.
    pub top_k: usize,
    /// Draw among the fewest tokens whose probabilities add up to this; 1 = all.
    pub top_p: f64,
    /// The seed of the draws; a greedy choice ignores it.
    pub seed: u64,
}

impl Sampling {
    /// Always takes the most probable token.
    pub const GREEDY: Sampling = Sampling {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        seed: 0,
    };

    /// Checks that the temperature is a finite number ≥ 0 and `top_p` a probability above 0.
    ///
    /// # Errors
    /// `Error::Option` naming `temperature` or `top_p`.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::option(
                "temperature",
                format!("{} is not a number of at least 0", self.temperature),
                "give 0 for greedy, 1 for the model's own probabilities",
            ));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::option(
                "top_p",
                format!("{} is not above 0 and at most 1", self.top_p),
                "give 1 to sample among all tokens",
            ));
        }
        Ok(())
    }
}

/// A model on a device, ready to continue prompts.
pub struct Generator {
    weights: Tensors,
    decoder: Decoder,
}

impl Generator {
    /// Uploads a model, with room for sequences of `max_tokens` tokens, but at most of the model's
    /// `n_positions`.
    ///
    /// # Errors
    /// An error of the device if the model does not fit.
    pub fn new(
        engine: &mut dyn Engine,
        dims: &Dims,
        weights: &Weights,
        max_tokens: usize,
    ) -> Result<Generator> {
        let limits = Limits {
            max_binding_bytes: engine.max_binding_bytes(),
            pair_heads: 1,
        };
        let layout = Layout::new(dims, limits)?;
        let weights = Tensors::upload(engine, &layout, &weights.tensors, "weights")?;
        let decoder = |engine: &mut dyn Engine| Decoder::new(engine, &layout, max_tokens);
        let (weights, decoder) = weights.beside(engine, decoder)?;
        Ok(Generator { weights, decoder })
    }

    /// [`Decoder::generate`] with the model's weights.
    ///
    /// # Errors
    /// As there.
    pub fn generate(
        &self,
        engine: &mut dyn Engine,
        prompt: &[u32],
        max_new_tokens: usize,
        stops: &[u32],
        sampling: Sampling,
        on_token: impl FnMut(u32) -> Result<()>,
    ) -> Result<()> {
        let weights = &self.weights.gpt2;
        let asked = Asked {
            prompt,
            max_new_tokens,
            stops,
            sampling,
        };
        self.decoder.generate(engine, weights, asked, on_token)
    }
}

impl Release for Generator {
    fn release(self, engine: &mut dyn Engine) {
        self.weights.release(engine);
        self.decoder.release(engine);
    }
}

/// The buffers in which a model continues one prompt at a time; the weights are anybody's, of the layout that it was
/// made for.
pub struct Decoder {
    dims: Dims,
    ws: Workspace,
    max_rows: usize,
}

/// What a decoder is asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The ids to continue.
    pub prompt: &'a [u32],
    /// The most tokens to add.
    pub max_new_tokens: usize,
    /// Tokens that end the text.
    pub stops: &'a [u32],
    /// How each token is drawn.
    pub sampling: Sampling,
}

impl Decoder {
    /// Makes the buffers for sequences of `max_tokens` tokens, but at most of the model's `n_positions`.
    ///
    /// # Errors
    /// `Error::OutOfMemory` if they do not fit.
    pub fn new(engine: &mut dyn Engine, layout: &Layout, max_tokens: usize) -> Result<Decoder> {
        let dims = layout.dims;
        let max_rows = max_tokens.min(dims.n_positions);
        let extent = Extent {
            rows: max_rows,
            heads: 1,
            pair_heads: 1,
            pairs: 1,
        };
        let ws = Workspace::new(engine, layout, extent, 1, Purpose::Generate)?;
        Ok(Decoder { dims, ws, max_rows })
    }

    /// Every buffer.
    pub fn buffers(&self) -> &[Allocation] {
        self.ws.buffers()
    }

    /// Continues a prompt and passes each token to `on_token` as it comes. Stops at a token of `stops`, which is not
    /// passed on, or at the end of the room for tokens.
    ///
    /// # Errors
    /// `Error::Option` for a prompt that is empty, does not fit or has ids outside the vocabulary, or for
    /// `sampling` that [`Sampling::check`] refuses; an error of the device; `Error::NotFinite` if a logit is NaN or
    /// infinite; the errors of `on_token`.
    pub fn generate(
        &self,
        engine: &mut dyn Engine,
        weights: &Gpt2<Tensor>,
        asked: Asked,
        mut on_token: impl FnMut(u32) -> Result<()>,
    ) -> Result<()> {
        let Asked {
            prompt,
            max_new_tokens,
            stops,
            sampling,
        } = asked;
        sampling.check()?;
        if prompt.is_empty() || prompt.len() > self.max_rows {
            return Err(Error::option(
                "prompt",
                format!(
                    "has {} tokens; there is room for 1 to {}",
                    prompt.len(),
                    self.max_rows
                ),
                "give a prompt within that",
            ));
        }
        // Every row attends to all earlier rows.
        let all = Stream::sequence(&vec![0; self.max_rows]);
        engine.write(self.ws.inputs.spans, bytemuck::cast_slice(&all.spans))?;

        let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
        let mut fresh = prompt.to_vec();
        let mut done = 0;
        for new in 1..=max_new_tokens {
            let logits = self.next_logits(engine, weights, &fresh, done)?;
            if logits.iter().any(|l| !l.is_finite()) {
                return Err(Error::NotFinite {
                    step: new as u64,
                    what: "the logits are NaN or infinite".into(),
                    help: "check the model's weights; `gpt2-dpo selftest` checks the device".into(),
                });
            }
            let token = choose(&logits, sampling, &mut rng);
            if stops.contains(&token) {
                break;
            }
            on_token(token)?;
            done += fresh.len();
            if done == self.max_rows {
                break;
            }
            fresh = vec![token];
        }
        Ok(())
    }

    /// The logits `[V]` of the token behind `tokens`; the cache holds `first` earlier tokens.
    fn next_logits(
        &self,
        engine: &mut dyn Engine,
        weights: &Gpt2<Tensor>,
        tokens: &[u32],
        first: usize,
    ) -> Result<Vec<f32>> {
        let (ws, count) = (&self.ws, tokens.len());
        let positions: Vec<u32> = (first..first + count).map(|p| p as u32).collect();
        ws.check(tokens, &positions)?;
        let spans = Span::of_pair(0, first + count, 0, 0);
        let tiles = Tile::of(&spans, first..first + count);
        let rows = Rows {
            count,
            first,
            tiles: &tiles,
        };
        let mut rec = engine.recording();
        rec.upload(ws.inputs.tokens, tokens);
        rec.upload(ws.inputs.positions, &positions);
        rec.upload(ws.inputs.sources, &[count as u32 - 1]);
        rec.upload(ws.inputs.tiles, &tiles);
        forward::forward(&mut rec, &self.dims, weights, ws, rows);
        forward::logits(&mut rec, &self.dims, weights, ws, 1);
        for shard in ws.vocabulary(weights) {
            rec.fetch(shard.logits.first(shard.tokens.len()));
        }
        let mut logits = Vec::with_capacity(self.dims.vocab_size);
        for ticket in engine.run(&rec)? {
            let words = engine.collect(ticket)?;
            logits.extend(words.into_iter().map(f32::from_bits));
        }
        Ok(logits)
    }
}

impl Release for Decoder {
    fn release(self, engine: &mut dyn Engine) {
        self.ws.release(engine);
    }
}

/// Chooses the next token. Of equally probable tokens the lowest id ranks first.
fn choose(logits: &[f32], sampling: Sampling, rng: &mut ChaCha8Rng) -> u32 {
    let mut ranked: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit = |&a: &u32, &b: &u32| {
        let (a_logit, b_logit) = (logits[a as usize], logits[b as usize]);
        b_logit.total_cmp(&a_logit).then(a.cmp(&b))
    };
    if sampling.temperature == 0.0 {
        return ranked.into_iter().min_by(by_logit).unwrap_or(0);
    }
    ranked.sort_unstable_by(by_logit);
    if sampling.top_k > 0 {
        ranked.truncate(sampling.top_k);
    }
    let peak = f64::from(logits[ranked[0] as usize]);
    let weight =
        |&token: &u32| ((f64::from(logits[token as usize]) - peak) / sampling.temperature).exp();
    let mut weights: Vec<f64> = ranked.iter().map(weight).collect();
    let total: f64 = weights.iter().sum();
    let mut held = 0.0;
    let enough = weights.iter().position(|w| {
        held += w;
        held >= sampling.top_p * total
    });
    weights.truncate(enough.map_or(weights.len(), |last| last + 1));
    let total: f64 = weights.iter().sum();
    let mut left = total * (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let chosen = weights.iter().position(|w| {
        left -= w;
        left < 0.0
    });
    ranked[chosen.unwrap_or(weights.len() - 1)]
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    const LOGITS: [f32; 5] = [0.0, 3.0, 1.0, 3.0, -2.0];

    fn drawn(sampling: Sampling) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
        let mut counts = vec![0; LOGITS.len()];
        for _ in 0..20_000 {
            counts[choose(&LOGITS, sampling, &mut rng) as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_most_probable() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        assert_eq!(choose(&LOGITS, Sampling::GREEDY, &mut rng), 1);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let sampling = Sampling {
            temperature: 2.0,
            ..Sampling::GREEDY
        };
        let weights: Vec<f64> = LOGITS.iter().map(|&l| (f64::from(l) / 2.0).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (count, weight) in drawn(sampling).into_iter().zip(weights) {
            assert_abs_diff_eq!(count as f64 / 20_000.0, weight / total, epsilon = 0.015);
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let warm = Sampling {
            temperature: 1.0,
            ..Sampling::GREEDY
        };
        let two = drawn(Sampling { top_k: 2, ..warm });
        assert!(two[1] > 0 && two[3] > 0 && two[0] + two[2] + two[4] == 0);
        // The two most probable tokens hold 0.91 of the probability.
        let nucleus = drawn(Sampling { top_p: 0.9, ..warm });
        assert!(nucleus[1] > 0 && nucleus[3] > 0 && nucleus[0] + nucleus[2] + nucleus[4] == 0);
        let best = drawn(Sampling { top_p: 0.1, ..warm });
        assert_eq!(best[1], 20_000);
    }

    #[test]
    fn the_seed_fixes_the_draw() {
        let at = |seed| {
            drawn(Sampling {
                temperature: 1.0,
                seed,
                ..Sampling::GREEDY
            })
        };
        assert_eq!(at(5), at(5));
        assert_ne!(at(5), at(6));
    }
}
