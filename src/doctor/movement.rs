//! Rules on where the policy went: chosen answers, their ends, and whether it went anywhere.

use super::record::{Record, Set};
use super::{Finding, of_run, of_set};
use crate::eval::mean;

/// Chosen responses that are less likely by more than this, in nats a response, are worth a finding: e times less.
const CHOSEN_FALLS: f64 = 1.0;
/// The same of the end-of-text token: 0.6 times as likely.
const END_FALLS: f64 = 0.5;
/// Weights that moved by less than this share over the whole run stand still: a hundredth of the share that a single
/// step of training from scratch takes.
const STANDS_STILL: f64 = 1e-5;
/// A run is judged by how far it moved from this step on: before, a warm-up may hold it.
const FIRST_STEPS: usize = 20;

const CURE_FALLING: &str = "DPO looks at the difference of the two sides alone. `.sft_weight` 0.2 adds the chosen \
                            side's own likelihood; `.loss` dpop or apo_zero keeps it from falling";

/// Likelihood displacement: the chosen responses, too, are less likely than before the first step.
pub(super) fn chosen_falls(set: &Set) -> Option<Finding> {
    let (before, after) = (set.before()?, set.after()?);
    after.accuracy?; // a loss without rewards has no two sides
    let fall = before.chosen_logp? - after.chosen_logp?;
    (fall > CHOSEN_FALLS).then(|| {
        let what = format!(
            "the chosen answers became less likely too: by {fall:.1} nats each, from {:.1} to {:.1}",
            before.chosen_logp.unwrap_or_default(),
            after.chosen_logp.unwrap_or_default()
        );
        of_set("chosen-falls", set, after, what, CURE_FALLING)
    })
}

/// The same for a run without held-out pairs, from the rewards of the last quarter of its steps.
pub(super) fn chosen_falls_in_training(record: &Record) -> Option<Finding> {
    let last = record.last_quarter()?;
    let rewards: Option<Vec<f64>> = last.iter().map(|step| step.chosen_reward).collect();
    let settings = &record.settings;
    let rewards = rewards.filter(|_| settings.beta > 0.0 && settings.has_fixed_reference)?;
    let fall = -mean(rewards)? / settings.beta;
    (fall > CHOSEN_FALLS).then(|| {
        let what = format!(
            "the chosen answers became less likely too: by {fall:.1} nats each against the reference, over the last {} \
             steps",
            last.len()
        );
        of_run("chosen-falls", record, what, CURE_FALLING)
    })
}

/// The end-of-text token behind chosen responses is less likely than before the first step.
pub(super) fn end_falls(set: &Set) -> Option<Finding> {
    let (before, after) = (set.before()?, set.after()?);
    let fall = before.chosen_end? - after.chosen_end?;
    (fall > END_FALLS).then(|| {
        let what = format!(
            "the end of an answer is less likely than before, by {fall:.1} nats: answers will run on"
        );
        let advice = "look whether training answers end (`gpt2-dpo inspect` counts cut ends): raise \
                      `.max_response_tokens`; or hold the chosen side with `.sft_weight`";
        of_set("end-falls", set, after, what, advice)
    })
}

/// Policy and reference give every pair the same log-probs.
pub(super) fn identical(record: &Record) -> Option<Finding> {
    if !record.settings.has_fixed_reference {
        return None;
    }
    let mut lasts = record.sets.iter().filter_map(Set::after).peekable();
    let ties = match lasts.peek() {
        Some(_) => lasts.map(|eval| eval.ties).collect::<Option<Vec<f64>>>()?,
        // The first step's metrics are those before its update.
        None => vec![record.steps.last().filter(|step| step.step > 1)?.ties?],
    };
    ties.iter().all(|&ties| ties == 1.0).then(|| {
        let what = format!(
            "policy and reference are identical after {} steps: every margin is 0",
            record.last_step()
        );
        let advice = "look at the learning rate (`.learning_rate`, and the schedule that scales it): no update changed \
                      a log-prob";
        of_run("identical", record, what, advice)
    })
}

/// The learning rate is too small for the weights to move.
pub(super) fn hardly_moved(record: &Record) -> Option<Finding> {
    let last = record.moved.last()?;
    let counts = last.step >= FIRST_STEPS || (record.has_ended && last.step > 0);
    (counts && last.relative_change < STANDS_STILL).then(|| {
        let what = format!(
            "the weights moved by {:.1e} of their size in {} steps: the learning rate is too small",
            last.relative_change, last.step
        );
        let advice =
            "raise `.learning_rate` by factors of ten: 1e-6 to 1e-5 is usual for GPT-2 with DPO";
        of_run("hardly-moved", record, what, advice)
    })
}
