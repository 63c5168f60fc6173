//! A model's own chat template: the Jinja text of chat_template.jinja or tokenizer_config.json that turns a list
//! of messages into the prompt that the model was trained on.
//!
//! It renders what transformers' `apply_chat_template` renders, character for character. minijinja runs the
//! template; what it takes otherwise than Jinja under Python is mended around it: a template is first cut into
//! its parts by Jinja's own rules (`lexer`) and written anew with Python's operators (`rewrite`, `expressions`,
//! `operators`); values, their methods, filters, tests and `tojson` are Python's.
//! `tests/chat_template/` holds the renderings to transformers'.
//!
//! What is known to be missing is refused by name: other templates, `varargs` and `kwargs` of macros, `break` out
//! of a block inside of a loop, filters that make HTML. One difference is not seen: a macro's parameter that has
//! a default takes it for an undefined argument too, where Jinja keeps the argument.

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
use self::operators::AnyArguments;
use self::values::{Iterable, IterableKind, error, int};
use crate::{Error, Result};

/// Steps after which a rendering is given up, in minijinja's measure: one per instruction or 64 bytes of text.
/// Templates that look through all messages at each one take this many for some 1000 turns; others take
/// about 100 a turn.
const FUEL: u64 = 20_000_000;
/// Macros in macros, in minijinja's own measure: as deep as a thread's stack of 2 MiB allows.
const RECURSION: usize = 200;
/// The most items of a `range`, as in transformers' sandbox.
const MAX_RANGE: i128 = 100_000;
/// What the template is called inside of minijinja.
const NAME: &str = "chat template";
/// Names under which messages carry what a model thought; the first is the one that templates read.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The special tokens that a template may name, as text under transformers' names: `bos_token`, `eos_token`,
/// `unk_token`, `pad_token` and so on.
pub type Specials = BTreeMap<String, String>;

/// Why a conversation has no text under a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The template itself refuses the conversation, with `raise_exception`.
    #[error("the chat template refuses the conversation: {0}")]
    Raised(String),
    /// The template cannot be carried out for this conversation.
    #[error("the chat template fails at its line {line}: {what}")]
    Failed {
        /// 1-based.
        line: usize,
        /// In words.
        what: String,
    },
    /// The template does not come to an end.
    #[error(
        "the chat template was stopped at its line {line}: it does not come to an end within {FUEL} steps"
    )]
    Endless {
        /// 1-based.
        line: usize,
    },
    /// The messages or tools are no JSON.
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
    /// Reads a template.
    ///
    /// `origin` is the file it came from, for messages. Fails if the template is none.
    pub fn new(source: &str, origin: &Path, specials: Specials) -> Result<Self> {
        let unusable = |line: usize, what: &str| {
            Error::file(
                origin,
                format!("line {line} of the chat template: {what}"),
                "use `.chat_template` card for the plain User/Assistant template, or `.chat_template` \
                 FILE for another one",
            )
        };
        let rewritten =
            rewrite::rewrite(source).map_err(|fault| unusable(fault.line, &fault.what))?;
        let mut env = environment();
        env.add_template_owned(NAME, rewritten).map_err(|err| {
            let what = err.detail().map_or_else(|| err.to_string(), str::to_owned);
            unusable(err.line().unwrap_or(1), &what)
        })?;
        Ok(ChatTemplate { env, specials })
    }

    /// The same template with a clock that stands still, for `strftime_now`.
    pub fn at(mut self, now: NaiveDateTime) -> Self {
        set_clock(&mut self.env, move || now);
        self
    }

    /// The text of a conversation; with `add_generation_prompt` followed by what begins the assistant's answer.
    pub fn render<M: Serialize>(
        &self,
        messages: &[M],
        add_generation_prompt: bool,
    ) -> Result<String, Refusal> {
        self.render_with_tools(messages, None, add_generation_prompt)
    }

    /// [`Self::render`] for a conversation with tools: a list of JSON schemas.
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
        template.render(Value::from_pairs(context)).map_err(refusal)
    }
}

/// Gives what a model thought all the names that templates read it by, as transformers does.
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

/// What minijinja complains about, in this crate's terms.
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

/// What `raise_exception` was called with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// The names that transformers gives to a template.
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

/// A namespace, whose attributes can be set from inside of loops.
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

/// The pairs that Python's `dict` makes of its arguments: a dict or pairs, and names.
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

/// Python's `dict`, as far as transformers gives it to a template.
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
