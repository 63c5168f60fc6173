//! The output of `inspect`, in 100 columns.

use std::fmt::Write;

use gpt2_dpo::data::Count;
use gpt2_dpo::words::counted;

use super::Inspection;
use super::facts::{self, Lengths};
use super::findings::Finding;
use super::ranking::Ranked;
use super::tokens::{Shown, Token};
use crate::cli::say;

const COLUMNS: usize = 100;
/// The width of the longest bar, in columns.
const BAR: usize = 40;
/// The number of rows of a length table.
const ROWS: usize = 12;
/// The number of tokens printed of a long text's beginning and of its end.
const SHOWN: [usize; 2] = [96, 32];

pub fn show(found: &Inspection) {
    for (name, words) in facts::heading(found) {
        paragraph(&format!("{name:11}"), &words);
    }
    findings("What to know", &found.findings, "");
    for (title, audit) in found.parts() {
        heading(&title);
        findings("What to know", &found.findings, &audit.data);
        for group in facts::groups(audit) {
            say!("\n{}", group.subject);
            for line in &group.lines {
                paragraph("  ", line);
            }
        }
        facts::lengths(audit).for_each(|l| lengths(&l));
    }
    if let Some(ranked) = &found.ranked {
        ranking(ranked);
    }
    if !found.examples.is_empty() {
        heading("token by token");
        say!(
            "Each token's id and text; a part of a character is spelled as the vocabulary has it."
        );
    }
    for shown in &found.examples {
        example(shown);
    }
}

fn heading(text: &str) {
    let rule = COLUMNS.saturating_sub(text.chars().count() + 4);
    say!("\n== {text} {}", "=".repeat(rule.max(2)));
}

/// Prints a paragraph behind `start`; further lines are indented to the same column. Long words stay whole.
fn paragraph(start: &str, text: &str) {
    let indent = " ".repeat(start.chars().count());
    let mut line = start.to_owned();
    let mut width = indent.len();
    let mut begins = true;
    for word in text.split(' ') {
        let more = word.chars().count();
        if !begins && width + 1 + more > COLUMNS {
            say!("{line}");
            (line, width, begins) = (indent.clone(), indent.len(), true);
        }
        if !begins {
            line.push(' ');
            width += 1;
        }
        line.push_str(word);
        (width, begins) = (width + more, false);
    }
    say!("{line}");
}

/// Prints the findings on `data`; an empty `data` selects the findings on all data.
fn findings(title: &str, all: &[Finding], data: &str) {
    let mut about = all.iter().filter(|finding| finding.data == data).peekable();
    if about.peek().is_none() {
        return;
    }
    say!("\n{title}");
    for finding in about {
        paragraph("  * ", &finding.what);
        for line in finding.first.iter().flat_map(|first| first.lines()) {
            paragraph("      ", line);
        }
        paragraph("    -> ", &finding.advice);
    }
}

/// Prints a distribution as bars and marks the budget's row. The rows reach to the longest text, but not beyond
/// the larger of the 90 % quantile and twice the budget; the last row then holds the rest.
fn lengths(lengths: &Lengths) {
    let Lengths { counts, budget, .. } = *lengths;
    let max = counts.quantile(1.0).unwrap_or(0);
    say!("\nTokens of each {}", lengths.what);
    paragraph("  ", &lengths.summary());
    let usual = counts.quantile(0.9).unwrap_or(0);
    let shown = (max + 1).min(usual.max(budget.saturating_mul(2))).max(ROWS);
    let width = shown.div_ceil(ROWS);
    let mut bins = [0; ROWS];
    for Count { tokens, times } in counts.iter() {
        bins[(tokens / width).min(ROWS - 1)] += times;
    }
    let used = (max / width).min(ROWS - 1) + 1;
    let most = bins.iter().copied().max().unwrap_or(1).max(1);
    for (at, &count) in bins[..used].iter().enumerate() {
        let (from, to) = (at * width, (at + 1) * width - 1);
        let range = match at + 1 == ROWS && max > to {
            true => format!("{from} and up"),
            false => format!("{from} to {to}"),
        };
        let bar = "#".repeat((count * BAR).div_ceil(most));
        let mark = match (from..=to).contains(&budget) {
            true => " <- budget",
            false => "",
        };
        let row = format!("  {range:>14} {count:>8} {bar}{mark}");
        say!("{}", row.trim_end());
    }
    if budget >= used * width {
        say!("  {budget:>14} {:>8} <- budget", "");
    }
}

fn ranking(ranked: &Ranked) {
    heading("ranked by the model");
    paragraph("", &ranked.summary());
    if ranked.most_against.is_empty() {
        return;
    }
    say!("\nMost strongly the other way, in nats a token; here labels may be swapped");
    for against in &ranked.most_against {
        say!("  {:8.3}  {}", against.by, against.place);
        for (what, text) in [("chosen", &against.chosen), ("rejected", &against.rejected)] {
            let line = format!("            {what:8}  {text:?}");
            say!("{}", line.trim_end());
        }
    }
}

/// Prints a pair, token by token.
fn example(shown: &Shown) {
    say!("\n{}", shown.place);
    for (what, tokens) in shown.texts() {
        let scored = match tokens.iter().any(|token| token.scored) {
            true => "scored",
            false => "not scored",
        };
        say!("  {what}, {}, {scored}", counted(tokens.len(), "token"));
        let [start, end] = SHOWN;
        match tokens.len().checked_sub(start + end) {
            None | Some(0) => flow(tokens),
            Some(more) => {
                flow(&tokens[..start]);
                say!("    ... {more} more ...");
                flow(&tokens[start + more..]);
            }
        }
    }
}

/// Prints tokens one after another, as many on a line as fit.
fn flow(tokens: &[Token]) {
    let mut line = String::new();
    for token in tokens {
        let text = format!("{} {:?}", token.id, token.text);
        if !line.is_empty() && line.chars().count() + 3 + text.chars().count() > COLUMNS - 4 {
            say!("    {line}");
            line.clear();
        }
        let gap = if line.is_empty() { "" } else { "   " };
        let _ = write!(line, "{gap}{text}");
    }
    say!("    {line}");
}
