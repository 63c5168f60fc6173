//! Conversations in one text, told apart by how it writes who speaks; and the common beginning of
//! two texts that are none.

use crate::data::message::{Message, Role};

/// How a text writes who speaks.
#[derive(Debug)]
struct Dialect {
    name: &'static str,
    system: Option<&'static str>,
    user: &'static str,
    assistant: &'static str,
    /// What ends a message.
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
    /// Their contents are trimmed.
    pub messages: Vec<Message>,
}

impl Transcript {
    /// Reads a text that begins with a user's or a system message in some dialect and has the
    /// assistant speak in it; `None` for any other.
    pub fn read(text: &str) -> Option<Transcript> {
        DIALECTS.iter().find_map(|dialect| {
            let messages = dialect.read(text)?;
            let dialect = dialect.name;
            Some(Transcript { dialect, messages })
        })
    }
}

/// A transcript that ends where the assistant is about to speak: what the answer continues.
#[derive(Debug)]
pub(super) struct Opening {
    dialect: &'static Dialect,
    /// The whole of it, trimmed.
    text: String,
}

impl Opening {
    /// Reads a prompt: its turns, and what an answer to it continues.
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

    /// What stands behind the transcript in a text that has all of it once more.
    pub fn repeated_in<'t>(&self, answer: &'t str) -> Option<&'t str> {
        answer.trim_start().strip_prefix(self.text.as_str())
    }

    /// The answer without what belongs to the transcript: white space around it, and what ends a
    /// message.
    pub fn content<'t>(&self, answer: &'t str) -> &'t str {
        self.dialect.content(answer)
    }

    /// What an answer goes on with where somebody else speaks in it.
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

/// Where a text says who speaks next: the bytes of that.
struct Speaker {
    role: Role,
    start: usize,
    end: usize,
}

/// Two texts cut where they begin to differ.
#[derive(Debug, PartialEq)]
pub(super) struct Fork<'a> {
    pub common: &'a str,
    pub one: &'a str,
    pub two: &'a str,
}

/// Cuts at the last white space before the first difference, so that no word is cut in two. A
/// space there goes to the responses, as TRL's `extract_prompt` has it; other white space stays.
/// `None` where the texts are equal or share nothing up to a white space.
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
