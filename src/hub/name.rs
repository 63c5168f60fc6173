//! What names on the hub look like.

/// The two kinds of repository that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// As addresses and the cache's folders have it.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        }
    }

    pub fn noun(self) -> &'static str {
        match self {
            Kind::Model => "model",
            Kind::Dataset => "data set",
        }
    }

    /// The option that names one, as in [`Setting::Field`](crate::error::Setting::Field).
    pub fn option(self) -> &'static str {
        match self {
            Kind::Model => "model",
            Kind::Dataset => "data",
        }
    }

    /// The extensions of files that are named by their path.
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Kind::Model => &["safetensors", "json", "bin", "gguf", "pt", "pth"],
            Kind::Dataset => &[
                "jsonl", "json", "ndjson", "parquet", "gz", "zst", "csv", "tsv", "txt", "arrow",
            ],
        }
    }
}

/// The id at the start of a name, and the path in the repository behind it.
pub(super) fn id(name: &str, kind: Kind) -> Option<(&str, Option<&str>)> {
    let (id, path) = match name.match_indices('/').nth(1) {
        Some((end, _)) => (&name[..end], Some(&name[end + 1..])),
        None => (name, None),
    };
    let is_sound = id.split('/').all(|part| {
        let bytes = part.as_bytes();
        let is_letter =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let all = bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(b));
        let no_run = !part.contains("--") && !part.contains("..");
        all && no_run && bytes.len() <= 96 && is_letter(bytes.first()) && is_letter(bytes.last())
    });
    let is_inside = match path {
        Some(path) => kind == Kind::Dataset && is_plain(path),
        None => true,
    };
    (is_sound && is_inside && !id.ends_with(".git")).then_some((id, path))
}

/// True for a relative path that stays where it begins, on every system.
pub(super) fn is_plain(path: &str) -> bool {
    let is_plain = |part: &str| {
        let is_odd = |c: char| c.is_control() || c == '\\' || (cfg!(windows) && c == ':');
        !matches!(part, "" | "." | "..") && !part.contains(is_odd)
    };
    path.split('/').all(is_plain)
}
