//! Recognizes names of a model or data set that are neither a path of this system nor an id on the hub.

use super::name::{Kind, id};
use crate::error::Error;

/// A name that is neither a path of this system nor an id.
#[derive(Debug, PartialEq)]
pub(super) enum Address<'a> {
    /// A page or file of the hub. Holds the id in the address.
    Hub(&'a str),
    /// Any other URL: `https://…`, `s3://…`.
    Other,
    /// A path with a Windows drive: `C:\…`.
    Drive,
}

impl<'a> Address<'a> {
    pub fn read(text: &'a str) -> Option<Address<'a>> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let is_drive = matches!(
                text.as_bytes(),
                [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic()
            );
            return is_drive.then_some(Address::Drive);
        };
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return None;
        }
        let hub = match scheme {
            "hf" => Some(rest),
            _ => ["huggingface.co/", "hf.co/"]
                .iter()
                .find_map(|host| rest.strip_prefix(host)),
        };
        let Some(rest) = hub else {
            return Some(Address::Other);
        };
        let name = ["datasets/", "models/"]
            .iter()
            .find_map(|kind| rest.strip_prefix(kind))
            .unwrap_or(rest);
        let end = name
            .match_indices(['/', '?', '#', '@'])
            .find(|(at, mark)| *mark != "/" || name[..*at].contains('/'));
        let name = end.map_or(name, |(at, _)| &name[..at]);
        Some(match id(name, Kind::Model) {
            Some((id, None)) => Address::Hub(id),
            _ => Address::Other,
        })
    }

    pub fn refused(self, text: &str, kind: Kind) -> Error {
        let (noun, option) = (kind.noun(), kind.option());
        let (what, help) = match self {
            Address::Hub(id) => (
                "is an address",
                format!("a {noun} of the Hugging Face Hub is given by its name: `.{option}` {id}"),
            ),
            Address::Other => (
                "is an address, and nothing is downloaded from such",
                format!(
                    "download it, and give the path of the file; a {noun} of the Hugging Face Hub is given \
                     by its name: `.{option}` ORGANIZATION/NAME"
                ),
            ),
            Address::Drive if cfg!(windows) => {
                ("is no file or folder", "check the path".to_owned())
            }
            Address::Drive => (
                "is a path as Windows has it, and this system is another",
                "give the path that it has here (in WSL, C:\\ is /mnt/c/)".to_owned(),
            ),
        };
        Error::option(option, format!("{text} {what}"), help)
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::find;
    use super::*;

    #[test]
    fn addresses_are_neither_paths_nor_names() {
        let hub = "a data set of the Hugging Face Hub is given by its name: `.data` org/name";
        let own = "download it, and give the path of the file";
        for (text, expected) in [
            ("https://huggingface.co/datasets/org/name", hub),
            (
                "https://huggingface.co/datasets/org/name/resolve/main/a.jsonl?x=1",
                hub,
            ),
            ("hf://datasets/org/name@main/a.parquet", hub),
            ("https://example.com/a.jsonl?download=true", own),
            ("https://huggingface.co", own),
            ("s3://bucket/a/*.jsonl", own),
            ("gs://bucket/a.jsonl", own),
        ] {
            let error = find(text, Kind::Dataset).unwrap_err().to_string();
            assert!(error.contains(&format!("{text} is an address")), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        let model = find("https://huggingface.co/gpt2?x", Kind::Model).unwrap_err();
        assert!(model.to_string().contains("`.model` gpt2"), "{model}");
    }

    #[cfg(not(windows))]
    #[test]
    fn drives_are_no_names() {
        for text in ["C:\\data\\a.jsonl", "d:/data/*.jsonl"] {
            let error = find(text, Kind::Dataset).unwrap_err().to_string();
            assert!(error.contains("a path as Windows has it"), "{error}");
        }
    }
}
