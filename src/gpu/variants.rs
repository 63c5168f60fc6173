//! The choice among the variants of a kernel.

use std::collections::BTreeMap;

use super::driver::{MAX_PARTIALS, partials};
use super::tuner::Tuner;
use crate::kernel::{Class, Kernel};
use crate::recording::Step;
use crate::target::{Precision, Target};

/// How an engine picks among the variants of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// The fastest variant in a measurement, or without a measurement the variant of the highest rank.
    #[default]
    Best,
    /// The variant of this name, if the kernel has it and the device can run it; otherwise the kernel itself.
    Named(&'static str),
}

/// Op, entry and class of a step. Steps with equal keys run the same variant.
type Key = (&'static str, &'static str, Class);

/// The variants chosen so far on one device.
pub(super) struct Choices {
    variant: Variant,
    target: Target,
    max_binding_words: usize,
    /// The measurements of this run and of earlier runs; `None` if no measurements are kept.
    pub tuner: Option<Tuner>,
    /// Measure the variants for each class of steps that has no measurement yet.
    measures: bool,
    made: BTreeMap<Key, &'static Kernel>,
}

impl Choices {
    pub fn new(
        variant: Variant,
        target: Target,
        max_binding_words: usize,
        (tuner, measures): (Option<Tuner>, bool),
    ) -> Choices {
        Choices {
            variant,
            target,
            max_binding_words,
            measures: measures && tuner.is_some(),
            tuner,
            made: BTreeMap::new(),
        }
    }

    /// True if the device is a driver that computes on the CPU.
    pub fn is_software(&self) -> bool {
        self.target.software
    }

    fn key(step: &Step) -> Key {
        (step.kernel.op, step.kernel.entry, step.class())
    }

    /// The variant that runs for a step, once it is chosen.
    pub fn get(&self, step: &Step) -> Option<&'static Kernel> {
        match step.kernel.variants().count() {
            1 => Some(step.kernel),
            _ => self.made.get(&Self::key(step)).copied(),
        }
    }

    /// The kernel for a step whose data told nothing of its variants: the step's own, which is right on every
    /// device; but where products are rounded to f16, a variant that rounds.
    pub fn get_or_usual(&self, step: &Step) -> &'static Kernel {
        let rounds = |kernel: &&Kernel| kernel.precision == Precision::Mixed;
        self.get(step)
            .or_else(|| self.candidates(step).into_iter().find(rounds))
            .unwrap_or(step.kernel)
    }

    /// Chooses without measuring: by name, by an earlier measurement, or, if this engine does not measure, by
    /// rank. `None` if the step has to be measured first, or if every variant was wrong on this device.
    pub fn choose(&mut self, step: &Step) -> Option<&'static Kernel> {
        if let Some(chosen) = self.get(step) {
            return Some(chosen);
        }
        let candidates = self.candidates(step);
        let named = |name: &str| candidates.iter().copied().find(|k| k.variant == name);
        let chosen = match (self.variant, &self.tuner) {
            (Variant::Named(name), _) => named(name).unwrap_or(step.kernel),
            (Variant::Best, Some(tuner)) if self.measures && self.eligible(step).len() > 1 => {
                named(tuner.recall(step)?)?
            }
            (Variant::Best, _) => *candidates.first()?,
        };
        self.note(step, chosen);
        Some(chosen)
    }

    /// Notes that steps of this class run `chosen` from now on.
    pub fn note(&mut self, step: &Step, chosen: &'static Kernel) {
        self.made.insert(Self::key(step), chosen);
    }

    /// The variants that can run here and were never wrong on this device, highest rank first.
    pub fn candidates(&self, step: &Step) -> Vec<&'static Kernel> {
        self.ranked(step).into_iter().map(|r| r.variant).collect()
    }

    /// The candidates that are measured: candidates of rank 0 only if all are of rank 0.
    pub fn contenders(&self, step: &Step) -> Vec<&'static Kernel> {
        let mut ranked = self.ranked(step);
        if ranked.iter().any(|r| r.rank > 0) {
            ranked.retain(|r| r.rank > 0);
        }
        ranked.into_iter().map(|r| r.variant).collect()
    }

    fn ranked(&self, step: &Step) -> Vec<Ranked> {
        let mut ranked = self.eligible(step);
        if let Some(tuner) = &self.tuner {
            let name = step.kernel.name();
            ranked.retain(|r| !tuner.has_failed(&name, r.variant.variant));
        }
        ranked
    }

    /// The variants that can run here, highest rank first. There is always at least one, because every device
    /// can run the step's own kernel.
    ///
    /// If a variant of mixed precision can run, no f32 variant is eligible. So a measurement never decides the
    /// precision of results: the eligible variants differ in the order of sums, not in the rounding of operands.
    fn eligible(&self, step: &Step) -> Vec<Ranked> {
        let most = self.max_binding_words.min(MAX_PARTIALS / size_of::<u32>());
        let variants = step.kernel.variants();
        let mut ranked: Vec<Ranked> = variants
            .filter(|variant| partials(step, variant) <= most)
            .filter_map(|variant| {
                let rank = step.rate(variant, &self.target)?;
                Some(Ranked { rank, variant })
            })
            .collect();
        let is_mixed = |r: &Ranked| r.variant.precision == Precision::Mixed;
        if ranked.iter().any(is_mixed) {
            ranked.retain(is_mixed);
        }
        ranked.sort_by_key(|r| std::cmp::Reverse(r.rank));
        ranked
    }

    /// The variants chosen so far.
    pub fn all(&self) -> impl Iterator<Item = &'static Kernel> {
        self.made.values().copied()
    }

    /// The choices so far, one line each; empty if no measurements are kept. They are part of the device's
    /// identity: results depend on them, and another measurement may choose other variants.
    pub fn measured(&self) -> String {
        if self.tuner.is_none() {
            return String::new();
        }
        let line = |((op, entry, class), chosen): (&Key, &&Kernel)| {
            format!("{op}/{entry} {class:?} {}\n", chosen.variant)
        };
        self.made.iter().map(line).collect()
    }
}

/// The variant that runs for a step on a device that has measured none.
pub fn usual_variant(step: &Step, target: &Target, max_binding_words: usize) -> &'static Kernel {
    let unmeasured = (None, false);
    let mut choices = Choices::new(Variant::Best, *target, max_binding_words, unmeasured);
    choices.choose(step).unwrap_or(step.kernel)
}

/// A variant that can run for a step, and its rank there.
#[derive(Clone, Copy)]
struct Ranked {
    rank: u32,
    variant: &'static Kernel,
}
