//! Renders a conversation as the text of a prompt, and a response as the text behind it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::message::{Message, Role};
use super::options::{Boundary, Options};
use super::record::Problem;
use crate::chat_template::ChatTemplate;
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// The model card's template: the text that a user message becomes, up to where the response begins.
pub const DEFAULT_TEMPLATE: &str = "User: {prompt}\nAssistant: ";

/// The part of a template that the user's text replaces.
const PLACEHOLDER: &str = "{prompt}";

/// The form into which conversations are rendered.
pub enum Template {
    /// A text with `{prompt}` in it; each user message fills one copy.
    Text(String),
    /// A Jinja template for whole conversations, as transformers' `apply_chat_template` uses.
    Chat {
        /// The parsed template.
        template: Box<ChatTemplate>,
        /// The template's text, which is saved with the model.
        source: String,
        /// The file that holds the template.
        origin: PathBuf,
    },
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Template::Text(text) => write!(f, "{text:?}"),
            Template::Chat { origin, .. } => write!(f, "the chat template of {}", origin.display()),
        }
    }
}

impl Template {
    /// A template from a text; each user message replaces its `{prompt}`.
    ///
    /// # Errors
    /// [`Error::Option`] naming `template`, without a place for the prompt in it.
    pub fn text(template: &str) -> Result<Template> {
        if !template.contains(PLACEHOLDER) {
            return Err(Error::option(
                "template",
                format!("no {{prompt}} in {template:?}"),
                format!("write {{prompt}} where the user's text goes: {DEFAULT_TEMPLATE:?}"),
            ));
        }
        Ok(Template::Text(template.to_owned()))
    }

    /// The chat template of the model itself; `None` if the model has none.
    ///
    /// # Errors
    /// [`Error::File`] if the file is not a valid template.
    pub fn of_model(tokenizer: &Tokenizer) -> Result<Option<Template>> {
        let Some(own) = tokenizer.chat_template(false)? else {
            return Ok(None);
        };
        let origin = tokenizer.origin().join(own.file);
        Template::chat(own.text, &origin, Some(tokenizer)).map(Some)
    }

    /// A chat template with the special tokens of a tokenizer; `origin` is the file that holds it.
    ///
    /// # Errors
    /// [`Error::File`] if the text is not a valid template.
    pub fn chat(source: &str, origin: &Path, tokenizer: Option<&Tokenizer>) -> Result<Template> {
        let named = tokenizer.map_or(&[][..], Tokenizer::named_tokens).iter();
        let specials = named.map(|token| (token.name.to_string(), token.text.clone()));
        Ok(Template::Chat {
            template: Box::new(ChatTemplate::new(source, origin, specials.collect())?),
            source: source.to_owned(),
            origin: origin.to_owned(),
        })
    }

    /// The prompt ids of a conversation with one user message, as a model that was trained under `options`
    /// continues them.
    ///
    /// # Errors
    /// [`Error::Option`] naming `message` for one that the template refuses; every error of the tokenizer.
    pub fn prompt_ids(
        &self,
        tokenizer: &Tokenizer,
        message: &str,
        options: &Options,
    ) -> Result<Vec<u32>> {
        let content = options.typed(tokenizer, message).text;
        let rendered = self.prompt(&[Message::user(content)]);
        let rendered = rendered.map_err(|p| Error::option("message", p.what, p.help))?;
        // Where a space at the end began the responses in training, it is the model's to write.
        let given_away = options.response_prefix_space || options.boundary == Boundary::Joined;
        let asked = match rendered.strip_suffix(' ') {
            Some(without) if given_away => without,
            _ => &rendered,
        };
        let ids = options.encode(tokenizer, asked)?;
        Ok([self.begin(tokenizer), &ids].concat())
    }

    /// True if the template leaves a prompt as it is, so a prompt that is already formatted stays unchanged.
    pub(super) fn is_verbatim(&self) -> bool {
        matches!(self, Template::Text(text) if text == PLACEHOLDER)
    }

    /// The tokens that the tokenizer puts before a text; none for a chat template, which writes them itself.
    pub(super) fn begin<'a>(&self, tokenizer: &'a Tokenizer) -> &'a [u32] {
        match self {
            Template::Text(_) => tokenizer.begin(),
            Template::Chat { .. } => &[],
        }
    }

    /// The tokens that the tokenizer puts behind a text; none for a chat template, which writes them itself.
    pub(super) fn end<'a>(&self, tokenizer: &'a Tokenizer) -> &'a [u32] {
        match self {
            Template::Text(_) => tokenizer.end(),
            Template::Chat { .. } => &[],
        }
    }

    /// The text of the prompt, up to where the response begins.
    pub(super) fn prompt(&self, conversation: &[Message]) -> Result<String, Problem> {
        match self {
            Template::Text(template) => written_out(conversation, template),
            Template::Chat { template, .. } => template
                .render(conversation, true)
                .map_err(|refusal| Problem::new(refusal.to_string(), CHAT_HELP)),
        }
    }

    /// The text of prompt and response together. `prompt` is what [`Template::prompt`] made of `conversation`.
    /// A chat template may render the prompt otherwise once the response follows.
    pub(super) fn whole(
        &self,
        conversation: &[Message],
        prompt: &str,
        answer: &str,
    ) -> Result<String, Problem> {
        match self {
            Template::Text(_) => Ok(format!("{prompt}{answer}")),
            Template::Chat { template, .. } => {
                let answer = Message::new(Role::Assistant, answer);
                let whole = [conversation, &[answer]].concat();
                template
                    .render(&whole, false)
                    .map_err(|refusal| Problem::new(refusal.to_string(), CHAT_HELP))
            }
        }
    }

    /// True if the end-of-text token is appended to a response; a chat template writes its own end.
    pub(super) fn wants_end(&self) -> bool {
        matches!(self, Template::Text(_))
    }
}

const CHAT_HELP: &str = "the model's chat template refuses this conversation: remove the record, \
     or take the card's template with `.chat_template` card";

/// The text of the prompt. It begins with the system message and a newline, if there is a system message.
/// For each exchange before the last follow the filled template, the answer and a newline. It ends with the
/// template filled with the last user message.
///
/// # Errors
///
/// A problem unless the messages are an optional system message, then user and assistant in turn, the user's
/// last; and if a user message is blank.
fn written_out(messages: &[Message], template: &str) -> Result<String, Problem> {
    let turns = match messages {
        [first, rest @ ..] if first.role == Role::System => rest,
        all => all,
    };
    let expected = [Role::User, Role::Assistant].into_iter().cycle();
    let in_turn = turns.iter().zip(expected).all(|(m, role)| m.role == role);
    if !in_turn || turns.len() % 2 == 0 {
        return Err(Problem::new(
            format!("the prompt's messages are {}", roles(messages)),
            "a prompt is an optional system message, then user and assistant in turn, ending with the user",
        ));
    }
    let mut text = String::new();
    for message in messages {
        match message.role {
            Role::User if message.content.trim().is_empty() => {
                return Err(Problem::new(
                    "the prompt is empty",
                    "give the user's message some text, or remove the record",
                ));
            }
            Role::User => text.push_str(&template.replace(PLACEHOLDER, &message.content)),
            Role::System | Role::Assistant => {
                text.push_str(&message.content);
                text.push('\n');
            }
        }
    }
    Ok(text)
}

fn roles(messages: &[Message]) -> String {
    if messages.is_empty() {
        return "none".to_owned();
    }
    let names = messages.iter().map(|message| match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    });
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(messages: &[(Role, &str)]) -> Result<String, String> {
        let messages = messages.iter().map(|&(role, content)| Message {
            role,
            content: content.to_owned(),
        });
        let messages: Vec<_> = messages.collect();
        written_out(&messages, DEFAULT_TEMPLATE).map_err(|problem| problem.what)
    }

    use Role::{Assistant, System, User};

    #[test]
    fn one_exchange_is_the_template() {
        assert_eq!(
            rendered(&[(User, "hi ")]).unwrap(),
            "User: hi \nAssistant: "
        );
    }

    #[test]
    fn text_is_not_taken_for_a_template() {
        let text = rendered(&[(User, "a {prompt} b")]).unwrap();
        assert_eq!(text, "User: a {prompt} b\nAssistant: ");
    }

    #[test]
    fn a_conversation_is_written_out() {
        let text = rendered(&[
            (System, "Be kind."),
            (User, "hi"),
            (Assistant, "hello"),
            (User, "bye"),
        ]);
        let expected = "Be kind.\nUser: hi\nAssistant: hello\nUser: bye\nAssistant: ";
        assert_eq!(text.unwrap(), expected);
    }

    #[test]
    fn turns_are_checked() {
        for (messages, names) in [
            (&[][..], "none"),
            (&[(System, "x")], "system"),
            (&[(User, "a"), (User, "b")], "user, user"),
            (&[(Assistant, "a"), (User, "b")], "assistant, user"),
            (&[(User, "a"), (Assistant, "b")], "user, assistant"),
            (
                &[(User, "a"), (System, "b"), (User, "c")],
                "user, system, user",
            ),
        ] {
            let error = rendered(messages).unwrap_err();
            assert_eq!(error, format!("the prompt's messages are {names}"));
        }
        assert_eq!(
            rendered(&[(User, " \n")]).unwrap_err(),
            "the prompt is empty"
        );
    }
}
