//! The page of `inspect --html`, one self-contained file.

use gpt2_dpo::data::Count;
use gpt2_dpo::words::counted;
use gpt2_dpo::{Error, Result};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

use super::Inspection;
use super::facts::{self, Group, Lengths};
use super::ranking::Ranked;

const PAGE: &str = include_str!("page.html");

/// The number of bars of a chart, and its sizes in SVG units.
const BARS: usize = 60;
const WIDTH: usize = 600;
const HEIGHT: usize = 120;
const LABELS: usize = 20;
const TOP: usize = 18;

#[derive(Serialize)]
struct Part<'a> {
    title: String,
    data: &'a str,
    groups: Vec<Group>,
    charts: Vec<Chart>,
}

#[derive(Serialize)]
struct Chart {
    what: String,
    words: String,
    width: usize,
    height: usize,
    /// The y coordinate of the bars' feet.
    base: usize,
    label_y: usize,
    /// The largest length shown.
    last: String,
    budget: Line,
    bars: Vec<Bar>,
}

/// The line at the budget, or at the chart's end if the budget lies behind it.
#[derive(Serialize)]
struct Line {
    x: usize,
    label: String,
    anchor: &'static str,
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

/// The page. Every text from the data is escaped.
///
/// # Errors
/// `Error::File` if the page's template fails, which no data can cause.
pub fn render(found: &Inspection) -> Result<String> {
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env.add_filter("nats", |nats: f64| format!("{nats:.3}"));
    let names = found.report.train.iter().map(|audit| &audit.data[..]);
    let parts = found.parts().map(|(title, audit)| Part {
        title,
        data: &audit.data,
        groups: facts::groups(audit),
        charts: facts::lengths(audit).filter_map(|l| chart(&l)).collect(),
    });
    let examples = found.examples.iter().map(|shown| {
        let texts: Vec<_> = shown.texts().collect();
        (&shown.place, texts)
    });
    let context = context! {
        title => format!("{} as training sees it", names.collect::<Vec<_>>().join(", ")),
        heading => facts::heading(found),
        findings => Value::from(Serde(&found.findings)),
        parts => Value::from(Serde(parts.collect::<Vec<_>>())),
        ranked => Value::from(Serde(&found.ranked)),
        ranking => found.ranked.as_ref().map(Ranked::summary),
        examples => Value::from(Serde(examples.collect::<Vec<_>>())),
    };
    env.render_str(PAGE, context).map_err(|error| Error::File {
        path: "page.html".into(),
        what: error.to_string(),
        help: "report this, with the data if you can".into(),
    })
}

/// A chart of text lengths; bars over the budget have another colour.
fn chart(lengths: &Lengths) -> Option<Chart> {
    let Lengths { counts, budget, .. } = *lengths;
    let longest = counts.quantile(1.0)?;
    let last = counts.quantile(0.99)?.max(budget).min(longest).max(1);
    let per_bar = (last + 1).div_ceil(BARS);
    let mut bins = [0usize; BARS];
    for Count { tokens, times } in counts.iter() {
        bins[(tokens / per_bar).min(BARS - 1)] += times;
    }
    let most = bins.iter().copied().max().unwrap_or(1).max(1);
    let step = WIDTH / BARS;
    let bars = bins.iter().enumerate().filter(|(_, count)| **count > 0);
    let bars = bars.map(|(at, &count)| {
        let (from, to) = (at * per_bar, (at + 1) * per_bar - 1);
        let height = (count * HEIGHT).div_ceil(most);
        let range = match at + 1 == BARS && longest > to {
            true => format!("{from} tokens and up"),
            false if from == to => counted(from, "token"),
            false => format!("{from} to {to} tokens"),
        };
        Bar {
            x: at * step,
            y: TOP + HEIGHT - height,
            width: step - 1,
            height,
            over: from > budget,
            title: format!("{range}: {count}"),
        }
    });
    let end = BARS * per_bar;
    Some(Chart {
        what: format!("Tokens of each {}", lengths.what),
        words: lengths.summary(),
        width: WIDTH,
        height: TOP + HEIGHT + LABELS,
        base: TOP + HEIGHT,
        label_y: TOP + HEIGHT + LABELS - 4,
        last: match longest >= end {
            true => format!("{} tokens and up", end - per_bar),
            false => format!("{} tokens", end - 1),
        },
        // A text whose length equals the budget is within the budget.
        budget: Line {
            x: (budget.min(end - 1) + 1) * WIDTH / end,
            label: match budget < end {
                true => format!("budget {budget}"),
                false => format!("budget {budget} →"),
            },
            anchor: if budget > end / 2 { "end" } else { "start" },
        },
        bars: bars.collect(),
    })
}
