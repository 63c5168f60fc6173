use std::fs;

use super::*;
use crate::tokenizer::tests::{TINY_SIZE, tiny};

const EOS: u32 = 260;

fn dims() -> Dims {
    Dims {
        vocab_size: TINY_SIZE,
        n_positions: 64,
        n_embd: 4,
        n_layer: 1,
        n_head: 1,
        n_inner: 16,
        epsilon: 1e-5,
    }
}

fn options(max_prompt_tokens: usize, max_response_tokens: usize) -> Options {
    Options {
        template: DEFAULT_TEMPLATE.to_owned(),
        max_prompt_tokens,
        max_response_tokens,
        skip_bad_records: false,
    }
}

fn parsed(text: &str, options: &Options) -> Result<Dataset> {
    parse(
        text,
        Path::new("pairs"),
        Some(&tiny()),
        Some(EOS),
        options,
        &dims(),
    )
}

fn error(text: &str) -> String {
    parsed(text, &options(40, 20)).unwrap_err().to_string()
}

fn ids(text: &str) -> Vec<u32> {
    tiny().encode(text).unwrap()
}

#[test]
fn text_is_templated_tokenized_and_ended() {
    let text = r#"{"prompt": "hello", "chosen": "ab", "rejected": "hello"}"#;
    let dataset = parsed(text, &options(40, 20)).unwrap();
    let expected = Example {
        prompt: ids("User: hello\nAssistant: "),
        chosen: [ids("ab"), vec![EOS]].concat(),
        rejected: vec![259, EOS],
        line: 1,
    };
    assert_eq!(dataset.examples, [expected]);
    assert_eq!((dataset.truncated, dataset.equal_dropped), (0, 0));
    assert_eq!(dataset.path, Path::new("pairs"));
}

#[test]
fn budgets_keep_the_prompts_end_and_the_responses_beginning() {
    let text = r#"{"prompt": "xyz", "chosen": "abcd", "rejected": "abc"}"#;
    let at = |prompt, response| {
        let mut dataset = parsed(text, &options(prompt, response)).unwrap();
        (dataset.examples.remove(0), dataset.truncated)
    };
    let prompt = ids("User: xyz\nAssistant: ");

    // The end of text has to fit into the budget.
    let (example, truncated) = at(prompt.len(), 4);
    assert_eq!(example.prompt, prompt);
    assert_eq!(example.chosen, ids("abcd"));
    assert_eq!(example.rejected, [ids("abc"), vec![EOS]].concat());
    assert_eq!(truncated, 0);

    let (example, truncated) = at(5, 5);
    assert_eq!(example.prompt, prompt[prompt.len() - 5..]);
    assert_eq!(example.chosen, [ids("abcd"), vec![EOS]].concat());
    assert_eq!(truncated, 1);

    // Under three tokens the responses are equal.
    let error = parsed(text, &options(5, 3)).unwrap_err().to_string();
    assert!(error.contains("all 1 have two equal responses"), "{error}");
}

#[test]
fn the_end_of_text_is_not_doubled() {
    let text = r#"{"prompt": "p", "chosen": "ab<|endoftext|>", "rejected": "c"}"#;
    let dataset = parsed(text, &options(40, 20)).unwrap();
    assert_eq!(dataset.examples[0].chosen, [ids("ab"), vec![EOS]].concat());
}

#[test]
fn ids_are_taken_as_they_are_and_need_no_tokenizer() {
    let text = r#"{"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5, 6], "rejected_ids": [7]}"#;
    let parse = |text| {
        parse(
            text,
            Path::new("p"),
            None,
            Some(EOS),
            &options(2, 2),
            &dims(),
        )
    };
    let dataset = parse(text).unwrap();
    let expected = Example {
        prompt: vec![2, 3],
        chosen: vec![4, 5],
        rejected: vec![7],
        line: 1,
    };
    assert_eq!(dataset.examples, [expected]);
    assert_eq!(dataset.truncated, 1);

    let text = format!(
        "{text}\n{}",
        r#"{"prompt": "p", "chosen": "c", "rejected": "r"}"#
    );
    let error = parse(&text).unwrap_err().to_string();
    assert!(
        error.starts_with("p:2: ") && error.contains("no tokenizer"),
        "{error}"
    );
}

#[test]
fn equal_responses_are_counted_and_left_out() {
    let text = r#"
        {"prompt": "p", "chosen": "same", "rejected": "same"}
        {"prompt": "p", "chosen": "c", "rejected": "r"}
        {"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [2, 3]}"#;
    let dataset = parsed(text, &options(40, 20)).unwrap();
    assert_eq!((dataset.examples.len(), dataset.equal_dropped), (1, 2));
    assert_eq!(dataset.examples[0].line, 3);
}

#[test]
fn an_array_reads_like_lines() {
    let lines = r#"{"prompt": "p", "chosen": "c", "rejected": "r"}
{"instruction": "i", "input": "x", "chosen": "c", "rejected": "r"}"#;
    let array = format!("[{}]", lines.replace('\n', ",\n"));
    let options = options(40, 20);
    let from_lines = parsed(lines, &options).unwrap().examples;
    assert_eq!(from_lines[1].prompt, ids("User: i\nx\nAssistant: "));
    assert_eq!(parsed(&array, &options).unwrap().examples, from_lines);
}

#[test]
fn errors_carry_the_line_of_the_first_bad_record() {
    let good = r#"{"prompt": "p", "chosen": "c", "rejected": "r"}"#;
    for (record, expected) in [
        ("{", "pairs:2: not JSON"),
        (
            r#"{"prompt": "p", "chosen": "c"}"#,
            "pairs:2: a preference record without `rejected`",
        ),
        (
            r#"{"prompt": " ", "chosen": "c", "rejected": "r"}"#,
            "pairs:2: `prompt` is empty",
        ),
        (
            r#"{"prompt_ids": [1], "chosen_ids": [261], "rejected_ids": [2]}"#,
            "pairs:2: the chosen response has the token id 261; the model's vocabulary has 261",
        ),
    ] {
        let text = error(&format!("{good}\n{record}\n{record}"));
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("\n  help: "), "{text}");
    }
}

#[test]
fn a_pair_must_fit_the_models_positions() {
    let record = |response: usize| {
        let ids = vec![1; response];
        format!(r#"{{"prompt_ids": [1, 2], "chosen_ids": {ids:?}, "rejected_ids": [2]}}"#)
    };
    // 2 + 63 - 1 = 64, all the positions there are.
    assert!(parsed(&record(63), &options(2, 64)).is_ok());
    let error = parsed(&record(64), &options(2, 64))
        .unwrap_err()
        .to_string();
    let expected = "2 prompt tokens and 64 response tokens need 65 positions; the model has 64";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn files_without_a_pair_and_unreadable_files() {
    assert!(error("\n\n").starts_with("pairs: no preference pair in it"));
    assert!(error("[]").starts_with("pairs: no preference pair in it"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pairs.jsonl");
    let read = || read(&path, None, None, &options(4, 4), &dims());
    assert!(matches!(read(), Err(Error::Io { action: "read", .. })));
    fs::write(&path, b"\n\xFF").unwrap();
    assert!(matches!(read(), Err(Error::Data { line: 2, .. })));
    let record = r#"{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}"#;
    fs::write(&path, record).unwrap();
    assert_eq!(read().unwrap().examples.len(), 1);
}

#[test]
fn options_that_leave_nothing_are_refused() {
    let without = Options {
        template: "User:".to_owned(),
        ..options(4, 4)
    };
    for options in [without, options(0, 4), options(4, 0)] {
        assert!(matches!(parsed("", &options), Err(Error::Option { .. })));
    }
}

#[test]
fn the_vocabularies_must_agree() {
    let with = |vocab_size| {
        let dims = Dims {
            vocab_size,
            ..dims()
        };
        check_vocabulary(&tiny(), &dims, Path::new("model"))
    };
    assert!(with(TINY_SIZE).is_ok());
    assert!(with(TINY_SIZE + 3).is_ok());
    let error = with(TINY_SIZE - 1).unwrap_err().to_string();
    let expected = "the tokenizer has 261 tokens, and the model embeddings for 260";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn prompts_keep_their_end() {
    let mut tokens = vec![1, 2, 3];
    assert!(!keep_last(&mut tokens, 3));
    assert!(keep_last(&mut tokens, 2));
    assert_eq!(tokens, [2, 3]);
}
