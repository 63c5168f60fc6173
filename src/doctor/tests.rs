//! Each rule on a record that has the disease, on one just below its threshold, and on a healthy run.

use super::*;
use crate::eval::Interval;

const LN_2: f64 = std::f64::consts::LN_2;

/// A run of forty steps that goes well: margins grow, the chosen answers too, and some steps are clipped.
fn healthy() -> Record {
    let step = |number: usize| {
        let done = number as f64 / 40.0;
        Step {
            step: number,
            loss: LN_2 - 0.2 * done,
            accuracy: Some(0.5 + 0.4 * done),
            ties: Some(f64::from(u8::from(number == 1))),
            chosen_reward: Some(0.05 * done),
            grad_norm: Some(0.5 + f64::from(u8::from(number.is_multiple_of(3)))),
        }
    };
    let eval = |number: usize| {
        let done = number as f64 / 40.0;
        let at_all = |value: f64| Some(value).filter(|_| number > 0);
        Eval {
            step: number,
            loss: LN_2 - 0.15 * done,
            pairs: 200.0,
            accuracy: Some(0.8 * f64::from(u8::from(number > 0))),
            accuracy_low: Some(0.74 * f64::from(u8::from(number > 0))),
            accuracy_high: Some(0.85),
            ties: Some(f64::from(u8::from(number == 0))),
            chosen_logp: Some(-60.0 + 0.5 * done),
            chosen_end: Some(-0.2),
            length_correlation: at_all(0.3),
            chosen_longer: Some(bucket(110.0, 0.85)),
            chosen_shorter: Some(bucket(90.0, 0.74)),
        }
    };
    let moved = |step: usize| Moved {
        step,
        relative_change: 1e-4 * step as f64,
    };
    Record {
        steps: (1..=40).map(step).collect(),
        sets: vec![Set {
            name: String::new(),
            evals: [0, 10, 20, 30, 40].map(eval).to_vec(),
        }],
        moved: [0, 10, 20, 30, 40].map(moved).to_vec(),
        settings: Settings {
            has_fixed_reference: true,
            max_grad_norm: 1.0,
            beta: 0.1,
        },
        cuts: vec![Cut {
            data: "d.jsonl".to_owned(),
            pairs: 100,
            prompts: 5,
            chosen: 10,
            rejected: 8,
        }],
        has_ended: true,
    }
}

fn bucket(pairs: f64, accuracy: f64) -> Bucket {
    Bucket { pairs, accuracy }
}

/// The healthy run with a change.
fn with(change: impl FnOnce(&mut Record)) -> Record {
    let mut record = healthy();
    change(&mut record);
    record
}

fn last(record: &mut Record) -> &mut Eval {
    record.sets[0].evals.last_mut().unwrap()
}

/// The record must have this finding and no other, whose words have each of these.
#[track_caller]
fn has(record: &Record, about: &str, said: &[&str]) -> Finding {
    let found = findings(record);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].about, about);
    for words in said {
        assert!(found[0].what.contains(words), "{words}: {found:?}");
    }
    assert!(!found[0].advice.is_empty());
    found[0].clone()
}

#[track_caller]
fn is_silent(record: &Record) {
    assert_eq!(findings(record), []);
}

#[test]
fn a_healthy_run_has_none() {
    is_silent(&healthy());
    // Nor has it one on its way.
    for evals in 1..5 {
        is_silent(&with(|record| {
            record.sets[0].evals.truncate(evals);
            record.moved.truncate(evals);
            record.steps.truncate(10 * (evals - 1));
            record.has_ended = false;
        }));
    }
}

#[test]
fn chosen_answers_that_fall() {
    let fallen = |by: f64| with(|record| last(record).chosen_logp = Some(-60.0 - by));
    let found = has(
        &fallen(2.5),
        "chosen-falls",
        &["by 2.5 nats", "-60.0 to -62.5"],
    );
    assert_eq!(found.step, 40);
    assert!(found.advice.contains("`.sft_weight`") && found.advice.contains("apo_zero"));
    is_silent(&fallen(0.9));
    let named = with(|record| {
        record.sets[0].name = "hard".to_owned();
        last(record).chosen_logp = Some(-70.0);
    });
    assert_eq!(
        has(&named, "chosen-falls", &["hard: the chosen"]).set,
        "hard"
    );

    // Without held-out pairs the rewards say it: β times the log-ratio.
    let rewards = |reward: f64| {
        with(|record| {
            record.sets.clear();
            record.steps[30..]
                .iter_mut()
                .for_each(|s| s.chosen_reward = Some(reward));
        })
    };
    has(
        &rewards(-0.3),
        "chosen-falls",
        &["by 3.0 nats", "last 10 steps"],
    );
    is_silent(&rewards(-0.09));
}

#[test]
fn pairs_that_are_known_by_heart() {
    let learnt = |accuracy: f64, loss: f64, lowest: usize| {
        with(|record| {
            for step in &mut record.steps[30..] {
                (step.accuracy, step.loss) = (Some(accuracy), loss);
            }
            record.sets[0].evals[lowest].loss = 0.3;
        })
    };
    let found = has(
        &learnt(1.0, 0.01, 2),
        "memorised",
        &[
            "since step 20",
            "accuracy 1.00, loss 0.0100",
            "it was 0.3000 there",
        ],
    );
    assert!(found.advice.contains("`.save_best`"));
    is_silent(&learnt(1.0, 0.01, 4)); // it still falls
    is_silent(&learnt(0.95, 0.01, 2));
    is_silent(&learnt(1.0, 0.2, 2));
}

#[test]
fn a_margin_that_is_length() {
    let by_length = |correlation: f64, shorter: Option<Bucket>, pairs: f64| {
        with(|record| {
            let last = last(record);
            last.length_correlation = Some(correlation);
            last.chosen_shorter = shorter;
            last.pairs = pairs;
        })
    };
    let wrong = Some(bucket(90.0, 0.4));
    has(
        &by_length(0.7, wrong, 200.0),
        "length",
        &["0.70", "90 pairs", "shorter one 40 %"],
    );
    has(
        &by_length(0.7, None, 200.0),
        "length",
        &["no chosen answer is the shorter"],
    );
    is_silent(&by_length(0.7, Some(bucket(90.0, 0.7)), 200.0)); // right where length is wrong
    is_silent(&by_length(0.4, wrong, 200.0));
    is_silent(&by_length(0.7, wrong, 10.0)); // by chance
    // A preference for short answers is one too.
    let short = with(|record| {
        let last = last(record);
        last.length_correlation = Some(-0.8);
        last.chosen_longer = Some(bucket(20.0, 0.1));
    });
    has(&short, "length", &["-0.80", "20 pairs", "longer one 10 %"]);
}

#[test]
fn answers_that_will_not_end() {
    let ends = |logp: f64| with(|record| last(record).chosen_end = Some(logp));
    has(&ends(-1.2), "end-falls", &["by 1.0 nats"]);
    is_silent(&ends(-0.6));
}

#[test]
fn texts_that_are_cut() {
    let cut = |chosen: usize| with(|record| record.cuts[0].chosen = chosen);
    has(&cut(60), "cut", &["d.jsonl: 60 % of the answers"]);
    is_silent(&cut(20));
    has(
        &with(|record| record.cuts[0].rejected = 30),
        "cut",
        &["30 % of the answers"],
    );
    has(
        &with(|record| record.cuts[0].prompts = 50),
        "cut",
        &["50 % of the prompts"],
    );
}

#[test]
fn clipping_at_every_step_or_never() {
    let norms = |of: &dyn Fn(usize) -> f64| {
        with(|record| {
            for step in &mut record.steps {
                step.grad_norm = Some(of(step.step));
            }
        })
    };
    let always = norms(&|step| 5.0 + step as f64 / 40.0);
    has(&always, "clipped-always", &["every step", "the limit 1"]);
    is_silent(&norms(&|_| 1.5)); // a limit of more than half of the norm
    is_silent(&norms(&|step| 5.0 * f64::from(u8::from(step != 7))));
    has(&norms(&|_| 0.05), "clipped-never", &["5.00e-2"]);
    is_silent(&norms(&|_| 0.2));
    // A run that does not clip at all was meant so; few steps say nothing.
    let off = Record {
        settings: Settings {
            has_fixed_reference: true,
            max_grad_norm: 0.0,
            beta: 0.1,
        },
        ..always.clone()
    };
    is_silent(&off);
    let mut short = always;
    short.steps.truncate(19);
    is_silent(&short);
}

#[test]
fn weights_that_stand_still() {
    let moved = |change: f64| with(|record| record.moved[4].relative_change = change);
    has(&moved(2e-6), "hardly-moved", &["2.0e-6", "40 steps"]);
    is_silent(&moved(2e-5));
    let early = with(|record| {
        record.moved.truncate(2);
        record.moved[1].relative_change = 0.0;
        record.has_ended = false;
    });
    is_silent(&early);
}

#[test]
fn held_out_pairs_that_are_too_few() {
    let few = |accuracy: f64, low: f64| {
        with(|record| {
            let last = last(record);
            (last.pairs, last.accuracy, last.accuracy_low) = (20.0, Some(accuracy), Some(low));
        })
    };
    let found = has(
        &few(0.6, 0.387),
        "too-few-pairs",
        &["20 held-out pairs", "60.0 %", "38.7"],
    );
    assert!(found.advice.contains("at least 97 pairs"), "{found:?}");
    // 60 % of 100 pairs are more than a coin's, and of 95 they are not.
    assert!(Interval::of_share(60, 100).low > 0.5 && Interval::of_share(57, 95).low <= 0.5);
    is_silent(&few(0.9, 0.7));
    let mut running = few(0.6, 0.387);
    running.has_ended = false;
    is_silent(&running);
}

#[test]
fn a_policy_that_is_its_reference() {
    let same = with(|record| {
        last(record).ties = Some(1.0);
        record.moved[4].relative_change = 0.0; // said once
    });
    has(&same, "identical", &["after 40 steps"]);
    let without = with(|record| {
        record.sets.clear();
        record.moved.clear();
        record.steps[39].ties = Some(1.0);
    });
    has(&without, "identical", &["after 40 steps"]);
    // The first step's metrics are those before its update.
    is_silent(&with(|record| {
        record.sets.clear();
        record.moved.clear();
        record.steps.truncate(1);
    }));
}

#[test]
fn a_loss_without_rewards_has_no_findings_on_rewards() {
    let supervised = with(|record| {
        for step in &mut record.steps {
            (step.accuracy, step.ties, step.chosen_reward) = (None, None, None);
        }
        for eval in &mut record.sets[0].evals {
            *eval = Eval {
                step: eval.step,
                loss: eval.loss,
                pairs: eval.pairs,
                chosen_logp: Some(-60.0 - eval.step as f64),
                ..Eval::default()
            };
        }
    });
    is_silent(&supervised);
}

#[test]
fn rows_of_metrics_become_a_record() {
    let mut record = Record::default();
    for text in [
        r#"{"step":0,"epoch":0.0,"weights/relative_change":0.0,"eval_loss":0.7,"eval_pairs":4,"eval_rewards/ties":1.0,
            "eval_hard_a_loss":0.6,"eval_hard_a_pairs":2,"eval_hard_a_by_length/chosen_longer/pairs":2,
            "eval_hard_a_by_length/chosen_longer/accuracies":0.5,"eval_hard_a_logps/chosen_end":-0.5}"#,
        r#"{"step":0,"epoch":0.0,"sample":1,"prompt":"a","policy":"eval_loss","reference":"c"}"#,
        r#"{"step":1,"epoch":0.5,"loss":0.69,"rewards/accuracies":0.0,"grad_norm":null}"#,
    ] {
        record.add(&serde_json::from_str(text).unwrap());
    }
    assert_eq!(record.steps.len(), 1);
    assert_eq!(record.steps[0].grad_norm, None);
    assert_eq!(record.moved.len(), 1);
    let names: Vec<&str> = record.sets.iter().map(|set| &set.name[..]).collect();
    assert_eq!(names, ["", "hard_a"]);
    let [plain, hard] = [0, 1].map(|set: usize| record.sets[set].evals[0]);
    assert_eq!((plain.loss, plain.pairs, plain.ties), (0.7, 4.0, Some(1.0)));
    assert_eq!((hard.loss, hard.chosen_end), (0.6, Some(-0.5)));
    assert_eq!(hard.chosen_longer, Some(bucket(2.0, 0.5)));
    assert_eq!(hard.chosen_shorter, None);
}
