use serde_json::json;

use super::super::TokenId;
use super::{TINY_SIZE, error_of, with_files};

fn token(text: &str, id: usize) -> TokenId {
    TokenId {
        text: text.to_owned(),
        id: id as u32,
    }
}

#[test]
fn tokens_without_a_row_are_text_and_named() {
    let (_dir, tokenizer) = with_files(json!({ "tokenizer_config.json": {
        "pad_token": "[PAD]", "additional_special_tokens": ["<|im_end|>"] } }));
    let mut tokenizer = tokenizer.unwrap();
    let beyond = [
        token("[PAD]", TINY_SIZE),
        token("<|im_end|>", TINY_SIZE + 1),
    ];
    assert_eq!(tokenizer.tokens_from(TINY_SIZE), beyond);
    assert_eq!(tokenizer.encode("[PAD]").unwrap(), [TINY_SIZE as u32]);

    tokenizer.fit(TINY_SIZE).unwrap();
    assert_eq!(tokenizer.vocab_size(), TINY_SIZE);
    assert!(tokenizer.tokens_from(TINY_SIZE).is_empty());
    assert_eq!(tokenizer.encode("[PAD]").unwrap().len(), 5);
    assert_eq!(tokenizer.encode("hello<|endoftext|>").unwrap(), [259, 260]);
    let guarded = tokenizer.guard("[PAD]<|endoftext|>");
    assert_eq!(guarded.tokens, 1);
    assert_eq!(
        tokenizer.notes(),
        [
            "`[PAD]` (261), `<|im_end|>` (262) have no embedding row, the model has 261: read as text where it \
             is spelled out. To train with it, resize the model first (resize_token_embeddings in transformers); \
             else take it out of the tokenizer's files"
        ]
    );
}

#[test]
fn a_model_with_rows_enough_changes_nothing() {
    let (_dir, tokenizer) =
        with_files(json!({ "tokenizer_config.json": { "pad_token": "[PAD]" } }));
    let mut tokenizer = tokenizer.unwrap();
    tokenizer.fit(TINY_SIZE + 1).unwrap();
    assert_eq!(tokenizer.encode("[PAD]").unwrap(), [TINY_SIZE as u32]);
    assert!(tokenizer.notes().is_empty());
}

#[test]
fn a_default_of_the_class_that_the_vocabulary_lacks_is_set_aside() {
    let (_dir, tokenizer) = with_files(json!({
        "vocab.json": null, "merges.txt": null,
        "tokenizer.json": { "model": { "vocab": { "h": 0, "i": 1, "hi": 2 }, "merges": ["h i"] } },
        "tokenizer_config.json": { "eos_token": "hi" } }));
    let mut tokenizer = tokenizer.unwrap();
    assert_eq!(tokenizer.tokens_from(3), [token("<|endoftext|>", 3)]);
    tokenizer.fit(3).unwrap();
    assert_eq!(tokenizer.encode("hi").unwrap(), [2]);
    assert_eq!(tokenizer.eos(), Some(2));
    assert_eq!(
        tokenizer.notes().last().unwrap(),
        "transformers' GPT2Tokenizer adds `<|endoftext|>` (3) to every vocabulary without it; the model has 3 \
         embedding rows, none for that, and it is read as text"
    );
}

#[test]
fn tokens_that_the_model_needs_are_errors_that_name_the_ways_out() {
    let refused = |files, rows| {
        let (_dir, tokenizer) = with_files(files);
        let mut tokenizer = tokenizer.unwrap();
        let error = tokenizer.fit(rows).unwrap_err().to_string();
        let (what, help) = error.split_once("\n  help: ").unwrap();
        let (_, what) = what.split_once(": ").unwrap();
        (what.to_owned(), help.to_owned())
    };
    let ways_out = "give the model rows for its tokens (resize_token_embeddings in transformers, then save model \
                    and tokenizer), or take the token out of the tokenizer's files";
    let im_end =
        json!({ "extra_special_tokens": ["<|im_end|>"], "chat_template": "{{ x }}<|im_end|>" });
    let needed = [
        (
            im_end,
            "its chat template writes `<|im_end|>` (261), and the model has 261 embedding rows",
        ),
        (
            json!({ "eos_token": "</s>", "chat_template": "{{ x + eos_token }}" }),
            "its chat template writes `</s>` (261), and the model has 261 embedding rows",
        ),
        (
            json!({ "bos_token": "<s>", "add_bos_token": true }),
            "every text gets `<s>` (261), and the model has 261 embedding rows",
        ),
    ];
    for (config, expected) in needed {
        let (what, help) = refused(json!({ "tokenizer_config.json": config }), TINY_SIZE);
        assert_eq!((what.as_str(), help.as_str()), (expected, ways_out));
    }

    let (what, help) = refused(json!({}), 258);
    assert_eq!(
        what,
        "its vocabulary goes beyond the model's 258 embedding rows: `hell` (258), `hello` (259), \
         `<|endoftext|>` (260) have none"
    );
    assert_eq!(
        help,
        "take the tokenizer's files from the folder that the weights come from"
    );
}

#[test]
fn an_impossible_vocabulary_is_refused() {
    let (_dir, tokenizer) = with_files(json!({ "vocab.json": { "a": -1 } }));
    let error = error_of(tokenizer);
    assert!(error.contains("vocab.json: cannot be read: "), "{error}");
}
