//! The text of a shader, joined from parts that several kernels share.

/// A file of `shaders/` as a part of one or more kernels' texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file's path in the repository.
    pub file: &'static str,
    /// The file's content.
    pub text: &'static str,
}

/// The parts of a kernel's text in order, each named by the stem of its file in `shaders/`.
macro_rules! parts {
    ($($stem:literal),+ $(,)?) => {
        &[$($crate::wgsl::Part {
            file: concat!("shaders/", $stem, ".wgsl"),
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $stem, ".wgsl")),
        }),+]
    };
}
pub(crate) use parts;

/// The begin of the line before each part of a joined text; the file's path follows.
pub const MARK: &str = "//@ ";

/// Joins the parts to one text, with a line before each part that names its file.
pub fn join(parts: &[Part]) -> String {
    let mut joined = String::new();
    for part in parts {
        joined.extend([MARK, part.file, "\n", part.text]);
        if !joined.ends_with('\n') {
            joined.push('\n');
        }
    }
    joined
}

/// The origin of a line of a joined text: a file and a line in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The path of the part's file.
    pub file: &'a str,
    /// The line in the file, counted from 1; 0 is the line that names the file.
    pub line: usize,
}

/// The origin of line `line` of a joined text, counted from 1; `None` beyond the end of the text.
pub fn place(joined: &str, line: usize) -> Option<Place<'_>> {
    let before = joined.lines().take(line).enumerate();
    let marks = before.filter_map(|(i, text)| Some((i + 1, text.strip_prefix(MARK)?)));
    let (mark, file) = marks.last()?;
    let there = line <= joined.lines().count();
    there.then_some(Place {
        file,
        line: line - mark,
    })
}

/// Rewrites a compiler's message about a joined text so that it names the files of the parts:
/// `┌─ wgsl:LINE:COLUMN` becomes `┌─ FILE:LINE:COLUMN`, and the numbers beside quoted lines become lines of the
/// file.
pub fn locate(joined: &str, message: &str) -> String {
    let mut located = String::new();
    for line in message.lines() {
        let named = line.split_once("─ wgsl:").and_then(|(before, rest)| {
            let (number, column) = rest.split_once(':')?;
            let Place { file, line } = place(joined, number.parse().ok()?)?;
            Some(format!("{before}─ {file}:{line}:{column}"))
        });
        let quoted = || {
            let (number, rest) = line.split_once(" │")?;
            let Place { line, .. } = place(joined, number.trim().parse().ok()?)?;
            Some(format!("{line:>width$} │{rest}", width = number.len()))
        };
        located.push_str(&named.or_else(quoted).unwrap_or_else(|| line.to_owned()));
        located.push('\n');
    }
    located.truncate(located.trim_end().len());
    located
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: [Part; 2] = [
        Part {
            file: "shaders/one.wgsl",
            text: "alias Value = f32;\n",
        },
        Part {
            file: "shaders/two.wgsl",
            text: "\nfn wrong() -> Value {\n    return 1u;\n}", // no end of the last line
        },
    ];

    #[test]
    fn lines_have_places() {
        let joined = join(&PARTS);
        let place = |line| place(&joined, line).map(|p| (p.file, p.line));
        assert_eq!(place(1), Some(("shaders/one.wgsl", 0)));
        assert_eq!(place(2), Some(("shaders/one.wgsl", 1)));
        assert_eq!(place(5), Some(("shaders/two.wgsl", 2)));
        assert_eq!(place(7), Some(("shaders/two.wgsl", 4)));
        assert_eq!(place(8), None);
        assert_eq!(place(0), None);
    }

    #[test]
    fn messages_name_the_part_and_its_line() {
        use crate::reflect::reflect;
        use crate::target::Precision;
        let joined = join(&PARTS);
        let message = reflect(&joined, "wrong", Precision::F32).unwrap_err();
        assert!(message.contains("shaders/two.wgsl:2:1"), "{message}");
        assert!(message.contains("\n2 │"), "{message}");
        let spoilt = joined.replace("1u;", "1u");
        let message = reflect(&spoilt, "wrong", Precision::F32).unwrap_err();
        assert!(message.contains("shaders/two.wgsl:4:"), "{message}");
    }
}
