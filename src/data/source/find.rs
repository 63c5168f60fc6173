//! Finds the files that the user's path means: a file, a folder, a pattern or the standard input.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use super::input::STDIN;
use super::parts::{self, Shard};
use super::paths::{beneath, split_extension};
use crate::error::{Error, Result};

const READABLE: [&str; 4] = ["jsonl", "json", "ndjson", "parquet"];

/// Formats that the user must convert first. A folder with such a file is refused, lest its data be missed.
const UNREADABLE: [&str; 11] = [
    "csv", "tsv", "arrow", "feather", "xlsx", "xls", "pkl", "pickle", "zip", "tar", "tgz",
];

/// JSON files that lie beside data or a model and hold no records.
const NO_DATA: [&str; 13] = [
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
];

/// The words in a path that name each split. A path without such a word belongs to the training split.
const SPLITS: [(&str, &[&str]); 3] = [
    (TRAIN, &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];
const TRAIN: &str = "train";

/// The files that `spec` means, sorted by name.
pub(super) fn files(spec: &Path) -> Result<Vec<PathBuf>> {
    if spec == Path::new(STDIN) {
        return Ok(vec![spec.to_owned()]);
    }
    match (fs::metadata(spec), spec.to_str()) {
        (Ok(found), _) if found.is_dir() => folder(spec),
        (Ok(_), _) => Ok(vec![spec.to_owned()]),
        (Err(_), Some(text)) if text.contains(['*', '?', '[']) => pattern(spec, text),
        (Err(error), _) => Err(Error::io("read", spec, error)),
    }
}

fn pattern(spec: &Path, text: &str) -> Result<Vec<PathBuf>> {
    let help =
        "write it as the shell does: `data/*.jsonl`, or `data/**/*.parquet` for all folders below";
    let options = MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..MatchOptions::new()
    };
    let paths = glob::glob_with(text, options);
    let paths =
        paths.map_err(|error| Error::file(spec, format!("no pattern: {}", error.msg), help))?;
    let mut files = Vec::new();
    for path in paths {
        let path =
            path.map_err(|error| Error::io("read", error.path().to_owned(), error.into()))?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::file(spec, "no file fits this pattern", help));
    }
    files.sort();
    parts::check(spec, &files)?;
    Ok(files)
}

fn folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    walk(folder, &mut Vec::new(), &mut files)?;
    files.sort();

    let unreadable = files.iter().find(|file| kind(file) == Kind::Unreadable);
    if let Some(file) = unreadable {
        return Err(Error::file(
            folder,
            format!(
                "holds {}, which cannot be read",
                beneath(folder, file).display()
            ),
            "convert it to JSON lines or parquet, or give the files to be read: a pattern as in `data/*.jsonl`",
        ));
    }
    if files.is_empty() {
        return Err(Error::file(
            folder,
            "no data file in this folder or below it",
            format!(
                "its files have to end in .{}, also followed by .gz or .zst",
                READABLE.join(", .")
            ),
        ));
    }
    one_split(folder, &files)?;
    parts::check(folder, &files)?;
    Ok(files)
}

/// Collects the data files in `folder` and below it, except hidden ones. `above` holds the real paths of the
/// folders around `folder`, because a link may lead back to one of them.
fn walk(folder: &Path, above: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error| Error::io("read", folder, error);
    let real = folder.canonicalize().map_err(failed)?;
    if above.contains(&real) {
        return Ok(());
    }
    above.push(real);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(['.']) || name.starts_with("__") {
            continue;
        }
        if path.is_dir() {
            walk(&path, above, files)?;
        } else if kind(&path) != Kind::Other {
            files.push(path);
        }
    }
    above.pop();
    Ok(())
}

#[derive(PartialEq)]
enum Kind {
    Readable,
    Unreadable,
    Other,
}

fn kind(path: &Path) -> Kind {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    let (_, extension) = split_extension(&name);
    if NO_DATA.contains(&&*name) {
        Kind::Other
    } else if READABLE.contains(&extension) {
        Kind::Readable
    } else if UNREADABLE.contains(&extension) {
        Kind::Unreadable
    } else {
        Kind::Other
    }
}

/// Refuses files of more than one split: trained on together, there would be nothing left to test on.
fn one_split(folder: &Path, files: &[PathBuf]) -> Result<()> {
    let mut splits = BTreeMap::new();
    for file in files {
        let file = beneath(folder, file);
        splits.entry(split_of(file)).or_insert(file);
    }
    if splits.len() < 2 {
        return Ok(());
    }
    let named = splits
        .iter()
        .map(|(split, file)| format!("{split} ({})", file.display()));
    let named: Vec<_> = named.collect();
    Err(Error::file(
        folder,
        format!("holds several splits: {}", named.join(", ")),
        "give one of them: a file, or a pattern as in `data/train*`",
    ))
}

/// The split of a file in a folder. The shard's name tells it: `train_prefs` in
/// `train_prefs-00000-of-00002.parquet`. Otherwise the words in the path do.
fn split_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some(Shard { split, .. }) = Shard::read(split_extension(&name).0) {
        // Each subset has its own folder, so the folder is part of the split's name.
        return path.with_file_name(split).display().to_string();
    }
    let path = path.to_string_lossy().to_lowercase();
    let has = |wanted: &&str| {
        path.split(|c: char| !c.is_alphabetic())
            .any(|word| word == *wanted)
    };
    let split = SPLITS.iter().rev().find(|(_, words)| words.iter().any(has));
    split.map_or(TRAIN, |(split, _)| split).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(files: &[&str]) -> Folder {
            let folder = Folder(tempfile::tempdir().unwrap());
            for file in files {
                let path = folder.0.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "{}").unwrap();
            }
            folder
        }

        /// The files that `spec` inside the folder finds.
        fn found(&self, spec: &str) -> Result<Vec<String>> {
            let files = files(&self.0.path().join(spec))?;
            let names = files
                .iter()
                .map(|file| beneath(self.0.path(), file).display().to_string());
            Ok(names.collect())
        }

        fn error(&self) -> String {
            self.found("").unwrap_err().to_string()
        }
    }

    #[test]
    fn a_folder_holds_its_data_files() {
        let folder = Folder::with(&[
            "b.jsonl",
            "a.json.gz",
            "deep/er/c.parquet",
            "d.NDJSON.zst",
            "README.md",
            "dataset_info.json",
            ".cache/x.jsonl",
            ".y.jsonl",
            "__MACOSX/z.jsonl",
        ]);
        let expected = ["a.json.gz", "b.jsonl", "d.NDJSON.zst", "deep/er/c.parquet"];
        assert_eq!(folder.found("").unwrap(), expected);
        let error = Folder::with(&["README.md", "config.json"]).error();
        assert!(error.contains(": no data file in this folder"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_may_lead_back() {
        let folder = Folder::with(&["blobs/8ac5", "data/a.jsonl"]);
        let root = folder.0.path();
        std::os::unix::fs::symlink(root.join("blobs/8ac5"), root.join("data/b.jsonl")).unwrap();
        std::os::unix::fs::symlink(root, root.join("data/back")).unwrap();
        assert_eq!(folder.found("").unwrap(), ["data/a.jsonl", "data/b.jsonl"]);
    }

    #[test]
    fn several_splits_are_refused_by_name() {
        let shards = |split: &str| format!("data/{split}-00000-of-00002.parquet");
        for (files, expected) in [
            (
                [&*shards("test_prefs"), &shards("train_prefs")],
                "holds several splits: data/test_prefs (data/test_prefs-00000-of-00002.parquet), \
                 data/train_prefs (data/train_prefs-00000-of-00002.parquet)",
            ),
            (
                ["base/train.jsonl.gz", "base/test.jsonl.gz"],
                "holds several splits: test (base/test.jsonl.gz), train (base/train.jsonl.gz)",
            ),
            (
                ["pairs.jsonl", "dev/1.jsonl"],
                "holds several splits: train (pairs.jsonl), validation (dev/1.jsonl)",
            ),
        ] {
            let error = Folder::with(&files).error();
            assert!(error.contains(expected), "{error}");
        }
        for files in [
            [
                "train-00000-of-00002.parquet",
                "train-00001-of-00002.parquet",
            ],
            ["helpful/train.jsonl", "harmless/train.jsonl"],
            ["train.jsonl", "contest.jsonl"],
        ] {
            assert_eq!(Folder::with(&files).found("").unwrap().len(), 2);
        }
    }

    #[test]
    fn a_missing_shard_is_named() {
        let shard = |at: usize| format!("train-0000{at}-of-00003.jsonl");
        let all = [shard(0), shard(1), shard(2)];
        let all = all.each_ref().map(String::as_str);
        for (files, missing) in [
            (&[all[0], all[2]][..], all[1]),
            (&all[..2], all[2]),
            (&[all[1], all[2]], all[0]),
            (
                &["b/x-1-of-3.parquet", "b/x-3-of-3.parquet"],
                "x-2-of-3.parquet",
            ),
        ] {
            let folder = Folder::with(files);
            let expected = format!(": `{missing}` is missing");
            assert!(folder.error().contains(&expected), "{}", folder.error());
            let error = folder.found("**/*-of-*").unwrap_err().to_string();
            assert!(error.contains(&expected), "{error}");
        }
        let folder = Folder::with(&all);
        assert_eq!(folder.found("").unwrap(), all);
        // Files that a pattern leaves out exist, so they are not missing.
        assert_eq!(folder.found("train-0000[02]*").unwrap(), [all[0], all[2]]);
        let one = Folder::with(&[all[1]]);
        assert_eq!(one.found(all[1]).unwrap(), [all[1]]);
        let mixed = ["a-1-of-2.jsonl", "a-2-of-2.jsonl.gz"];
        assert_eq!(Folder::with(&mixed).found("").unwrap(), mixed);
    }

    #[test]
    fn one_file_packed_and_unpacked_is_refused() {
        let folder = Folder::with(&["a/train.jsonl", "a/train.jsonl.gz"]);
        let expected =
            ": holds a/train.jsonl and a/train.jsonl.gz, which are one file packed and unpacked";
        assert!(folder.error().contains(expected), "{}", folder.error());
        assert!(folder.found("a/*").is_err());
        assert_eq!(folder.found("a/*.gz").unwrap(), ["a/train.jsonl.gz"]);
        let two = Folder::with(&["a.jsonl.gz", "a.jsonl.zst"]);
        assert!(two.error().contains("a.jsonl.gz and a.jsonl.zst"));
        let others = ["a.json", "a.jsonl", "b/a.json"];
        assert_eq!(Folder::with(&others).found("").unwrap(), others);
    }

    #[test]
    fn what_cannot_be_read_is_not_missed() {
        let error = Folder::with(&["a.jsonl", "b/c.csv.gz"]).error();
        assert!(
            error.contains(": holds b/c.csv.gz, which cannot be read"),
            "{error}"
        );
    }

    #[test]
    fn patterns() {
        let folder = Folder::with(&["b.jsonl", "a.jsonl", ".c.jsonl", "x/d.jsonl", "e[1].jsonl"]);
        assert_eq!(
            folder.found("*.jsonl").unwrap(),
            ["a.jsonl", "b.jsonl", "e[1].jsonl"]
        );
        assert_eq!(folder.found("**/d.*").unwrap(), ["x/d.jsonl"]);
        // A file of exactly this name takes precedence over the pattern.
        assert_eq!(folder.found("e[1].jsonl").unwrap(), ["e[1].jsonl"]);
        let error = folder.found("*.parquet").unwrap_err().to_string();
        assert!(
            error.contains("*.parquet: no file fits this pattern"),
            "{error}"
        );
        let error = folder.found("a***.jsonl").unwrap_err().to_string();
        assert!(error.contains(": no pattern: "), "{error}");
        assert!(matches!(folder.found("absent"), Err(Error::Io { .. })));
        assert_eq!(files(Path::new(STDIN)).unwrap(), [Path::new(STDIN)]);
    }
}
