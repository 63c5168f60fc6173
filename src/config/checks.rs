//! Options that make no sense, alone or beside each other.

use super::{BestMetric, ReferenceMode, TrainConfig};
use crate::batch::Sides;
use crate::data::Columns;
use crate::error::{Error, Result};
use crate::ops::preference::{Divergence, Kind, Settings};
use crate::schedule::SchedulerName;

impl TrainConfig {
    /// Refuses empty paths, which a file of options may hold.
    fn check_paths(&self) -> Result<()> {
        let single = [
            ("model", &self.model),
            ("ref_model", &self.ref_model),
            ("out", &self.out),
            ("cache_dir", &self.cache_dir),
            ("adapter", &self.adapter),
        ];
        let single = single
            .into_iter()
            .flat_map(|(option, path)| path.iter().map(move |path| (option, path)));
        let mut paths = single.chain(self.data.iter().map(|path| ("data", path)));
        match paths.find(|(_, path)| path.as_os_str().is_empty()) {
            None => Ok(()),
            Some((option, _)) => Err(Error::option(
                option,
                "is empty",
                "name it, or leave it out",
            )),
        }
    }

    /// Checks the options about data beside each other.
    pub(super) fn check_data(&self) -> Result<()> {
        self.check_paths()?;
        Columns::parse(&self.columns)?;
        let own_data = !self.data.is_empty();
        if self.model.is_some() && !own_data {
            return Err(Error::option(
                "data",
                "is not given, and a model is",
                "give preference pairs, or neither `.model` nor `.data` for the starter",
            ));
        }
        self.check_eval_data()?;
        if !(0.0..1.0).contains(&self.eval_fraction) {
            return Err(Error::option(
                "eval_fraction",
                format!("{} is not a share from 0 up to 1", self.eval_fraction),
                "give the share of pairs to hold out, for example 0.1",
            ));
        }
        if self.eval_fraction > 0.0 && (!self.eval_data.is_empty() || !own_data) {
            return Err(Error::option(
                "eval_fraction",
                "is given, and there are held-out pairs already",
                "leave one of `.eval_fraction` and `.eval_data` out; the starter has held-out pairs of its own",
            ));
        }
        if self
            .min_score_margin
            .is_some_and(|margin| !margin.is_finite())
        {
            return Err(Error::option(
                "min_score_margin",
                "is not a finite number",
                "give the least difference of the two scores",
            ));
        }
        let weights = &self.data_weights;
        if let Some(weight) = weights.iter().find(|w| !w.is_finite() || **w < 0.0) {
            return Err(Error::option(
                "data_weights",
                format!("{weight} is not a number of at least 0"),
                "give a number of at least 0 for each `.data`: 2 takes its pairs twice",
            ));
        }
        if !weights.is_empty() && weights.len() != self.data.len() {
            return Err(Error::option(
                "data_weights",
                format!("{} weights for {} `.data`", weights.len(), self.data.len()),
                "give a weight for each `.data`, in the same order",
            ));
        }
        Ok(())
    }

    /// Checks the losses and their settings beside each other.
    pub(super) fn check_loss(&self) -> Result<()> {
        let has = |kind| self.loss.objective(Settings::DEFAULT).has(kind);
        if self.sft_weight > 0.0 && has(Kind::Sft) {
            return Err(Error::option(
                "sft_weight",
                format!("is given, and `.loss` {} has sft", self.loss),
                "leave one of the two out",
            ));
        }
        if !(0.0..0.5).contains(&self.label_smoothing) {
            return Err(Error::option(
                "label_smoothing",
                format!("{} is not a share from 0 up to 0.5", self.label_smoothing),
                "give the share of labels that may be wrong, for example 0.1",
            ));
        }
        if has(Kind::ExoPair) && self.label_smoothing == 0.0 {
            return Err(Error::option(
                "label_smoothing",
                "is 0, and the loss exo_pair needs a share above it",
                "give 0.001, as its paper does",
            ));
        }
        if !(self.discopop_tau > 0.0 && self.discopop_tau <= 1.0) {
            return Err(Error::option(
                "discopop_tau",
                format!("{} is not above 0 and at most 1", self.discopop_tau),
                "take its paper's 0.05",
            ));
        }
        if self.audit_steps > 0 && has(Kind::Dpop) {
            return Err(Error::option(
                "audit_steps",
                "is not for the loss dpop: its slope jumps where policy and reference agree, and there rounding decides",
                "leave it out, or audit a run with another loss",
            ));
        }
        self.check_gains()?;
        self.check_moving_reference()
    }

    /// Checks the settings that change what the losses take of a response.
    fn check_gains(&self) -> Result<()> {
        let objective = self.objective();
        let other = self.f_divergence_type != Divergence::ReverseKl;
        if other && objective.needs_reference() && !objective.takes_divergence() {
            return Err(Error::option(
                "f_divergence_type",
                format!(
                    "{} is not known for `.loss` {objective}",
                    self.f_divergence_type
                ),
                "take it with sigmoid, sigmoid_norm, hinge, ipo, robust, exo_pair or discopop, beside sft, simpo or orpo",
            ));
        }
        if !self.f_alpha_divergence_coef.is_finite() {
            return Err(Error::option(
                "f_alpha_divergence_coef",
                format!("{} is not a finite number", self.f_alpha_divergence_coef),
                "TRL's default is 0.5",
            ));
        }
        if !(0.0..=1.0).contains(&self.ld_alpha) {
            return Err(Error::option(
                "ld_alpha",
                format!("{} is not a share from 0 to 1", self.ld_alpha),
                "give what a token beyond the other response's length counts; 1 is as the others",
            ));
        }
        if self.ld_alpha != 1.0 && objective.has(Kind::Aot) {
            return Err(Error::option(
                "ld_alpha",
                format!("is not known for `.loss` {objective}"),
                "leave it out: aot compares margins of whole responses",
            ));
        }
        Ok(())
    }

    /// Checks the options about a reference that moves.
    fn check_moving_reference(&self) -> Result<()> {
        if self.moves_reference() && self.reference != ReferenceMode::OnTheFly {
            return Err(Error::option(
                "sync_ref_steps",
                format!(
                    "moves the reference, and with `.reference` {} its log-probs are computed once",
                    self.reference
                ),
                "take `.reference` on-the-fly",
            ));
        }
        if self.moves_reference() && (self.lora_rank > 0 || self.adapter.is_some()) {
            return Err(Error::option(
                "sync_ref_steps",
                "moves the reference, and that of adapters is the model beside which they are trained",
                "leave it out, or train the whole model",
            ));
        }
        if !(self.sync_ref_alpha > 0.0 && self.sync_ref_alpha <= 1.0) {
            return Err(Error::option(
                "sync_ref_alpha",
                format!("{} is not above 0 and at most 1", self.sync_ref_alpha),
                "TRL's default is 0.6",
            ));
        }
        Ok(())
    }

    /// Checks AdamW's settings and the schedule.
    pub(super) fn check_rates(&self) -> Result<()> {
        for (option, beta) in [
            ("adam_beta1", self.adam_beta1),
            ("adam_beta2", self.adam_beta2),
        ] {
            if !(beta > 0.0 && beta < 1.0) {
                let what = format!("{beta} is not between 0 and 1");
                return Err(Error::option(option, what, "0.9 and 0.999 are usual"));
            }
        }
        if !(self.adam_epsilon as f32 > 0.0 && self.adam_epsilon <= 1.0) {
            let what = format!("{} is not above 0 and at most 1", self.adam_epsilon);
            return Err(Error::option("adam_epsilon", what, "1e-8 is usual"));
        }
        for (option, share) in [
            ("warmup_ratio", self.warmup_ratio),
            ("min_lr_rate", self.min_lr_rate),
        ] {
            if !(0.0..=1.0).contains(&share) {
                let what = format!("{share} is not a share from 0 to 1");
                return Err(Error::option(option, what, "0.1 is usual"));
            }
        }
        if self.warmup_ratio > 0.0 && self.warmup_steps > 0 {
            return Err(Error::option(
                "warmup_ratio",
                "is given, and `.warmup_steps` is too",
                "leave one of the two out",
            ));
        }
        if self.lr_scheduler == SchedulerName::CosineWithMinLr && self.min_lr_rate == 0.0 {
            return Err(Error::option(
                "min_lr_rate",
                "is 0, and cosine_with_min_lr falls to a share above it",
                "give one, for example 0.1, or take `.lr_scheduler` cosine",
            ));
        }
        if self.lr_scheduler == SchedulerName::Wsd && self.decay_steps == 0 {
            return Err(Error::option(
                "decay_steps",
                "is 0, and the schedule wsd needs some",
                "give the steps of the fall at the end",
            ));
        }
        Ok(())
    }

    /// Checks the options about the best evaluation beside each other.
    pub(super) fn check_best(&self) -> Result<()> {
        let Some(metric) = self.save_best else {
            return match self.early_stopping_patience {
                0 => Ok(()),
                _ => Err(Error::option(
                    "early_stopping_patience",
                    "is given without `.save_best`",
                    "name the metric with `.save_best`, for example eval_loss",
                )),
            };
        };
        if self.eval_steps == 0 {
            return Err(Error::option(
                "save_best",
                "is given without `.eval_steps`: the last evaluation is the only one",
                "give `.eval_steps`, and held-out pairs",
            ));
        }
        if self.moves_reference() {
            return Err(Error::option(
                "save_best",
                format!(
                    "{metric} is against a reference that moves, so that evaluations cannot be compared"
                ),
                "leave it out, or `.sync_ref_steps`",
            ));
        }
        if metric != BestMetric::Loss && self.objective().sides() == Sides::Chosen {
            return Err(Error::option(
                "save_best",
                format!("{metric} is no metric of `.loss` {}", self.objective()),
                "take eval_loss",
            ));
        }
        Ok(())
    }
}
