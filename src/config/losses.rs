//! The value of the option `loss`: one loss by its name, or several with their weights.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::choice::{Choice, Named};
use crate::objective::Objective;
use crate::ops::preference::{self, Kind, LossWeights, Settings};

/// A weighted sum of losses; as text `sigmoid`, or `sigmoid=1,sft=0.2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Losses(LossWeights);

impl Losses {
    /// The objective that has these losses.
    pub fn objective(self, settings: Settings) -> Objective {
        let Losses(losses) = self;
        Objective { losses, settings }
    }

    /// The same with one more loss, or with another weight of it.
    pub(super) fn with(mut self, kind: Kind, weight: f32) -> Losses {
        self.0[kind as usize] = weight;
        self
    }
}

impl From<Kind> for Losses {
    fn from(kind: Kind) -> Losses {
        Losses(preference::only(kind))
    }
}

/// Why a text names no losses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoLosses(String);

impl FromStr for Losses {
    type Err = NoLosses;

    fn from_str(text: &str) -> Result<Losses, NoLosses> {
        let mut losses = [0.0; Kind::COUNT];
        for term in text.split(',') {
            let (name, weight) = term.split_once('=').unwrap_or((term, "1"));
            let mut kinds = Kind::VALUES.iter();
            let Some(Named { value, .. }) = kinds.find(|kind| kind.name == name) else {
                let names: Vec<&str> = Kind::VALUES.iter().map(|kind| kind.name).collect();
                return Err(NoLosses(format!(
                    "no loss {name:?}: there are {}; several as in sigmoid=1,sft=0.2",
                    names.join(", ")
                )));
            };
            let taken = &mut losses[*value as usize];
            if *taken != 0.0 {
                return Err(NoLosses(format!("the loss {name} is named twice")));
            }
            *taken = match weight.parse::<f32>() {
                Ok(weight) if weight.is_finite() && weight > 0.0 => weight,
                _ => {
                    let what = format!("{weight:?} is no weight of {name}: give a number above 0");
                    return Err(NoLosses(what));
                }
            };
        }
        Ok(Losses(losses))
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&preference::describe(&self.0))
    }
}

impl Serialize for Losses {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Losses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Losses, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        text.parse::<Losses>().unwrap_err().to_string()
    }

    #[test]
    fn one_or_several_and_back() {
        for text in ["sigmoid", "apo_zero", "sigmoid=1,sft=0.2", "sigmoid=0.5"] {
            assert_eq!(text.parse::<Losses>().unwrap().to_string(), text);
        }
        let weightless: Losses = "sigmoid,sft=0.2".parse().unwrap();
        assert_eq!(weightless.to_string(), "sigmoid=1,sft=0.2");
        assert_eq!(Losses::from(Kind::Ipo).to_string(), "ipo");
    }

    #[test]
    fn other_texts_are_refused() {
        assert!(said("kto").contains("there are sigmoid, sft, hinge"));
        assert!(said("").contains("no loss \"\""));
        assert!(said("sigmoid=1,sigmoid=2").contains("named twice"));
        for weight in ["0", "-1", "nan", "inf", "", "x"] {
            assert!(said(&format!("sft={weight}")).contains("no weight of sft"));
        }
    }
}
