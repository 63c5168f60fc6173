//! `inspect`: what training would do with the data, and what is wrong with the data.

use std::fs;

use gpt2_dpo::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, jsonl, starter_lines, starter_records};

const TEMPLATE: [&str; 2] = ["User: ", "\nAssistant: "];

fn record(prompt: &str, chosen: &str, rejected: &str) -> Value {
    json!({"prompt": prompt, "chosen": chosen, "rejected": rejected})
}

/// The output of `inspect --json`; stderr must be empty.
#[track_caller]
fn inspected(sandbox: &Sandbox, options: &str) -> Value {
    let ran = sandbox.run(&format!("inspect --json {options}")).ok();
    assert_eq!(ran.stderr, "");
    serde_json::from_str(&ran.stdout).unwrap()
}

fn starter(sandbox: &Sandbox) -> Tokenizer {
    Tokenizer::load(&sandbox.starter("starter")).unwrap()
}

/// The keywords of the findings, in their order.
fn abouts(found: &Value) -> Vec<&str> {
    let findings = found["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|f| f["about"].as_str().unwrap())
        .collect()
}

#[track_caller]
fn finding<'a>(found: &'a Value, about: &str) -> &'a Value {
    let findings = found["findings"].as_array().unwrap();
    let finding = findings.iter().find(|f| f["about"] == about);
    finding.unwrap_or_else(|| panic!("no finding about {about}: {findings:#?}"))
}

const SHORT: [&str; 2] = ["Yes, it is.", "No."];

/// Nine records; every record but the first gives a finding.
fn troubled() -> String {
    let [good, bad] = SHORT;
    let long = "word ".repeat(30);
    let mut records = vec![
        record("Is it?", good, bad),
        record("Is it?", good, bad),
        record("Is it?", bad, good),
        record("Is it?", good, good),
        json!({"prompt": "Is it?", "chosen": 1}),
        record("Go on.", &long, bad),
        record("Go on.", &format!("{long}a"), &format!("{long}b")),
        record(&format!("Again, {long}?"), bad, good),
        record("How does a text end?", "With <|endoftext|>.", bad),
    ];
    records[0]["source"] = json!("here");
    jsonl(records)
}

#[test]
fn all_is_counted_and_named_by_its_line() {
    let sandbox = Sandbox::new();
    let tokenizer = starter(&sandbox);
    sandbox.write("d.jsonl", troubled());
    let options = "d.jsonl --max-prompt-tokens 24 --truncation keep-start --max-response-tokens 16";
    let found = inspected(&sandbox, options);

    let tokens = |text: &str| tokenizer.encode_plain(text).unwrap().len();
    let [good, bad] = SHORT.map(|text| tokens(text) + 1); // its end-of-text
    let long = tokens(&"word ".repeat(30)) + 1;
    let special = tokens("With <|endoftext|>.") + 1;
    let prompt = |text: &str| tokens(&[TEMPLATE[0], text, TEMPLATE[1]].concat());
    let longest = prompt(&format!("Again, {}?", "word ".repeat(30)));
    assert!(bad < good && good < special && special < 16 && 16 < long);
    assert!(prompt("How does a text end?") < 24 && 24 < longest);

    let audit = &found["train"][0];
    let first = audit["dropped"]["bad-record"]["first"][0].as_str().unwrap();
    assert!(first.starts_with("d.jsonl:5: "), "{first}");
    let expected = json!({
        "data": "d.jsonl",
        "files": ["d.jsonl"],
        "read_as": {"prompt, chosen and rejected as text": 6},
        "columns_used": ["chosen", "prompt", "rejected"],
        "columns_ignored": ["source"],
        "records": 9,
        "kept": 6,
        "dropped": {
            "equal-responses": {"count": 1, "first": ["d.jsonl:4"]},
            "equal-under-budget": {"count": 1, "first": ["d.jsonl:7"]},
            "bad-record": {"count": 1, "first": [first]},
        },
        "outside_limits": 0, "unscored": 0, "weighted": 0,
        "prompt_tokens": {
            "min": prompt("Is it?"), "median": prompt("Is it?"), "p90": longest,
            "p99": longest, "max": longest,
        },
        "chosen_tokens": {"min": bad, "median": good, "p90": long, "p99": long, "max": long},
        "rejected_tokens": {"min": bad, "median": bad, "p90": good, "p99": good, "max": good},
        "cut": {
            "max_prompt_tokens": 24, "max_response_tokens": 16, "prompts": 1, "chosen": 1, "rejected": 0,
            "chosen_ends": 1, "rejected_ends": 0,
        },
        "special_tokens": {"pairs": 1, "tokens": 1, "as_tokens": false},
        "without_end": 0,
        "boundary_matters": 6,
        "length_bias": {
            "chosen_longer": 4, "equal": 0, "rejected_longer": 2, "length_only_accuracy": 4.0 / 6.0,
        },
        "duplicates": {"count": 1, "first": ["d.jsonl:2 and d.jsonl:1"]},
        "contradictions": {"count": 1, "first": ["d.jsonl:3 and d.jsonl:1"]},
        "prompts": 4,
    });
    assert_eq!(audit, &expected);

    assert_eq!(
        abouts(&found),
        [
            "tokenizer",
            "lone-space",
            "equal-responses",
            "equal-under-budget",
            "bad-records",
            "columns-ignored",
            "prompts-cut",
            "responses-cut",
            "special-tokens",
            "contradictions",
            "duplicates",
            "boundary",
            "length-bias",
        ]
    );
    for (about, what, advice) in [
        (
            "bad-records",
            "1 record cannot be used",
            "--skip-bad-records",
        ),
        ("equal-responses", "1 pair dropped: both", "nothing"),
        (
            "prompts-cut",
            "1 of 6 prompts is longer than 24 tokens and loses",
            "--truncation keep-end",
        ),
        (
            "lone-space",
            "5 of 6 prompts end in a token",
            "--response-prefix-space",
        ),
        (
            "responses-cut",
            "1 of 12 responses is longer than 16 tokens and loses",
            "--max-response-tokens",
        ),
        (
            "responses-cut",
            "1 loses its end-of-text",
            &format!("{long} leaves all"),
        ),
        (
            "special-tokens",
            "1 special token spelled out in 1 pair, read as text",
            "--allow-special-tokens",
        ),
        (
            "contradictions",
            "1 pair came before the other way round",
            "keep the one",
        ),
        ("duplicates", "1 pair came before", "--dedupe"),
        ("length-bias", "66.7 %", "held-out accuracy"),
        ("columns-ignored", "source", "--columns"),
    ] {
        let finding = finding(&found, about);
        let has = |key: &str, part: &str| finding[key].as_str().unwrap().contains(part);
        assert!(has("what", what) && has("advice", advice), "{finding:#?}");
    }

    // The report that training leaves in its folder.
    sandbox
        .train(&format!("--data {options} --skip-bad-records --out out"))
        .ok();
    let mut kept: Value = serde_json::from_slice(&sandbox.read("out/data.json")).unwrap();
    assert_eq!(
        kept["train"][0]["boundary_matters"],
        Value::Null,
        "nobody looked"
    );
    kept["train"][0]["boundary_matters"] = json!(6);
    for (key, value) in kept.as_object().unwrap() {
        assert_eq!(value, &found[key], "{key}");
    }
}

#[test]
fn the_keys_are_these() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let found = inspected(&sandbox, "d.jsonl --model model --device cpu");
    let mut all = [
        "boundary",
        "eval",
        "eval_prompts_trained_on",
        "examples",
        "findings",
        "held_out",
        "lone_space",
        "ranked",
        "template",
        "tokenizer",
        "train",
        "trained_on",
        "truncation",
    ];
    all.sort();
    let mut ours = keys(&found);
    ours.sort();
    assert_eq!(ours, all);
    let mut of_finding = keys(&found["findings"][0]);
    of_finding.sort();
    assert_eq!(of_finding, ["about", "advice", "data", "first", "what"]);
    let mut of_ranked = keys(&found["ranked"]);
    of_ranked.sort();
    assert_eq!(of_ranked, ["against", "agrees", "most_against", "pairs"]);
    assert_eq!(found["eval"], Value::Array(Vec::new()));
    assert_eq!(found["tokenizer"], "model");
}

#[test]
fn pairs_token_by_token() {
    let sandbox = Sandbox::new();
    let tokenizer = starter(&sandbox);
    sandbox.write("d.jsonl", jsonl([record("Is it?", "Yes.", "No.")]));
    let found = inspected(&sandbox, "d.jsonl");
    let ids = |text: &str| tokenizer.encode(text).unwrap();
    let prompt = ids(&[TEMPLATE[0], "Is it?", TEMPLATE[1]].concat());
    for (name, ids, scored) in [
        ("prompt", prompt.clone(), false),
        ("chosen", [ids("Yes."), vec![0]].concat(), true),
        ("rejected", [ids("No."), vec![0]].concat(), true),
    ] {
        let token =
            |&id: &u32| json!({"id": id, "text": tokenizer.token_text(id), "scored": scored});
        let tokens: Vec<Value> = ids.iter().map(token).collect();
        assert_eq!(found["examples"][0][name], json!(tokens));
    }
    assert_eq!(found["examples"][0]["place"], "d.jsonl:1");
    assert_eq!(
        found["lone_space"],
        json!({"id": prompt.last(), "prompts": 1})
    );
    let space = finding(&found, "lone-space");
    assert!(
        space["what"].as_str().unwrap().contains("\"Yes\""),
        "{space}"
    );

    // The space moves to the response, so no space is lone, and the boundaries agree.
    let moved = inspected(&sandbox, "d.jsonl --response-prefix-space");
    assert_eq!(moved["lone_space"], Value::Null);
    assert_eq!(moved["train"][0]["boundary_matters"], 0);
    assert_eq!(abouts(&moved), ["tokenizer"]);
    assert_eq!(moved["examples"][0]["chosen"][0]["id"], ids(" Yes")[0]);

    let none = inspected(&sandbox, "d.jsonl --examples 0");
    assert_eq!(none["examples"], json!([]));
}

#[test]
fn demonstrations_have_no_other_side_and_rejected_ones_no_score() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    sandbox.write(
        "sft.jsonl",
        jsonl([
            json!({"prompt": "Is it?", "completion": "Yes."}),
            record("So?", "Yes.", "No."),
        ]),
    );
    let found = inspected(&sandbox, "sft.jsonl --loss sft");
    assert_eq!(found["examples"][0]["rejected"], json!([]));
    // Supervised training imitates only the chosen response of a pair.
    assert_eq!(found["examples"][1]["rejected"], json!([]));
    assert_eq!(found["examples"][1]["chosen"][0]["scored"], true);
    let text = sandbox.run("inspect sft.jsonl --loss sft").ok().stdout;
    assert_eq!(text.matches("  Rejected, ").count(), 0, "{text}");
    sandbox
        .run("inspect sft.jsonl --loss sft --model model")
        .refused(&["--model", "sft"]);
}

#[test]
fn held_out_prompts_that_are_trained_on_are_named() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "d.jsonl",
        jsonl([record("a", "b", "c"), record("Is it?", "Yes.", "No.")]),
    );
    sandbox.write(
        "e.jsonl",
        jsonl([record("Is it?", "It is.", "Go."), record("d", "e", "f")]),
    );
    let found = inspected(&sandbox, "d.jsonl --eval-data e.jsonl");
    let shared = json!({"count": 1, "first": ["e.jsonl:1 and d.jsonl:2"]});
    assert_eq!(found["eval_prompts_trained_on"], shared);
    let finding = finding(&found, "eval-prompts-trained-on");
    assert!(
        finding["what"]
            .as_str()
            .unwrap()
            .starts_with("1 held-out pair has a prompt")
    );
    assert_eq!(found["eval"][0]["kept"], 2);

    // Training prints the same on stderr.
    let ran = sandbox
        .train("--data d.jsonl --eval-data e.jsonl --out out")
        .ok();
    let note = "note: 1 held-out pair has a prompt that is trained on, and judges too kindly; the first: \
                e.jsonl:1 and d.jsonl:2";
    assert!(ran.stderr.contains(note), "{ran:?}");
}

#[test]
fn the_text_fits_a_terminal_and_says_whose_tokens_it_counts() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    sandbox.write("d.jsonl", troubled());
    let run = |options: &str| {
        let ran = sandbox.run(&format!("inspect d.jsonl {options}")).ok();
        assert_eq!(ran.stderr, "");
        ran.stdout
    };
    let text = run("--eval-data e.jsonl --model model --device cpu --max-response-tokens 16");
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert_eq!(line.trim_end(), line);
    }
    for part in [
        "tokens     of model\n",
        "9 records read, 6 pairs kept",
        "1 pair dropped: both responses are equal",
        "d.jsonl:4\n",
        "<- budget",
        "== e.jsonl, held out ===",
        "a guess by length alone scores 66.7 %",
        "== ranked by the model ==",
        "\n  Chosen, 6 tokens, scored\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let starters = "built-in starter";
    assert!(!text.contains(starters));
    assert!(run("").contains(starters));
    assert!(!run("--tokenizer model").contains(starters));

    // A tokenizer folder needs no other files.
    let mut alone = inspected(&sandbox, "d.jsonl --tokenizer model");
    fs::remove_file(sandbox.path("model/config.json")).unwrap();
    fs::remove_file(sandbox.path("model/model.safetensors")).unwrap();
    let without = inspected(&sandbox, "d.jsonl --tokenizer model");
    alone["findings"] = without["findings"].clone();
    assert_eq!(without, alone);
}

/// Lines of the starter's held-out pairs whose labels the test swaps.
const SWAPPED: [usize; 3] = [5, 11, 20];

#[test]
fn swapped_labels_are_among_the_first_that_a_model_ranks_the_other_way() {
    let sandbox = Sandbox::new();
    sandbox.write("d.jsonl", starter_lines("train.jsonl", 200));
    sandbox.metrics_of("out", "--batch-size 8 --learning-rate 3e-4 --max-steps 50");
    let mut records = starter_records("eval.jsonl", 24);
    for line in SWAPPED {
        let record = records[line - 1].as_object_mut().unwrap();
        let (chosen, rejected) = (record["chosen"].take(), record["rejected"].take());
        record["chosen"] = rejected;
        record["rejected"] = chosen;
    }
    sandbox.write("swapped.jsonl", jsonl(records));
    let found = inspected(&sandbox, "swapped.jsonl --model out --device cpu");
    let ranked = &found["ranked"];
    let first = ranked["most_against"].as_array().unwrap();
    let first = &first[..SWAPPED.len()];
    let mut places: Vec<&str> = first.iter().map(|a| a["place"].as_str().unwrap()).collect();
    places.sort();
    let mut expected = SWAPPED.map(|line| format!("swapped.jsonl:{line}"));
    expected.sort();
    assert_eq!(places, expected, "{ranked:#}");
    assert_eq!(ranked["pairs"], 24);
    let strengths: Vec<f64> = first.iter().map(|a| a["by"].as_f64().unwrap()).collect();
    assert!(strengths.is_sorted_by(|a, b| a >= b), "{strengths:?}");
}

/// HTML elements without an end tag.
const VOID: [&str; 3] = ["!doctype", "meta", "wbr"];

/// Every element ends, in the right order, and no text looks like a tag.
#[track_caller]
fn assert_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag that ends");
        assert!(!text.contains('>'), "a bare > after <{tag}>: {text}");
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        match tag.starts_with('/') {
            true => assert_eq!(open.pop(), Some(name), "</{name}>"),
            false if VOID.contains(&name) || tag.ends_with('/') => {}
            false => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} never end");
}

#[test]
fn the_page_is_whole_asks_nothing_of_a_network_and_shows_markup_as_text() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    let evil = "<script>alert('x')</script> & \"<img src=x onerror=y>\"";
    let mut pair = record(evil, evil, "No.");
    pair["<b>note</b>"] = json!(1);
    let bad =
        json!({"prompt": "a", "chosen": "b", "rejected": "c", "<i>system</i>": {}, "tools": evil});
    sandbox.write("d.jsonl", jsonl([pair, bad]));
    sandbox
        .run("inspect d.jsonl --eval-data e.jsonl --model model --device cpu --html page.html")
        .ok();
    let page = String::from_utf8(sandbox.read("page.html")).unwrap();
    assert_well_formed(&page);
    for name in [
        "<script", "<img", "<b>", "<i>", "://", "src=\"", "href=\"", "url(", "@import", "<link",
    ] {
        assert!(!page.contains(name), "{name}\n{page}");
    }
    for shown in [
        "&lt;b&gt;note&lt;&#x2f;b&gt;",
        "&lt;script&gt;",
        "e.jsonl, held out",
    ] {
        assert!(page.contains(shown), "{shown}\n{page}");
    }
}
