//! The linear layers beside which adapters are trained, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The names of GPT-2's linear layers. `c_proj` is two in each block: attention's and the feed-forward layer's.
const LINEAR: [&str; 3] = ["c_attn", "c_proj", "c_fc"];

/// The name of all linear layers together.
const ALL: &str = "all-linear";

/// Some linear layers of a model, by the ends of their names, as PEFT matches `target_modules`: `c_proj` stands for
/// both layers of that name in each block, `mlp.c_proj` for one of the two, `h.0.mlp.c_proj` for that of the first
/// block. As text the names with commas between them, or `all-linear`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets(Vec<String>);

impl Targets {
    /// Every linear layer.
    pub fn all() -> Targets {
        Targets(LINEAR.map(str::to_owned).into())
    }

    /// The layers of these names; `None` if one of them cannot be that of a linear layer, or if there is none.
    pub fn of(names: Vec<String>) -> Option<Targets> {
        (!names.is_empty() && names.iter().all(|name| is_name(name))).then_some(Targets(names))
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// True if the layer of this name is one of them, such as `h.0.attn.c_attn`.
    pub fn has(&self, layer: &str) -> bool {
        self.0.iter().any(|name| matches(name, layer))
    }

    /// The first name that none of these layers has.
    pub fn first_absent<'a>(&self, layers: impl Iterator<Item = &'a str> + Clone) -> Option<&str> {
        let is_absent = |name: &&String| !layers.clone().any(|layer| matches(name, layer));
        self.0.iter().find(is_absent).map(String::as_str)
    }
}

/// True if a layer's name ends in whole parts of `name`.
fn matches(name: &str, layer: &str) -> bool {
    // PEFT's names of a GPT2LMHeadModel's layers begin so.
    let name = name.strip_prefix("transformer.").unwrap_or(name);
    let before = layer.strip_suffix(name);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// True if the last part of the name is that of a linear layer.
fn is_name(name: &str) -> bool {
    let last = name.rsplit('.').next();
    last.is_some_and(|last| LINEAR.contains(&last))
}

/// Why a text names no linear layers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no linear layer of a GPT-2: there are {names}, and {ALL} for all of them", names = LINEAR.join(", "))]
pub struct NoTarget(String);

impl FromStr for Targets {
    type Err = NoTarget;

    fn from_str(text: &str) -> Result<Targets, NoTarget> {
        if text == ALL {
            return Ok(Targets::all());
        }
        let mut names: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim) {
            if !is_name(name) {
                return Err(NoTarget(name.to_owned()));
            }
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Ok(Targets(names))
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let all = LINEAR.iter().all(|name| self.0.iter().any(|n| n == name));
        match all && self.0.len() == LINEAR.len() {
            true => f.write_str(ALL),
            false => f.write_str(&self.0.join(",")),
        }
    }
}

impl Serialize for Targets {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Targets, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: [&str; 4] = [
        "h.0.attn.c_attn",
        "h.0.attn.c_proj",
        "h.10.mlp.c_fc",
        "h.10.mlp.c_proj",
    ];

    fn taken(text: &str) -> Vec<usize> {
        let targets: Targets = text.parse().unwrap();
        (0..4).filter(|&i| targets.has(LAYERS[i])).collect()
    }

    #[test]
    fn names_match_as_in_peft() {
        assert_eq!(taken("all-linear"), [0, 1, 2, 3]);
        assert_eq!(taken("c_proj"), [1, 3]);
        assert_eq!(taken("mlp.c_proj, c_attn"), [0, 3]);
        assert_eq!(taken("h.10.mlp.c_fc"), [2]);
        assert_eq!(taken("transformer.h.0.attn.c_attn"), [0]);
        // Whole parts only.
        assert_eq!(taken("n.c_proj"), [0; 0]);
        assert_eq!(taken("0.mlp.c_fc"), [0; 0]);
        let targets: Targets = "c_fc,h.2.mlp.c_fc".parse().unwrap();
        assert_eq!(
            targets.first_absent(LAYERS.into_iter()),
            Some("h.2.mlp.c_fc")
        );
    }

    #[test]
    fn texts_and_back() {
        for text in ["all-linear", "c_attn", "c_fc,attn.c_proj"] {
            assert_eq!(text.parse::<Targets>().unwrap().to_string(), text);
        }
        let all: Targets = "c_fc,c_attn,c_proj,c_fc".parse().unwrap();
        assert_eq!(all.to_string(), "all-linear");
        for text in [
            "",
            "wte",
            "c_attn,lm_head",
            "c_attn,",
            "xc_attn",
            "c_attn.weight",
        ] {
            let error = text.parse::<Targets>().unwrap_err().to_string();
            assert!(error.contains("is no linear layer"), "{error}");
        }
    }
}
