//! Several answers with scores or a verdict, and scores beside a pair.

use super::*;

fn ask(others: Value) -> Value {
    with(json!({"prompt": "p"}), others)
}

#[track_caller]
fn assert_chooses(record: &Record, chosen: &str, rejected: &str) {
    let Content::Pair {
        conversation,
        chosen: better,
        rejected: worse,
    } = &record.content
    else {
        panic!("{:?}", record.content);
    };
    assert_eq!(conversation, &[Message::user("p")]);
    assert_eq!((better.as_str(), worse.as_str()), (chosen, rejected));
}

#[test]
fn scored_completions_are_best_against_worst() {
    // UltraFeedback, in its authors' format.
    let item = |response: &str, score: f64| json!({"response": response, "overall_score": score, "fine-grained_score": 1, "model": "m"});
    let record = read(json!({
        "instruction": "p", "source": "evol", "models": ["m"],
        "completions": [item("a", 6.0), item("b", 8.5), item("c", 2.0), item("d", 8.5)],
    }));
    assert_eq!(
        record.shape.to_string(),
        "instruction as text, completions by overall_score, best against worst"
    );
    assert_eq!(
        record.ignored,
        [
            "source",
            "models",
            "completions[].fine-grained_score",
            "completions[].model"
        ]
    );
    let scores = Scores {
        chosen: 8.5,
        rejected: 2.0,
    };
    assert_eq!((record.scores, scores.margin()), (Some(scores), 6.5));
    assert_chooses(&record, "b", "c");
}

#[test]
fn scores_in_a_list_beside_the_answers() {
    for (answers, scores) in [
        ("responses", "scores"),
        ("generations", "ratings"),
        ("all_generated_responses", "all_rm_scores"),
    ] {
        let record = read(ask(
            json!({answers: ["a", "b", "c"], scores: [0.25, -1, "3.5"]}),
        ));
        assert_chooses(&record, "c", "b");
    }
    let uneven = ask(json!({"responses": ["a", "b"], "scores": [1]}));
    assert_eq!(error(uneven), "`responses` has 2 items and `scores` 1");
}

#[test]
fn of_ranks_the_first_is_best() {
    // Nectar.
    let answers = json!([
        {"answer": "a", "model": "m", "rank": 2.0},
        {"answer": "b", "model": "n", "rank": 1.0},
        {"answer": "c", "model": "o", "rank": 7.0},
    ]);
    let prompt = "\n\nHuman: p\n\nAssistant: ";
    let record = read(json!({"prompt": prompt, "answers": answers, "turns": 1}));
    assert_chooses(&record, "b", "c");
    assert_eq!(record.scores.unwrap().margin(), 6.0);
    assert_eq!(record.ignored, ["turns", "answers[].model"]);
    let record = read(ask(json!({"responses": ["a", "b"], "rank": [2, 1]})));
    assert_chooses(&record, "b", "a");
}

#[test]
fn ties_have_no_better_answer() {
    let tie = |value| match read(value).content {
        Content::Tie { why } => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        tie(ask(json!({"responses": ["a", "b"], "scores": [3, 3.0]}))),
        "all 2 of `responses` are equal by `scores`"
    );
    let arena = json!({"response_a": "a", "response_b": "b", "winner": "tie (bothbad)"});
    assert_eq!(tie(ask(arena)), "by `winner` neither answer is better");
    let scored = json!({"answer_0": "a", "answer_1": "b", "score_0": 0, "score_1": 0});
    assert_eq!(
        tie(ask(scored)),
        "by `score_0` and `score_1` neither answer is better"
    );
}

#[test]
fn bad_scores_are_named() {
    let scores = |scores: Value| error(ask(json!({"responses": ["a", "b"], "scores": scores})));
    assert_eq!(
        scores(json!([1, null])),
        "`scores[1]` is missing, not a number"
    );
    assert_eq!(
        scores(json!([1, "N/A"])),
        "`scores[1]` is a string (\"N/A\"), not a number"
    );
    assert_eq!(
        scores(json!([1, "NaN"])),
        "`scores[1]` is NaN, and a score is finite"
    );
    assert_eq!(
        scores(json!([1, "-inf"])),
        "`scores[1]` is -inf, and a score is finite"
    );
    assert_eq!(
        error(ask(json!({"responses": ["a", "b"]}))),
        "`responses` has no scores"
    );
    assert_eq!(
        error(ask(
            json!({"responses": [{"response": "a", "score": 1}, {"score": 2}]})
        )),
        "`responses[1]` has no answer: none of `response`, `text`, `content`, `answer`, \
         `completion`, `output` and `value`"
    );
}

#[test]
fn two_answers_and_which_is_better() {
    for (record, shape) in [
        (
            json!({"history": "p", "human_ref_A": "r", "human_ref_B": "c", "labels": 0,
                   "score_A": 3, "score_B": 12}),
            "history, human_ref_A and human_ref_B as text, score_A and score_B for which is better",
        ),
        (
            ask(json!({"response_0": "r", "response_1": "c", "better_response_id": 1})),
            "prompt, response_0 and response_1 as text, better_response_id for which is better",
        ),
        (
            json!({"instruction": "p", "output_1": "c", "output_2": "r", "preference": 1}),
            "instruction, output_1 and output_2 as text, preference for which is better",
        ),
        (
            json!({"context": [user("p")], "response1": "c", "response2": "r",
                   "overall_preference": -2}),
            "context as messages, response1 and response2 as text, overall_preference for which is better",
        ),
        (
            ask(json!({"response_1": "r", "response_2": "c", "preference_strength": 1})),
            "prompt, response_1 and response_2 as text, preference_strength for which is better",
        ),
        (
            json!({"conversation_a": [user("p"), assistant("c")], "winner": "model_a",
                   "conversation_b": [user("p"), assistant("r")]}),
            "conversation_a and conversation_b as messages, winner for which is better",
        ),
    ] {
        let record = read(record);
        assert_eq!(record.shape.to_string(), shape);
        assert_chooses(&record, "c", "r");
    }
    let unnamed = ask(json!({"response_a": "a", "response_b": "b", "winner": "human"}));
    assert_eq!(
        error(unnamed),
        "`winner` is a string (\"human\"), which names neither of `response_a` and `response_b`"
    );
    assert_eq!(
        error(ask(json!({"response_a": "a", "response_b": "b"}))),
        "nothing says which of `response_a` and `response_b` is better"
    );
}

#[test]
fn scores_are_read_where_they_are_wanted() {
    let wanted = Reading {
        scores: true,
        ..Reading::default()
    };
    let scores = |others: Value| Record::read(with(text(), others), &wanted).map(|r| r.scores);
    for (chosen, rejected) in [
        ("score_chosen", "score_rejected"),
        ("chosen_score", "rejected_score"),
        ("chosen_rating", "rejected_rating"),
        ("rating_chosen", "rating_rejected"),
        ("chosen-rating", "rejected-rating"),
    ] {
        let others = json!({chosen: 8.5, rejected: "2"});
        let expected = Scores {
            chosen: 8.5,
            rejected: 2.0,
        };
        assert_eq!(scores(others.clone()).unwrap(), Some(expected));
        let record = read(with(text(), others));
        assert_eq!((record.scores, record.ignored.len()), (None, 2));
    }
    assert_eq!(
        scores(json!({"margin": 1.5})).unwrap().unwrap().margin(),
        1.5
    );
    assert_eq!(scores(json!({})).unwrap(), None);
    // Scores that are not read may hold anything.
    let others = json!({"score_chosen": "NaN", "score_rejected": 1});
    assert_eq!(read(with(text(), others.clone())).scores, None);
    assert_eq!(
        scores(others).unwrap_err().what,
        "`score_chosen` is NaN, and a score is finite"
    );
}

#[test]
fn whole_numbers_name_answers_however_they_are_written() {
    for (key, second) in [
        ("better_response_id", json!(1)),
        ("better_response_id", json!(1.0)),
        ("preference", json!(1.0)),
        ("winner", json!("1")),
        ("winner", json!(" 1.0")),
    ] {
        let value = json!({"response_0": "r", "response_1": "c", key: second});
        assert_eq!(pair(ask(value)).chosen, "c", "{key} {second}");
    }
    let value = json!({"response_0": "r", "response_1": "c", "winner": 0.5});
    assert!(error(ask(value)).starts_with("`winner` is a number (0.5), which names neither"));
}
