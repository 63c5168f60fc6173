//! The library's messages as the command line says them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use clap::CommandFactory;

/// Items of the library that its messages name, and the command with the same effect.
const ITEMS: [(&str, &str); 2] = [
    ("`plan::Plan`", "`gpt2-dpo train --plan`"),
    (
        "`config::TrainOptions`",
        "`gpt2-dpo train --help` without the dashes in front",
    ),
];

/// The text with each option, which the library names as a field in backticks with a dot in front, as its flag.
pub fn with_flags(text: &str) -> String {
    let mut said = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("`.") {
        said.push_str(before);
        rest = match behind.split_once('`') {
            Some((name, after)) if FIELDS.contains(name) => {
                said.push_str("--");
                said.push_str(&name.replace('_', "-"));
                after
            }
            _ => {
                said.push_str("`.");
                behind
            }
        };
    }
    said.push_str(rest);
    for (item, command) in ITEMS {
        said = said.replace(item, command);
    }
    said
}

/// Every option of every command, as the library writes it. A user's own text in a message, such as `` `.env` ``,
/// stays as it is unless it is one of these.
static FIELDS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let command = crate::cli::Cli::command();
    let arguments = command.get_subcommands().flat_map(|c| c.get_arguments());
    let flags = arguments.filter_map(|argument| argument.get_long());
    flags.map(|flag| flag.replace('-', "_")).collect()
});

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use gpt2_dpo::config::TrainOptions;

    use super::*;

    /// A file of the library's sources.
    struct File {
        path: PathBuf,
        text: String,
    }

    fn library() -> Vec<File> {
        fn walk(folder: &Path, files: &mut Vec<File>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    if !path.ends_with("src/cli") {
                        walk(&path, files);
                    }
                } else if path.extension().is_some_and(|end| end == "rs")
                    && !path.ends_with("main.rs")
                {
                    let text = fs::read_to_string(&path).unwrap();
                    files.push(File { path, text });
                }
            }
        }
        let mut files = Vec::new();
        walk(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut files,
        );
        assert!(files.len() > 100, "{}", files.len());
        files
    }

    /// The names of all flags of all commands.
    fn all_flags() -> BTreeSet<String> {
        let flag = |field: &String| format!("--{}", field.replace('_', "-"));
        FIELDS.iter().map(flag).collect()
    }

    #[test]
    fn fields_become_flags_and_nothing_else_does() {
        for (text, expected) in [
            ("lower `.batch_size` or that", "lower --batch-size or that"),
            (
                "`.columns` a=b: no `=` in `.b c`",
                "--columns a=b: no `=` in `.b c`",
            ),
            ("`.data``.skip`", "--data--skip"),
            (
                "`.jsonl.gz` and `.` and ``.beta``",
                "`.jsonl.gz` and `.` and `--beta`",
            ),
            ("put it into `.env`", "put it into `.env`"),
            ("`column` `", "`column` `"),
            ("ends in `.", "ends in `."),
            ("`plan::Plan` shows", "`gpt2-dpo train --plan` shows"),
        ] {
            assert_eq!(with_flags(text), expected);
        }
    }

    #[test]
    fn every_option_that_the_library_names_is_one_of_the_command_line() {
        let all = all_flags();
        for name in TrainOptions::NAMES {
            assert!(all.contains(&with_flags(&format!("`.{name}`"))), "{name}");
        }
        let mut named = 0;
        for File { path, text } in library() {
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            for line in text.lines().filter(is_code) {
                let behind = line.match_indices("`.").map(|(at, _)| &line[at + 2..]);
                for (name, _) in behind.filter_map(|behind| behind.split_once('`')) {
                    let is_name = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
                    // Else the backtick ends a span, and the dot a sentence.
                    if !name.is_empty() && name.bytes().all(is_name) {
                        let flag = with_flags(&format!("`.{name}`"));
                        assert!(all.contains(&flag), "{}: `.{name}`", path.display());
                        named += 1;
                    }
                }
            }
            for (at, call) in text.match_indices("Error::option(") {
                let first = text[at + call.len()..].trim_start();
                if let Some((field, _)) = first.strip_prefix('"').and_then(|f| f.split_once('"')) {
                    let flag = with_flags(&format!("`.{field}`"));
                    assert!(all.contains(&flag), "{}: {field}", path.display());
                    named += 1;
                }
            }
        }
        assert!(named > 100, "{named}");
    }

    #[test]
    fn every_item_is_named_by_the_library_and_is_there() {
        let _there: fn(&gpt2_dpo::config::TrainOptions, &gpt2_dpo::plan::Plan) = |_, _| {};
        let files = library();
        for (item, command) in ITEMS {
            assert!(files.iter().any(|file| file.text.contains(item)), "{item}");
            assert_eq!(with_flags(item), command);
        }
    }

    #[test]
    fn the_library_names_no_flag() {
        for File { path, text } in library() {
            for (at, _) in text.match_indices("--") {
                let begins = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
                let goes_on = text[at + 2..].starts_with(|c: char| c.is_ascii_lowercase());
                let line = text[at..].lines().next();
                assert!(!(begins && goes_on), "{}: {line:?}", path.display());
            }
        }
    }
}
