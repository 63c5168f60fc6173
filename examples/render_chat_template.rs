//! Renders conversations through chat templates, for comparison with transformers.
//!
//! `cargo run --example render_chat_template < CASES`; CASES is a sequence of JSON objects:
//!
//! ```json
//! {"template": "{{ messages[0].content }}", "messages": [{"role": "user", "content": "Hi"}],
//!  "add_generation_prompt": true, "tools": null, "specials": {"bos_token": "<s>"}, "now": "2024-05-06T07:08:09"}
//! ```
//!
//! Only `template` and `messages` are required. For each object it prints one line: `{"text": …}` or
//! `{"error": …}`.

use std::io::{self, Write};
use std::path::Path;

use gpt2_dpo::chat_template::{ChatTemplate, Specials};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    template: String,
    messages: Vec<serde_json::Value>,
    #[serde(default)]
    add_generation_prompt: bool,
    tools: Option<serde_json::Value>,
    #[serde(default)]
    specials: Specials,
    now: Option<String>,
}

fn render(case: &Case) -> Result<String, Box<dyn std::error::Error>> {
    let origin = Path::new("stdin");
    let mut template = ChatTemplate::new(&case.template, origin, case.specials.clone())?;
    if let Some(now) = &case.now {
        template = template.at(now.parse()?);
    }
    let tools = case.tools.as_ref();
    Ok(template.render_with_tools(&case.messages, tools, case.add_generation_prompt)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = io::stdout().lock();
    for case in serde_json::Deserializer::from_reader(io::stdin().lock()).into_iter::<Case>() {
        let answer = match render(&case?) {
            Ok(text) => json!({ "text": text }),
            Err(err) => json!({ "error": err.to_string() }),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}
