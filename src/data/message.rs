//! The messages of a conversation and their roles.

use std::fmt;

use serde::Serialize;

/// The speaker of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The instructions for the assistant.
    System,
    /// The person who asks.
    User,
    /// The model, which answers.
    Assistant,
}

impl Role {
    /// The role's name in chat templates and in files.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The speaker.
    pub role: Role,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of this role and content.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        let content = content.into();
        Message { role, content }
    }

    /// A user's message.
    pub fn user(content: impl Into<String>) -> Self {
        Message::new(Role::User, content)
    }
}
