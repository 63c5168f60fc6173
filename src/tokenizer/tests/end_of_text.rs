use serde_json::{Value, json};

use super::super::{ConfigIds, EndOfText};
use super::{TINY_SIZE, with_files};

/// The decision for the tiny tokenizer with `files` and a model that has a row for each id.
fn decide(files: Value, config: ConfigIds, generation: &[u32]) -> EndOfText {
    decide_within(files, config, generation, usize::MAX)
}

fn decide_within(files: Value, config: ConfigIds, generation: &[u32], rows: usize) -> EndOfText {
    let (_dir, tokenizer) = with_files(files);
    let tokenizer = tokenizer.unwrap();
    let rows = rows.min(tokenizer.vocab_size());
    EndOfText::decide(Some(&tokenizer), &config, generation, rows)
}

fn ids(ids: &[u32]) -> ConfigIds {
    ConfigIds::Ids(ids.to_owned())
}

/// The tiny vocabulary with these tokens in place of `<|endoftext|>`.
fn vocab(tokens: &[&str]) -> Value {
    let mut json = super::tiny_json()["model"]["vocab"].clone();
    let vocab = json.as_object_mut().unwrap();
    vocab.shift_remove("<|endoftext|>");
    for token in tokens {
        vocab.insert((*token).to_owned(), vocab.len().into());
    }
    json
}

const ENDS: EndOfText = EndOfText {
    id: None,
    stops: Vec::new(),
    notes: Vec::new(),
};

#[test]
fn where_all_agree_nothing_is_said() {
    for config in [ConfigIds::Absent, ConfigIds::Null, ids(&[260])] {
        for generation in [&[][..], &[260]] {
            let expected = EndOfText {
                id: Some(260),
                stops: vec![260],
                ..ENDS
            };
            assert_eq!(decide(json!({}), config.clone(), generation), expected);
        }
    }
}

#[test]
fn the_tokenizers_own_file_goes_before_config_json() {
    let files = json!({ "tokenizer_config.json": { "eos_token": "<|im_end|>" } });
    let expected = EndOfText {
        id: Some(261),
        stops: vec![261],
        notes: vec![
            "responses end in `<|im_end|>` (261), the eos_token of tokenizer_config.json; config.json's \
             eos_token_id is `!` (0)"
                .to_owned(),
        ],
    };
    assert_eq!(decide(files.clone(), ids(&[0]), &[]), expected);

    // Generation also stops at a special token of config.json, and at every id of generation_config.json.
    let both = decide(files.clone(), ids(&[260]), &[]);
    assert_eq!(both.stops, [261, 260]);
    let listed = decide(files, ids(&[261]), &[0, 260]);
    assert_eq!(
        (listed.id, &listed.stops[..]),
        (Some(261), &[261, 0, 260][..])
    );
    assert_eq!(
        listed.notes,
        [
            "responses end in `<|im_end|>` (261), the eos_token of tokenizer_config.json; generation_config.json's \
          eos_token_id is `!` (0), `<|endoftext|>` (260): generation stops there too"
        ]
    );
}

#[test]
fn a_list_of_ids_that_has_the_token_is_agreement() {
    let files = json!({ "special_tokens_map.json": { "eos_token": "<|im_end|>" } });
    let expected = EndOfText {
        id: Some(261),
        stops: vec![261, 260],
        ..ENDS
    };
    assert_eq!(decide(files, ids(&[260, 261]), &[260, 261]), expected);
}

#[test]
fn an_end_of_text_of_another_name_is_found_without_config_json() {
    let expected = EndOfText {
        id: Some(260),
        stops: vec![260],
        ..ENDS
    };
    for config in [ConfigIds::Absent, ConfigIds::Null] {
        // A file names the end-of-text token, or no file does.
        for files in [
            json!({ "vocab.json": vocab(&["</s>"]), "tokenizer_config.json": { "eos_token": "</s>" } }),
            json!({ "vocab.json": vocab(&["</s>"]), "special_tokens_map.json": { "eos_token": "</s>" } }),
            json!({ "vocab.json": vocab(&["</s>"]), "tokenizer_config.json": { "eos_token": null } }),
        ] {
            assert_eq!(
                decide_within(files, config.clone(), &[], TINY_SIZE),
                expected
            );
        }
    }
}

#[test]
fn of_several_usual_names_the_one_that_config_json_means() {
    let files = json!({ "vocab.json": vocab(&["</s>", "<|im_end|>"]),
                        "tokenizer_config.json": { "eos_token": null, "bos_token": null, "unk_token": null } });
    let meant = decide(files.clone(), ids(&[261]), &[]);
    assert_eq!((meant.id, meant.notes.len()), (Some(261), 0));
    let other = decide(files, ids(&[7]), &[]);
    assert_eq!(other.id, Some(260));
    assert_eq!(
        other.notes,
        [
            "responses end in `</s>` (260), known by its name (no file names an eos_token); config.json's \
          eos_token_id is `(` (7)"
        ]
    );
}

#[test]
fn config_json_decides_where_the_tokenizer_is_silent() {
    let files = json!({ "vocab.json": vocab(&["STOP"]), "tokenizer_config.json": {
        "eos_token": null, "bos_token": null, "unk_token": null } });
    let decided = decide(files.clone(), ids(&[260]), &[]);
    assert_eq!((decided.id, &decided.stops[..]), (Some(260), &[260][..]));
    assert_eq!(
        decided.notes,
        [
            "responses end in `STOP` (260), config.json's eos_token_id; the tokenizer's files name no eos_token, and \
          have this for an ordinary token"
        ]
    );
    let decided = decide(files.clone(), ConfigIds::Null, &[260, 0]);
    assert_eq!((decided.id, decided.stops), (Some(260), vec![260, 0]));

    for (config, says) in [
        (ConfigIds::Null, "has null for eos_token_id"),
        (ConfigIds::Absent, "has no eos_token_id"),
    ] {
        let none = decide(files.clone(), config, &[]);
        assert_eq!((none.id, &none.stops[..]), (None, &[][..]));
        assert_eq!(
            none.notes,
            [format!(
                "no end-of-text token is known: the tokenizer's files name none (`eos_token` in \
                 tokenizer_config.json), and config.json {says}. Responses will not end in one, so the model \
                 does not learn to stop, and generation runs to its limit: name a token of the vocabulary under \
                 either key"
            )]
        );
    }
}

#[test]
fn what_has_no_row_is_passed_over_with_a_note() {
    let files = json!({ "tokenizer_config.json": { "eos_token": "[EOS]" } });
    let decided = decide_within(files, ids(&[260, 999]), &[50256], TINY_SIZE);
    assert_eq!((decided.id, decided.stops), (Some(260), vec![260]));
    assert_eq!(
        decided.notes,
        [
            "config.json's eos_token_id 999 is passed over: the model has 261 embedding rows",
            "generation_config.json's eos_token_id 50256 is passed over: the model has 261 embedding rows",
            "tokenizer_config.json's eos_token `[EOS]` is passed over: the model has no embedding row for it",
        ]
    );
}

#[test]
fn without_a_tokenizer_config_json_decides_alone() {
    let decide = |config, rows| EndOfText::decide(None, &config, &[], rows);
    assert_eq!(decide(ids(&[5, 6]), 10).id, Some(5));
    assert_eq!(decide(ids(&[5, 6]), 10).stops, [5, 6]);
    assert_eq!(decide(ConfigIds::Absent, 50257).id, Some(50256));
    let none = decide(ConfigIds::Absent, 50256);
    assert_eq!(none.id, None);
    assert!(none.notes[0].starts_with("no end-of-text token is known: there is no tokenizer"));
    assert_eq!(decide(ConfigIds::Null, 50257).id, None);
}
