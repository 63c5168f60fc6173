//! Tests invalid declarations, and declarations without effect.

use serde_json::{Value, json};

use super::{error_of, tiny_json, with_files};

fn notes(files: Value) -> Vec<String> {
    let (_dir, tokenizer) = with_files(files);
    tokenizer.unwrap().notes().to_vec()
}

fn refused(files: Value, expected: &str) {
    let (_dir, tokenizer) = with_files(files);
    let error = error_of(tokenizer);
    let (what, help) = error.split_once("\n  help: ").expect("what to do");
    assert!(what.ends_with(expected), "{what}");
    assert!(!help.is_empty());
}

#[test]
fn a_key_that_is_not_what_it_should_be_is_named() {
    let token = "which is not a token as text, or as an object with `content`";
    for (config, expected) in [
        (json!({ "eos_token": 3 }), format!("tokenizer_config.json: `eos_token` is 3, {token}")),
        (json!({ "pad_token": { "text": "x" } }), format!("`pad_token` is {{\"text\":\"x\"}}, {token}")),
        (json!({ "additional_special_tokens": [1] }), format!("`additional_special_tokens` is 1, {token}")),
        (
            json!({ "additional_special_tokens": "<a>" }),
            "`additional_special_tokens` is \"<a>\", which is not a list of tokens".to_owned(),
        ),
        (
            json!({ "added_tokens_decoder": { "one": { "content": "x" } } }),
            "which is not ids, each with a token as an object with `content`".to_owned(),
        ),
        (
            json!({ "add_bos_token": "yes" }),
            "`add_bos_token` is \"yes\", which is not true or false".to_owned(),
        ),
        (
            json!({ "chat_template": [{ "name": "default" }] }),
            "`chat_template` is neither text nor a list of objects with `name` and `template`".to_owned(),
        ),
        (
            json!({ "tokenizer_class": "Qwen2Tokenizer" }),
            "`tokenizer_class` is Qwen2Tokenizer, whose rules are not known here, and there is no tokenizer.json"
                .to_owned(),
        ),
    ] {
        refused(json!({ "tokenizer_config.json": config }), &expected);
    }
    refused(
        json!({ "special_tokens_map.json": { "eos_token": [] } }),
        &format!("special_tokens_map.json: `eos_token` is [], {token}"),
    );
}

#[test]
fn a_long_value_is_quoted_in_part() {
    let (_dir, tokenizer) =
        with_files(json!({ "tokenizer_config.json": { "eos_token": ["é".repeat(500)] } }));
    let error = error_of(tokenizer);
    assert!(error.contains("é…, which is not a token"), "{error}");
    assert!(error.len() < 700, "{error}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    refused(
        json!({ "added_tokens.json": "{" }),
        "added_tokens.json: cannot be read: EOF while parsing an object at line 1 column 1",
    );
    let mut json = tiny_json();
    json["model"]["type"] = "WordLevel".into();
    refused(
        json!({ "tokenizer.json": json }),
        "tokenizer.json: its model is a WordLevel, and the folder's tokenizer is a GPT2Tokenizer, which is a BPE",
    );
    let mut json = tiny_json();
    json["model"]["merges"] = json!([["h", "e", "l"]]);
    refused(
        json!({ "tokenizer.json": json }),
        "tokenizer.json: its merge [\"h\",\"e\",\"l\"] is not two tokens",
    );
}

#[test]
fn a_git_lfs_pointer_is_called_by_its_name() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:8414\nsize 1355256\n";
    let what = "a Git LFS pointer: the repository was cloned without Git LFS, and the file itself is not here";
    for name in [
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
    ] {
        refused(json!({ name: pointer }), &format!("{name}: {what}"));
    }
}

#[test]
fn chat_templates_without_a_default_are_not_chosen_from() {
    let (_dir, tokenizer) = with_files(json!({ "additional_chat_templates/rag.jinja": "rag" }));
    let tokenizer = tokenizer.unwrap();
    let error = tokenizer.chat_template(true).unwrap_err().to_string();
    assert!(
        error.contains("its chat templates are named `rag`, and none `default`"),
        "{error}"
    );
}

#[test]
fn what_is_said_in_vain_is_noted() {
    assert!(notes(json!({})).is_empty());
    let ours = json!({ "tokenizer.json": tiny_json() });
    assert!(notes(ours).is_empty());

    let mut json = tiny_json();
    json["added_tokens"][0]["content"] = "hell".into();
    json["model"]["ignore_merges"] = true.into();
    json["model"]["byte_fallback"] = true.into();
    let config = json!({
        "added_tokens_decoder": { "260": { "content": "<|endoftext|>", "special": true } },
        "add_bos_token": true,
        "auto_map": { "AutoTokenizer": ["a.B", null] },
        "fast_tokenizer_files": ["tokenizer.json", "tokenizer.4.0.0.json"],
    });
    let said = notes(json!({ "tokenizer.json": json, "tokenizer_config.json": config }));
    let begins = [
        "tokenizer_config.json's auto_map names code of the model's own",
        "tokenizer_config.json's fast_tokenizer_files is not used",
        "tokenizer.json's byte_fallback and ignore_merges are not used: the folder's tokenizer is a GPT2Tokenizer",
        "tokenizer.json's added tokens `hell` are text: tokenizer_config.json's added_tokens_decoder lists others",
        "tokenizer_config.json's add_bos_token is not used: tokenizer.json, whose post_processor adds nothing",
    ];
    assert_eq!(said.len(), begins.len(), "{said:#?}");
    for (said, begin) in said.iter().zip(begins) {
        assert!(said.starts_with(begin), "{said}");
    }
}

#[test]
fn classes_that_are_not_gpt2s_are_noted() {
    let class = |class: &str| json!({ "tokenizer_class": class });
    let said = notes(json!({ "tokenizer_config.json": class("PreTrainedTokenizerFast") }));
    assert!(
        said[0].starts_with("the tokenizer is to be a PreTrainedTokenizerFast"),
        "{said:?}"
    );
    let said = notes(json!({
        "tokenizer.json": tiny_json(), "tokenizer_config.json": class("Qwen2TokenizerFast") }));
    assert!(
        said[0].starts_with("the tokenizer is a Qwen2TokenizerFast, whose own rules"),
        "{said:?}"
    );
    for known in [
        "GPT2TokenizerFast",
        "PreTrainedTokenizerFast",
        "TokenizersBackend",
    ] {
        let files = json!({ "tokenizer.json": tiny_json(), "tokenizer_config.json": class(known) });
        assert!(notes(files).is_empty(), "{known}");
    }
}

#[test]
fn tokens_as_objects_are_taken_without_the_mark_of_their_type_too() {
    let token = json!({ "content": "</s>", "lstrip": true });
    for files in [
        json!({ "tokenizer_config.json": { "eos_token": token } }),
        json!({ "special_tokens_map.json": { "additional_special_tokens": [token] } }),
    ] {
        let (_dir, tokenizer) = with_files(files);
        assert_eq!(
            tokenizer.unwrap().encode("hello  </s>").unwrap(),
            [259, 261]
        );
    }
}

#[test]
fn a_post_processor_that_makes_no_sense_is_refused() {
    let piece = |id: &str| json!({ "SpecialToken": { "id": id, "type_id": 0 } });
    let text = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let template = |single: Value| {
        json!({ "type": "TemplateProcessing", "single": single, "pair": [text("A"), text("B")],
                "special_tokens": {} })
    };
    for (processor, expected) in [
        (
            template(json!([piece("<s>"), text("A")])),
            "its post_processor puts `<s>` around a text and does not say its id",
        ),
        (
            template(json!([text("A"), text("B")])),
            "its post_processor has a second text in `single`",
        ),
        (
            template(json!([])),
            "its post_processor makes 0 texts of one",
        ),
        (
            template(json!([text("A"), text("A")])),
            "its post_processor makes 2 texts of one",
        ),
        (
            json!({ "type": "Sequence", "processors": [template(json!([piece("<s>"), text("A")]))] }),
            "its post_processor puts `<s>` around a text and does not say its id",
        ),
    ] {
        let mut json = tiny_json();
        json["post_processor"] = processor;
        refused(json!({ "tokenizer.json": json }), expected);
    }
}
