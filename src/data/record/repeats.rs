//! Compares two keys of a record: many files hold the prompt a second time.

use std::ops::Range;

use crate::data::message::{Message, Role};

/// The words that may stand around the messages in a text that renders a conversation: the roles' names and
/// the marks of chat templates.
const LABELS: [&str; 24] = [
    "system",
    "sys",
    "user",
    "human",
    "prompter",
    "assistant",
    "gpt",
    "chatgpt",
    "bot",
    "ai",
    "model",
    "inst",
    "s",
    "im_start",
    "im_end",
    "im_sep",
    "start_header_id",
    "end_header_id",
    "eot_id",
    "begin_of_text",
    "endoftext",
    "start_of_turn",
    "end_of_turn",
    "bos",
];

/// The messages behind the system message, or all messages without one.
pub(super) fn without_system(messages: &[Message]) -> &[Message] {
    match messages {
        [first, rest @ ..] if first.role == Role::System => rest,
        all => all,
    }
}

/// True if both lists have equal messages, apart from white space around each message.
pub(super) fn same(one: &[Message], two: &[Message]) -> bool {
    let alike =
        |(a, b): (&Message, &Message)| a.role == b.role && a.content.trim() == b.content.trim();
    one.len() == two.len() && one.iter().zip(two).all(alike)
}

/// False if both lists have a system message and the two differ.
pub(super) fn systems_agree(one: &[Message], two: &[Message]) -> bool {
    let system = |messages: &[Message]| messages.len() - without_system(messages).len();
    system(one) == 0 || system(two) == 0 || same(&one[..1], &two[..1])
}

/// True if `messages` begins with `beginning`.
pub(super) fn begins_with(messages: &[Message], beginning: &[Message]) -> bool {
    let start = messages.get(..beginning.len());
    start.is_some_and(|start| same(start, beginning))
}

/// True if the text of a prompt adds nothing to the conversation: the text is the user's first or last
/// message, or renders all messages, with or without the system message, and nothing else.
pub(super) fn text_repeats(text: &str, conversation: &[Message]) -> bool {
    let text = text.trim();
    let mut user = conversation.iter().filter(|m| m.role == Role::User);
    let is = |message: Option<&Message>| message.is_some_and(|m| m.content.trim() == text);
    is(user.next())
        || is(user.next_back())
        || renders(text, conversation)
        || renders(text, without_system(conversation))
}

/// True if `text` holds the messages in order and only labels around them.
fn renders(text: &str, messages: &[Message]) -> bool {
    let mut rest = text;
    let contents = messages.iter().map(|message| message.content.trim());
    for content in contents.filter(|content| !content.is_empty()) {
        // The first match is enough: the text before a later match includes the text before the first.
        let mut places = rest.match_indices(content).map(|(at, _)| at);
        let Some(at) = places.find(|&at| has_whole_words(rest, at..at + content.len())) else {
            return false;
        };
        if !is_labels(&rest[..at]) {
            return false;
        }
        rest = &rest[at + content.len()..];
    }
    is_labels(rest)
}

/// True if neither end of `range` is inside a word: the message "a" is not in "Human: b".
fn has_whole_words(text: &str, range: Range<usize>) -> bool {
    let cuts_word = |at: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at..].chars().next();
        before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric)
    };
    !cuts_word(range.start) && !cuts_word(range.end)
}

/// True if every word of the text is a label.
fn is_labels(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let mut words = words.filter(|word| !word.is_empty());
    words.all(|word| LABELS.contains(&word.to_ascii_lowercase().as_str()))
}
