//! Flags that have no effect beside the others.

use super::{ReferenceMode, TrainConfig, TrainOptions};
use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::ops::preference::{Divergence, Kind};
use crate::schedule::SchedulerName;

impl TrainOptions {
    /// Refuses flags that have no effect beside the others; in a file, which may be a whole resolved
    /// configuration, they are let pass.
    ///
    /// # Errors
    /// `Error::Option` naming the first such flag.
    pub fn refuse_idle(&self, resolved: &TrainConfig) -> Result<()> {
        self.refuse_idle_lora(resolved)?;
        let objective = resolved.objective();
        let no_reference = !objective.needs_reference();
        let loss = format!("`.loss` {objective}");
        let loss = &loss[..];
        let scheduler = format!("`.lr_scheduler` {}", resolved.lr_scheduler);
        let scheduler = &scheduler[..];
        let on_the_fly = resolved.reference == ReferenceMode::OnTheFly;
        let tunes = resolved.device != DeviceChoice::CPU && !resolved.no_autotune;
        let idle_cache = self.cache_dir.is_some() && !tunes;
        let idle = [
            ("beta", self.beta.is_some() && !objective.uses_beta(), loss),
            (
                "label_smoothing",
                self.label_smoothing.is_some() && !objective.uses_label_smoothing(),
                loss,
            ),
            (
                "discopop_tau",
                self.discopop_tau.is_some() && !objective.has(Kind::Discopop),
                loss,
            ),
            (
                "dpop_lambda",
                self.dpop_lambda.is_some() && !objective.has(Kind::Dpop),
                loss,
            ),
            (
                "simpo_gamma",
                self.simpo_gamma.is_some() && !objective.has(Kind::Simpo),
                loss,
            ),
            (
                "f_divergence_type",
                self.f_divergence_type.is_some() && no_reference,
                loss,
            ),
            (
                "f_alpha_divergence_coef",
                self.f_alpha_divergence_coef.is_some()
                    && resolved.f_divergence_type != Divergence::AlphaDivergence,
                "another `.f_divergence_type` than alpha_divergence",
            ),
            ("ld_alpha", self.ld_alpha.is_some() && no_reference, loss),
            (
                "average_log_prob",
                self.average_log_prob == Some(true) && !objective.uses_whole_gains(),
                loss,
            ),
            (
                "normalize",
                self.normalize.is_some() && resolved.gradient_accumulation_steps == 1,
                "`.gradient_accumulation_steps` 1",
            ),
            (
                "min_lr_rate",
                self.min_lr_rate.is_some() && !resolved.lr_scheduler.uses_min_lr_rate(),
                scheduler,
            ),
            (
                "decay_steps",
                self.decay_steps.is_some() && resolved.lr_scheduler != SchedulerName::Wsd,
                scheduler,
            ),
            ("reference", self.reference.is_some() && no_reference, loss),
            (
                "sync_ref_steps",
                resolved.moves_reference() && no_reference,
                loss,
            ),
            (
                "sync_ref_alpha",
                self.sync_ref_alpha.is_some() && !resolved.moves_reference(),
                "`.sync_ref_steps` 0",
            ),
            ("ref_model", self.ref_model.is_some() && no_reference, loss),
            ("cache_dir", idle_cache && no_reference, loss),
            (
                "cache_dir",
                idle_cache && on_the_fly,
                "`.reference` on-the-fly",
            ),
            (
                "seed",
                self.seed.is_some() && resolved.no_shuffle && !resolved.uses_seed(),
                "`.no_shuffle`",
            ),
            (
                "epochs",
                self.epochs.is_some() && resolved.max_steps > 0,
                "`.max_steps`",
            ),
            (
                "sample_prompts",
                self.sample_prompts.is_some() && resolved.samples_nothing(),
                "no held-out pairs to take prompts from",
            ),
            (
                "audit_steps",
                resolved.audit_steps > 0 && resolved.device == DeviceChoice::CPU,
                "`.device` cpu",
            ),
            (
                "no_grow",
                self.no_grow.is_some() && resolved.device == DeviceChoice::CPU,
                "`.device` cpu",
            ),
            (
                "decay",
                self.decay.is_some() && resolved.weight_decay == 0.0,
                "`.weight_decay` 0",
            ),
            (
                "decay",
                self.decay.is_some() && resolved.lora_rank > 0,
                "`.lora_rank`: an adapter has matrices alone",
            ),
            (
                "template",
                self.template.is_some() && !resolved.template_choice().takes_text(),
                "`.chat_template` of the model or a file",
            ),
        ];
        match idle.iter().find(|(_, idle, _)| *idle) {
            None => Ok(()),
            Some((option, _, beside)) => Err(Error::option(
                option,
                format!("has no effect with {beside}"),
                "leave one of the two out",
            )),
        }
    }
}
