//! What `inspect` prints.

use gpt2_dpo::data::{Audit, Counts};

use super::ranking::Ranked;
use super::{Inspection, Shown, Token};
use crate::cli::say;

/// Columns of a length's bar.
const BAR: usize = 40;
/// Rows of a table of lengths.
const ROWS: usize = 12;

pub fn show(found: &Inspection) {
    say!("tokens  of {}", found.tokenizer);
    say!("prompts {}", found.template);
    for (audit, accuracy) in found.report.train.iter().zip(&found.length_only_accuracy) {
        say!("\n== {} ==", audit.data);
        data(audit, *accuracy);
    }
    if let Some(audit) = &found.report.eval {
        say!("\n== {}, held out ==", audit.data);
        data(audit, audit.length_bias.accuracy());
    }
    if let Some(count) = found.report.eval_prompts_trained_on {
        say!("\nheld-out pairs whose prompt is trained on: {count}");
    }
    if let Some(space) = &found.lone_space {
        say!(
            "\nevery prompt ends in a token of its own for the space (id {}): responses begin without one, as \
             \"Paris\" in place of \" Paris\"; --response-prefix-space gives the space to the response",
            space.id
        );
    }
    if let Some(ranked) = &found.ranked {
        ranking(ranked);
    }
    for shown in &found.examples {
        example(shown);
    }
}

fn data(audit: &Audit, length_only: Option<f64>) {
    for (shape, count) in &audit.read_as {
        say!("read as {shape}: {count}");
    }
    say!("records {}, pairs kept {}", audit.records, audit.kept);
    for (reason, drops) in &audit.dropped {
        say!("        {} {}", drops.count, reason.words());
        for first in &drops.first {
            say!("            {}", first.replace('\n', "\n            "));
        }
    }
    if audit.outside_limits > 0 {
        say!(
            "        {} outside --skip and --limit",
            audit.outside_limits
        );
    }
    if !audit.columns_ignored.is_empty() {
        let names: Vec<&str> = audit.columns_ignored.iter().map(String::as_str).collect();
        say!("columns not used: {}", names.join(", "));
    }
    let cut = &audit.cut;
    lengths(
        "prompt",
        &audit.prompt_tokens,
        cut.max_prompt_tokens,
        cut.prompts,
    );
    lengths(
        "chosen",
        &audit.chosen_tokens,
        cut.max_response_tokens,
        cut.chosen,
    );
    lengths(
        "rejected",
        &audit.rejected_tokens,
        cut.max_response_tokens,
        cut.rejected,
    );
    say!("");
    say!(
        "end-of-texts cut    {} of chosen, {} of rejected responses; {} pairs have a response without one",
        cut.chosen_ends,
        cut.rejected_ends,
        audit.without_end
    );
    let special = &audit.special_tokens;
    say!(
        "special tokens      {} spelled out in {} pairs, read as {}",
        special.tokens,
        special.pairs,
        if special.as_tokens { "tokens" } else { "text" }
    );
    if let Some(count) = audit.boundary_matters {
        say!("boundary            {count} pairs have other ids under the other --boundary");
    }
    say!("prompts             {} different ones", audit.prompts);
    say!("duplicates          {} pairs came before", audit.duplicates);
    say!(
        "contradictions      {} pairs came before the other way round",
        audit.contradictions
    );
    let bias = &audit.length_bias;
    if let Some(accuracy) = length_only {
        say!(
            "longer response     chosen in {}, rejected in {}, as long in {}: a guess by length alone scores {:.1} %",
            bias.chosen_longer,
            bias.rejected_longer,
            bias.equal,
            100.0 * accuracy
        );
    }
}

/// A distribution as bars; the budget's row is marked.
fn lengths(what: &str, counts: &Counts, budget: usize, cut: usize) {
    let (Some(max), total) = (counts.quantile(1.0), counts.total()) else {
        return;
    };
    let quantile = |q| counts.quantile(q).unwrap_or(0);
    say!(
        "\n{what} tokens: median {}, 90 % within {}, 99 % within {}, longest {max}; {cut} of {total} over {budget}",
        quantile(0.5),
        quantile(0.9),
        quantile(0.99)
    );
    let width = bin_width(max, budget);
    let mut bins = vec![0; ROWS];
    for (tokens, count) in counts.iter() {
        bins[(tokens / width).min(ROWS - 1)] += count;
    }
    let used = (max / width).min(ROWS - 1) + 1;
    let most = bins.iter().copied().max().unwrap_or(1).max(1);
    for (at, &count) in bins[..used].iter().enumerate() {
        let (from, to) = (at * width, (at + 1) * width - 1);
        let range = match at + 1 == ROWS && max > to {
            true => format!("{from}-"),
            false => format!("{from}-{to}"),
        };
        let bar = "#".repeat((count * BAR).div_ceil(most));
        let mark = if (from..=to).contains(&budget) {
            " <- budget"
        } else {
            ""
        };
        say!("  {range:>11} {count:>8} {bar}{mark}");
    }
}

/// A width that shows all lengths, or at least twice the budget.
fn bin_width(max: usize, budget: usize) -> usize {
    let shown = max.min(2 * budget).max(ROWS);
    shown.div_ceil(ROWS)
}

fn ranking(ranked: &Ranked) {
    say!(
        "\nthe model finds the chosen response likelier, token by token, in {} of {} pairs; most strongly the other \
         way:",
        ranked.agrees,
        ranked.pairs
    );
    for against in &ranked.most_against {
        say!("  {:8.3} nats a token  {}", against.by, against.place);
    }
}

/// A pair, token by token.
fn example(shown: &Shown) {
    say!("\n{}", shown.place);
    for (what, tokens) in [
        ("prompt, not scored", &shown.prompt),
        ("chosen, scored", &shown.chosen),
        ("rejected, scored", &shown.rejected),
    ] {
        say!("  {what}: {} tokens", tokens.len());
        let tokens: Vec<String> = tokens.iter().map(token).collect();
        for line in tokens.chunks(8) {
            say!("    {}", line.join("  "));
        }
    }
}

fn token(token: &Token) -> String {
    format!("{} {:?}", token.id, token.text)
}
