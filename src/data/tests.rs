use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::error::Error;
use crate::tokenizer::ConfigIds;
use crate::tokenizer::tests::{TINY_SIZE, tiny};

const EOS: u32 = 260;

fn options(max_prompt_tokens: usize, max_response_tokens: usize) -> Options {
    Options {
        max_prompt_tokens,
        max_response_tokens,
        truncation: Truncation::KeepEnd,
        boundary: Boundary::Apart,
        response_prefix_space: false,
        allow_special_tokens: false,
        columns: Columns::default(),
        demonstrations: false,
        skip_bad_records: false,
        compare_boundaries: false,
        selection: Selection::default(),
    }
}

fn read_with(
    source: Source,
    tokenizer: Option<&Tokenizer>,
    template: &Template,
    options: &Options,
) -> Result<Dataset> {
    let end = EndOfText::decide(tokenizer, &ConfigIds::Null, &[], usize::MAX);
    let codec = Codec {
        tokenizer,
        end: &end,
        template,
        vocab_size: tokenizer.map_or(TINY_SIZE, Tokenizer::vocab_size),
        n_positions: 64,
    };
    read(source, &codec, options)
}

fn card() -> Template {
    Template::text(DEFAULT_TEMPLATE).unwrap()
}

fn parsed(text: &str, options: &Options) -> Result<Dataset> {
    let source = Source::text(text, Path::new("pairs"));
    read_with(source, Some(&tiny()), &card(), options)
}

fn error(text: &str) -> String {
    parsed(text, &options(40, 20)).unwrap_err().to_string()
}

fn ids(text: &str) -> Vec<u32> {
    tiny().encode(text).unwrap()
}

/// One record for each pair of responses.
fn pairs(responses: &[[&str; 2]]) -> String {
    let lines = responses.iter().map(|[chosen, rejected]| {
        json!({"prompt": "p", "chosen": chosen, "rejected": rejected}).to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn chosen(dataset: &Dataset) -> Vec<String> {
    let decode = |example: &Example| tiny().decode(&example.chosen).unwrap();
    dataset.examples.iter().map(decode).collect()
}

#[test]
fn text_is_templated_tokenized_and_ended() {
    let text = r#"{"prompt": "hello", "chosen": "ab", "rejected": "hello"}"#;
    let dataset = parsed(text, &options(40, 20)).unwrap();
    let expected = Example::new(
        ids("User: hello\nAssistant: "),
        [ids("ab"), vec![EOS]].concat(),
        vec![259, EOS],
        Place::new("pairs", 1),
    );
    assert_eq!(dataset.examples, [expected]);
    assert_eq!(dataset.name, "pairs");
    assert_eq!(dataset.audit.notes(), [""; 0]);
}

#[test]
fn budgets_keep_the_prompts_end_and_the_responses_beginning() {
    let text = r#"{"prompt": "xyz", "chosen": "abcd", "rejected": "abc"}"#;
    let at = |prompt, response| {
        let mut dataset = parsed(text, &options(prompt, response)).unwrap();
        (dataset.examples.remove(0), dataset.audit.cut)
    };
    let prompt = ids("User: xyz\nAssistant: ");

    // The end-of-text token counts into the budget.
    let (example, cut) = at(prompt.len(), 4);
    assert_eq!(example.prompt, prompt);
    assert_eq!(example.chosen, ids("abcd"));
    assert_eq!(example.rejected, [ids("abc"), vec![EOS]].concat());
    assert_eq!((cut.prompts, cut.chosen, cut.rejected), (0, 1, 0));
    assert_eq!((cut.chosen_ends, cut.rejected_ends), (1, 0));

    let (example, cut) = at(5, 5);
    assert_eq!(example.prompt, prompt[prompt.len() - 5..]);
    assert_eq!(example.chosen, [ids("abcd"), vec![EOS]].concat());
    assert_eq!((cut.prompts, cut.chosen, cut.chosen_ends), (1, 0, 0));

    let first = Options {
        truncation: Truncation::KeepStart,
        ..options(5, 5)
    };
    let dataset = parsed(text, &first).unwrap();
    assert_eq!(dataset.examples[0].prompt, prompt[..5]);

    // Cut to three tokens, the responses are equal.
    let error = parsed(text, &options(5, 3)).unwrap_err().to_string();
    assert!(
        error.contains("1 pair dropped: the responses differ only behind `.max_response_tokens`"),
        "{error}"
    );
}

#[test]
fn what_is_cut_is_said_in_a_line_each() {
    let text = pairs(&[["abcdefgh", "x"], ["a", "bcdefghi"], ["a", "b"]]);
    let dataset = parsed(&text, &options(4, 3)).unwrap();
    assert_eq!(
        dataset.audit.notes(),
        [
            "3 of 3 prompts are cut to `.max_prompt_tokens` 4",
            "2 of 6 responses are cut to `.max_response_tokens` 3",
            "2 of 6 responses lose their end-of-text with that: from those the model does not learn where \
             to stop",
        ]
    );
}

#[test]
fn special_tokens_in_data_are_text_unless_allowed() {
    let text = pairs(&[["ab<|endoftext|>", "c"]]);
    let dataset = parsed(&text, &options(40, 40)).unwrap();
    let spelled = tiny().encode_plain("ab<|endoftext|>").unwrap();
    assert_eq!(dataset.examples[0].chosen, [spelled, vec![EOS]].concat());
    let note = &dataset.audit.notes()[0];
    assert!(
        note.contains("in 1 pair, 1 in all: read as text (`.allow_special_tokens`"),
        "{note}"
    );

    // If the text's end-of-text is read as a token, no second one is appended.
    let allowed = Options {
        allow_special_tokens: true,
        ..options(40, 40)
    };
    let dataset = parsed(&text, &allowed).unwrap();
    assert_eq!(dataset.examples[0].chosen, [ids("ab"), vec![EOS]].concat());
    assert!(dataset.audit.notes()[0].ends_with("read as tokens"));
}

#[test]
fn ids_are_taken_as_they_are_and_need_no_tokenizer() {
    let text = r#"{"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5, 6], "rejected_ids": [7]}"#;
    let parse = |text: &str| {
        let source = Source::text(text, Path::new("p"));
        read_with(source, None, &card(), &options(2, 2))
    };
    let dataset = parse(text).unwrap();
    let expected = Example::new(vec![2, 3], vec![4, 5], vec![7], Place::new("p", 1));
    assert_eq!(dataset.examples, [expected]);
    assert_eq!(
        (dataset.audit.cut.prompts, dataset.audit.cut.chosen),
        (1, 1)
    );

    let text = format!("{text}\n{}", pairs(&[["c", "r"]]));
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
    assert_eq!(dataset.examples.len(), 1);
    assert_eq!(dataset.examples[0].place, Place::new("pairs", 3));
    assert_eq!(dataset.audit.dropped(Reason::EqualResponses), 2);
    let expected = "2 pairs dropped: both responses are equal; the first at pairs:2";
    assert_eq!(dataset.audit.notes(), [expected]);
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
fn errors_carry_the_line_of_the_first_bad_record_and_the_option_to_skip_it() {
    let good = pairs(&[["c", "r"]]);
    for (record, expected) in [
        ("{", "pairs:2: not JSON"),
        (
            r#"{"prompt": "p", "chosen": "c"}"#,
            "pairs:2: a preference record without `rejected`",
        ),
        (
            r#"{"prompt_ids": [1], "chosen_ids": [261], "rejected_ids": [2]}"#,
            "pairs:2: the chosen response has the token id 261; the model's vocabulary has 261",
        ),
    ] {
        let text = error(&format!("{good}\n{record}\n{record}"));
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("\n  help: "), "{text}");
        assert!(text.contains("`.skip_bad_records`"), "{text}");
    }
}

#[test]
fn a_pair_must_fit_the_models_positions() {
    let record = |response: usize| {
        let ids = vec![1; response];
        format!(r#"{{"prompt_ids": [1, 2], "chosen_ids": {ids:?}, "rejected_ids": [2]}}"#)
    };
    // 2 + 63 - 1 = 64, which is the number of positions.
    assert!(parsed(&record(63), &options(2, 64)).is_ok());
    let error = parsed(&record(64), &options(2, 64))
        .unwrap_err()
        .to_string();
    let expected = "2 prompt tokens and 64 response tokens need 65 positions; the model has 64";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn files_without_a_pair_and_unreadable_files() {
    assert!(error("\n\n").starts_with("pairs: no record in it"));
    assert!(error("[]").starts_with("pairs: no record in it"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pairs.jsonl");
    let read = || read_with(Source::open(&path)?, None, &card(), &options(4, 4));
    assert!(matches!(read(), Err(Error::Io { action: "read", .. })));
    fs::write(&path, b"\n\xFF").unwrap();
    assert!(matches!(read(), Err(Error::Data { line: 2, .. })));
    let record = r#"{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}"#;
    fs::write(&path, record).unwrap();
    assert_eq!(read().unwrap().examples.len(), 1);
}

#[test]
fn where_nothing_is_left_every_reason_is_told() {
    let skipping = Options {
        skip_bad_records: true,
        ..options(40, 20)
    };
    let text = format!("{}\nnot JSON\n{{\"a\": 1}}", pairs(&[["c", "c"]]));
    let error = parsed(&text, &skipping).unwrap_err().to_string();
    for part in [
        "no usable preference pair: of 3 records",
        "1 pair dropped: both responses are equal",
        "2 records skipped",
        "pairs:2: not JSON",
        "pairs:3: ",
        "`.columns`",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn options_that_leave_nothing_are_refused() {
    for options in [options(0, 4), options(4, 0)] {
        assert!(matches!(parsed("", &options), Err(Error::Option { .. })));
    }
    assert!(matches!(Template::text("User:"), Err(Error::Option { .. })));
}

#[test]
fn skip_and_limit_take_usable_pairs_in_order() {
    let text = pairs(&[["a", "x"], ["b", "b"], ["c", "x"], ["d", "x"], ["e", "x"]]);
    let with = |skip, limit| {
        let selection = Selection {
            skip,
            limit,
            ..Selection::default()
        };
        parsed(
            &text,
            &Options {
                selection,
                ..options(40, 20)
            },
        )
    };
    assert_eq!(chosen(&with(0, Some(2)).unwrap()), ["a", "c"]);
    // `skip: 2` takes the next two pairs, so that no pair is in both selections.
    assert_eq!(chosen(&with(2, Some(2)).unwrap()), ["d", "e"]);
    assert_eq!(chosen(&with(3, None).unwrap()), ["e"]);
    // Records behind the last pair that is taken are not read.
    let spoilt = format!("{text}\nnot JSON");
    let selection = Selection {
        limit: Some(4),
        ..Selection::default()
    };
    let limited = parsed(
        &spoilt,
        &Options {
            selection,
            ..options(40, 20)
        },
    )
    .unwrap();
    assert_eq!((limited.audit.records, limited.examples.len()), (5, 4));
    let error = with(4, None).unwrap_err().to_string();
    assert!(error.contains("4 pairs passed over (`.skip`)"), "{error}");
}

#[test]
fn scores_and_repetitions_leave_pairs_out() {
    let record = |chosen: &str, scores: [f64; 2]| {
        json!({
            "prompt": "p", "chosen": chosen, "rejected": "x",
            "score_chosen": scores[0], "score_rejected": scores[1],
        })
        .to_string()
    };
    let text = [
        record("a", [5.0, 1.0]),
        record("b", [3.0, 3.0]),
        record("c", [3.0, 2.5]),
        record("a", [5.0, 1.0]),
    ]
    .join("\n");
    let with = |selection| {
        parsed(
            &text,
            &Options {
                selection,
                ..options(40, 20)
            },
        )
        .unwrap()
    };

    let ties = with(Selection {
        drop_ties: true,
        ..Selection::default()
    });
    assert_eq!(chosen(&ties), ["a", "c", "a"]);
    assert_eq!(ties.audit.dropped(Reason::ScoreTie), 1);

    let wide = with(Selection {
        min_score_margin: Some(1.0),
        ..Selection::default()
    });
    assert_eq!(chosen(&wide), ["a", "a"]);
    assert_eq!(wide.audit.dropped(Reason::ScoreMargin), 2);

    let once = with(Selection {
        dedupe: true,
        ..Selection::default()
    });
    assert_eq!(chosen(&once), ["a", "b", "c"]);
    assert_eq!(once.audit.dropped(Reason::Duplicate), 1);

    // An option is refused if no record has what it acts on.
    let selection = Selection {
        drop_ties: true,
        ..Selection::default()
    };
    let options = Options {
        selection,
        ..options(40, 20)
    };
    let error = parsed(&pairs(&[["a", "b"]]), &options)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("`.drop_ties`: no record of the data has scores"),
        "{error}"
    );
}

#[test]
fn repetitions_contradictions_and_lengths_are_counted() {
    let text = pairs(&[["ab", "c"], ["c", "ab"], ["ab", "c"], ["x", "y"]]);
    let audit = parsed(&text, &options(40, 20)).unwrap().audit;
    assert_eq!(
        (audit.duplicates.first, audit.contradictions.first),
        (
            vec!["pairs:3 and pairs:1".to_owned()],
            vec![
                "pairs:2 and pairs:1".to_owned(),
                "pairs:3 and pairs:2".to_owned()
            ],
        )
    );
    assert_eq!(
        (
            audit.duplicates.count,
            audit.contradictions.count,
            audit.prompts
        ),
        (1, 2, 1)
    );
    let bias = &audit.length_bias;
    assert_eq!(
        (bias.chosen_longer, bias.equal, bias.rejected_longer),
        (2, 1, 1)
    );
    // Of four pairs the guess is right for two, and one is a draw.
    assert_eq!(bias.accuracy(), Some(0.625));
    assert_eq!(audit.chosen_tokens.quantile(1.0), Some(3));
    assert_eq!(audit.chosen_tokens.quantile(0.5), Some(2));
}

#[test]
fn labelled_completions_find_their_other_side() {
    let record = |prompt: &str, completion: &str, label: bool| {
        json!({"prompt": prompt, "completion": completion, "label": label}).to_string()
    };
    let text = [
        record("p", "good", true),
        record("q", "bad", false),
        record("p", "worse", false),
        record("q", "fine", true),
        record("q", "alone", true),
    ]
    .join("\n");
    let dataset = parsed(&text, &options(40, 20)).unwrap();
    assert_eq!(chosen(&dataset), ["good", "fine"]);
    let lines: Vec<usize> = dataset.examples.iter().map(|e| e.place.line).collect();
    assert_eq!(lines, [3, 4]);
    assert_eq!(dataset.audit.dropped(Reason::Unpaired), 1);
    assert!(dataset.audit.notes()[0].ends_with("the first at pairs:5"));
}

#[test]
fn empty_responses_are_counted_and_left_out() {
    let text = r#"
        {"prompt": "p", "chosen": "c", "rejected": ""}
        {"prompt": "p", "chosen": "c", "rejected": "r"}
        {"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": []}"#;
    let dataset = parsed(text, &options(40, 20)).unwrap();
    assert_eq!(dataset.examples.len(), 1);
    assert_eq!(dataset.audit.dropped(Reason::BlankResponse), 2);
    let expected = "2 pairs dropped: a response is empty; the first at pairs:2";
    assert_eq!(dataset.audit.notes(), [expected]);

    let demonstrations = Options {
        demonstrations: true,
        ..options(40, 20)
    };
    let dataset = parsed(text, &demonstrations).unwrap();
    assert_eq!(dataset.examples.len(), 3);
    assert!(dataset.examples.iter().all(|e| e.rejected.is_empty()));
}

#[test]
fn demonstrations_have_a_chosen_side_alone() {
    let text = r#"{"prompt": "p", "completion": "done"}"#;
    assert!(parsed(text, &options(40, 20)).is_err());
    let demonstrations = Options {
        demonstrations: true,
        ..options(40, 20)
    };
    let dataset = parsed(text, &demonstrations).unwrap();
    assert_eq!(
        dataset.examples[0].chosen,
        [ids("done"), vec![EOS]].concat()
    );
    assert!(dataset.examples[0].rejected.is_empty());

    let labelled = [true, false]
        .map(|label| json!({"prompt": "p", "completion": "done", "label": label}).to_string());
    let dataset = parsed(&labelled.join("\n"), &demonstrations).unwrap();
    assert_eq!(dataset.examples.len(), 1);
    assert_eq!(dataset.audit.dropped(Reason::LabelledBad), 1);
}

fn numbered(count: usize, prompts: usize) -> Dataset {
    let examples = (0..count).map(|i| {
        Example::new(
            vec![(i % prompts) as u32],
            vec![i as u32],
            vec![9999],
            Place::new("numbered", i + 1),
        )
    });
    let mut data = Dataset::of("numbered", examples.collect());
    data.audit.kept = count;
    data
}

#[test]
fn held_out_prompts_are_not_trained_on() {
    // The second data set has the same prompts as the first.
    let parts = || [numbered(60, 20), numbered(40, 20)];
    let held_out = |seed| {
        let mut train = parts();
        let eval = mixture::hold_out(&mut train, 0.25, seed).unwrap();
        assert_eq!(eval.examples.len(), 25);
        let trained_on = || train.iter().flat_map(|part| &part.examples);
        assert_eq!(trained_on().count(), 75);
        for held in &eval.examples {
            assert!(trained_on().all(|e| e.prompt != held.prompt));
        }
        eval.examples
    };
    assert_eq!(held_out(13), held_out(13));
    assert_ne!(held_out(13), held_out(14));
    // All pairs have one prompt, so they cannot be divided.
    assert!(mixture::hold_out(&mut [numbered(10, 1)], 0.5, 13).is_err());
}

#[test]
fn weights_repeat_and_draw_pairs() {
    let count = |weight: f64| {
        let mut data = [numbered(10, 10)];
        mixture::weigh(&mut data, &[weight], 13).unwrap();
        let mut times = BTreeMap::new();
        for example in &data[0].examples {
            *times.entry(example.chosen[0]).or_insert(0) += 1;
        }
        times.into_values().collect::<Vec<usize>>()
    };
    assert_eq!(count(1.0), [1; 10]);
    assert_eq!(count(2.0), [2; 10]);
    assert_eq!(count(0.5), [1; 5]);
    assert_eq!(count(2.5).iter().sum::<usize>(), 25);
    for weight in [0.0, 1e9] {
        assert!(mixture::weigh(&mut [numbered(10, 10)], &[weight], 13).is_err());
    }
}

#[test]
fn what_an_earlier_data_set_has_is_left_out_of_a_later_one() {
    let selection = Selection {
        dedupe: true,
        limit: Some(2),
        ..Selection::default()
    };
    let options = Options {
        selection,
        ..options(40, 20)
    };
    let (tokenizer, template) = (tiny(), card());
    let end = EndOfText::decide(Some(&tokenizer), &ConfigIds::Null, &[], usize::MAX);
    let codec = Codec {
        tokenizer: Some(&tokenizer),
        end: &end,
        template: &template,
        vocab_size: TINY_SIZE,
        n_positions: 64,
    };
    let mut seen = Seen::default();
    let mut read = |responses: &[[&str; 2]]| {
        let source = Source::text(&pairs(responses), Path::new("pairs"));
        read_next(source, &codec, &options, &mut seen).unwrap()
    };
    assert_eq!(
        chosen(&read(&[["a", "x"], ["b", "x"], ["c", "x"]])),
        ["a", "b"]
    );
    // `limit` counts only pairs that are new.
    let later = read(&[["a", "x"], ["d", "x"], ["b", "x"], ["e", "x"]]);
    assert_eq!(chosen(&later), ["d", "e"]);
    assert_eq!(later.audit.dropped(Reason::Duplicate), 2);
}

/// The starter's tokenizer with the changes of a fixture.
fn changed(case: &Value) -> Tokenizer {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/starter/tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(starter).unwrap()).unwrap();
    for key in ["added_tokens", "post_processor"] {
        json[key] = case[key].clone();
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    let config = case["config"].to_string();
    fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    Tokenizer::load(dir.path()).unwrap()
}

/// `tests/pairs/make_fixtures.py` made the ids; TRL's own trainer made the joined ones.
#[test]
fn ids_are_those_of_trl() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pairs/expected.json");
    let fixture: Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let tokenizer = changed(case);
        let template = Template::of_model(&tokenizer).unwrap().unwrap_or_else(card);
        for (name, boundary) in [("apart", Boundary::Apart), ("joined", Boundary::Joined)] {
            let options = Options {
                boundary,
                compare_boundaries: true,
                ..options(64, 64)
            };
            let source = Source::text(&case["record"].to_string(), Path::new("record"));
            let dataset = read_with(source, Some(&tokenizer), &template, &options).unwrap();
            let Example {
                prompt,
                chosen,
                rejected,
                ..
            } = &dataset.examples[0];
            let ours = json!({"prompt": prompt, "chosen": chosen, "rejected": rejected});
            assert_eq!(ours, case[name], "{}, {name}", case["name"]);
            let differs = case["apart"] != case["joined"];
            assert_eq!(dataset.audit.boundary_matters, Some(usize::from(differs)));
        }
    }
}

#[test]
fn the_templates_space_can_begin_the_response() {
    let text = pairs(&[["hello", "x"]]);
    let spaced = Options {
        response_prefix_space: true,
        ..options(40, 20)
    };
    let dataset = parsed(&text, &spaced).unwrap();
    let example = &dataset.examples[0];
    assert_eq!(example.prompt, ids("User: p\nAssistant:"));
    assert_eq!(example.chosen, [ids(" hello"), vec![EOS]].concat());

    // If the prompt does not end in a space, the option is refused.
    let template = Template::text("{prompt}\n").unwrap();
    let source = Source::text(&text, Path::new("pairs"));
    let error = read_with(source, Some(&tiny()), &template, &spaced).unwrap_err();
    assert!(
        error.to_string().contains("`.response_prefix_space`"),
        "{error}"
    );
}

#[test]
fn a_begin_token_stays_where_a_prompt_is_cut() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pairs/expected.json");
    let fixture: Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    let case = cases
        .iter()
        .find(|case| case["name"] == "a begin token")
        .unwrap();
    let tokenizer = changed(case);
    let source = Source::text(&case["record"].to_string(), Path::new("record"));
    let dataset = read_with(source, Some(&tokenizer), &card(), &options(5, 20)).unwrap();
    let whole: Vec<u32> = serde_json::from_value(case["apart"]["prompt"].clone()).unwrap();
    let expected = [&whole[..1], &whole[whole.len() - 4..]].concat();
    assert_eq!(dataset.examples[0].prompt, expected);
}

#[test]
fn a_prompt_is_one_whatever_its_responses_take_of_it() {
    // Joined, "A" takes the space at the prompt's end; a line break leaves it to the prompt.
    let text = pairs(&[["A sum", "B"], ["\nA sum", "\n\nBad"]]);
    let joined = Options {
        boundary: Boundary::Joined,
        ..options(40, 20)
    };
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/starter");
    let tokenizer = Tokenizer::load(&starter).unwrap();
    let read = |options: &Options| {
        let source = Source::text(&text, Path::new("pairs"));
        read_with(source, Some(&tokenizer), &card(), options).unwrap()
    };
    let data = read(&joined);
    assert_ne!(data.examples[0].prompt, data.examples[1].prompt);
    assert_eq!(data.examples[0].asked, data.examples[1].asked);
    assert_eq!(data.audit.prompts, 1);
    assert_eq!(
        data.examples[0].asked,
        read(&options(40, 20)).examples[0].asked
    );
    assert!(mixture::hold_out(&mut [data], 0.5, 13).is_err());
}
