//! What `inspect --html` writes: one page that needs nothing else.

use gpt2_dpo::data::{Audit, Counts};
use gpt2_dpo::{Error, Result};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

use super::Inspection;

const PAGE: &str = include_str!("page.html");

/// Bars of a chart, and its sizes in the units of its own picture.
const BARS: usize = 60;
const WIDTH: usize = 600;
const HEIGHT: usize = 120;
const LABELS: usize = 16;

#[derive(Serialize)]
struct Part<'a> {
    audit: &'a Audit,
    held_out: bool,
    rows: Vec<Row>,
    charts: Vec<Chart>,
}

#[derive(Serialize)]
struct Row {
    what: &'static str,
    count: usize,
    words: String,
}

#[derive(Serialize)]
struct Chart {
    what: &'static str,
    words: String,
    width: usize,
    height: usize,
    label_y: usize,
    /// The last length shown.
    last: usize,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
struct Bar {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    over: bool,
    title: String,
}

/// The page. Every text of the data is escaped.
///
/// # Errors
/// `Error::File` if the page's template fails, which it does for no data.
pub fn render(found: &Inspection) -> Result<String> {
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    let train = found.report.train.iter().map(|audit| part(audit, false));
    let eval = found.report.eval.iter().map(|audit| part(audit, true));
    let names: Vec<&str> = found
        .report
        .train
        .iter()
        .map(|audit| &audit.data[..])
        .collect();
    let context = context! {
        title => format!("{} as training sees it", names.join(", ")),
        found => Value::from(Serde(found)),
        parts => Value::from(Serde(train.chain(eval).collect::<Vec<_>>())),
    };
    env.render_str(PAGE, context).map_err(|error| Error::File {
        path: "page.html".into(),
        what: error.to_string(),
        help: "report this, with the data if you can".into(),
    })
}

fn part(audit: &Audit, held_out: bool) -> Part<'_> {
    let cut = &audit.cut;
    let charts = [
        (
            "Prompts",
            &audit.prompt_tokens,
            cut.max_prompt_tokens,
            cut.prompts,
        ),
        (
            "Chosen responses",
            &audit.chosen_tokens,
            cut.max_response_tokens,
            cut.chosen,
        ),
        (
            "Rejected responses",
            &audit.rejected_tokens,
            cut.max_response_tokens,
            cut.rejected,
        ),
    ];
    Part {
        audit,
        held_out,
        rows: rows(audit),
        charts: charts
            .into_iter()
            .filter_map(|(what, counts, budget, over)| chart(what, counts, budget, over))
            .collect(),
    }
}

fn rows(audit: &Audit) -> Vec<Row> {
    let row = |what, count, words: String| Row { what, count, words };
    let mut rows = vec![
        row("records", audit.records, String::new()),
        row("pairs kept", audit.kept, String::new()),
    ];
    for (shape, &count) in &audit.read_as {
        rows.push(row("read as", count, shape.clone()));
    }
    for (reason, drops) in &audit.dropped {
        let words = format!("{}: {}", reason.words(), drops.first.join("; "));
        rows.push(row("left out", drops.count, words));
    }
    let ignored: Vec<&str> = audit.columns_ignored.iter().map(String::as_str).collect();
    rows.push(row("columns not used", ignored.len(), ignored.join(", ")));
    let cut = &audit.cut;
    rows.push(row(
        "end-of-texts cut",
        cut.chosen_ends + cut.rejected_ends,
        format!(
            "{} of chosen, {} of rejected responses",
            cut.chosen_ends, cut.rejected_ends
        ),
    ));
    let special = &audit.special_tokens;
    let how = if special.as_tokens { "tokens" } else { "text" };
    rows.push(row(
        "special tokens spelled out",
        special.tokens,
        format!("in {} pairs, read as {how}", special.pairs),
    ));
    if let Some(count) = audit.boundary_matters {
        rows.push(row(
            "boundary",
            count,
            "pairs with other ids under the other --boundary".into(),
        ));
    }
    rows.push(row("prompts", audit.prompts, "different ones".into()));
    rows.push(row(
        "duplicates",
        audit.duplicates,
        "pairs that came before".into(),
    ));
    rows.push(row(
        "contradictions",
        audit.contradictions,
        "pairs that came before the other way round".into(),
    ));
    let bias = &audit.length_bias;
    if let Some(accuracy) = bias.accuracy() {
        rows.push(row(
            "longer one chosen",
            bias.chosen_longer,
            format!(
                "rejected in {}, as long in {}: a guess by length alone scores {:.1} %",
                bias.rejected_longer,
                bias.equal,
                100.0 * accuracy
            ),
        ));
    }
    rows
}

/// How long texts are; those over the budget in another colour.
fn chart(what: &'static str, counts: &Counts, budget: usize, over: usize) -> Option<Chart> {
    let longest = counts.quantile(1.0)?;
    let last = counts.quantile(0.99)?.max(budget).min(longest).max(1);
    let per_bar = (last + 1).div_ceil(BARS);
    let mut bins = [0usize; BARS];
    for (tokens, count) in counts.iter() {
        bins[(tokens / per_bar).min(BARS - 1)] += count;
    }
    let most = bins.iter().copied().max().unwrap_or(1).max(1);
    let step = WIDTH / BARS;
    let bars = bins.iter().enumerate().map(|(at, &count)| {
        let from = at * per_bar;
        let height = (count * HEIGHT).div_ceil(most);
        Bar {
            x: at * step,
            y: HEIGHT - height,
            width: step - 1,
            height,
            over: from > budget,
            title: format!("from {from} tokens: {count}"),
        }
    });
    Some(Chart {
        what,
        words: format!(
            "Median {} tokens, 90 % within {}, longest {longest}; {over} of {} over the budget of {budget}.",
            counts.quantile(0.5)?,
            counts.quantile(0.9)?,
            counts.total()
        ),
        width: WIDTH,
        height: HEIGHT + LABELS,
        label_y: HEIGHT + LABELS - 2,
        last: BARS * per_bar - 1,
        bars: bars.collect(),
    })
}
