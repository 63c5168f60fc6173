//! What the reader found in a data set: the shapes of its records, pairs kept, dropped and cut.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::encoded::{Encoded, Lengths};
use super::example;
use super::options::Options;
use super::selection::Reason;
use super::source::Place;
use crate::words::{counted, either};

/// The most places that a count lists.
const PLACES: usize = 5;

/// The contents of a data set and the use of each part. Counts are of pairs, unless they say otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Audit {
    /// The name that the user gave for the data.
    pub data: String,
    /// The files that the data come from.
    pub files: Vec<String>,
    /// The number of records of each shape.
    pub read_as: BTreeMap<String, usize>,
    /// The columns that the pairs were read from.
    pub columns_used: BTreeSet<String>,
    /// The columns that no shape uses and that do not change a prompt.
    pub columns_ignored: BTreeSet<String>,
    /// The number of records read.
    pub records: usize,
    /// Pairs for training or evaluation.
    pub kept: usize,
    /// Records left out, by reason.
    pub dropped: BTreeMap<Reason, Named>,
    /// Usable pairs passed over by `skip`.
    pub outside_limits: usize,
    /// Pairs that are kept although they have no scores for `drop_ties` or `min_score_margin` to judge by.
    pub unscored: usize,
    /// Pairs whose record gives their loss another weight than 1.
    pub weighted: usize,
    /// Tokens of each prompt before its budget.
    pub prompt_tokens: Counts,
    /// Tokens of each chosen response before its budget, end-of-text included.
    pub chosen_tokens: Counts,
    /// Tokens of each rejected response before its budget, end-of-text included.
    pub rejected_tokens: Counts,
    /// What the budgets cut.
    pub cut: Cut,
    /// Special tokens spelled out in records.
    pub special_tokens: SpelledOut,
    /// Pairs with a response that has no end-of-text token.
    pub without_end: usize,
    /// Pairs of which `boundary` decides ids; `null` if that was not looked at.
    pub boundary_matters: Option<usize>,
    /// Whether the longer response is the chosen one.
    pub length_bias: LengthBias,
    /// Pairs that repeat an earlier pair, id by id.
    pub duplicates: Named,
    /// Pairs that repeat an earlier pair with the two responses swapped.
    pub contradictions: Named,
    /// The number of different prompts.
    pub prompts: usize,
}

/// A count of records, with the first few of them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Named {
    /// The number of records.
    pub count: usize,
    /// Where the first records are; for records that cannot be used, also what is wrong with them.
    pub first: Vec<String>,
}

impl Named {
    /// Counts one more record; `detail` is listed if it is among the first.
    pub fn add(&mut self, detail: impl fmt::Display) {
        self.count += 1;
        if self.first.len() < PLACES {
            self.first.push(detail.to_string());
        }
    }
}

/// The cuts of the token budgets, in prompts or responses.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cut {
    /// `max_prompt_tokens`.
    pub max_prompt_tokens: usize,
    /// `max_response_tokens`.
    pub max_response_tokens: usize,
    /// Prompts longer than their budget.
    pub prompts: usize,
    /// Chosen responses longer than their budget.
    pub chosen: usize,
    /// Rejected responses longer than their budget.
    pub rejected: usize,
    /// Chosen responses whose end-of-text token is cut.
    pub chosen_ends: usize,
    /// Rejected responses whose end-of-text token is cut.
    pub rejected_ends: usize,
}

/// Special tokens spelled out in records.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SpelledOut {
    /// Pairs with spelled-out special tokens.
    pub pairs: usize,
    /// The number of spelled-out special tokens.
    pub tokens: usize,
    /// Whether they are read as tokens (`allow_special_tokens`) or as text.
    pub as_tokens: bool,
}

/// Whether the chosen response tends to be the longer one, by tokens before the budgets.
#[derive(Clone, Debug, Default)]
pub struct LengthBias {
    /// Pairs whose chosen response is the longer one.
    pub chosen_longer: usize,
    /// Pairs whose responses have equally many tokens.
    pub equal: usize,
    /// Pairs whose rejected response is the longer one.
    pub rejected_longer: usize,
}

impl LengthBias {
    /// The accuracy of the better of two guesses, "the longer response is chosen" and "the shorter response is
    /// chosen". A draw counts half. `None` if there are no pairs.
    pub fn accuracy(&self) -> Option<f64> {
        let pairs = self.chosen_longer + self.equal + self.rejected_longer;
        let longer = (self.chosen_longer as f64 + 0.5 * self.equal as f64) / pairs as f64;
        (pairs > 0).then(|| longer.max(1.0 - longer))
    }
}

/// Writes the counts and the accuracy of a guess by length alone.
impl Serialize for LengthBias {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("LengthBias", 4)?;
        fields.serialize_field("chosen_longer", &self.chosen_longer)?;
        fields.serialize_field("equal", &self.equal)?;
        fields.serialize_field("rejected_longer", &self.rejected_longer)?;
        fields.serialize_field("length_only_accuracy", &self.accuracy())?;
        fields.end()
    }
}

/// How often each number of tokens occurs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts(BTreeMap<usize, usize>);

/// How often one number of tokens occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The number of tokens.
    pub tokens: usize,
    /// How many texts have as many.
    pub times: usize,
}

impl Counts {
    fn add(&mut self, tokens: usize) {
        *self.0.entry(tokens).or_default() += 1;
    }

    /// The number of counted items.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// The least number of tokens that at least the share `q` of the items does not exceed; `None` without items.
    pub fn quantile(&self, q: f64) -> Option<usize> {
        let rank = ((q * self.total() as f64).ceil() as usize).max(1);
        let mut below = 0;
        self.0.iter().find_map(|(&tokens, &count)| {
            below += count;
            (below >= rank).then_some(tokens)
        })
    }

    /// Numbers of tokens with how often each occurs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Count> {
        let counts = self.0.iter();
        counts.map(|(&tokens, &times)| Count { tokens, times })
    }
}

/// Writes a summary: the whole distribution has thousands of numbers.
impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Summary {
            min: Option<usize>,
            median: Option<usize>,
            p90: Option<usize>,
            p99: Option<usize>,
            max: Option<usize>,
        }
        Summary {
            min: self.quantile(0.0),
            median: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            max: self.quantile(1.0),
        }
        .serialize(serializer)
    }
}

/// Fills an [`Audit`] while a file is read.
pub(super) struct Auditor {
    pub audit: Audit,
    prompts: HashSet<u128>,
    /// The place of each pair's first occurrence.
    pairs: HashMap<u128, Place>,
}

impl Auditor {
    pub fn new(data: String, options: &Options) -> Auditor {
        let audit = Audit {
            data,
            cut: Cut {
                max_prompt_tokens: options.max_prompt_tokens,
                max_response_tokens: options.max_response_tokens,
                ..Cut::default()
            },
            special_tokens: SpelledOut {
                as_tokens: options.allow_special_tokens,
                ..SpelledOut::default()
            },
            boundary_matters: options.compare_boundaries.then_some(0),
            ..Audit::default()
        };
        Auditor {
            audit,
            prompts: HashSet::new(),
            pairs: HashMap::new(),
        }
    }

    /// Counts a pair that is taken.
    pub fn keep(&mut self, encoded: &Encoded) {
        let Encoded { example, facts } = encoded;
        let audit = &mut self.audit;
        audit.kept += 1;
        *audit.read_as.entry(facts.shape.to_string()).or_default() += 1;
        for (columns, found) in [
            (&mut audit.columns_used, &facts.used),
            (&mut audit.columns_ignored, &facts.ignored),
        ] {
            for column in found {
                if !columns.contains(column) {
                    columns.insert(column.clone());
                }
            }
        }
        audit.weighted += usize::from(example.weight != 1.0);
        audit.special_tokens.pairs += usize::from(facts.specials.tokens > 0);
        audit.special_tokens.tokens += facts.specials.tokens;
        audit.without_end += usize::from(facts.without_end);
        if let (Some(count), Some(true)) =
            (&mut audit.boundary_matters, facts.specials.boundary_differs)
        {
            *count += 1;
        }

        let Lengths { prompt, answers } = &facts.lengths;
        audit.prompt_tokens.add(*prompt);
        let cut = &mut audit.cut;
        cut.prompts += usize::from(*prompt > cut.max_prompt_tokens);
        let budget = cut.max_response_tokens;
        if let Some(&chosen) = answers.first() {
            audit.chosen_tokens.add(chosen);
            cut.chosen += usize::from(chosen > budget);
            cut.chosen_ends += usize::from(facts.ends_lost[0]);
        }
        if let Some(&rejected) = answers.get(1) {
            audit.rejected_tokens.add(rejected);
            cut.rejected += usize::from(rejected > budget);
            cut.rejected_ends += usize::from(facts.ends_lost[1]);
            let bias = &mut audit.length_bias;
            match answers[0].cmp(&rejected) {
                std::cmp::Ordering::Greater => bias.chosen_longer += 1,
                std::cmp::Ordering::Equal => bias.equal += 1,
                std::cmp::Ordering::Less => bias.rejected_longer += 1,
            }
        }

        self.prompts.insert(example.asked);
        audit.prompts = self.prompts.len();
        let swapped = example::hash([&example.prompt, &example.rejected, &example.chosen]);
        let place = &example.place;
        if let Some(first) = self.pairs.get(&swapped) {
            audit
                .contradictions
                .add(format_args!("{place} and {first}"));
        }
        match self.pairs.entry(example::fingerprint(example)) {
            Entry::Vacant(entry) => {
                entry.insert(place.clone());
            }
            Entry::Occupied(entry) => {
                let first = entry.get();
                audit.duplicates.add(format_args!("{place} and {first}"));
            }
        }
    }

    /// Counts a record that is left out; `detail` says where it is, or what is wrong with it.
    pub fn drop(&mut self, reason: Reason, detail: impl fmt::Display) {
        self.audit.drop(reason, detail);
    }

    /// Counts records that are left out and of which only the places are known.
    pub fn drop_all(&mut self, reason: Reason, places: &[Place]) {
        for place in places {
            self.drop(reason, place);
        }
    }
}

impl Audit {
    /// Counts a record that is left out; `detail` says where it is, or what is wrong with it.
    pub(super) fn drop(&mut self, reason: Reason, detail: impl fmt::Display) {
        self.dropped.entry(reason).or_default().add(detail);
    }

    /// The number of records that were left out for `reason`.
    pub fn dropped(&self, reason: Reason) -> usize {
        self.dropped.get(&reason).map_or(0, |drops| drops.count)
    }

    /// The notes for the user before training, one line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        // A column may be read in some records and ignored in others.
        let ignored = self.columns_ignored.difference(&self.columns_used);
        let names: Vec<&str> = ignored.map(String::as_str).collect();
        if !names.is_empty() {
            notes.push(format!("columns not used: {}", names.join(", ")));
        }
        for (reason, drops) in &self.dropped {
            let mut note = reason.words(drops.count);
            if let Some(first) = drops.first.first() {
                note += &match reason {
                    Reason::BadRecord => format!("; the first: {first}"),
                    _ => format!("; the first at {first}"),
                };
            }
            notes.push(note);
        }
        if self.unscored > 0 {
            notes.push(format!(
                "{} kept without the scores that `.drop_ties` and `.min_score_margin` judge by",
                counted(self.unscored, "pair")
            ));
        }
        if self.weighted > 0 {
            notes.push(format!(
                "{} of {} {} as their `weight` says",
                self.weighted,
                counted(self.kept, "pair"),
                either(self.weighted, "counts", "count")
            ));
        }
        let responses = self.chosen_tokens.total() + self.rejected_tokens.total();
        let cut = &self.cut;
        if cut.prompts > 0 {
            notes.push(format!(
                "{} of {} {} cut to `.max_prompt_tokens` {}",
                cut.prompts,
                counted(self.kept, "prompt"),
                either(cut.prompts, "is", "are"),
                cut.max_prompt_tokens
            ));
        }
        let over = cut.chosen + cut.rejected;
        if over > 0 {
            notes.push(format!(
                "{over} of {} {} cut to `.max_response_tokens` {}",
                counted(responses, "response"),
                either(over, "is", "are"),
                cut.max_response_tokens
            ));
        }
        let ends = cut.chosen_ends + cut.rejected_ends;
        if ends > 0 {
            notes.push(format!(
                "{ends} of {} {} end-of-text with that: from {} the model does not learn where to stop",
                counted(responses, "response"),
                either(ends, "loses its", "lose their"),
                either(ends, "it", "those")
            ));
        }
        if self.without_end > 0 {
            notes.push(format!(
                "{} {} a response that no end-of-text ends: from those the model does not learn where to stop",
                counted(self.without_end, "pair"),
                either(self.without_end, "has", "have")
            ));
        }
        if self.special_tokens.tokens > 0 {
            let SpelledOut {
                pairs,
                tokens,
                as_tokens,
            } = self.special_tokens;
            let how = match as_tokens {
                true => "read as tokens",
                false => "read as text (`.allow_special_tokens` reads them as tokens)",
            };
            notes.push(format!(
                "special tokens are spelled out in {}, {tokens} in all: {how}",
                counted(pairs, "pair")
            ));
        }
        notes
    }
}
