//! The chat templates of a model folder.

use serde_json::Value;

use super::Tokenizer;
use super::declared::Declarations;
use super::files::{self, Files};
use crate::error::{Error, Result};

/// The name of the template for every chat without a template of its own.
const DEFAULT: &str = "default";
/// The name of the template for chats with tools.
const TOOLS: &str = "tool_use";
/// The key of chat templates in `tokenizer_config.json`.
const KEY: &str = "chat_template";

/// A model's own chat template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatTemplate<'a> {
    /// The template's Jinja source.
    pub text: &'a str,
    /// The file of the model folder that holds the template.
    pub file: &'a str,
}

/// A template and its name.
#[derive(Debug)]
pub(super) struct Template {
    name: String,
    text: String,
    file: String,
}

/// Every chat template of a folder. If there are template files, the templates of `tokenizer_config.json` are
/// ignored, as in transformers.
pub(super) fn templates(files: &Files, declared: &Declarations) -> Result<Vec<Template>> {
    let mut templates = Vec::new();
    let mut take = |name: &str, text: &str, file: &str| {
        templates.push(Template {
            name: name.to_owned(),
            text: text.to_owned(),
            file: file.to_owned(),
        });
    };
    if let Some(text) = files.text(files::TEMPLATE)? {
        take(DEFAULT, text, files::TEMPLATE);
    }
    for (name, file) in files.additional_templates() {
        take(name, files.text(file)?.unwrap_or_default(), file);
    }
    if !templates.is_empty() {
        return Ok(templates);
    }

    let text_of = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
    match declared.config.get(KEY) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Template {
            name: DEFAULT.to_owned(),
            text: text.clone(),
            file: files::CONFIG.to_owned(),
        }]),
        Some(value) => {
            let named = |entry: &Value| {
                Some(Template {
                    name: text_of(entry, "name")?,
                    text: text_of(entry, "template")?,
                    file: files::CONFIG.to_owned(),
                })
            };
            let list = value
                .as_array()
                .map(|list| list.iter().map(named).collect());
            list.flatten().ok_or_else(|| {
                Error::file(
                    &files.path(files::CONFIG),
                    format!(
                        "`{KEY}` is neither text nor a list of objects with `name` and `template`"
                    ),
                    "correct it as in the model that the file belongs to",
                )
            })
        }
    }
}

impl Tokenizer {
    /// The model's own chat template. For chats with `tools`, the template for tools wins, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the model has only templates with other names.
    pub fn chat_template(&self, tools: bool) -> Result<Option<ChatTemplate<'_>>> {
        // A later template replaces an earlier template of the same name.
        let find = |name| {
            self.templates
                .iter()
                .rev()
                .find(|template| template.name == name)
        };
        let special = if tools { find(TOOLS) } else { None };
        if let Some(template) = special.or_else(|| find(DEFAULT)) {
            return Ok(Some(ChatTemplate {
                text: &template.text,
                file: &template.file,
            }));
        }
        if self.templates.is_empty() {
            return Ok(None);
        }
        let names: Vec<_> = self
            .templates
            .iter()
            .map(|t| format!("`{}`", t.name))
            .collect();
        Err(Error::file(
            &self.origin,
            format!(
                "its chat templates are named {}, and none `{DEFAULT}`",
                names.join(", ")
            ),
            "give the one that is meant with `.chat_template` FILE, or name it `default`",
        ))
    }

    /// Replaces the model's default chat template. The new template gets its own file.
    pub fn set_chat_template(&mut self, text: &str) {
        self.files.set(files::TEMPLATE, text.as_bytes());
        self.templates.push(Template {
            name: DEFAULT.to_owned(),
            text: text.to_owned(),
            file: files::TEMPLATE.to_owned(),
        });
    }

    /// True if any of the model's chat templates contains `text`.
    pub(super) fn templates_mention(&self, text: &str) -> bool {
        self.templates
            .iter()
            .any(|template| template.text.contains(text))
    }
}
