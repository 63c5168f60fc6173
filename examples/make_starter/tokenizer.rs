//! A small byte-level BPE tokenizer, built in GPT-2's manner.

use std::path::Path;

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use gpt2_dpo::{Error, Result, Setting};

/// Ends every response, and is the only token that no text can spell by accident.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// [`END_OF_TEXT`] and one token for each byte: below this there is nothing to merge.
const SMALLEST_VOCABULARY: usize = 1 + 256;

/// Trains a tokenizer of exactly `vocab_size` tokens: [`END_OF_TEXT`] (id 0), the 256 bytes, and
/// the most frequent merges within the words of `texts`, as GPT-2's regular expression splits them.
///
/// Give prompts and answers as separate texts: they are tokenized apart in training too.
/// The same texts make the same tokenizer, whatever their order.
///
/// # Errors
/// [`Error::Option`] if `vocab_size` has no room for the bytes, or the texts are too few and too
/// alike to fill it; [`Error::File`] if the tokenizers crate fails.
pub fn train(texts: impl Iterator<Item = String> + Send, vocab_size: usize) -> Result<Tokenizer> {
    if vocab_size < SMALLEST_VOCABULARY {
        return Err(vocabulary_error(
            format!("{vocab_size} tokens cannot hold the 256 bytes and {END_OF_TEXT}"),
            format!("ask for at least {SMALLEST_VOCABULARY}"),
        ));
    }

    let mut trainer = TrainerWrapper::from(
        BpeTrainer::builder()
            .vocab_size(vocab_size)
            .show_progress(false)
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build(),
    );
    // GPT-2's regular expression is the one that ByteLevel splits by; a first word gets no space.
    let byte_level = ByteLevel::default().add_prefix_space(false);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(byte_level))
        .with_decoder(Some(byte_level));
    tokenizer
        .train(&mut trainer, texts)
        .map_err(|cause| Error::File {
            path: Path::new("tokenizer.json").to_owned(),
            what: format!("the tokenizer could not be trained: {cause}"),
            help: "this is a defect of the example: please report it".to_owned(),
        })?;

    let reached = tokenizer.get_vocab_size(true);
    if reached != vocab_size {
        return Err(vocabulary_error(
            format!("the texts make only {reached} of {vocab_size} tokens"),
            "give more text, or ask for a smaller vocabulary".to_owned(),
        ));
    }
    Ok(tokenizer)
}

fn vocabulary_error(what: String, help: String) -> Error {
    Error::Option {
        option: Setting::Field("vocab_size"),
        what,
        help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 3] = [
        "What is the capital of France?",
        "The capital of France is Paris.",
        "What is the opposite of hot?",
    ];

    fn small(texts: impl Iterator<Item = &'static str> + Send, size: usize) -> Result<Tokenizer> {
        train(texts.map(str::to_owned), size)
    }

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode(text, false).unwrap().get_ids().to_vec()
    }

    #[test]
    fn every_text_survives_the_round_trip() {
        let tokenizer = small(TEXTS.into_iter(), 270).unwrap();
        for text in ["User: hi\nAssistant: ", "héllo  wörld\t 12 + 34", "日本 🙂"] {
            assert_eq!(
                tokenizer.decode(&ids(&tokenizer, text), false).unwrap(),
                text
            );
        }
    }

    #[test]
    fn the_end_of_text_is_one_special_token() {
        let tokenizer = small(TEXTS.into_iter(), 270).unwrap();
        assert_eq!(tokenizer.token_to_id(END_OF_TEXT), Some(0));
        assert_eq!(ids(&tokenizer, END_OF_TEXT), [0]);
        assert_eq!(tokenizer.decode(&[0], true).unwrap(), "");
    }

    #[test]
    fn the_order_of_the_texts_does_not_matter() {
        let forward = small(TEXTS.into_iter(), 270).unwrap();
        let backward = small(TEXTS.into_iter().rev(), 270).unwrap();
        assert_eq!(
            forward.to_string(false).unwrap(),
            backward.to_string(false).unwrap()
        );
    }

    #[test]
    fn a_vocabulary_that_cannot_be_made_is_an_error() {
        for size in [0, 256, 5000] {
            let error = small(TEXTS.into_iter(), size).unwrap_err();
            assert!(matches!(error, Error::Option { .. }), "{error}");
        }
    }
}
