//! How the values of options are read from the command line.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{
    PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser, ValueParser,
};
use clap::{Arg, Command};
use gpt2_dpo::choice::{Choice, Named};
use gpt2_dpo::config::{BestMetric, DecayName, Losses, Normalize, ReferenceMode};
use gpt2_dpo::data::{Boundary, Truncation};
use gpt2_dpo::device::BackendName;
use gpt2_dpo::model::Targets;
use gpt2_dpo::ops::preference::{Divergence, Kind};
use gpt2_dpo::schedule::SchedulerName;
use gpt2_dpo::target::Precision;

/// A type of which an option can be.
pub trait Value {
    /// Reads a value, or says why it is none.
    fn parser() -> ValueParser;
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl Value for $type {
            fn parser() -> ValueParser {
                clap::value_parser!($type).into()
            }
        })*
    };
}

macro_rules! choices {
    ($($type:ty),*) => {
        $(impl Value for $type {
            fn parser() -> ValueParser {
                by_name::<$type>()
            }
        })*
    };
}

plain!(PathBuf, String, bool, f32, f64, u64, usize);
choices!(
    BackendName,
    BestMetric,
    Boundary,
    DecayName,
    Divergence,
    Normalize,
    Precision,
    ReferenceMode,
    SchedulerName,
    Truncation
);

impl Value for Losses {
    fn parser() -> ValueParser {
        LossesParser.into()
    }
}

impl Value for Targets {
    fn parser() -> ValueParser {
        StringValueParser::new()
            .try_map(|text| text.parse::<Targets>())
            .into()
    }
}

/// Takes one loss or several with weights, and lists them in the help.
#[derive(Clone)]
struct LossesParser;

impl TypedValueParser for LossesParser {
    type Value = Losses;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Losses, clap::Error> {
        StringValueParser::new()
            .try_map(|text| text.parse::<Losses>())
            .parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(possible::<Kind>()))
    }
}

/// The values of a choice for the help.
fn possible<T: Choice>() -> impl Iterator<Item = PossibleValue> {
    T::VALUES.iter().map(|value| {
        let named = PossibleValue::new(value.name);
        match value.meaning {
            "" => named,
            meaning => named.help(meaning),
        }
    })
}

/// Takes the names of a choice's values, and lists them in the help.
fn by_name<T: Choice + Send + Sync>() -> ValueParser {
    PossibleValuesParser::new(possible::<T>())
        .try_map(|given| {
            let mut values = T::VALUES.iter();
            let found = values.find(|Named { name, .. }| *name == given);
            found.map(|found| found.value).ok_or("no such value")
        })
        .into()
}
