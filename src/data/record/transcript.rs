//! Conversations in one text, told apart by how it writes who speaks; and the common beginning of
//! two texts that are none.

use crate::data::message::{Message, Role};

/// How a text writes who speaks.
struct Dialect {
    name: &'static str,
    system: Option<&'static str>,
    user: &'static str,
    assistant: &'static str,
    /// What ends a message.
    end: &'static str,
}

const DIALECTS: [Dialect; 5] = [
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
        DIALECTS.iter().find_map(|dialect| dialect.read(text))
    }

    /// [`Transcript::read`] for a prompt: it ends where the assistant is about to speak.
    pub fn read_prompt(text: &str) -> Option<Transcript> {
        let mut transcript = Transcript::read(text)?;
        let last = transcript.messages.pop()?;
        (last.role == Role::Assistant && last.content.is_empty()).then_some(transcript)
    }
}

impl Dialect {
    fn read(&self, text: &str) -> Option<Transcript> {
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
        answered.then_some(Transcript {
            dialect: self.name,
            messages,
        })
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
        let text = text.trim();
        let text = text.strip_suffix(self.end).unwrap_or(text);
        Message::new(role, text.trim())
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
