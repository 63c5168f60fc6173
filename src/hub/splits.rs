//! Assigns a data set's files to splits: by the `configs` of its README.md, else by the files' names. The rules
//! are those of Python's `datasets`; the test beside this file compares the results.

use glob::{MatchOptions, Pattern};
use serde::Deserialize;

use super::cache::Entry;

/// A named set of splits.
#[derive(Debug)]
pub(super) struct Config {
    pub name: String,
    /// True if a reference without a config selects this one.
    pub is_default: bool,
    /// The folder of the files, with a trailing slash. Empty for the repository's root.
    pub folder: String,
    /// The splits that the README declares.
    declared: Vec<Declared>,
}

/// A split as the README declares it.
#[derive(Debug)]
struct Declared {
    split: String,
    patterns: Vec<String>,
}

/// A split and its files in reading order.
#[derive(Debug)]
pub(super) struct Split<'a> {
    pub name: String,
    pub files: Vec<&'a Entry>,
}

impl Config {
    /// The only config of a data set, or of a folder in it, without a declaration.
    pub fn undeclared(folder: String) -> Self {
        Config {
            name: "default".to_owned(),
            is_default: true,
            folder,
            declared: Vec::new(),
        }
    }

    /// The data files that belong to none of the splits. Empty if the README declares the splits: the author
    /// left those files out on purpose. Without a declaration, the files' names may be the reason.
    pub fn left_out<'a>(&self, splits: &[Split], entries: &'a [Entry]) -> Vec<&'a str> {
        if !self.declared.is_empty() {
            return Vec::new();
        }
        let all = matching(&self.folder, "**", entries).unwrap_or_default();
        let is_in = |path: &str| {
            splits
                .iter()
                .any(|split| split.files.iter().any(|file| file.path == path))
        };
        let paths = all.into_iter().map(|entry| entry.path.as_str());
        paths
            .filter(|path| has_data(path) && !is_in(path))
            .collect()
    }

    /// The config's splits, with their files among the repository's `entries`.
    ///
    /// # Errors
    ///
    /// A sentence about an invalid pattern of the README.
    pub fn splits<'a>(&self, entries: &'a [Entry]) -> Result<Vec<Split<'a>>, String> {
        if self.declared.is_empty() {
            return Ok(splits_by_name(&self.folder, entries));
        }
        let declared = self.declared.iter().map(|declared| {
            let mut files = Vec::new();
            for pattern in &declared.patterns {
                if pattern.contains("://") {
                    return Err(format!(
                        "its split {} is outside the repository: {pattern}",
                        declared.split
                    ));
                }
                let pattern = pattern.trim_start_matches("./").trim_start_matches('/');
                add(&mut files, matching(&self.folder, pattern, entries)?);
            }
            Ok(Split {
                name: declared.split.clone(),
                files,
            })
        });
        declared.collect()
    }
}

/// The configs of a README's front matter, or the undeclared config.
///
/// # Errors
///
/// A sentence about front matter that `datasets` would not read either.
pub(super) fn configs(readme: &str) -> Result<Vec<Config>, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Card {
        configs: Vec<Declaration>,
    }
    #[derive(Deserialize)]
    struct Declaration {
        config_name: String,
        data_files: Option<Files>,
        data_dir: Option<String>,
        #[serde(default)]
        default: bool,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Files {
        Pattern(String),
        List(Vec<Item>),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Item {
        Pattern(String),
        Split { split: String, path: Patterns },
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Patterns {
        One(String),
        Several(Vec<String>),
    }

    let Some(matter) = front_matter(readme) else {
        return Ok(vec![Config::undeclared(String::new())]);
    };
    let card: Option<Card> = yaml_serde::from_str(matter).map_err(|e| e.to_string())?;
    let declarations = card.unwrap_or_default().configs;
    if declarations.is_empty() {
        return Ok(vec![Config::undeclared(String::new())]);
    }
    let is_only = declarations.len() == 1;
    let configs = declarations.into_iter().map(|declaration| {
        let items = match declaration.data_files {
            None => Vec::new(),
            Some(Files::Pattern(pattern)) => vec![Item::Pattern(pattern)],
            Some(Files::List(items)) => items,
        };
        let mut declared: Vec<Declared> = Vec::new();
        for item in items {
            let (split, patterns) = match item {
                Item::Pattern(pattern) => ("train".to_owned(), vec![pattern]),
                Item::Split {
                    split,
                    path: Patterns::One(pattern),
                } => (split, vec![pattern]),
                Item::Split {
                    split,
                    path: Patterns::Several(patterns),
                } => (split, patterns),
            };
            match declared.iter_mut().find(|other| other.split == split) {
                Some(other) => other.patterns.extend(patterns),
                None => declared.push(Declared { split, patterns }),
            }
        }
        let name = declaration.config_name;
        Config {
            is_default: is_only || declaration.default || name == "default",
            folder: declaration.data_dir.map(folder).unwrap_or_default(),
            name,
            declared,
        }
    });
    Ok(configs.collect())
}

fn folder(path: String) -> String {
    match path.trim_matches('/').trim_start_matches("./") {
        "" | "." => String::new(),
        path => format!("{path}/"),
    }
}

/// The text between the two lines `---` at the start of a README.
fn front_matter(readme: &str) -> Option<&str> {
    let readme = readme.trim_start_matches('\u{feff}').trim_start();
    let (first, rest) = readme.split_once('\n')?;
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return (first.trim_end() == "---").then_some(&rest[..end]);
        }
        end += line.len();
    }
    None
}

/// Splits a folder's files by their names. Empty if the folder has no data files.
fn splits_by_name<'a>(folder: &str, entries: &'a [Entry]) -> Vec<Split<'a>> {
    const SHARD: &str = "-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]";
    let find = |pattern: &str| -> Vec<&'a Entry> {
        let found = matching(folder, pattern, entries).unwrap_or_default();
        found
            .into_iter()
            .filter(|entry| has_data(&entry.path))
            .collect()
    };

    // Shards such as data/SPLIT-00000-of-00001.parquet, with any split name.
    let mut shards: Vec<Split> = Vec::new();
    for file in find(&format!("data/*{SHARD}*.*")) {
        let name = shard(&file.path).map_or(base_name(&file.path), |shard| shard.split);
        match shards.iter_mut().find(|split| split.name == name) {
            Some(split) => split.files.push(file),
            None => shards.push(Split {
                name: name.to_owned(),
                files: vec![file],
            }),
        }
    }
    if !shards.is_empty() {
        let place = |split: &Split| KEYWORDS.iter().position(|(name, _)| *name == split.name);
        shards.sort_by_key(|split| (place(split).unwrap_or(KEYWORDS.len()), split.name.clone()));
        return shards;
    }

    // Folders, then files, with a split's keyword as a word of their name.
    const FOLDERS: [&str; 4] = [
        "**/{}/**",
        "**/{}{sep}*/**",
        "**/*{sep}{}/**",
        "**/*{sep}{}{sep}*/**",
    ];
    const FILES: [&str; 2] = ["**/{}{sep}*", "**/*{sep}{}{sep}*"];
    for patterns in [&FOLDERS[..], &FILES[..]] {
        let splits = KEYWORDS.iter().map(|(name, words)| {
            let mut files = Vec::new();
            for word in *words {
                for pattern in patterns {
                    add(
                        &mut files,
                        find(&pattern.replace("{}", word).replace("{sep}", "[-._ 0-9]")),
                    );
                }
            }
            Split {
                name: (*name).to_owned(),
                files,
            }
        });
        let splits: Vec<Split> = splits.filter(|split| !split.files.is_empty()).collect();
        if !splits.is_empty() {
            return splits;
        }
    }

    // Without any keyword, all files are one split.
    let files = find("**");
    match files.is_empty() {
        true => Vec::new(),
        false => vec![Split {
            name: "train".to_owned(),
            files,
        }],
    }
}

/// The splits with keywords, in the order of the result.
const KEYWORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The entries in `folder` that match a pattern, sorted by path. Hidden files and folders that begin with `__`
/// match only if the pattern names them.
fn matching<'a>(
    folder: &str,
    pattern: &str,
    entries: &'a [Entry],
) -> Result<Vec<&'a Entry>, String> {
    const OPTIONS: MatchOptions = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    const IGNORED: [&str; 6] = [
        "README.md",
        "config.json",
        "dataset_info.json",
        "dataset_infos.json",
        "dummy_data.zip",
        "dataset_dict.json",
    ];
    let parsed = Pattern::new(pattern).map_err(|e| {
        format!("its README.md names files by a pattern that is not one: {pattern}: {e}")
    })?;
    let hidden = |path: &str| path.split('/').filter(|part| part.starts_with('.')).count();
    let special = |path: &str| {
        path.split('/')
            .rev()
            .skip(1)
            .filter(|part| part.starts_with("__"))
            .count()
    };
    let is_match = |entry: &&Entry| {
        let Some(path) = entry.path.strip_prefix(folder) else {
            return false;
        };
        let name = base_name(path);
        parsed.matches_with(path, OPTIONS)
            && (!IGNORED.contains(&name) || name == base_name(pattern))
            && hidden(path) == hidden(pattern)
            && special(path) == special(pattern)
    };
    let mut files: Vec<&Entry> = entries.iter().filter(is_match).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Adds the new files. Several patterns may match the same file.
fn add<'a>(files: &mut Vec<&'a Entry>, more: Vec<&'a Entry>) {
    for file in more {
        if !files.iter().any(|other| other.path == file.path) {
            files.push(file);
        }
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The name of a shard: one of the files of a split.
pub(super) struct Shard<'a> {
    pub split: &'a str,
    /// The number of shards of the split.
    pub count: usize,
}

/// Parses `SPLIT-00000-of-00001` at the start of a file name.
pub(super) fn shard(path: &str) -> Option<Shard<'_>> {
    let name = base_name(path);
    let (start, _) = name.match_indices("-of-").last()?;
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    let index = name.get(start.checked_sub(6)?..start)?;
    let _: usize = number(index.strip_prefix('-')?)?;
    let count = number(name.get(start + 4..start + 9)?)?;
    Some(Shard {
        split: &name[..start - 6],
        count,
    })
}

/// The supported formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Parquet,
    Json,
}

/// The format of a file by its extension, with or without gzip or zstd. `None` for other formats.
pub(super) fn format(path: &str) -> Option<Format> {
    let name = base_name(path);
    let name = name
        .strip_suffix(".gz")
        .or(name.strip_suffix(".zst"))
        .unwrap_or(name);
    match name.rsplit_once('.')?.1 {
        "parquet" => Some(Format::Parquet),
        "jsonl" | "json" | "ndjson" => Some(Format::Json),
        _ => None,
    }
}

/// True for data files, in a supported format or not. False for READMEs, code and pictures.
fn has_data(path: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "csv", "tsv", "txt", "arrow", "zip", "tar", "gz", "zst", "xml",
    ];
    let extension = base_name(path)
        .rsplit_once('.')
        .map_or("", |(_, extension)| extension);
    format(path).is_some() || OTHERS.contains(&extension)
}

#[cfg(test)]
mod tests;
