//! Parts of the input that were once lost silently: parts of prompts, ends of texts, templates, begin tokens. Each is
//! now used with the right value, or reported, as a user sees it.

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

/// [`OK`] with further keys, whose values JSON may lack, like NaN.
fn ok_and(keys: &str) -> String {
    format!("{},{keys}}}", OK.strip_suffix('}').unwrap())
}
