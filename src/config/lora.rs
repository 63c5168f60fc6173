//! Options about which parameters are trained: adapters beside linear layers, or a part of the model.

use super::{ReferenceMode, TrainConfig, TrainOptions};
use crate::error::{Error, Result};
use crate::model::params::{self, Param};
use crate::model::{Dims, Gpt2};
use crate::pretrained::AdapterConfig;
use crate::pretrained::adapter::{MAX_RANK, base_of};

/// α in ranks, where it is not given: TRL's 32 for its rank 16.
const ALPHA_PER_RANK: usize = 2;

impl TrainConfig {
    /// The settings of the adapters to train; `None` if the model itself is trained.
    pub fn adapter_config(&self) -> Option<AdapterConfig> {
        let rank = self.lora_rank;
        let (base, revision) = base_of(self.model.as_ref());
        (rank > 0).then(|| AdapterConfig {
            rank,
            alpha: self.lora_alpha.unwrap_or((ALPHA_PER_RANK * rank) as f64),
            use_rslora: self.use_rslora,
            dropout: 0.0,
            targets: Some(self.lora_targets.clone()),
            base,
            revision,
        })
    }

    /// These options with the settings of an adapter that the run goes on with.
    pub fn with_adapter(self, adapter: &AdapterConfig) -> TrainConfig {
        TrainConfig {
            lora_rank: adapter.rank,
            lora_alpha: Some(adapter.alpha),
            use_rslora: adapter.use_rslora,
            lora_targets: adapter.adapters().targets,
            ..self
        }
    }

    /// The parameters of a model of these dims, and which of them are trained.
    ///
    /// # Errors
    /// `Error::Option` naming `lora_targets` or `train_layers` for a layer that the model does not have.
    pub fn parameters(&self, dims: &Dims) -> Result<Gpt2<Param>> {
        let whole = params::gpt2(dims);
        if let Some(adapter) = self.adapter_config() {
            let layers = whole.linears().map(|linear| linear.weight.layer());
            let layers: Vec<&str> = layers.collect();
            if let Some(absent) = self.lora_targets.first_absent(layers.iter().copied()) {
                return Err(Error::option(
                    "lora_targets",
                    format!(
                        "{absent} is no linear layer of a GPT-2 of {} layers",
                        dims.n_layer
                    ),
                    "name c_attn, c_proj or c_fc, or all-linear",
                ));
            }
            return Ok(whole.with_adapters(&adapter.adapters()));
        }
        if self.train_layers > dims.n_layer {
            return Err(Error::option(
                "train_layers",
                format!(
                    "is {}, and the model has {} layers",
                    self.train_layers, dims.n_layer
                ),
                "give at most as many as the model has; `.freeze_embeddings` trains all of them",
            ));
        }
        Ok(match self.train_layers {
            0 if self.freeze_embeddings => whole.with_frozen_embeddings(),
            0 => whole,
            layers => whole.with_last_layers(layers),
        })
    }

    /// True if the run computes the reference from a frozen copy of all weights. The reference of adapters is the model
    /// beside which they are trained, and needs no copy.
    pub fn copies_reference(&self) -> bool {
        let is_policy_without_adapters = self.lora_rank > 0 && self.ref_model.is_none();
        self.objective().needs_reference()
            && self.reference == ReferenceMode::OnTheFly
            && !is_policy_without_adapters
    }

    /// True if the reference follows the policy: TR-DPO.
    pub fn moves_reference(&self) -> bool {
        self.sync_ref_steps > 0
    }

    /// Checks the options about adapters and frozen parameters.
    pub(super) fn check_lora(&self) -> Result<()> {
        if self.lora_dropout != 0.0 {
            return Err(Error::option(
                "lora_dropout",
                format!("is {}, and training here has no dropout", self.lora_dropout),
                "leave it out, or give 0: TRL's DPO switches it off too, and does not say so",
            ));
        }
        if self.lora_rank > MAX_RANK {
            return Err(Error::option(
                "lora_rank",
                format!("{} is more than {MAX_RANK}", self.lora_rank),
                "give a rank below the model's width; 8 to 64 are usual",
            ));
        }
        if let Some(alpha) = self.lora_alpha
            && !(alpha.is_finite() && alpha > 0.0 && alpha <= f64::from(f32::MAX))
        {
            return Err(Error::option(
                "lora_alpha",
                format!("{alpha} is not a number above 0"),
                "give one or two times the rank, or leave it out",
            ));
        }
        let partial = [
            ("train_layers", self.train_layers > 0),
            ("freeze_embeddings", self.freeze_embeddings),
        ];
        let adapters = match self.adapter.is_some() {
            true => "`.adapter`",
            false => "`.lora_rank`",
        };
        let has_adapters = self.lora_rank > 0 || self.adapter.is_some();
        match partial
            .into_iter()
            .find(|(_, given)| *given && has_adapters)
        {
            None => Ok(()),
            Some((option, _)) => Err(Error::option(
                option,
                format!("is given beside {adapters}, and adapters freeze the whole model"),
                "leave one of the two out",
            )),
        }
    }
}

impl TrainOptions {
    /// Refuses flags about adapters that have no effect.
    pub(super) fn refuse_idle_lora(&self, resolved: &TrainConfig) -> Result<()> {
        let settings = [
            ("lora_rank", self.lora_rank.is_some_and(|rank| rank > 0)),
            ("lora_alpha", self.lora_alpha.is_some()),
            ("lora_targets", self.lora_targets.is_some()),
            ("use_rslora", self.use_rslora.is_some()),
        ];
        let mut given = settings.into_iter().filter(|(_, given)| *given);
        if self.adapter.is_some()
            && let Some((option, _)) = given.next()
        {
            return Err(Error::option(
                option,
                "has no effect with `.adapter`, whose adapter_config.json says it",
                "leave one of the two out",
            ));
        }
        if resolved.lora_rank == 0
            && resolved.adapter.is_none()
            && let Some((option, _)) = given.next()
        {
            return Err(Error::option(
                option,
                "has no effect without adapters",
                "give `.lora_rank`, for example 16, or leave it out",
            ));
        }
        if self.freeze_embeddings == Some(true) && resolved.train_layers > 0 {
            return Err(Error::option(
                "freeze_embeddings",
                "has no effect with `.train_layers`, which freezes them too",
                "leave one of the two out",
            ));
        }
        Ok(())
    }
}
