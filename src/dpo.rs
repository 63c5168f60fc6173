//! Direct Preference Optimization, and its metrics.
//!
//! A preference pair is a prompt x with a chosen response y_w and a rejected one y_l. With
//! log π(y|x) the **sum** of the log-probs of y's tokens, the policy π_θ and the frozen reference
//! π_ref, the loss of a pair is (Rafailov et al. 2023, "Direct Preference Optimization", eq. 7)
//!
//! ```text
//! L = -log σ( β · [ (log π_θ(y_w|x) − log π_ref(y_w|x)) − (log π_θ(y_l|x) − log π_ref(y_l|x)) ] )
//! ```
//!
//! and `β · (log π_θ − log π_ref)` is a response's reward. At the start the policy equals the reference: every
//! reward is 0 and the loss is ln 2. The gradient raises the log-probs of the chosen tokens and lowers the
//! log-probs of the rejected tokens with the same strength, β·σ(−margin). So a pair that the policy already
//! tells apart counts less. The kernels are in `shaders/preference.wgsl`; `ops::preference` has the other losses.

use serde::{Deserialize, Serialize};

use crate::ops;

/// The metrics of one pair, as the device writes them. For the supervised loss only `loss` and `chosen_logp` are
/// not 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct PairMetrics {
    /// The weighted sum of losses; DPO's −log σ(margin) in nats.
    pub loss: f32,
    /// Chosen reward − rejected reward.
    pub margin: f32,
    /// β · (log π_θ − log π_ref) of the chosen response.
    pub chosen_reward: f32,
    /// β · (log π_θ − log π_ref) of the rejected response.
    pub rejected_reward: f32,
    /// Σ of the policy's log-probs over the chosen response's tokens.
    pub chosen_logp: f32,
    /// Σ of the policy's log-probs over the rejected response's tokens.
    pub rejected_logp: f32,
    /// Σ over both responses' tokens of the entropy of the policy's prediction, in nats.
    pub entropy: f32,
    /// Σ over the chosen response's tokens of the mean logit over the vocabulary.
    pub chosen_logit: f32,
    /// The same of the rejected response.
    pub rejected_logit: f32,
    /// The number of the chosen response's tokens than which no other token is likelier.
    pub hits: f32,
    /// The number of the chosen response's tokens.
    pub chosen_tokens: f32,
    /// The number of the rejected response's tokens; 0 for the supervised loss.
    pub rejected_tokens: f32,
}

const _: () = assert!(size_of::<PairMetrics>() == size_of::<[f32; ops::preference::METRICS]>());

/// Means over pairs, under TRL's names; NaN over no pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean of [`PairMetrics::loss`], in nats.
    pub loss: f64,
    /// Means of rewards and margins; `None` for the supervised loss.
    #[serde(flatten)]
    pub rewards: Option<Rewards>,
    /// Mean of [`PairMetrics::chosen_logp`].
    #[serde(rename = "logps/chosen")]
    pub chosen_logp: f64,
    /// Mean of [`PairMetrics::rejected_logp`]; `None` for the supervised loss.
    #[serde(
        rename = "logps/rejected",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub rejected_logp: Option<f64>,
    /// Means over tokens; `None` in what an older version has written.
    #[serde(flatten)]
    pub tokens: Option<TokenMeans>,
}

/// Means over all tokens of the responses, not over pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenMeans {
    /// Of the entropy of the policy's prediction, in nats.
    pub entropy: f64,
    /// Share of chosen tokens than which no other token is likelier.
    #[serde(rename = "mean_token_accuracy")]
    pub accuracy: f64,
    /// Over the chosen tokens, of the mean logit over the vocabulary.
    #[serde(rename = "logits/chosen")]
    pub chosen_logit: f64,
    /// Over the rejected tokens; `None` for the supervised loss.
    #[serde(
        rename = "logits/rejected",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub rejected_logit: Option<f64>,
}

impl TokenMeans {
    fn of(pairs: &[PairMetrics]) -> TokenMeans {
        let total =
            |of: fn(&PairMetrics) -> f32| pairs.iter().map(|p| f64::from(of(p))).sum::<f64>();
        let (chosen, rejected) = (total(|p| p.chosen_tokens), total(|p| p.rejected_tokens));
        TokenMeans {
            entropy: total(|p| p.entropy) / (chosen + rejected),
            accuracy: total(|p| p.hits) / chosen,
            chosen_logit: total(|p| p.chosen_logit) / chosen,
            rejected_logit: (rejected > 0.0).then(|| total(|p| p.rejected_logit) / rejected),
        }
    }
}

/// The part of a [`Summary`] that the supervised loss does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rewards {
    /// Mean of [`PairMetrics::chosen_reward`].
    #[serde(rename = "rewards/chosen")]
    pub chosen: f64,
    /// Mean of [`PairMetrics::rejected_reward`].
    #[serde(rename = "rewards/rejected")]
    pub rejected: f64,
    /// Share of pairs whose margin is strictly above 0.
    #[serde(rename = "rewards/accuracies")]
    pub accuracy: f64,
    /// Share of pairs whose margin is exactly 0; before the first step it is 1.
    #[serde(rename = "rewards/ties")]
    pub ties: f64,
    /// Mean of [`PairMetrics::margin`].
    #[serde(rename = "rewards/margins")]
    pub margin: f64,
}

impl Summary {
    /// The means as a JSON object, with `prefix` before each name. TRL's prefix of evaluations is `eval_`.
    pub fn named(&self, prefix: &str) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(map)) => map
                .into_iter()
                .map(|(name, value)| (format!("{prefix}{name}"), value))
                .collect(),
            // A struct of numbers always becomes an object.
            _ => serde_json::Map::new(),
        }
    }

    /// The mean of means; NaN over none.
    pub fn mean(of: &[Summary]) -> Summary {
        if let [one] = of {
            return *one;
        }
        let mean = |get: &dyn Fn(&Summary) -> Option<f64>| -> Option<f64> {
            let sum = of.iter().map(get).sum::<Option<f64>>()?;
            Some(sum / of.len() as f64)
        };
        let number =
            |get: &dyn Fn(&Summary) -> f64| of.iter().map(get).sum::<f64>() / of.len() as f64;
        let reward = |get: fn(&Rewards) -> f64| mean(&|s| s.rewards.as_ref().map(get));
        let rewards = || {
            Some(Rewards {
                chosen: reward(|r| r.chosen)?,
                rejected: reward(|r| r.rejected)?,
                accuracy: reward(|r| r.accuracy)?,
                ties: reward(|r| r.ties)?,
                margin: reward(|r| r.margin)?,
            })
        };
        let token = |get: fn(&TokenMeans) -> f64| mean(&|s| s.tokens.as_ref().map(get));
        let tokens = || {
            Some(TokenMeans {
                entropy: token(|t| t.entropy)?,
                accuracy: token(|t| t.accuracy)?,
                chosen_logit: token(|t| t.chosen_logit)?,
                rejected_logit: mean(&|s| s.tokens?.rejected_logit),
            })
        };
        Summary {
            loss: number(&|s| s.loss),
            rewards: rewards(),
            chosen_logp: number(&|s| s.chosen_logp),
            rejected_logp: mean(&|s| s.rejected_logp),
            tokens: tokens(),
        }
    }

    /// Means over pairs trained with DPO.
    pub fn preference(pairs: &[PairMetrics]) -> Summary {
        let rewards = Rewards {
            chosen: mean(pairs, |p| p.chosen_reward),
            rejected: mean(pairs, |p| p.rejected_reward),
            accuracy: mean(pairs, |p| f32::from(p.margin > 0.0)),
            ties: mean(pairs, |p| f32::from(p.margin == 0.0)),
            margin: mean(pairs, |p| p.margin),
        };
        Summary {
            rewards: Some(rewards),
            rejected_logp: Some(mean(pairs, |p| p.rejected_logp)),
            ..Self::supervised(pairs)
        }
    }

    /// Means over pairs trained on the chosen response alone.
    pub fn supervised(pairs: &[PairMetrics]) -> Summary {
        Summary {
            loss: mean(pairs, |p| p.loss),
            rewards: None,
            chosen_logp: mean(pairs, |p| p.chosen_logp),
            rejected_logp: None,
            tokens: Some(TokenMeans::of(pairs)),
        }
    }
}

fn mean(pairs: &[PairMetrics], of: impl Fn(&PairMetrics) -> f32) -> f64 {
    pairs.iter().map(|p| f64::from(of(p))).sum::<f64>() / pairs.len() as f64
}
