//! Stands in for the client in a build without the feature `hub`: a name of the hub is told and refused.

use std::path::PathBuf;

use super::name::Kind;
use super::place::{self, Place};
use super::{Progress, Settings};
#[cfg(doc)]
use crate::error::Error;
use crate::error::{Fault, Result};

/// The model folder at the path `text`. This build fetches none from the hub.
///
/// # Errors
///
/// [`Error::File`] for a path that is not there, [`Error::Option`] for a name that is neither path nor id,
/// [`Error::Hub`] for an id.
pub fn model(text: &str, _: &Settings, _: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    here(text, Kind::Model)
}

/// [`model`], which need not hold weights.
///
/// # Errors
///
/// As there.
pub fn model_outline(text: &str, _: &Settings, _: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    here(text, Kind::Model)
}

/// The data that `text` names by a path, a pattern or `-`. This build has none from the hub.
///
/// # Errors
///
/// As those of [`model`].
pub fn data(text: &str, _: &Settings, _: &mut dyn FnMut(Progress)) -> Result<Vec<PathBuf>> {
    Ok(vec![here(text, Kind::Dataset)?])
}

fn here(text: &str, kind: Kind) -> Result<PathBuf> {
    match place::find(text, kind)? {
        Place::Here(path) => Ok(path),
        Place::Hub(reference) => Err(reference.fault(
            Fault::NotBuilt,
            format!(
                "no such file or folder, and this build cannot get a {} from the Hugging Face Hub",
                kind.noun()
            ),
            "build gpt2-dpo with cargo's feature `hub`, which is on by default; or download it, and give its \
             path",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Environment;
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_name_is_refused_and_a_path_is_not() {
        let tell = &mut |_: Progress| {};
        let settings = Settings::of(&Environment {
            variable: &|_| None,
            home: Some("/home/user".as_ref()),
        })
        .unwrap();
        assert_eq!(model("src", &settings, tell).unwrap(), PathBuf::from("src"));
        let error = data("org/name", &settings, tell).unwrap_err();
        assert!(matches!(
            error,
            Error::Hub {
                fault: Fault::NotBuilt,
                ..
            }
        ));
        assert!(error.to_string().contains("feature `hub`"), "{error}");
    }
}
