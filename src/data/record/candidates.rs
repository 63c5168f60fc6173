//! Records with several rated answers: a list with scores or ranks, of which the best and the worst are
//! taken; or two answers under separate keys, and a key that says which is better.

use std::borrow::Cow;

use serde_json::Value;

use super::answer::Answer;
use super::problem::{Parsed, Problem, found, listed};
use super::row::{Found, Row, is_blank};
use super::scores::{Scores, number};
use super::shape::Form;
use super::slot::{self, Slot};

/// The record's choice among its answers.
pub(super) enum Choice {
    Pair(Box<Best>),
    /// No answer is better than another; the reason in words.
    Tie(String),
}

/// The better and the worse answer.
pub(super) struct Best {
    pub chosen: Answer,
    pub rejected: Answer,
    pub scores: Option<Scores>,
}

/// Keys of a list item that may hold the answer.
const ANSWERS: [&str; 7] = [
    "response",
    "text",
    "content",
    "answer",
    "completion",
    "output",
    "value",
];
/// Keys of a list item that may hold the score.
const SCORES: [&str; 6] = [
    "overall_score",
    "score",
    "rating",
    "reward",
    "pm_score",
    "rank",
];

/// The best and the worst answer of a list; `None` where the record has no list of answers. Of several
/// equally good answers the first is chosen, of several equally bad ones the last is rejected.
pub(super) fn list(row: &mut Row) -> Parsed<Option<Choice>> {
    let Some(Found { key, value }) = row.take_list(Slot::Candidates)? else {
        return Ok(None);
    };
    let Value::Array(mut items) = value else {
        let what = format!("`{key}` is {}, not a list of answers", found(&value));
        return Err(Problem::new(what, UNSCORED));
    };
    let Ranking { by, scores } = ranking(row, &key, &items)?;
    row.note(Slot::Candidates, key.clone(), Form::Ranked(by.clone()));
    let better = |a: &usize, b: &usize| scores[*a].total_cmp(&scores[*b]);
    // Of equal items `max_by` returns the last and `min_by` the first, so the order is reversed.
    let best = (0..items.len()).rev().max_by(better);
    let worst = (0..items.len()).rev().min_by(better);
    let (Some(best), Some(worst)) = (best, worst) else {
        return Ok(Some(Choice::Tie(format!("`{key}` is empty"))));
    };
    if scores[best] == scores[worst] {
        let why = match items.len() {
            1 => format!("`{key}` has one answer only"),
            count => format!("all {count} of `{key}` are equal by `{by}`"),
        };
        return Ok(Some(Choice::Tie(why)));
    }
    let [chosen, rejected] = [best, worst].map(|at| {
        let place = format!("{key}[{at}]");
        item(place, items[at].take(), &by, row)
    });
    Ok(Some(Choice::Pair(Box::new(Best {
        chosen: chosen?,
        rejected: rejected?,
        scores: Some(Scores {
            chosen: scores[best],
            rejected: scores[worst],
        }),
    }))))
}

/// The answer in a list item: the item itself, or its value under one of [`ANSWERS`].
fn item(place: String, item: Value, by: &str, row: &mut Row) -> Parsed<Answer> {
    let Value::Object(mut object) = item else {
        let key = Cow::Owned(place);
        return Answer::read(Found { key, value: item }, row);
    };
    let name = ANSWERS.into_iter().find(|name| object.contains_key(*name));
    let Some((name, value)) = name.and_then(|name| Some((name, object.get_mut(name)?.take())))
    else {
        let what = format!("`{place}` has no answer: none of {}", listed(&ANSWERS));
        return Err(Problem::new(what, UNSCORED));
    };
    let list = place.split('[').next().unwrap_or_default();
    for (other, value) in &object {
        if other == by || is_blank(value) {
            continue;
        }
        if slot::is_asked(other) {
            let what = format!(
                "`{place}.{other}` would change what the model is asked for this answer alone"
            );
            let help = "all answers of a record answer one prompt: remove the key, or the record";
            return Err(Problem::new(what, help));
        }
        row.leave(format!("{list}[].{other}"));
    }
    let key = Cow::Owned(format!("{place}.{name}"));
    Answer::read(Found { key, value }, row)
}

const UNSCORED: &str = "a list of answers has texts, or objects with a text each; each answer has its score or rank (`score`, `rating`, `overall_score`, `rank`), or a list \
     of as many is beside them (`scores`, `ratings`, `rank`)";

/// The scores of the answers, where more is better, and the key that holds them.
struct Ranking {
    by: Cow<'static, str>,
    scores: Vec<f64>,
}

fn ranking(row: &mut Row, key: &str, items: &[Value]) -> Parsed<Ranking> {
    // The first of the score keys that every item has.
    let has = |name: &&str| {
        items
            .iter()
            .all(|item| item.get(*name).is_some_and(|v| !v.is_null()))
    };
    if let Some(name) = SCORES.iter().find(|name| !items.is_empty() && has(name)) {
        let items = items.iter().enumerate();
        let scores = items.map(|(at, item)| {
            let score = number(&format!("{key}[{at}].{name}"), &item[*name])?;
            Ok(upwards(name, score))
        });
        return Ok(Ranking {
            by: Cow::Borrowed(name),
            scores: scores.collect::<Parsed<_>>()?,
        });
    }
    let Some(beside) = row.take_list(Slot::Scores)? else {
        return Err(Problem::new(format!("`{key}` has no scores"), UNSCORED));
    };
    let Value::Array(scores) = beside.value else {
        let what = format!("`{}` is {}, not a list", beside.key, found(&beside.value));
        return Err(Problem::new(what, UNSCORED));
    };
    if scores.len() != items.len() {
        let what = format!(
            "`{key}` has {} items and `{}` {}",
            items.len(),
            beside.key,
            scores.len()
        );
        return Err(Problem::new(what, UNSCORED));
    }
    let scores = scores.iter().enumerate();
    let scores = scores.map(|(at, score)| {
        let score = number(&format!("{}[{at}]", beside.key), score)?;
        Ok(upwards(&beside.key, score))
    });
    Ok(Ranking {
        scores: scores.collect::<Parsed<_>>()?,
        by: beside.key,
    })
}

/// Turns a score so that more is better: rank 1 is the best.
fn upwards(name: &str, score: f64) -> f64 {
    if name.contains("rank") { -score } else { score }
}

/// Pairs of keys that hold two answers. The ending of a key (`_a`, `1`) names the answer: the score's key has
/// the same ending, and the verdict may name the better answer by it.
const RIVALS: [[&str; 2]; 13] = [
    ["response_a", "response_b"],
    ["response_A", "response_B"],
    ["response_0", "response_1"],
    ["response_1", "response_2"],
    ["response1", "response2"],
    ["answer_a", "answer_b"],
    ["answer_0", "answer_1"],
    ["answer_1", "answer_2"],
    ["completion_a", "completion_b"],
    ["completion_1", "completion_2"],
    ["output_1", "output_2"],
    ["conversation_a", "conversation_b"],
    // The data set SHP: people wrote both answers.
    ["human_ref_A", "human_ref_B"],
];

/// The ending that names an answer: `_A` in `human_ref_A`, `1` in `response1`.
fn ending(key: &str) -> &str {
    let at = key.rfind('_').unwrap_or(key.len().saturating_sub(1));
    &key[at..]
}

/// Keys whose value names the better of two answers.
const NAMING: [&str; 3] = ["winner", "preference", "better_response_id"];
/// Keys whose value is negative if the first answer is better and positive if the second is.
const SIGNED: [&str; 2] = ["overall_preference", "preference_strength"];

/// The verdict on two answers.
enum Better {
    First,
    Second,
    Neither,
}

/// Two answers under separate keys; `None` where the record has no such keys.
pub(super) fn versus(row: &mut Row) -> Parsed<Option<Choice>> {
    let present = |keys: &&[&str; 2]| keys.iter().all(|key| row.peek(key).is_some());
    let Some(keys) = RIVALS.iter().find(present) else {
        return Ok(None);
    };
    let score_keys = keys.map(|key| format!("score{}", ending(key)));
    let Some(verdict) = verdict(row, keys, &score_keys)? else {
        let what = format!("nothing says which of {} is better", listed(keys));
        let help = format!(
            "{} would name it, or {} be their scores; or `.columns` chosen={},rejected={} if one key \
             has the better one in every record",
            NAMING.join(" or "),
            listed(&score_keys),
            keys[0],
            keys[1]
        );
        return Err(Problem::new(what, help));
    };
    for key in verdict.keys.clone() {
        row.note(Slot::Verdict, Cow::Owned(key.clone()), Form::Verdict);
        row.take_key(Cow::Owned(key));
    }
    let [first, second] = keys.map(|key| answer(row, key));
    let (first, second) = (first?, second?);
    for (key, answer) in keys.iter().zip([&first, &second]) {
        row.note(Slot::Candidates, Cow::Borrowed(*key), answer.form.clone());
    }
    let (chosen, rejected) = match verdict.better {
        Better::First => (first, second),
        Better::Second => (second, first),
        Better::Neither => {
            let why = format!("by {} neither answer is better", listed(&verdict.keys));
            return Ok(Some(Choice::Tie(why)));
        }
    };
    Ok(Some(Choice::Pair(Box::new(Best {
        chosen,
        rejected,
        scores: verdict.scores,
    }))))
}

fn answer(row: &mut Row, key: &'static str) -> Parsed<Answer> {
    let key = Cow::Borrowed(key);
    let part = row.take_key(key.clone());
    let value = part.map_or(Value::Null, |part| part.value);
    Answer::read(Found { key, value }, row)
}

struct Verdict {
    better: Better,
    /// The keys that hold the verdict.
    keys: Vec<String>,
    scores: Option<Scores>,
}

fn verdict(row: &Row, keys: &[&str; 2], score_keys: &[String; 2]) -> Parsed<Option<Verdict>> {
    let by = |better, key: &str| Verdict {
        better,
        keys: vec![key.to_owned()],
        scores: None,
    };
    for key in NAMING {
        if let Some(value) = row.peek(key) {
            return Ok(Some(by(named(key, value, keys)?, key)));
        }
    }
    for key in SIGNED {
        if let Some(value) = row.peek(key) {
            return Ok(Some(by(above(-number(key, value)?, 0.0), key)));
        }
    }
    let [first, second] = score_keys;
    let (Some(one), Some(two)) = (row.peek(first), row.peek(second)) else {
        return Ok(None);
    };
    let (one, two) = (number(first, one)?, number(second, two)?);
    Ok(Some(Verdict {
        better: above(one, two),
        keys: score_keys.to_vec(),
        scores: Some(Scores {
            chosen: one.max(two),
            rejected: one.min(two),
        }),
    }))
}

fn above(first: f64, second: f64) -> Better {
    if first > second {
        Better::First
    } else if first < second {
        Better::Second
    } else {
        Better::Neither
    }
}

/// The answer that a text or number names: `model_a`, `B`, `response_1`, 0.
fn named(key: &str, value: &Value, keys: &[&str; 2]) -> Parsed<Better> {
    let said = match value {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        other => other.to_string(),
    };
    // A table writes 1 as 1.0 if some rows of the column have no number.
    let said = match said.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 => number.to_string(),
        _ => said,
    };
    let names = keys.map(|key| ending(key).trim_matches('_').to_ascii_lowercase());
    let names_it = |at: usize| {
        let key = keys[at].to_ascii_lowercase();
        said == key || said == names[at] || said == format!("model_{}", names[at])
    };
    match (names_it(0), names_it(1)) {
        (true, _) => Ok(Better::First),
        (_, true) => Ok(Better::Second),
        _ if said.starts_with("tie") => Ok(Better::Neither),
        _ => {
            let what = format!(
                "`{key}` is {}, which names neither of {}",
                found(value),
                listed(keys)
            );
            let help = format!("it is {:?}, {:?} or \"tie\"", names[0], names[1]);
            Err(Problem::new(what, help))
        }
    }
}
