//! What a tokenizer puts before and behind every text.

use serde_json::Value;
use tokenizers::{Encoding, Token};

use super::Tokenizer;

/// Ids around a text.
pub(super) struct Ends {
    begin: Vec<u32>,
    end: Vec<u32>,
}

impl Ends {
    /// Reads them off what the post-processor makes of a text; else says what is wrong with it.
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

/// Finds what the tokenizers crate would panic at: a template that names a token it does not define, or a
/// second text where there is one.
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
    /// What the tokenizer puts before every text: the begin token of a post-processor or of `add_bos_token`.
    /// Empty for GPT-2's own.
    ///
    /// TRL 1.16 tokenizes a prompt that is text with it, so it belongs to the prompt, in training as in
    /// generation. A chat template writes its begin token itself: what is rendered from messages gets none.
    pub fn begin(&self) -> &[u32] {
        &self.ends.begin
    }

    /// What the tokenizer puts behind every text. Empty for GPT-2's own.
    ///
    /// TRL 1.16's `DPOTrainer` tokenizes `prompt` and, where records are text, `prompt + chosen + eos_token`
    /// (unless the response ends in that text already), each as a whole: begin, text, end. The prompt is then
    /// what both responses' ids have in common with it, so the prompt loses this end there, unless both
    /// responses happen to begin with the same tokens; a response keeps it, behind its end-of-text token.
    /// So, to the token: `begin + encode(prompt + response + eos) + end`, cut where the prompt's own
    /// `begin + encode(prompt) + end` parts from it.
    ///
    /// Where prompt and response are tokenized apart, it belongs to neither: the end-of-text token ends the
    /// response.
    pub fn end(&self) -> &[u32] {
        &self.ends.end
    }
}
