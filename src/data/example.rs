//! A pair as token ids, and its name.

use sha2::{Digest, Sha256};

use super::source::Place;
use crate::digest::add_ids;

/// One preference pair, as token ids, budgets applied. All ids are in the model's vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The prompt of both responses, at most `max_prompt_tokens`; never empty.
    pub prompt: Vec<u32>,
    /// The better response, at most `max_response_tokens`; never empty.
    pub chosen: Vec<u32>,
    /// The worse response, at most `max_response_tokens`; differs from `chosen`. Empty for a
    /// demonstration, which supervised training takes.
    pub rejected: Vec<u32>,
    /// Where its record begins, for messages.
    pub place: Place,
    /// Equal for equal prompts, even if a prompt lost its end to its responses under
    /// [`Boundary::Joined`](super::Boundary::Joined).
    pub asked: u128,
    /// What its loss counts: 1, or what its record says.
    pub weight: f32,
}

impl Example {
    /// A pair of these ids, which counts once.
    pub fn new(prompt: Vec<u32>, chosen: Vec<u32>, rejected: Vec<u32>, place: Place) -> Example {
        Example {
            asked: hash([&prompt]),
            prompt,
            chosen,
            rejected,
            place,
            weight: 1.0,
        }
    }
}

/// A pair's name: equal for equal ids.
pub(super) fn fingerprint(example: &Example) -> u128 {
    hash([&example.prompt, &example.chosen, &example.rejected])
}

/// A name of these lists of ids.
pub(super) fn hash<'a>(lists: impl IntoIterator<Item = &'a Vec<u32>>) -> u128 {
    let mut hash = Sha256::new();
    for ids in lists {
        add_ids(&mut hash, ids);
    }
    let digest = hash.finalize();
    let mut name = [0; 16];
    name.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(name)
}
