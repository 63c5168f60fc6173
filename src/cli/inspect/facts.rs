//! The counts of an audit in words, the same on the terminal and in the page.

use gpt2_dpo::data::{Audit, Boundary, Counts, Truncation};
use gpt2_dpo::words::{counted, either};
use serde::Serialize;

use super::Inspection;
use crate::cli::with_flags;

/// The lines on one subject.
#[derive(Serialize)]
pub struct Group {
    pub subject: &'static str,
    pub lines: Vec<String>,
}

/// The lengths of one kind of text.
pub struct Lengths<'a> {
    /// "prompt", "chosen response", "rejected response".
    pub what: &'static str,
    pub counts: &'a Counts,
    pub budget: usize,
    pub over: usize,
}

/// How the data are read: pairs of a name and a value.
pub fn heading(found: &Inspection) -> Vec<(&'static str, String)> {
    let boundary = match found.boundary {
        Boundary::Apart => "prompt and response are tokenized apart (--boundary apart)",
        Boundary::Joined => "prompt and response are tokenized as one text (--boundary joined)",
    };
    let mut heading = vec![
        ("tokens", format!("of {}", found.tokenizer)),
        ("prompts", found.template.clone()),
    ];
    if let Some(audit) = found.report.train.first() {
        let kept = match found.truncation {
            Truncation::KeepStart => "beginning",
            Truncation::KeepEnd => "end",
        };
        let budgets = format!(
            "{} of a prompt, which keeps its {kept}; {} of a response",
            counted(audit.cut.max_prompt_tokens, "token"),
            audit.cut.max_response_tokens
        );
        heading.push(("budgets", budgets));
    }
    heading.push(("boundary", boundary.to_owned()));
    heading
}

/// The counts of a data set, grouped by subject.
pub fn groups(audit: &Audit) -> Vec<Group> {
    let mut groups = vec![
        group("Records", records(audit)),
        group("Cut by the budgets", cut(audit)),
        group("Repetitions", repetitions(audit)),
        group("Special tokens", special_tokens(audit)),
    ];
    if let Some(count) = audit.boundary_matters {
        let line = format!(
            "{} {} other tokens under the other --boundary",
            of(count, audit.kept, "pair"),
            either(count, "has", "have")
        );
        groups.push(group("Boundary", vec![line]));
    }
    let bias = &audit.length_bias;
    if let Some(accuracy) = bias.accuracy() {
        let lines = vec![
            format!(
                "the longer one is chosen in {}, rejected in {}; they are as long in {}",
                counted(bias.chosen_longer, "pair"),
                bias.rejected_longer,
                bias.equal
            ),
            format!("a guess by length alone scores {:.1} %", 100.0 * accuracy),
        ];
        groups.push(group("Longer response", lines));
    }
    groups
}

/// The lengths of each kind of text in a data set; kinds without texts are left out.
pub fn lengths(audit: &Audit) -> impl Iterator<Item = Lengths<'_>> {
    let cut = &audit.cut;
    let lengths = |what, counts, budget, over| Lengths {
        what,
        counts,
        budget,
        over,
    };
    let (prompt, response) = (cut.max_prompt_tokens, cut.max_response_tokens);
    [
        lengths("prompt", &audit.prompt_tokens, prompt, cut.prompts),
        lengths(
            "chosen response",
            &audit.chosen_tokens,
            response,
            cut.chosen,
        ),
        lengths(
            "rejected response",
            &audit.rejected_tokens,
            response,
            cut.rejected,
        ),
    ]
    .into_iter()
    .filter(|lengths| lengths.counts.total() > 0)
}

impl Lengths<'_> {
    /// A summary in one line.
    pub fn summary(&self) -> String {
        let quantile = |q| self.counts.quantile(q).unwrap_or(0);
        format!(
            "median {}, 90 % within {}, 99 % within {}, longest {}; {} over {}",
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            quantile(1.0),
            of(self.over, self.counts.total(), ""),
            self.budget
        )
    }
}

fn group(subject: &'static str, lines: Vec<String>) -> Group {
    Group { subject, lines }
}

/// For example "2 of 6 pairs".
fn of(count: usize, total: usize, noun: &str) -> String {
    match noun {
        "" => format!("{count} of {total}"),
        noun => format!("{count} of {}", counted(total, noun)),
    }
}

fn records(audit: &Audit) -> Vec<String> {
    let (records, kept) = (
        counted(audit.records, "record"),
        counted(audit.kept, "pair"),
    );
    let mut lines = vec![format!("{records} read, {kept} kept")];
    for (&reason, named) in &audit.dropped {
        lines.push(with_flags(&reason.words(named.count)));
    }
    if audit.outside_limits > 0 {
        let count = counted(audit.outside_limits, "pair");
        lines.push(format!("{count} outside --skip and --limit"));
    }
    for (shape, count) in &audit.read_as {
        lines.push(format!("{count} read as {shape}"));
    }
    for (what, columns) in [
        ("used", &audit.columns_used),
        ("not used", &audit.columns_ignored),
    ] {
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        if !names.is_empty() {
            lines.push(format!("columns {what}: {}", names.join(", ")));
        }
    }
    lines
}

fn cut(audit: &Audit) -> Vec<String> {
    let cut = &audit.cut;
    let mut lines = vec![of(cut.prompts, audit.prompt_tokens.total(), "prompt")];
    for (what, counts, over, ends) in [
        (
            "chosen response",
            &audit.chosen_tokens,
            cut.chosen,
            cut.chosen_ends,
        ),
        (
            "rejected response",
            &audit.rejected_tokens,
            cut.rejected,
            cut.rejected_ends,
        ),
    ] {
        if counts.total() > 0 {
            let over = of(over, counts.total(), what);
            lines.push(format!("{over}; end-of-texts lost with that: {ends}"));
        }
    }
    if audit.without_end > 0 {
        let count = counted(audit.without_end, "pair");
        lines.push(format!("{count} with a response that no end-of-text ends"));
    }
    lines
}

fn repetitions(audit: &Audit) -> Vec<String> {
    let pairs = |count| match count {
        0 => "no pair".to_owned(),
        count => counted(count, "pair"),
    };
    vec![
        counted(audit.prompts, "different prompt"),
        format!("{} came before", pairs(audit.duplicates.count)),
        format!(
            "{} came before the other way round, chosen and rejected swapped",
            pairs(audit.contradictions.count)
        ),
    ]
}

fn special_tokens(audit: &Audit) -> Vec<String> {
    let special = &audit.special_tokens;
    let line = match special.tokens {
        0 => "none is spelled out in the texts".to_owned(),
        count => format!(
            "{count} spelled out in {}, read as {}",
            counted(special.pairs, "pair"),
            if special.as_tokens { "tokens" } else { "text" }
        ),
    };
    vec![line]
}
