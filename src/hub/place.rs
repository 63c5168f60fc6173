//! Tells local paths from ids on the hub.

use std::path::{Path, PathBuf};

use super::address::Address;
use super::name::{Kind, id, is_plain};
use crate::error::{Error, Result};

/// Where a model or data set is.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    Here(PathBuf),
    Hub(Reference),
}

/// A repository of the hub at a revision, and the selected part of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reference {
    /// The name as the user typed it.
    pub text: String,
    pub kind: Kind,
    /// `org/name` or, for a few old repositories, `name`.
    pub id: String,
    /// A branch, tag or commit.
    pub revision: Option<String>,
    /// A file or folder in the repository.
    pub path: Option<String>,
    pub config: Option<String>,
    pub split: Option<String>,
}

impl Reference {
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

/// Decides by the rules of the [module](super).
///
/// # Errors
///
/// [`Error::File`] for a name that can only be a path and does not exist; [`Error::Option`] for a name that is
/// not a valid id; [`Error::Io`] if the existence of the path cannot be checked.
pub(super) fn find(text: &str, kind: Kind) -> Result<Place> {
    let path = Path::new(text);
    let is_pattern = kind == Kind::Dataset && text.contains(['*', '?', '[']);
    let is_here = || path.try_exists().map_err(|e| Error::io("read", path, e));
    if text == "-" {
        return Ok(Place::Here(path.to_owned()));
    }
    // A `?` in an address does not make it a pattern.
    if let Some(address) = Address::read(text)
        && !(cfg!(windows) && address == Address::Drive && is_pattern)
        && !is_here()?
    {
        return Err(address.refused(text, kind));
    }
    if is_pattern || is_here()? {
        return Ok(Place::Here(path.to_owned()));
    }
    let end = text.find(['@', ':']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let id = id(name, kind);
    match id {
        Some((id, inner)) if rest.starts_with('@') || !is_path(name, kind) => {
            let reference = Reference {
                text: text.to_owned(),
                kind,
                id: id.to_owned(),
                path: inner.map(str::to_owned),
                revision: None,
                config: None,
                split: None,
            };
            Ok(Place::Hub(parse(reference, rest)?))
        }
        Some(_) => Err(Error::file(
            path,
            "no such file or folder",
            format!(
                "check the path; to have the {} of this name from the Hugging Face Hub, name a revision \
                 too: {name}@main{rest}",
                kind.noun()
            ),
        )),
        None => Err(Error::file(
            path,
            "no such file or folder",
            format!(
                "check the path; on the Hugging Face Hub, a {} is named NAME or ORGANIZATION/NAME",
                kind.noun()
            ),
        )),
    }
}

/// True for the name of a file, and for a path into a folder that exists: a typing error in a path must not
/// lead to a request.
fn is_path(name: &str, kind: Kind) -> bool {
    let mut parts = name.split('/');
    let first = parts.next().unwrap_or_default();
    let depth = parts.count();
    let extension = Path::new(name)
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let is_file = depth < 2 && kind.extensions().contains(&extension);
    is_file || (depth > 0 && Path::new(first).is_dir())
}

/// Parses the rest behind the id: `@revision`, then `:split` or `:config:split`.
fn parse(reference: Reference, rest: &str) -> Result<Reference> {
    let Reference { kind, ref text, .. } = reference;
    let wrong = |what: String, help: &str| Err(Error::option(kind.option(), what, help));
    let (revision, parts) = match rest.strip_prefix('@') {
        Some(rest) => {
            let end = rest.find(':').unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        None => (None, rest),
    };
    if let Some(revision) = revision.filter(|revision| !is_plain(revision)) {
        return wrong(
            format!("{text}: {revision:?} is not a revision"),
            "write a branch, a tag or a commit behind the @",
        );
    }
    let parts: Vec<&str> = parts.split(':').skip(1).collect();
    let (config, split) = match parts[..] {
        [] => (None, None),
        _ if kind == Kind::Model => {
            return wrong(
                format!("{text}: a model has no splits"),
                "write ORGANIZATION/NAME or ORGANIZATION/NAME@REVISION",
            );
        }
        [split] if !split.is_empty() => (None, Some(split)),
        [config, split] if !config.is_empty() && !split.is_empty() => (Some(config), Some(split)),
        _ => {
            return wrong(
                format!("{text}: not a split of a data set"),
                "write ORGANIZATION/NAME:SPLIT or ORGANIZATION/NAME:CONFIG:SPLIT",
            );
        }
    };
    Ok(Reference {
        revision: revision.map(str::to_owned),
        config: config.map(str::to_owned),
        split: split.map(str::to_owned),
        ..reference
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(text: &str, kind: Kind) -> Reference {
        match find(text, kind).unwrap() {
            Place::Hub(reference) => reference,
            Place::Here(path) => panic!("{} is not here", path.display()),
        }
    }

    fn refusal(text: &str, kind: Kind) -> String {
        find(text, kind).unwrap_err().to_string()
    }

    #[test]
    fn what_is_here_goes_first() {
        for (text, kind) in [
            ("src", Kind::Model),
            ("Cargo.toml", Kind::Dataset),
            ("src/hub", Kind::Dataset),
            ("-", Kind::Dataset),
            ("absent/*.jsonl", Kind::Dataset),
        ] {
            assert_eq!(
                find(text, kind).unwrap(),
                Place::Here(text.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn ids_of_models() {
        let gpt2 = hub("gpt2", Kind::Model);
        assert_eq!((gpt2.id.as_str(), gpt2.revision()), ("gpt2", "main"));
        let pr = hub("openai-community/gpt2@refs/pr/1", Kind::Model);
        assert_eq!(
            (pr.id.as_str(), pr.revision()),
            ("openai-community/gpt2", "refs/pr/1")
        );
        assert_eq!(hub("src/absent@main", Kind::Model).id, "src/absent");
        assert_eq!(hub("org/gpt2-v1.5", Kind::Model).id, "org/gpt2-v1.5");
    }

    #[test]
    fn ids_of_data_sets() {
        let parts = |text: &str| {
            let found = hub(text, Kind::Dataset);
            [
                Some(found.id),
                found.revision,
                found.path,
                found.config,
                found.split,
            ]
            .map(Option::unwrap_or_default)
        };
        assert_eq!(parts("org/name"), ["org/name", "", "", "", ""]);
        assert_eq!(parts("org/name:test"), ["org/name", "", "", "", "test"]);
        assert_eq!(
            parts("org/name:en:test"),
            ["org/name", "", "", "en", "test"]
        );
        assert_eq!(
            parts("org/name@v1:test"),
            ["org/name", "v1", "", "", "test"]
        );
        assert_eq!(
            parts("org/name/a/b.jsonl"),
            ["org/name", "", "a/b.jsonl", "", ""]
        );
        assert_eq!(parts("org/name/a@v1:x"), ["org/name", "v1", "a", "", "x"]);
    }

    #[test]
    fn a_slip_in_a_path_is_not_asked_of_the_hub() {
        let missing = "no such file or folder\n  help: check the path";
        for (text, kind) in [
            ("./gpt2", Kind::Model),
            ("../gpt2", Kind::Model),
            ("/gpt2", Kind::Model),
            ("~/gpt2", Kind::Model),
            ("gpt2/", Kind::Model),
            ("runs/a/b", Kind::Model),
            (r"runs\gpt2", Kind::Model),
            ("model.safetensors", Kind::Model),
            ("src/absent", Kind::Model),
            ("absent.jsonl", Kind::Dataset),
            ("absent/file.jsonl.gz", Kind::Dataset),
            ("src/absent/file.jsonl", Kind::Dataset),
            ("org/name/../x", Kind::Dataset),
            ("org/na me", Kind::Dataset),
            ("org--x/name", Kind::Dataset),
        ] {
            let text = refusal(text, kind);
            assert!(text.contains(missing), "{text}");
        }
        assert_eq!(
            refusal("src/absent:test", Kind::Dataset),
            "src/absent:test: no such file or folder\n  help: check the path; to have the data set of this \
             name from the Hugging Face Hub, name a revision too: src/absent@main:test"
        );
        assert_eq!(
            refusal("./absent", Kind::Model),
            "./absent: no such file or folder\n  help: check the path; on the Hugging Face Hub, a model is \
             named NAME or ORGANIZATION/NAME"
        );
    }

    #[test]
    fn what_follows_an_id_must_make_sense() {
        for (text, kind, expected) in [
            (
                "org/name:test",
                Kind::Model,
                "`.model`: org/name:test: a model has no splits",
            ),
            (
                "org/name@",
                Kind::Model,
                "`.model`: org/name@: \"\" is not a revision",
            ),
            (
                "org/name@../x",
                Kind::Model,
                "`.model`: org/name@../x: \"../x\" is not a revision",
            ),
            (
                "org/name:",
                Kind::Dataset,
                "`.data`: org/name:: not a split",
            ),
            (
                "org/name:a:b:c",
                Kind::Dataset,
                "`.data`: org/name:a:b:c: not a split",
            ),
        ] {
            let text = refusal(text, kind);
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
