//! Renders a model's own chat template. The template is the Jinja text of chat_template.jinja or
//! tokenizer_config.json; it turns a list of messages into the prompt format of the model's training.
//!
//! The result equals that of transformers' `apply_chat_template`, character for character. minijinja runs the
//! template. This module corrects the places in which minijinja differs from Jinja under Python:
//!
//! - `lexer` splits a template into its parts by Jinja's own rules.
//! - `rewrite`, `expressions` and `operators` rewrite it with Python's operators.
//! - Values, their methods, filters, tests and `tojson` follow Python.
//!
//! `tests/chat_template/` compares the results with transformers' results.
//!
//! Known gaps are errors that name the missing feature: other templates, `varargs` and `kwargs` of macros,
//! `break` out of a block inside a loop, filters that produce HTML. One difference goes unnoticed: a macro's
//! parameter with a default takes the default for an undefined argument too; Jinja keeps the undefined
//! argument.

mod arguments;
mod checks;
mod clock;
mod expressions;
mod filters;
mod json;
mod lexer;
mod limits;
mod markup;
mod methods;
mod operators;
mod reader;
mod rewrite;
mod signatures;
mod texts;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use chrono::{Local, NaiveDateTime};
use minijinja::value::{Object, ObjectRepr};
use minijinja::{Environment, ErrorKind, State, UndefinedBehavior, Value};
use serde::Serialize;

use self::arguments::Arguments;
use self::limits::Bounded;
use self::operators::AnyArguments;
use self::values::{Iterable, IterableKind, error, int};
use crate::{Error, Result};

/// Limit of a rendering in minijinja's steps: one step per instruction or per 64 bytes of text. A template that
/// searches all messages in each turn reaches the limit after some 1000 turns. Other templates take about 100
/// steps per turn.
const FUEL: u64 = 20_000_000;
/// Limit of nested macro calls, in minijinja's units. Deeper calls would overflow a thread's stack of 2 MiB.
const RECURSION: usize = 200;
/// The largest number of items of a `range`, as in transformers' sandbox.
const MAX_RANGE: i128 = 100_000;
/// The largest template in bytes. Models have templates of up to some 20 KiB; parsing takes about 90 times a template's
/// size.
const MAX_SOURCE: usize = 1 << 20;
const OTHER_TEMPLATES: &str = "use `.chat_template` card for the plain User/Assistant template, or `.chat_template` \
                               FILE for another one";
/// The template's name inside minijinja.
const NAME: &str = "chat template";
/// Names under which messages carry a model's reasoning. Templates read the first name.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The texts of the special tokens, by transformers' names: `bos_token`, `eos_token`, `unk_token`, `pad_token`
/// and so on. Templates refer to these names.
pub type Specials = BTreeMap<String, String>;

/// The reason why a template does not render a conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The template itself refuses the conversation: it calls `raise_exception`.
    #[error("the chat template refuses the conversation: {0}")]
    Raised(String),
    /// The template fails for this conversation.
    #[error("the chat template fails at its line {line}: {what}")]
    Failed {
        /// The line in the template, 1-based.
        line: usize,
        /// The failure in words.
        what: String,
    },
    /// The template does not end within the limit of steps.
    #[error(
        "the chat template was stopped at its line {line}: it does not come to an end within {FUEL} steps"
    )]
    Endless {
        /// The line in the template, 1-based.
        line: usize,
    },
    /// The prompt is longer than any that a model reads.
    #[error("the chat template writes a prompt of more than {} MiB", limits::MAX_LENGTH >> 20)]
    TooLong,
    /// The messages or tools cannot be written as JSON.
    #[error("the conversation cannot be given to the chat template: {0}")]
    Unreadable(String),
}

/// A chat template, ready to render.
#[derive(Clone)]
pub struct ChatTemplate {
    env: Environment<'static>,
    specials: Specials,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("specials", &self.specials)
            .finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Parses a template. Messages name `origin` as the template's file.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the text is not a valid template.
    pub fn new(source: &str, origin: &Path, specials: Specials) -> Result<Self> {
        let unusable = |line: usize, what: &str| {
            Error::file(
                origin,
                format!("line {line} of the chat template: {what}"),
                OTHER_TEMPLATES,
            )
        };
        if source.len() > MAX_SOURCE {
            let what = format!("a chat template of more than {} KiB", MAX_SOURCE >> 10);
            return Err(Error::file(origin, what, OTHER_TEMPLATES));
        }
        let rewritten =
            rewrite::rewrite(source).map_err(|fault| unusable(fault.line, &fault.what))?;
        let mut env = environment();
        env.add_template_owned(NAME, rewritten).map_err(|err| {
            let what = err.detail().map_or_else(|| err.to_string(), str::to_owned);
            unusable(err.line().unwrap_or(1), &what)
        })?;
        Ok(ChatTemplate { env, specials })
    }

    /// Returns the template with a fixed time for `strftime_now`.
    pub fn at(mut self, now: NaiveDateTime) -> Self {
        set_clock(&mut self.env, move || now);
        self
    }

    /// Renders a conversation. `add_generation_prompt` appends the beginning of the assistant's answer.
    pub fn render<M: Serialize>(
        &self,
        messages: &[M],
        add_generation_prompt: bool,
    ) -> Result<String, Refusal> {
        self.render_with_tools(messages, None, add_generation_prompt)
    }

    /// [`Self::render`] for a conversation with tools. `tools` is a list of JSON schemas.
    pub fn render_with_tools<M: Serialize>(
        &self,
        messages: &[M],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, Refusal> {
        let mut messages =
            serde_json::to_value(messages).map_err(|err| Refusal::Unreadable(err.to_string()))?;
        if let Some(messages) = messages.as_array_mut() {
            messages.iter_mut().for_each(name_reasoning);
        }
        let mut context = BTreeMap::from([
            ("messages", values::from_json(&messages)),
            ("tools", tools.map_or(Value::from(()), values::from_json)),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
        ]);
        for (name, token) in &self.specials {
            context.insert(name, Value::from(token.as_str()));
        }
        let template = self.env.get_template(NAME).map_err(refusal)?;
        let mut prompt = Bounded::default();
        match template.render_captured_to(Value::from_pairs(context), &mut prompt) {
            Err(_) if prompt.is_full => Err(Refusal::TooLong),
            Err(err) => Err(refusal(err)),
            Ok(_) => Ok(prompt.into_text()),
        }
    }
}

/// Copies a message's reasoning to all names that templates read, as transformers does.
fn name_reasoning(message: &mut serde_json::Value) {
    let Some(message) = message.as_object_mut() else {
        return;
    };
    let mut given = REASONING.iter().filter_map(|name| message.get(*name));
    let Some(reasoning) = given.find(|value| !value.is_null()).cloned() else {
        return;
    };
    if !message.contains_key("thinking") {
        message.shift_insert(0, "thinking".into(), reasoning.clone());
    }
    message.insert("reasoning_content".into(), reasoning);
}

/// Converts minijinja's error into a [`Refusal`].
fn refusal(err: minijinja::Error) -> Refusal {
    let mut causes =
        std::iter::successors(Some(&err as &(dyn std::error::Error + 'static)), |err| {
            err.source()
        });
    if let Some(raised) = causes.find_map(|cause| cause.downcast_ref::<Raised>()) {
        return Refusal::Raised(raised.0.clone());
    }
    let line = err.line().unwrap_or(1);
    if err.kind() == ErrorKind::OutOfFuel {
        return Refusal::Endless { line };
    }
    Refusal::Failed {
        line,
        what: match err.detail() {
            Some(detail) => detail.to_owned(),
            None if err.kind() == ErrorKind::UndefinedError => "an undefined value is used".into(),
            None => err.kind().to_string(),
        },
    }
}

/// The message of a `raise_exception` call.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// The environment with all functions, filters and tests that transformers provides to a template.
fn environment() -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(RECURSION);
    env.set_formatter(|out, _, value| Ok(out.write_str(&values::text(value))?));
    env.set_unknown_method_callback(methods::call);
    operators::register(&mut env);
    filters::register(&mut env);
    checks::register(&mut env);
    env.add_function(
        "raise_exception",
        |message: Value| -> std::result::Result<Value, minijinja::Error> {
            let raised = Raised(values::text(&message));
            Err(error(raised.0.clone()).with_source(raised))
        },
    );
    for name in ["cycler", "joiner", "lipsum"] {
        env.add_function(
            name,
            move |_: AnyArguments| -> std::result::Result<Value, minijinja::Error> {
                Err(error(format!("`{name}` is not supported")))
            },
        );
    }
    env.add_function("range", range);
    env.add_function("namespace", namespace);
    env.add_global("dict", Value::from_object(DictClass));
    set_clock(&mut env, || Local::now().naive_local());
    env
}

fn set_clock(
    env: &mut Environment<'static>,
    now: impl Fn() -> NaiveDateTime + Send + Sync + 'static,
) {
    env.add_function("strftime_now", move |format: &str| {
        clock::strftime(now(), format)
    });
}

/// Python's `range`.
fn range(rest: AnyArguments) -> Result<Value, minijinja::Error> {
    let bound = Arguments::from_rest(rest)?.bind("range", ["start", "stop", "step"], 1)?;
    let (start, stop) = match bound.passed(1) {
        None => (0, bound.int(0, 0)?),
        Some(_) => (bound.int(0, 0)?, bound.int(1, 0)?),
    };
    let step = bound.int(2, 1)?;
    if step == 0 {
        return Err(error("range() arg 3 must not be zero"));
    }
    let count = if step > 0 {
        (stop - start + step - 1) / step
    } else {
        (start - stop - step - 1) / -step
    };
    if count > MAX_RANGE {
        return Err(error(format!("a range of more than {MAX_RANGE}")));
    }
    let items = (0..count.max(0)).map(|at| int(start + at * step)).collect();
    Ok(Iterable::value(
        IterableKind::Range { start, stop, step },
        items,
    ))
}

/// Jinja's `namespace`: an object whose attributes can be set inside loops.
fn namespace(rest: AnyArguments) -> Result<Value, minijinja::Error> {
    let entries = dict_entries(Arguments::from_rest(rest)?)?;
    let private = entries.iter().filter_map(|(name, _)| name.as_str());
    if let Some(name) = private.into_iter().find(|name| name.starts_with('_')) {
        return Err(error(format!(
            "a namespace's attribute cannot begin with an underscore: `{name}`"
        )));
    }
    minijinja::functions::namespace(Some(values::dict(entries).into()))
}

/// The pairs that Python's `dict` builds from its arguments: a dict or a list of pairs, then keywords.
fn dict_entries(arguments: Arguments) -> Result<Vec<(Value, Value)>, minijinja::Error> {
    let mut entries = Vec::new();
    if arguments.positional.len() > 1 {
        return Err(error("dict() takes at most 1 argument"));
    }
    for value in &arguments.positional {
        match values::Python::from(value) {
            values::Python::Undefined => return Err(values::undefined()),
            values::Python::Dict(dict) => entries.extend(dict.entries.iter().cloned()),
            _ => {
                for entry in values::items(value)? {
                    match &values::items(&entry)?[..] {
                        [key, value] => entries.push((key.clone(), value.clone())),
                        _ => return Err(error("dict() takes pairs")),
                    }
                }
            }
        }
    }
    let named = arguments.keywords.into_iter();
    entries.extend(named.map(|(name, value)| (Value::from(name), value)));
    Ok(entries)
}

/// Python's `dict` as a global name. Templates can call it and its method `fromkeys`.
#[derive(Debug)]
struct DictClass;

impl Object for DictClass {
    fn repr(self: &std::sync::Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(
        self: &std::sync::Arc<Self>,
        _: &mut State,
        arguments: &[Value],
    ) -> Result<Value, minijinja::Error> {
        Ok(values::dict(dict_entries(Arguments::new(arguments)?)?))
    }

    fn call_method(
        self: &std::sync::Arc<Self>,
        _: &mut State,
        name: &str,
        arguments: &[Value],
    ) -> Result<Value, minijinja::Error> {
        if name != "fromkeys" {
            return Err(minijinja::Error::from(ErrorKind::UnknownMethod));
        }
        methods::from_keys(Arguments::new(arguments)?)
    }
}
