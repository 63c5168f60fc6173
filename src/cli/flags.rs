//! The library's messages as the command line says them.

/// What the library names as an item of its own, and what does the same on the command line.
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
            Some((name, after)) if is_field(name) => {
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

fn is_field(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;
    use gpt2_dpo::config::TrainOptions;

    use super::*;

    /// The lines of the library's sources, with their place.
    fn library() -> Vec<(String, String)> {
        fn walk(folder: &Path, lines: &mut Vec<(String, String)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    if !path.ends_with("src/cli") {
                        walk(&path, lines);
                    }
                } else if path.extension().is_some_and(|end| end == "rs")
                    && !path.ends_with("main.rs")
                {
                    let text = fs::read_to_string(&path).unwrap();
                    let numbered = text.lines().enumerate();
                    lines.extend(numbered.map(|(at, line)| {
                        (format!("{}:{}", path.display(), at + 1), line.to_owned())
                    }));
                }
            }
        }
        let mut lines = Vec::new();
        walk(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut lines,
        );
        assert!(lines.len() > 10_000);
        lines
    }

    /// The names of all flags of all commands.
    fn all_flags() -> BTreeSet<String> {
        let command = crate::cli::Cli::command();
        let arguments = command.get_subcommands().flat_map(|c| c.get_arguments());
        arguments
            .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
            .collect()
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
                "`.jsonl.gz` and `.` and ``.x``",
                "`.jsonl.gz` and `.` and `--x`",
            ),
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
        for (place, line) in library() {
            for (at, _) in line.match_indices("`.") {
                let mark = &line[at..];
                let Some(end) = mark[2..].find('`') else {
                    continue;
                };
                let mark = &mark[..end + 3];
                let flag = with_flags(mark);
                assert!(all.contains(&flag), "{place}: {mark} is no option");
                named += 1;
            }
        }
        assert!(named > 50, "{named}");
    }

    #[test]
    fn every_item_is_named_by_the_library_and_is_there() {
        let _there: fn(&gpt2_dpo::config::TrainOptions, &gpt2_dpo::plan::Plan) = |_, _| {};
        let lines = library();
        for (item, command) in ITEMS {
            assert!(lines.iter().any(|(_, line)| line.contains(item)), "{item}");
            assert_eq!(with_flags(item), command);
        }
    }

    #[test]
    fn the_library_names_no_flag() {
        for (place, line) in library() {
            for (at, _) in line.match_indices("--") {
                let begins = !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
                let goes_on = line[at + 2..].starts_with(|c: char| c.is_ascii_lowercase());
                assert!(!(begins && goes_on), "{place}: {line}");
            }
        }
    }
}
