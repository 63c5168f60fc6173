use super::*;

const SEED: u64 = 13;

fn topics_of(pairs: &[Pair]) -> BTreeMap<&'static str, usize> {
    let facts = facts();
    let topic_of: BTreeMap<&str, &'static str> = facts
        .iter()
        .flat_map(|fact| fact.questions.iter().map(|q| (q.as_str(), fact.topic)))
        .collect();
    let mut counts = BTreeMap::new();
    for pair in pairs {
        *counts.entry(topic_of[pair.prompt.as_str()]).or_default() += 1;
    }
    counts
}

fn prompts(pairs: &[Pair]) -> BTreeSet<&str> {
    pairs.iter().map(|pair| pair.prompt.as_str()).collect()
}

#[test]
fn no_question_asks_for_two_facts() {
    let facts = facts();
    let mut seen = BTreeSet::new();
    for question in facts.iter().flat_map(|fact| &fact.questions) {
        assert!(seen.insert(question), "asked twice: {question}");
    }
    assert!(seen.len() > 3000, "only {} questions", seen.len());
}

#[test]
fn every_fact_is_complete() {
    for fact in facts() {
        assert!(fact.questions.len() >= 3, "{fact:?}");
        assert!(
            !fact.helpful.is_empty() && !fact.refusals.is_empty(),
            "{fact:?}"
        );
        let texts = fact
            .questions
            .iter()
            .chain(&fact.helpful)
            .chain([&fact.bare]);
        for text in texts {
            assert!(!text.contains(['{', '}']), "unfilled: {text}");
            assert!(text.ends_with(['.', '?', '!']), "unfinished: {text}");
            assert!(
                !text.starts_with(|c: char| c.is_ascii_lowercase()),
                "{text}"
            );
            assert!(
                text.is_ascii() && !text.contains("  "),
                "odd letters: {text}"
            );
        }
        for helpful in &fact.helpful {
            assert!(
                helpful.len() > 3 * fact.bare.len() / 2,
                "not more than bare: {fact:?}"
            );
            assert!(
                helpful.split_whitespace().count() >= 8,
                "too short: {helpful}"
            );
        }
    }
}

#[test]
fn no_eval_question_is_ever_trained_on() {
    let (train, eval) = preferences(SEED);
    let unseen = prompts(&eval);
    assert!(prompts(&train).is_disjoint(&unseen));
    for seed in [SEED, SEED + 1] {
        for exchange in pretraining(seed) {
            assert!(!unseen.contains(exchange.question.as_str()), "{exchange:?}");
        }
    }
}

#[test]
fn every_eval_fact_is_pretrained_in_other_words() {
    let asked: BTreeSet<String> = pretraining(SEED).into_iter().map(|e| e.question).collect();
    let (_, eval) = preferences(SEED);
    let facts = facts();
    for prompt in prompts(&eval) {
        let fact = facts
            .iter()
            .find(|fact| fact.questions.iter().any(|q| q == prompt))
            .unwrap();
        let others = fact.questions.iter().filter(|q| asked.contains(*q)).count();
        assert_eq!(others, fact.questions.len() - 1, "{prompt}");
    }
}

#[test]
fn pairs_are_distinct_and_of_the_promised_number() {
    let (train, eval) = preferences(SEED);
    assert_eq!((train.len(), eval.len()), (TRAIN_PAIRS, EVAL_PAIRS));
    for pairs in [&train, &eval] {
        assert_eq!(prompts(pairs).len(), pairs.len());
        assert!(pairs.iter().all(|pair| pair.chosen != pair.rejected));
        assert!(
            pairs
                .iter()
                .all(|pair| pair.chosen.len() > pair.rejected.len())
        );
    }
}

#[test]
fn every_topic_has_its_share_of_the_pairs() {
    let all: BTreeSet<&str> = facts().iter().map(|fact| fact.topic).collect();
    assert!(all.len() >= 12);
    let (train, eval) = preferences(SEED);
    for (pairs, least) in [(&train, 20), (&eval, 5)] {
        let counts = topics_of(pairs);
        for topic in &all {
            let count = counts.get(topic).copied().unwrap_or(0);
            assert!(count >= least, "{topic}: {count} of {}", pairs.len());
        }
    }
}

#[test]
fn pretraining_leans_to_the_curt_side() {
    let facts = facts();
    let helpful: BTreeSet<&String> = facts.iter().flat_map(|fact| &fact.helpful).collect();
    let exchanges = pretraining(SEED);
    let share = exchanges
        .iter()
        .filter(|exchange| helpful.contains(&exchange.answer))
        .count() as f64
        / exchanges.len() as f64;
    assert!((0.44..0.46).contains(&share), "{share}");
}

#[test]
fn the_seed_alone_decides() {
    assert_eq!(pretraining(SEED), pretraining(SEED));
    assert_eq!(preferences(SEED), preferences(SEED));
    assert_ne!(pretraining(SEED), pretraining(SEED + 1));
    assert_ne!(preferences(SEED).0, preferences(SEED + 1).0);
    assert_eq!(
        prompts(&preferences(SEED).1),
        prompts(&preferences(SEED + 1).1)
    );
}

/// Every byte of one seed, on every platform. Whoever edits a table records the new digest here, and
/// makes the starter anew.
#[test]
fn the_bytes_are_those_of_record() {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for exchange in pretraining(SEED) {
        hash.update(exchange.prompt());
        hash.update(exchange.answer);
    }
    let (train, eval) = preferences(SEED);
    for pair in train.iter().chain(&eval) {
        hash.update(serde_json::to_string(pair).unwrap());
    }
    let digest: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        digest,
        "2fc537895fe27dd91502f7afcdd55b96ce274cda8e0745aacb4ae8cb6f80049b"
    );
}

#[test]
fn texts_fit_their_token_budgets() {
    let exchanges = pretraining(SEED);
    let texts = exchanges
        .iter()
        .flat_map(|e| [e.prompt(), e.answer.clone()]);
    let tokenizer = crate::tokenizer::train(texts.collect::<Vec<_>>().into_iter(), 1024).unwrap();
    let length = |text: &str| tokenizer.encode(text, false).unwrap().len();
    let (train, eval) = preferences(SEED);
    for pair in train.iter().chain(&eval) {
        for answer in [&pair.chosen, &pair.rejected] {
            let exchange = Exchange {
                question: pair.prompt.clone(),
                answer: answer.clone(),
            };
            assert!(length(&exchange.prompt()) <= 30, "{}", pair.prompt);
            assert!(length(answer) < 40, "{answer}"); // The end of text needs one more.
        }
    }
    for exchange in &exchanges {
        assert!(length(&exchange.prompt()) <= 30, "{}", exchange.question);
        assert!(length(&exchange.answer) < 40, "{}", exchange.answer);
    }
}
