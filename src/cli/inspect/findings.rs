//! What a user should know of the data before training, each with advice.

use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::data::{Audit, Boundary, Counts, Named, Reason, Truncation};
use gpt2_dpo::words::{counted, either};
use serde::Serialize;

use super::ranking::Ranked;
use super::tokens::LoneSpace;
use crate::cli::pairs::Report;
use crate::cli::with_flags;

/// If length alone picks the chosen response in this share of pairs, that is worth a finding.
const TELLING: f64 = 0.6;
/// The share of texts that a budget should not cut.
const MOST: f64 = 0.99;

const ASKED_FOR: &str = "nothing: an option asks for it";

/// One finding.
#[derive(Serialize)]
pub struct Finding {
    /// The data set that the finding concerns; empty if it concerns all data.
    pub data: String,
    /// A keyword for programs.
    pub about: &'static str,
    /// The fact.
    pub what: String,
    /// The advice.
    pub advice: String,
    /// Where the first of the records are.
    pub first: Vec<String>,
}

/// The facts that the findings follow from.
pub struct Facts<'a> {
    pub config: &'a TrainConfig,
    pub report: &'a Report,
    /// True if neither a model nor a tokenizer was named.
    pub starters_tokens: bool,
    pub model_notes: &'a [String],
    pub lone_space: Option<&'a LoneSpace>,
    pub ranked: Option<&'a Ranked>,
}

/// The findings on all data, then those on each data set.
pub fn find(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.starters_tokens {
        findings.push(finding(
            "tokenizer",
            "tokens are those of the built-in starter's small tokenizer: every length, cut and id below is \
             another under your model's",
            "name the model with --model, or its tokenizer alone with --tokenizer",
        ));
    }
    for note in facts.model_notes {
        findings.push(finding(
            "model",
            note.clone(),
            "look whether the model's files mean that",
        ));
    }
    findings.extend(facts.lone_space.map(|space| lone_space(space, facts)));
    findings.extend(facts.ranked.and_then(ranked));
    let shared = facts.report.eval_prompts_trained_on.as_ref();
    findings.extend(shared.filter(|shared| shared.count > 0).map(overlap));
    for audit in facts.report.all() {
        findings.extend(of(audit, facts.config).into_iter().map(|found| Finding {
            data: audit.data.clone(),
            ..found
        }));
    }
    findings
}

fn finding(about: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding {
        data: String::new(),
        about,
        what: what.into(),
        advice: advice.into(),
        first: Vec::new(),
    }
}

/// The findings on one data set.
fn of(audit: &Audit, config: &TrainConfig) -> Vec<Finding> {
    let mut findings: Vec<Finding> = audit
        .dropped
        .iter()
        .map(|(&reason, named)| dropped(reason, named, config))
        .collect();
    if !audit.columns_ignored.is_empty() {
        let names: Vec<&str> = audit.columns_ignored.iter().map(String::as_str).collect();
        findings.push(finding(
            "columns-ignored",
            format!("columns not used: {}", names.join(", ")),
            "nothing, unless one of them holds a text to train on: --columns names it",
        ));
    }
    findings.extend(cut_prompts(audit, config));
    findings.extend(cut_responses(audit));
    if audit.without_end > 0 {
        let count = audit.without_end;
        findings.push(finding(
            "without-end-of-text",
            format!(
                "{} {} a response that no end-of-text ends, whatever its length",
                counted(count, "pair"),
                either(count, "has", "have")
            ),
            "a model does not learn from them where to stop: give the model's files an eos_token, write it in \
             the chat template, or behind the ids",
        ));
    }
    findings.extend(special_tokens(audit));
    findings.extend(repeats(audit, config));
    findings.extend(boundary(audit, config));
    findings.extend(length_bias(audit));
    findings
}

fn dropped(reason: Reason, named: &Named, config: &TrainConfig) -> Finding {
    let count = named.count;
    let (about, advice) = match reason {
        Reason::BlankResponse => (
            "empty-responses",
            "nothing: a pair with an empty response is left out",
        ),
        Reason::EqualResponses => (
            "equal-responses",
            "nothing: a pair of equal responses prefers neither, and is left out",
        ),
        Reason::EqualUnderBudget => ("equal-under-budget", "raise --max-response-tokens"),
        Reason::Unpaired => (
            "unpaired",
            "give each prompt a good and a bad completion; others are left out",
        ),
        Reason::BadRecord if config.skip_bad_records => {
            ("bad-records", "mend them, or train without them")
        }
        Reason::BadRecord => (
            "bad-records",
            "mend them, or leave them out with --skip-bad-records: without it training stops at the first",
        ),
        Reason::NoneBetter => (
            "none-better",
            "nothing: a record that prefers neither answer teaches none, and is left out",
        ),
        Reason::LabelledBad => (
            "labelled-bad",
            "nothing: supervised training imitates good completions; DPO pairs them with bad ones",
        ),
        Reason::ScoreTie => ("score-ties", ASKED_FOR),
        Reason::ScoreMargin => ("score-margin", ASKED_FOR),
        Reason::Duplicate => ("repetitions", ASKED_FOR),
    };
    let what = match reason {
        Reason::BadRecord => format!("{} cannot be used", counted(count, "record")),
        _ => with_flags(&reason.words(count)),
    };
    Finding {
        first: named.first.clone(),
        ..finding(about, what, advice)
    }
}

fn cut_prompts(audit: &Audit, config: &TrainConfig) -> Option<Finding> {
    let (count, budget) = (audit.cut.prompts, audit.cut.max_prompt_tokens);
    if count == 0 {
        return None;
    }
    let whole = raised("--max-prompt-tokens", budget, [&audit.prompt_tokens]);
    let (lost, advice) = match config.truncation {
        Truncation::KeepStart => (
            "the end, and with it what the template writes before the response",
            format!("{whole}, or take --truncation keep-end"),
        ),
        Truncation::KeepEnd => ("the beginning", whole),
    };
    let what = format!(
        "{count} of {} {} longer than {budget} tokens and {} {lost}",
        counted(audit.kept, "prompt"),
        either(count, "is", "are"),
        either(count, "loses", "lose"),
    );
    Some(finding("prompts-cut", what, advice))
}

fn cut_responses(audit: &Audit) -> Option<Finding> {
    let cut = &audit.cut;
    let (over, budget) = (cut.chosen + cut.rejected, cut.max_response_tokens);
    if over == 0 {
        return None;
    }
    let total = audit.chosen_tokens.total() + audit.rejected_tokens.total();
    let ends = cut.chosen_ends + cut.rejected_ends;
    let mut what = format!(
        "{over} of {} {} longer than {budget} tokens and {} the rest",
        counted(total, "response"),
        either(over, "is", "are"),
        either(over, "loses", "lose"),
    );
    if ends > 0 {
        what += &format!(
            "; {ends} {} end-of-text with it, and a model does not learn from {} where to stop",
            either(ends, "loses its", "lose their"),
            either(ends, "that one", "those"),
        );
    }
    let lengths = [&audit.chosen_tokens, &audit.rejected_tokens];
    let advice = raised("--max-response-tokens", budget, lengths);
    Some(finding("responses-cut", what, advice))
}

/// A larger budget that most texts fit, or that all texts fit.
fn raised<const N: usize>(option: &str, budget: usize, lengths: [&Counts; N]) -> String {
    let longest = |share| lengths.iter().filter_map(|l| l.quantile(share)).max();
    let (most, all) = (longest(MOST).unwrap_or(0), longest(1.0).unwrap_or(0));
    match most > budget && most < all {
        true => {
            format!("{option} {most} leaves 99 % whole, {all} all of them; it takes more memory")
        }
        false => format!("{option} {all} leaves all of them whole; it takes more memory"),
    }
}

fn special_tokens(audit: &Audit) -> Option<Finding> {
    let special = &audit.special_tokens;
    let (what, advice) = match special.as_tokens {
        true => (
            "read as tokens",
            "make sure that nobody wrote them who should not: such a token can end a turn",
        ),
        false => (
            "read as text",
            "nothing if people typed them; --allow-special-tokens reads them as tokens",
        ),
    };
    let count = special.tokens;
    (count > 0).then(|| {
        let what = format!(
            "{} spelled out in {}, {what}",
            counted(count, "special token"),
            counted(special.pairs, "pair")
        );
        finding("special-tokens", what, advice)
    })
}

fn repeats(audit: &Audit, config: &TrainConfig) -> Vec<Finding> {
    let (again, against) = (&audit.duplicates, &audit.contradictions);
    let mut findings = Vec::new();
    if against.count > 0 {
        let what = format!(
            "{} the other way round: the same prompt and responses, chosen and rejected swapped",
            came_before(against.count)
        );
        findings.push(Finding {
            first: against.first.clone(),
            ..finding(
                "contradictions",
                what,
                "keep the one that is right: together they teach nothing",
            )
        });
    }
    if again.count > 0 && !config.dedupe {
        findings.push(Finding {
            first: again.first.clone(),
            ..finding(
                "duplicates",
                came_before(again.count),
                "--dedupe leaves repetitions out; without it they count as often as they come",
            )
        });
    }
    findings
}

fn came_before(pairs: usize) -> String {
    format!("{} came before", counted(pairs, "pair"))
}

fn boundary(audit: &Audit, config: &TrainConfig) -> Option<Finding> {
    let count = audit.boundary_matters.filter(|&count| count > 0)?;
    let (other, advice) = match config.boundary {
        Boundary::Apart => (
            "joined",
            "nothing; to train on the same tokens as TRL, take --boundary joined",
        ),
        Boundary::Joined => (
            "apart",
            "nothing; to train on the model card's tokens, take --boundary apart",
        ),
    };
    let what = format!(
        "{} of {} {} other tokens under --boundary {other}",
        count,
        counted(audit.kept, "pair"),
        either(count, "has", "have"),
    );
    Some(finding("boundary", what, advice))
}

fn length_bias(audit: &Audit) -> Option<Finding> {
    let bias = &audit.length_bias;
    let accuracy = bias.accuracy().filter(|&accuracy| accuracy >= TELLING)?;
    let which = match bias.chosen_longer > bias.rejected_longer {
        true => "longer",
        false => "shorter",
    };
    let what = format!(
        "\"the {which} response is the chosen one\" is right in {:.1} % of the pairs",
        100.0 * accuracy
    );
    let advice = format!(
        "a model can learn to answer {which} and nothing else: compare its held-out accuracy with this"
    );
    Some(finding("length-bias", what, advice))
}

fn lone_space(space: &LoneSpace, facts: &Facts) -> Finding {
    let pairs = facts.report.train.iter().map(|audit| audit.kept).sum();
    let before = &space.before;
    let what = format!(
        "{} of {} {} in a token that is a space alone (id {}): the response begins with {before:?}, where running \
         text would have the one token {:?}",
        space.prompts,
        counted(pairs, "prompt"),
        either(space.prompts, "ends", "end"),
        space.id,
        format!(" {}", before.trim()),
    );
    finding(
        "lone-space",
        what,
        "nothing, if the model is prompted in the same way; --response-prefix-space gives the space to the \
         response's first token, as a pretrained model expects it",
    )
}

fn ranked(ranked: &Ranked) -> Option<Finding> {
    let count = ranked.against;
    (count > 0).then(|| {
        let what = format!(
            "the model finds the rejected response the likelier one in {count} of {}",
            counted(ranked.pairs, "pair")
        );
        let advice =
            "many are what there is to learn; read the strongest, named below, for swapped labels";
        finding("ranked-against", what, advice)
    })
}

fn overlap(shared: &Named) -> Finding {
    let what = format!(
        "{} {} a prompt that is trained on, and {} too kindly",
        counted(shared.count, "held-out pair"),
        either(shared.count, "has", "have"),
        either(shared.count, "judges", "judge"),
    );
    Finding {
        first: shared.first.clone(),
        ..finding(
            "eval-prompts-trained-on",
            what,
            "take them out of one of the two, or hold out by prompt with --eval-fraction",
        )
    }
}
