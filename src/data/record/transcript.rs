//! Conversations in one text, split at the marks of their speakers; and the common beginning of two texts
//! without such marks.

use crate::data::message::{Message, Role};

/// The marks with which a text tells its speakers apart.
#[derive(Debug)]
struct Dialect {
    name: &'static str,
    system: Option<&'static str>,
    user: &'static str,
    assistant: &'static str,
    /// The mark at the end of a message.
    end: &'static str,
}

static DIALECTS: [Dialect; 5] = [
    Dialect {
        name: "human/assistant (HH)",
        system: None,
        user: "\n\nHuman:",
        assistant: "\n\nAssistant:",
        end: "",
    },
    Dialect {
        name: "### Human/### Assistant",
        system: None,
        user: "### Human:",
        assistant: "### Assistant:",
        end: "",
    },
    Dialect {
        name: "User/Assistant",
        system: None,
        user: "\nUser:",
        assistant: "\nAssistant:",
        end: "",
    },
    Dialect {
        name: "ChatML",
        system: Some("<|im_start|>system\n"),
        user: "<|im_start|>user\n",
        assistant: "<|im_start|>assistant\n",
        end: "<|im_end|>",
    },
    Dialect {
        name: "<|user|>/<|assistant|>",
        system: Some("<|system|>\n"),
        user: "<|user|>\n",
        assistant: "<|assistant|>\n",
        end: "</s>",
    },
];

/// A text read as a conversation.
#[derive(Debug, PartialEq)]
pub(super) struct Transcript {
    pub dialect: &'static str,
    /// The messages; their contents are trimmed.
    pub messages: Vec<Message>,
}

impl Transcript {
    /// Parses a text that begins with a user or system message of some dialect and contains an assistant
    /// message; `None` for any other text.
    pub fn read(text: &str) -> Option<Transcript> {
        DIALECTS.iter().find_map(|dialect| {
            let messages = dialect.read(text)?;
            let dialect = dialect.name;
            Some(Transcript { dialect, messages })
        })
    }
}

/// A transcript that ends where the assistant is to speak; the answer continues it.
#[derive(Debug)]
pub(super) struct Opening {
    dialect: &'static Dialect,
    /// The whole transcript, trimmed.
    text: String,
}

impl Opening {
    /// Parses a prompt into its opening, which an answer continues, and its turns.
    pub fn read(text: &str) -> Option<(Opening, Vec<Message>)> {
        DIALECTS.iter().find_map(|dialect| {
            let mut messages = dialect.read(text)?;
            let last = messages.pop()?;
            let is_open = last.role == Role::Assistant && last.content.is_empty();
            let text = text.trim().to_owned();
            is_open.then_some((Opening { dialect, text }, messages))
        })
    }

    pub fn dialect(&self) -> &'static str {
        self.dialect.name
    }

    /// The text behind the transcript, if `answer` repeats the whole transcript first.
    pub fn repeated_in<'t>(&self, answer: &'t str) -> Option<&'t str> {
        answer.trim_start().strip_prefix(self.text.as_str())
    }

    /// The answer without the transcript's marks: without white space around it and without the mark at the end
    /// of a message.
    pub fn content<'t>(&self, answer: &'t str) -> &'t str {
        self.dialect.content(answer)
    }

    /// The part of an answer in which another speaker begins, if there is one.
    pub fn further_turns<'t>(&self, answer: &'t str) -> Option<&'t str> {
        let next = self.dialect.next_speaker(answer)?;
        Some(&answer[next.start..])
    }
}

impl Dialect {
    fn read(&self, text: &str) -> Option<Vec<Message>> {
        let text = text.trim_start();
        let (mut role, mut rest) = self.speakers().find_map(|(role, marker)| {
            let rest = text.strip_prefix(marker.trim_start())?;
            (role != Role::Assistant).then_some((role, rest))
        })?;
        let mut messages = Vec::new();
        while let Some(next) = self.next_speaker(rest) {
            messages.push(self.message(role, &rest[..next.start]));
            (role, rest) = (next.role, &rest[next.end..]);
        }
        messages.push(self.message(role, rest));
        let answered = messages.iter().any(|m| m.role == Role::Assistant);
        answered.then_some(messages)
    }

    fn speakers(&self) -> impl Iterator<Item = (Role, &'static str)> {
        let system = self.system.map(|marker| (Role::System, marker));
        let others = [(Role::User, self.user), (Role::Assistant, self.assistant)];
        system.into_iter().chain(others)
    }

    fn next_speaker(&self, text: &str) -> Option<Speaker> {
        let found = self.speakers().filter_map(|(role, marker)| {
            let start = text.find(marker)?;
            let end = start + marker.len();
            Some(Speaker { role, start, end })
        });
        found.min_by_key(|speaker| speaker.start)
    }

    fn message(&self, role: Role, text: &str) -> Message {
        Message::new(role, self.content(text))
    }

    fn content<'t>(&self, text: &'t str) -> &'t str {
        let text = text.trim();
        text.strip_suffix(self.end).unwrap_or(text).trim()
    }
}

/// The mark of the next speaker in a text, as a byte range.
struct Speaker {
    role: Role,
    start: usize,
    end: usize,
}

/// Two texts, cut where they begin to differ.
#[derive(Debug, PartialEq)]
pub(super) struct Fork<'a> {
    pub common: &'a str,
    pub one: &'a str,
    pub two: &'a str,
}

/// Cuts at the last white space before the first difference, so that no word is split. A space at the cut
/// belongs to the responses, as in TRL's `extract_prompt`; other white space belongs to the prompt. `None`
/// if the texts are equal, or have no text in common up to a white space.
pub(super) fn fork<'a>(one: &'a str, two: &'a str) -> Option<Fork<'a>> {
    if one == two {
        return None;
    }
    let same = one.chars().zip(two.chars()).take_while(|(a, b)| a == b);
    let shared: usize = same.map(|(c, _)| c.len_utf8()).sum();
    let (at, space) = one[..shared]
        .char_indices()
        .rfind(|(_, c)| c.is_whitespace())?;
    let cut = if space == ' ' {
        at
    } else {
        at + space.len_utf8()
    };
    let fork = Fork {
        common: &one[..cut],
        one: &one[cut..],
        two: &two[cut..],
    };
    (!fork.common.trim().is_empty()).then_some(fork)
}
