//! The declarations of a tokenizer's files beside its vocabulary, merged as transformers 5.23 merges them.
//!
//! - `tokenizer_config.json` comes first. If it has an `added_tokens_decoder`, that list holds all added
//!   tokens.
//! - Otherwise `special_tokens_map.json` overrides its special tokens. The added tokens then come from
//!   `added_tokens.json` and `tokenizer.json`; where both declare a token for the same id, `tokenizer.json`
//!   wins.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::files::{self, Files};
use crate::error::{Error, Result};

/// The roles that every tokenizer of transformers knows, in transformers' order.
pub(super) const ROLES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// The key of the special tokens without a role (`extra`): a list.
const EXTRA: &str = "extra_special_tokens";
/// The name of [`EXTRA`] before transformers 5.
const ADDITIONAL: &str = "additional_special_tokens";
/// The key of the list of all added tokens by id.
pub(super) const DECODER: &str = "added_tokens_decoder";

/// A special token with a role. Chat templates refer to the token by the role's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedToken {
    /// `bos_token`, `eos_token`, …, or a name that the model's files define.
    pub name: String,
    /// The token's spelling.
    pub text: String,
    /// The file that gives the token this role, or the tokenizer class with this default.
    pub said_by: String,
}

/// A token as a file declares it. [`Declared::resolve`] fills in defaults for absent fields.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Declared {
    pub(super) content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    pub(super) special: bool,
}

impl Declared {
    /// A special token of which only the text is given.
    pub(super) fn special(content: &str) -> Declared {
        Declared {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special: true,
        }
    }

    pub(super) fn resolve(&self) -> AddedToken {
        AddedToken::from(self.content.as_str(), self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

/// A special token with a role, together with its matching rules.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) token: Declared,
    pub(super) said_by: String,
}

/// All declarations of `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    /// The whole of `tokenizer_config.json`.
    pub(super) config: Map<String, Value>,
    /// Special tokens with a role. The known roles come first.
    pub(super) named: Vec<Named>,
    /// Roles that a file sets to `null`: no token has them.
    pub(super) vacant: Vec<String>,
    /// Special tokens without a role.
    pub(super) extra: Vec<Declared>,
    /// Added tokens in the order of their declared ids.
    pub(super) added: Vec<Declared>,
}

#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<WithId>,
}

#[derive(Deserialize)]
struct WithId {
    id: u32,
    #[serde(flatten)]
    token: Declared,
}

impl Declarations {
    pub(super) fn read(files: &Files) -> Result<Declarations> {
        let config = files.json(files::CONFIG)?.unwrap_or_default();
        let decoder = reader(files, files::CONFIG).decoder(&config)?;
        let special: Map<String, Value> = match decoder {
            Some(_) => Map::new(),
            None => files.json(files::SPECIAL)?.unwrap_or_default(),
        };
        let roles = Roles::merge(files, &config, &special)?;
        let added = match decoder {
            Some(decoder) => decoder,
            None => added_tokens(files, &roles)?,
        };
        Ok(Declarations {
            config,
            named: roles.named,
            vacant: roles.vacant,
            extra: roles.extra,
            added: added.into_values().collect(),
        })
    }

    /// True if the config sets `key` to true.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for anything but true, false or null.
    pub(super) fn flag(&self, key: &str, files: &Files) -> Result<bool> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(set)) => Ok(*set),
            Some(other) => Err(reader(files, files::CONFIG).refusal(key, other, "true or false")),
        }
    }
}

/// The added tokens of `added_tokens.json` and `tokenizer.json`.
fn added_tokens(files: &Files, roles: &Roles) -> Result<BTreeMap<u32, Declared>> {
    let ids: Option<BTreeMap<String, u32>> = files.json(files::ADDED)?;
    let named = roles
        .named
        .iter()
        .filter(|named| ROLES.contains(&named.name.as_str()));
    let extra = roles.extra.iter().filter(|_| !roles.extra_is_late);
    let special: Vec<_> = named
        .map(|n| &n.token)
        .chain(extra)
        .map(|t| &t.content)
        .collect();
    let token = |(text, id): (String, u32)| {
        let token = Declared {
            special: special.contains(&&text),
            ..Declared::special(&text)
        };
        (id, token)
    };
    let mut added: BTreeMap<_, _> = ids.unwrap_or_default().into_iter().map(token).collect();
    let json: Option<TokenizerJson> = files.json(files::TOKENIZER)?;
    let tokens = json.map(|json| json.added_tokens).unwrap_or_default();
    added.extend(tokens.into_iter().map(|t| (t.id, t.token)));
    Ok(added)
}

/// Assigns tokens to roles.
#[derive(Default)]
struct Roles {
    named: Vec<Named>,
    vacant: Vec<String>,
    extra: Vec<Declared>,
    /// True if `extra` is the old key of special_tokens_map.json. transformers does not know these tokens yet
    /// when it reads `added_tokens.json`, so a token of both files becomes an added token that is not special.
    extra_is_late: bool,
}

impl Roles {
    fn merge(
        files: &Files,
        config: &Map<String, Value>,
        special: &Map<String, Value>,
    ) -> Result<Roles> {
        let in_config = reader(files, files::CONFIG);
        let in_special = reader(files, files::SPECIAL);
        let mut roles = Roles::default();

        for role in ROLES {
            match (special.get(role), config.get(role)) {
                (Some(value), _) => roles.give(role, in_special.token(role, value)?, &in_special),
                (None, Some(value)) => roles.give(role, in_config.token(role, value)?, &in_config),
                (None, None) => {}
            }
        }
        // Other keys such as `image_token`: every key that ends in `_token` and whose value is a token.
        for (at, map) in [(&in_config, config), (&in_special, special)] {
            let own = |key: &str| key.ends_with("_token") && !ROLES.contains(&key);
            for (key, value) in map.iter().filter(|(key, _)| own(key)) {
                if value.is_string() || value.is_object() {
                    roles.give(key, at.token(key, value)?, at);
                }
            }
        }

        let of_config = filled(config, EXTRA).or_else(|| filled(config, ADDITIONAL));
        // The old key of special_tokens_map.json counts only if the config has no list, not even an empty one.
        let alone = of_config.is_none() && config.get(EXTRA).is_none_or(Value::is_object);
        let old = filled(special, ADDITIONAL).filter(|_| alone);
        roles.extra_is_late = old.is_some();
        let of_special = filled(special, EXTRA).or(old);
        for (at, list) in [(in_config, of_config), (in_special, of_special)] {
            if let Some((key, value)) = list {
                roles.add_extra(key, value, &at)?;
            }
        }
        Ok(roles)
    }

    fn give(&mut self, name: &str, token: Option<Declared>, at: &Reader) {
        self.named.retain(|named| named.name != name);
        match token {
            Some(token) => self.named.push(Named {
                name: name.to_owned(),
                token,
                said_by: at.name.to_owned(),
            }),
            None => self.vacant.push(name.to_owned()),
        }
    }

    /// Adds a list of tokens, or an object of tokens by role name.
    fn add_extra(&mut self, key: &str, value: &Value, at: &Reader) -> Result<()> {
        match value {
            Value::Array(list) => {
                for value in list {
                    let token = at.token(key, value)?;
                    let token = token.ok_or_else(|| at.refusal(key, value, "tokens"))?;
                    if !self.extra.contains(&token) {
                        self.extra.push(token);
                    }
                }
            }
            Value::Object(names) => {
                for (name, value) in names {
                    self.give(name, at.token(name, value)?, at);
                }
            }
            other => return Err(at.refusal(key, other, "a list of tokens")),
        }
        Ok(())
    }
}

/// The key and its value, unless the value is null or empty.
fn filled<'a>(map: &'a Map<String, Value>, key: &'static str) -> Option<(&'static str, &'a Value)> {
    let value = map.get(key)?;
    let empty = match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(names) => names.is_empty(),
        _ => false,
    };
    (!empty).then_some((key, value))
}

/// A file together with its name, which errors about its keys contain.
struct Reader<'a> {
    name: &'static str,
    files: &'a Files,
}

fn reader<'a>(files: &'a Files, name: &'static str) -> Reader<'a> {
    Reader { name, files }
}

impl Reader<'_> {
    /// A token: text, or an object with `content`. `None` for null.
    fn token(&self, key: &str, value: &Value) -> Result<Option<Declared>> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(Declared::special(text))),
            Value::Object(_) => {
                let token = Declared::deserialize(value);
                let mut token = token.map_err(|_| self.refusal(key, value, TOKEN))?;
                token.special |= self.name == files::SPECIAL;
                Ok(Some(token))
            }
            other => Err(self.refusal(key, other, TOKEN)),
        }
    }

    fn decoder(&self, config: &Map<String, Value>) -> Result<Option<BTreeMap<u32, Declared>>> {
        let Some(value) = config.get(DECODER) else {
            return Ok(None);
        };
        let decoder = BTreeMap::deserialize(value);
        let expected = "ids, each with a token as an object with `content`";
        let decoder = decoder.map_err(|_| self.refusal(DECODER, value, expected))?;
        Ok(Some(decoder))
    }

    fn refusal(&self, key: &str, value: &Value, expected: &str) -> Error {
        let path = self.files.path(self.name);
        refusal(&path, key, value, expected)
    }
}

/// The forms of a token in JSON, for errors.
const TOKEN: &str = "a token as text, or as an object with `content`";

fn refusal(path: &Path, key: &str, value: &Value, expected: &str) -> Error {
    /// The longest value that an error quotes in full, in characters.
    const QUOTED: usize = 120;
    let mut quoted = value.to_string();
    if let Some((cut, _)) = quoted.char_indices().nth(QUOTED) {
        quoted.truncate(cut);
        quoted.push('…');
    }
    Error::file(
        path,
        format!("`{key}` is {quoted}, which is not {expected}"),
        "correct it as in the model that the file belongs to",
    )
}
