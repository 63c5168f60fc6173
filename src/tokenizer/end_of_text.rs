//! Finds the token that ends a response.

use super::class::GPT2_CLASS;
use super::{TokenId, Tokenizer};

/// Usual names of end-of-text tokens, the most likely first. They are tried only if no file names an
/// `eos_token`.
const KNOWN: [&str; 10] = [
    "<|endoftext|>",
    "</s>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<eos>",
    "[EOS]",
    "<EOS>",
    "<|eos|>",
];

/// The id of `<|endoftext|>` in GPT-2's vocabulary: transformers' default for an absent `eos_token_id`.
const GPT2_EOS: u32 = 50256;

/// The `eos_token_id` of a model's config.json.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigIds {
    /// The key is absent. transformers then assumes GPT-2's id 50256 for every vocabulary.
    Absent,
    /// The key is null.
    Null,
    /// One id, or the ids of a list.
    Ids(Vec<u32>),
}

/// The tokens that end a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndOfText {
    /// The token appended to every response in training. If it is `None`, a note says why.
    pub id: Option<u32>,
    /// Generation stops at each of these ids; the first is `id`.
    pub stops: Vec<u32>,
    /// Sentences to print: where the model's files disagree, and which of them wins.
    pub notes: Vec<String>,
}

/// An end-of-text token and the file that names it.
struct Said {
    id: u32,
    by: String,
}

impl EndOfText {
    /// Decides from all files of a model folder. The first of these that exists is the end-of-text token:
    ///
    /// 1. The tokenizer's `eos_token`, as transformers (and so TRL) reads it: from `special_tokens_map.json`,
    ///    then `tokenizer_config.json`, then the default of GPT-2's class.
    /// 2. A token of the vocabulary with a usual name. If there are several, the one that config.json names.
    /// 3. The first id of config.json, then of generation_config.json.
    /// 4. 50256, if the folder has no tokenizer, config.json has no `eos_token_id`, and the model has that many
    ///    rows. If the folder has a tokenizer, an absent key says nothing: 50256 could be any word.
    ///
    /// Generation stops at that token, at all ids of generation_config.json (`generation`), and at those ids of
    /// config.json that are special tokens. An id without an embedding row (the model has `rows`) is skipped
    /// with a note. Every disagreement gets a note.
    pub fn decide(
        tokenizer: Option<&Tokenizer>,
        config: &ConfigIds,
        generation: &[u32],
        rows: usize,
    ) -> EndOfText {
        let mut notes = Vec::new();
        let mut usable = |ids: &[u32], file: &str| -> Vec<u32> {
            let (good, bad): (Vec<_>, Vec<_>) = ids.iter().partition(|&&id| (id as usize) < rows);
            notes.extend(bad.iter().map(|id| {
                format!(
                    "{file}'s eos_token_id {id} is passed over: the model has {rows} embedding rows"
                )
            }));
            good
        };
        let ids: &[u32] = match config {
            ConfigIds::Ids(ids) => ids,
            ConfigIds::Absent | ConfigIds::Null => &[],
        };
        let of_config = usable(ids, CONFIG);
        let of_generation = usable(generation, GENERATION);

        let named = tokenizer.and_then(|tokenizer| tokenizer.said_end(rows, &mut notes));
        let known = || tokenizer?.known_end(rows, &of_config);
        let first = |ids: &[u32], by: &str| {
            let id = *ids.first()?;
            Some(Said {
                id,
                by: format!("{by}'s eos_token_id"),
            })
        };
        let nobody = tokenizer.is_none() && *config == ConfigIds::Absent;
        let default = (nobody && (GPT2_EOS as usize) < rows).then(|| Said {
            id: GPT2_EOS,
            by: "GPT-2's default".to_owned(),
        });
        let of_tokenizer = named.or_else(known);
        let by_id_alone = of_tokenizer.is_none();
        let said = of_tokenizer
            .or_else(|| first(&of_config, CONFIG))
            .or_else(|| first(&of_generation, GENERATION))
            .or(default);
        let Some(said) = said else {
            notes.push(nothing(tokenizer, config));
            return EndOfText {
                id: None,
                stops: Vec::new(),
                notes,
            };
        };

        let show = |id: u32| match tokenizer {
            Some(tokenizer) => tokenizer.name(id),
            None => id.to_string(),
        };
        let ends = format!("responses end in {}, {}", show(said.id), said.by);
        let other = |file: &str, ids: &[u32]| {
            let ids: Vec<_> = ids.iter().map(|&id| show(id)).collect();
            format!("{ends}; {file}'s eos_token_id is {}", ids.join(", "))
        };
        let special = |id: &u32| tokenizer.is_none_or(|t| t.specials.is_special(*id));
        if by_id_alone && !special(&said.id) {
            notes.push(format!(
                "{ends}; the tokenizer's files name no eos_token, and have this for an ordinary token"
            ));
        }
        let disagrees = |ids: &[u32]| !ids.is_empty() && !ids.contains(&said.id);
        if disagrees(&of_config) {
            notes.push(other(CONFIG, &of_config));
        }
        if disagrees(&of_generation) {
            notes.push(format!(
                "{}: generation stops there too",
                other(GENERATION, &of_generation)
            ));
        }

        let mut stops = vec![said.id];
        for id in of_generation
            .into_iter()
            .chain(of_config.into_iter().filter(special))
        {
            if !stops.contains(&id) {
                stops.push(id);
            }
        }
        EndOfText {
            id: Some(said.id),
            stops,
            notes,
        }
    }
}

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";

fn nothing(tokenizer: Option<&Tokenizer>, config: &ConfigIds) -> String {
    let config = match config {
        ConfigIds::Absent => "has no eos_token_id",
        ConfigIds::Null => "has null for eos_token_id",
        ConfigIds::Ids(_) => "has no eos_token_id within the vocabulary",
    };
    match tokenizer {
        Some(_) => format!(
            "no end-of-text token is known: the tokenizer's files name none (`eos_token` in \
             tokenizer_config.json), and config.json {config}. Responses will not end in one, so the model \
             does not learn to stop, and generation runs to its limit: name a token of the vocabulary under \
             either key"
        ),
        None => format!(
            "no end-of-text token is known: there is no tokenizer, and config.json {config}. Generation runs \
             to its limit: name the token's id there"
        ),
    }
}

impl Tokenizer {
    /// The tokenizer's own end-of-text token: its `eos_token`, else a token with a usual name.
    pub fn eos(&self) -> Option<u32> {
        let said = self.said_end(usize::MAX, &mut Vec::new());
        said.or_else(|| self.known_end(usize::MAX, &[]))
            .map(|said| said.id)
    }

    /// The `eos_token` of the files or of the tokenizer's class, if the model has an embedding row for it.
    fn said_end(&self, rows: usize, notes: &mut Vec<String>) -> Option<Said> {
        let named = self.named("eos_token")?;
        let found = self
            .inner
            .token_to_id(&named.text)
            .filter(|&id| (id as usize) < rows);
        let default = named.said_by == GPT2_CLASS;
        if found.is_none() && !default {
            notes.push(format!(
                "{}'s eos_token `{}` is passed over: the model has no embedding row for it",
                named.said_by, named.text
            ));
        }
        let by = match default {
            true => "the default of GPT2Tokenizer".to_owned(),
            false => format!("the eos_token of {}", named.said_by),
        };
        found.map(|id| Said { id, by })
    }

    /// A token with a usual name. If several tokens have one, an id in `preferred` wins.
    fn known_end(&self, rows: usize, preferred: &[u32]) -> Option<Said> {
        let id = |name: &&str| self.inner.token_to_id(name);
        let known = KNOWN
            .iter()
            .filter_map(id)
            .filter(|&id| (id as usize) < rows);
        let known: Vec<u32> = known.collect();
        let meant = known.iter().find(|id| preferred.contains(id));
        meant.or_else(|| known.first()).map(|&id| Said {
            id,
            by: "known by its name (no file names an eos_token)".to_owned(),
        })
    }

    /// The token's name in messages.
    fn name(&self, id: u32) -> String {
        match self.inner.id_to_token(id) {
            Some(text) => TokenId { text, id }.to_string(),
            None => id.to_string(),
        }
    }
}
