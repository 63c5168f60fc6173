//! Which variant of a kernel runs.

use std::collections::BTreeMap;

use super::tuner::Tuner;
use crate::kernel::{Class, Kernel, PARTIALS};
use crate::recording::Step;
use crate::target::{Precision, Target};

/// Which variant of a kernel runs where there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// The one that was measured to be fastest, or that rates highest where nothing was measured.
    #[default]
    Best,
    /// The one of this name, where a kernel has it and it can run.
    Named(&'static str),
}

/// What tells steps apart that may run different variants.
type Key = (&'static str, &'static str, Class);

/// The variants chosen so far on one device.
pub(super) struct Choices {
    variant: Variant,
    target: Target,
    max_binding_words: usize,
    /// What was measured before, and what is; none where nothing is kept.
    pub tuner: Option<Tuner>,
    /// Measure what was not yet.
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

    fn key(step: &Step) -> Key {
        (step.kernel.op, step.kernel.entry, step.class())
    }

    /// The kernel that runs for a step, once it is chosen.
    pub fn get(&self, step: &Step) -> Option<&'static Kernel> {
        match step.kernel.variants {
            [] => Some(step.kernel),
            _ => self.made.get(&Self::key(step)).copied(),
        }
    }

    /// Chooses without measuring: by name, from what was measured before, or, where nothing is to be
    /// measured, by rating. `None` = measure, or fail: every way was found wrong here.
    pub fn settle(&mut self, step: &Step) -> Option<&'static Kernel> {
        if let Some(chosen) = self.get(step) {
            return Some(chosen);
        }
        let candidates = self.candidates(step);
        let named = |name: &str| candidates.iter().copied().find(|way| way.variant == name);
        let chosen = match (self.variant, &self.tuner) {
            (Variant::Named(name), _) => named(name).unwrap_or(step.kernel),
            (Variant::Best, Some(tuner)) if self.measures && self.able(step).len() > 1 => {
                named(tuner.recall(step)?)?
            }
            (Variant::Best, _) => *candidates.first()?,
        };
        self.take(step, chosen);
        Some(chosen)
    }

    /// Notes what runs from now on for steps of this class.
    pub fn take(&mut self, step: &Step, chosen: &'static Kernel) {
        self.made.insert(Self::key(step), chosen);
    }

    /// What can run and was not found wrong here, best rating first.
    pub fn candidates(&self, step: &Step) -> Vec<&'static Kernel> {
        let rated = self.rated(step).into_iter();
        rated.map(|(_, way)| way).collect()
    }

    /// Those of them that are worth measuring.
    pub fn contenders(&self, step: &Step) -> Vec<&'static Kernel> {
        let mut rated = self.rated(step);
        let hopeful = |(rate, _): &(u32, &Kernel)| *rate > 0;
        if rated.iter().any(hopeful) {
            rated.retain(hopeful);
        }
        rated.into_iter().map(|(_, way)| way).collect()
    }

    fn rated(&self, step: &Step) -> Vec<(u32, &'static Kernel)> {
        let mut rated = self.able(step);
        if let Some(tuner) = &self.tuner {
            let name = step.kernel.name();
            rated.retain(|(_, way)| !tuner.has_failed(&name, way.variant));
        }
        rated
    }

    /// What can run, best rating first; never empty, as the step's own kernel always can. Of the ways that
    /// round what they multiply, if one can run, the others are left out: numbers do not depend on what is
    /// faster by more than the order of sums.
    fn able(&self, step: &Step) -> Vec<(u32, &'static Kernel)> {
        let mut rated: Vec<(u32, &'static Kernel)> = step
            .kernel
            .ways()
            .filter(|way| partials(step, way) <= self.max_binding_words)
            .filter_map(|way| Some((step.rate(way, &self.target)?, way)))
            .collect();
        let rounds = |(_, way): &(u32, &Kernel)| way.precision == Precision::Mixed;
        if rated.iter().any(rounds) {
            rated.retain(rounds);
        }
        rated.sort_by_key(|(rate, _)| std::cmp::Reverse(*rate));
        rated
    }

    /// Everything chosen so far.
    pub fn all(&self) -> impl Iterator<Item = &'static Kernel> {
        self.made.values().copied()
    }

    /// What was chosen by what was measured, now or before, in words, for what results depend on.
    pub fn measured(&self) -> String {
        if self.tuner.is_none() {
            return String::new();
        }
        let line = |((op, entry, class), way): (&Key, &&Kernel)| {
            format!("{op}/{entry} {class:?} {}\n", way.variant)
        };
        self.made.iter().map(line).collect()
    }
}

/// Words of partial results that a variant leaves for its second pass, at most.
pub(super) fn partials(step: &Step, way: &Kernel) -> usize {
    if way.finish.is_none() {
        return 0;
    }
    let written = step.kernel.reflection().storage.iter().zip(step.buffers());
    let result = written.filter(|(b, _)| b.written).map(|(_, b)| b.words);
    way.splits() as usize * result.max().unwrap_or(0)
}

/// What a kernel binds, in the order of its binding numbers: one of the step's buffers, or the engine's
/// own for partial results. A variant's buffers carry the names of those that it stands in for.
pub(super) fn bound(step: &Step, way: &Kernel) -> Vec<Option<usize>> {
    let names = &step.kernel.reflection().storage;
    let place = |name: &str| names.iter().position(|b| b.name == name);
    let storage = way.reflection().storage.iter();
    storage
        .map(|b| match &b.name[..] {
            PARTIALS => None,
            name => Some(place(name).unwrap_or_else(|| panic!("{}: `{name}`", way.name()))),
        })
        .collect()
}
