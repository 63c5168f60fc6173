//! The tokens that a tokenizer puts before and behind every text.

use serde_json::Value;
use tokenizers::{Encoding, Token};

use super::Tokenizer;

/// The token ids before and behind a text.
pub(super) struct Ends {
    begin: Vec<u32>,
    end: Vec<u32>,
}

impl Ends {
    /// Runs the post-processor on a text of one token and reads the ids around it. The error says what is wrong
    /// with the post-processor.
    pub(super) fn of(inner: &tokenizers::Tokenizer) -> Result<Ends, String> {
        let processor = serde_json::to_value(inner.get_post_processor());
        check(&processor.unwrap_or_default())?;
        let text = Encoding::from_tokens(vec![Token::new(0, String::new(), (0, 0))], 0);
        let whole = inner.post_process(text, None, true);
        let whole = whole.map_err(|error| format!("fails: {error}"))?;
        let mask = whole.get_special_tokens_mask();
        let texts = mask.iter().filter(|&&special| special == 0).count();
        let at = mask.iter().position(|&special| special == 0);
        match (at, texts) {
            (Some(at), 1) => Ok(Ends {
                begin: whole.get_ids()[..at].to_vec(),
                end: whole.get_ids()[at + 1..].to_vec(),
            }),
            _ => Err(format!("makes {texts} texts of one")),
        }
    }
}

/// Finds templates at which the tokenizers crate would panic: a template with an undefined token, and a
/// template for one text that contains a second text.
fn check(processor: &Value) -> Result<(), String> {
    let list = |key: &str| processor.get(key).and_then(Value::as_array);
    for inner in list("processors").into_iter().flatten() {
        check(inner)?;
    }
    for piece in list("single").into_iter().flatten() {
        let id = |kind: &str| piece.get(kind)?.get("id")?.as_str();
        if id("Sequence").is_some_and(|id| id != "A") {
            return Err("has a second text in `single`".to_owned());
        }
        if let Some(id) = id("SpecialToken")
            && processor["special_tokens"].get(id).is_none()
        {
            return Err(format!("puts `{id}` around a text and does not say its id"));
        }
    }
    Ok(())
}

impl Tokenizer {
    /// The ids that the tokenizer puts before every text: the begin token of a post-processor or of
    /// `add_bos_token`. Empty for GPT-2's own tokenizer.
    ///
    /// TRL 1.16 adds these ids to a prompt that is plain text. They therefore belong to the prompt, in training
    /// and in generation. A chat template writes its begin token itself, so a text rendered from messages gets
    /// none of these ids.
    pub fn begin(&self) -> &[u32] {
        &self.ends.begin
    }

    /// The ids that the tokenizer puts behind every text. Empty for GPT-2's own tokenizer.
    ///
    /// Where records are text, TRL 1.16's `DPOTrainer` tokenizes `prompt` and `prompt + chosen + eos_token`
    /// (without `eos_token` if the response ends in that text already). It adds begin and end ids to each of
    /// the two. TRL's prompt is then the common prefix of the prompt's ids and both responses' ids. So the
    /// prompt loses its end ids, unless both responses happen to begin with the same tokens. A response keeps
    /// its end ids, behind its end-of-text token. The exact ids are
    /// `begin + encode(prompt + response + eos) + end`, cut at the first difference from
    /// `begin + encode(prompt) + end`.
    ///
    /// Where prompt and response are tokenized apart, neither gets these ids: the end-of-text token ends the
    /// response.
    pub fn end(&self) -> &[u32] {
        &self.ends.end
    }
}
