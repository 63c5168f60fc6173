//! What was once lost without a word: parts of prompts, ends of texts, templates, begin tokens. Each is used
//! with the right value, or said, as a user sees it.

mod budgets;
mod followed;
mod inspected;
mod messages;
mod records;
mod selected;
mod shapes;
mod templates;
mod tokens;

/// A record of the simplest shape.
const OK: &str =
    r#"{"prompt":"What does a frog say?","chosen":"A frog says croak.","rejected":"Croak."}"#;

/// The same with further keys, which may be what JSON has no value for.
fn ok_and(keys: &str) -> String {
    format!("{},{keys}}}", OK.strip_suffix('}').unwrap())
}
