//! What was found in a data set: read how, kept and dropped, cut, said once.

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

/// Places named of whatever is counted.
const PLACES: usize = 5;

/// What a data set holds and what becomes of it. Counts of pairs, unless they say otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Audit {
    /// The data, as it was named.
    pub data: String,
    /// The files that it was read from.
    pub files: Vec<String>,
    /// How many records were read in which shape.
    pub read_as: BTreeMap<String, usize>,
    /// Columns that say the pairs.
    pub columns_used: BTreeSet<String>,
    /// Columns that no shape uses, and that change no prompt.
    pub columns_ignored: BTreeSet<String>,
    /// Records read.
    pub records: usize,
    /// Pairs to train or to evaluate on.
    pub kept: usize,
    /// Records left out, by reason.
    pub dropped: BTreeMap<Reason, Named>,
    /// Usable pairs passed over by `skip`.
    pub outside_limits: usize,
    /// Pairs that are kept although they have no scores for `drop_ties` or `min_score_margin` to judge by.
    pub unscored: usize,
    /// Tokens of each prompt before its budget.
    pub prompt_tokens: Counts,
    /// Tokens of each chosen response before its budget, end-of-text included.
    pub chosen_tokens: Counts,
    /// The same of the rejected ones.
    pub rejected_tokens: Counts,
    /// What the budgets cut.
    pub cut: Cut,
    /// Special tokens spelled out in records.
    pub special_tokens: SpelledOut,
    /// Pairs with a response that has no end-of-text at all.
    pub without_end: usize,
    /// Pairs of which `boundary` decides ids; `null` if that was not looked at.
    pub boundary_matters: Option<usize>,
    /// Whether the longer response is the chosen one.
    pub length_bias: LengthBias,
    /// Pairs that came before, id by id.
    pub duplicates: Named,
    /// Pairs that came before the other way round: the same two responses, swapped.
    pub contradictions: Named,
    /// Different prompts.
    pub prompts: usize,
}

/// Records of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Named {
    /// How many.
    pub count: usize,
    /// Where the first ones are, and what is wrong with those that cannot be used.
    pub first: Vec<String>,
}

impl Named {
    /// One more.
    pub fn add(&mut self, detail: impl fmt::Display) {
        self.count += 1;
        if self.first.len() < PLACES {
            self.first.push(detail.to_string());
        }
    }
}

/// What the budgets cut, in pairs or responses.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cut {
    /// `max_prompt_tokens`.
    pub max_prompt_tokens: usize,
    /// `max_response_tokens`.
    pub max_response_tokens: usize,
    /// Prompts over their budget.
    pub prompts: usize,
    /// Chosen responses over theirs.
    pub chosen: usize,
    /// Rejected responses over theirs.
    pub rejected: usize,
    /// Chosen responses whose end-of-text is cut.
    pub chosen_ends: usize,
    /// Rejected responses whose end-of-text is cut.
    pub rejected_ends: usize,
}

/// Special tokens spelled out in records.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SpelledOut {
    /// Pairs with such tokens.
    pub pairs: usize,
    /// Such tokens.
    pub tokens: usize,
    /// Whether they are read as tokens (`allow_special_tokens`) or as text.
    pub as_tokens: bool,
}

/// Whether the longer response is the chosen one, by tokens before the budgets.
#[derive(Clone, Debug, Default)]
pub struct LengthBias {
    /// Pairs whose chosen response is the longer one.
    pub chosen_longer: usize,
    /// Pairs whose responses have as many tokens.
    pub equal: usize,
    /// Pairs whose rejected response is the longer one.
    pub rejected_longer: usize,
}

impl LengthBias {
    /// The accuracy of the better of two guesses, "the longer one" and "the shorter one"; a draw counts half.
    /// `None` over no pairs.
    pub fn accuracy(&self) -> Option<f64> {
        let pairs = self.chosen_longer + self.equal + self.rejected_longer;
        let longer = (self.chosen_longer as f64 + 0.5 * self.equal as f64) / pairs as f64;
        (pairs > 0).then(|| longer.max(1.0 - longer))
    }
}

/// With what a guess scores that knows nothing else.
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

    /// How many were counted.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// The least number of tokens that a share `q` of them does not exceed; `None` over none.
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

/// As a summary: the whole distribution would be thousands of numbers.
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
    /// Where each pair came first.
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

    /// A pair that is taken.
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

    /// A record that is left out; `detail` says where it is, or what is wrong with it.
    pub fn drop(&mut self, reason: Reason, detail: impl fmt::Display) {
        self.audit.drop(reason, detail);
    }

    /// The same for records that are known by their places alone.
    pub fn drop_all(&mut self, reason: Reason, places: &[Place]) {
        for place in places {
            self.drop(reason, place);
        }
    }
}

impl Audit {
    /// A record that is left out; `detail` says where it is, or what is wrong with it.
    pub(super) fn drop(&mut self, reason: Reason, detail: impl fmt::Display) {
        self.dropped.entry(reason).or_default().add(detail);
    }

    /// How many records were left out for this reason.
    pub fn dropped(&self, reason: Reason) -> usize {
        self.dropped.get(&reason).map_or(0, |drops| drops.count)
    }

    /// What a user has to know of before training, a line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        // A column may be read in some records and not needed in others.
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
