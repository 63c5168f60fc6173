//! Pairs token by token, and the lone space at the end of a template's prompts.

use std::collections::HashMap;

use gpt2_dpo::data::{Dataset, Example};
use gpt2_dpo::tokenizer::Tokenizer;
use serde::Serialize;

/// A pair token by token.
#[derive(Serialize)]
pub struct Shown {
    pub place: String,
    pub prompt: Vec<Token>,
    pub chosen: Vec<Token>,
    /// Empty for a demonstration.
    pub rejected: Vec<Token>,
}

#[derive(Serialize)]
pub struct Token {
    pub id: u32,
    pub text: String,
    /// True if the loss uses the token's log-prob.
    pub scored: bool,
}

/// A token that is a single space and ends prompts, so that responses begin without their usual space.
#[derive(Serialize)]
pub struct LoneSpace {
    pub id: u32,
    /// The number of prompts that end in the token.
    pub prompts: usize,
    /// The first token of the chosen response behind the first such prompt.
    #[serde(skip)]
    pub before: String,
}

impl Shown {
    /// The pair as a loss sees it; `on_rejected` is false for a loss without rejected responses.
    pub fn of(example: &Example, tokenizer: Option<&Tokenizer>, on_rejected: bool) -> Shown {
        let tokens = |ids: &[u32], scored| {
            let token = |&id: &u32| Token {
                id,
                text: text(tokenizer, id),
                scored,
            };
            ids.iter().map(token).collect::<Vec<_>>()
        };
        Shown {
            place: example.place.to_string(),
            prompt: tokens(&example.prompt, false),
            chosen: tokens(&example.chosen, true),
            rejected: tokens(&example.rejected, on_rejected),
        }
    }
}

impl Shown {
    /// The pair's texts; an empty rejected response is left out.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, &[Token])> {
        let texts = [
            ("Prompt", &self.prompt[..]),
            ("Chosen", &self.chosen),
            ("Rejected", &self.rejected),
        ];
        texts.into_iter().filter(|(_, tokens)| !tokens.is_empty())
    }
}

impl LoneSpace {
    /// `None` if no prompt ends in a lone space.
    pub fn of(data: &Dataset, tokenizer: Option<&Tokenizer>) -> Option<LoneSpace> {
        let mut last = HashMap::new();
        for example in &data.examples {
            if let Some(&id) = example.prompt.last() {
                let (prompts, _) = last.entry(id).or_insert((0, example));
                *prompts += 1;
            }
        }
        let mut last = last.into_iter();
        let (id, (prompts, first)) = last.find(|&(id, _)| text(tokenizer, id) == " ")?;
        let before = first.chosen.first().map(|&id| text(tokenizer, id));
        Some(LoneSpace {
            id,
            prompts,
            before: before.unwrap_or_default(),
        })
    }
}

fn text(tokenizer: Option<&Tokenizer>, id: u32) -> String {
    tokenizer.map(|t| t.token_text(id)).unwrap_or_default()
}
