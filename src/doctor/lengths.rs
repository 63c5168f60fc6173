//! Rules on lengths and counts: margins that follow length, texts that are cut, too few pairs.

use super::record::{Bucket, Record, Set};
use super::{Finding, of_run, of_set};
use crate::eval::Z;

/// A rank correlation from here on is strong.
const STRONG: f64 = 0.5;
/// And it has to lie so many of its standard errors, 1 / √(n − 1) where ranks are independent, from 0.
const ERRORS: f64 = 3.0;
/// A budget that cuts more than this share of texts cuts many.
const MANY: f64 = 0.2;

/// The margin follows the length: it grows with the difference of lengths, and where length would choose wrongly, the
/// policy is not better than a coin.
pub(super) fn margin_by_length(set: &Set) -> Option<Finding> {
    let after = set.after()?;
    let correlation = after.length_correlation?;
    let surely = correlation.abs() * (after.pairs - 1.0).max(0.0).sqrt() > ERRORS;
    if correlation.abs() < STRONG || !surely {
        return None;
    }
    let (against, which) = match correlation > 0.0 {
        true => (after.chosen_shorter, "shorter"),
        false => (after.chosen_longer, "longer"),
    };
    let seen = match against {
        None => format!("no chosen answer is the {which} one"),
        Some(Bucket { accuracy, pairs }) if accuracy <= 0.5 => format!(
            "of the {pairs} pairs whose chosen answer is the {which} one {:.0} % are right",
            100.0 * accuracy
        ),
        Some(_) => return None,
    };
    let what = format!(
        "length alone explains the margin: its rank correlation with the difference of lengths is {correlation:.2}, and \
         {seen}"
    );
    let advice = "add pairs in which length chooses wrongly (`gpt2-dpo inspect` counts them), or take `.loss` \
                  sigmoid_norm, whose margin is per token";
    Some(of_set("length", set, after, what, advice))
}

/// The accuracy of a finished run is above one half, and its interval holds one half.
pub(super) fn too_few_pairs(record: &Record, set: &Set) -> Option<Finding> {
    let after = set.after().filter(|_| record.has_ended)?;
    let (accuracy, low, high) = (after.accuracy?, after.accuracy_low?, after.accuracy_high?);
    (accuracy > 0.5 && low <= 0.5).then(|| {
        // Wilson's interval of a share p of n holds 1/2 exactly if |p − 1/2| ≤ z / (2 √n).
        let needed = (Z / (2.0 * (accuracy - 0.5))).powi(2).floor() + 1.0;
        let what = format!(
            "{} held-out pairs are too few: an accuracy of {:.1} % may be a coin's, its 95 % interval goes from {:.1} to \
             {:.1}",
            after.pairs,
            100.0 * accuracy,
            100.0 * low,
            100.0 * high
        );
        let advice = format!("hold out at least {needed} pairs, if the accuracy is what it seems");
        of_set("too-few-pairs", set, after, what, &advice)
    })
}

/// A budget cuts a large share of the training texts.
pub(super) fn cut(record: &Record) -> Vec<Finding> {
    let mut found = Vec::new();
    for cut in &record.cuts {
        let share = |count: usize| count as f64 / cut.pairs.max(1) as f64;
        let answers = cut.chosen.max(cut.rejected);
        for (what, count, option, loses) in [
            (
                "answers on one side",
                answers,
                "max_response_tokens",
                "a cut answer has no end",
            ),
            (
                "prompts",
                cut.prompts,
                "max_prompt_tokens",
                "a cut prompt does not say all that the answers answer",
            ),
        ] {
            if share(count) > MANY {
                let what = format!(
                    "{}: {:.0} % of the {what} are cut",
                    cut.data,
                    100.0 * share(count)
                );
                let advice = format!(
                    "raise `.{option}`, as far as memory and the model's positions allow: {loses}"
                );
                found.push(of_run("cut", record, what, &advice));
            }
        }
    }
    found
}
