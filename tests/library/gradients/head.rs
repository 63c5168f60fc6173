//! The vocabulary whole and in padded shards, the head rows whole and in chunks.

use std::ops::Range;

use gpt2_dpo::ops::head;

use super::{Twin, assert_close, assert_gradients, dot};

/// The results of [`twin`]: log-probs, the facts of each row, and the gradients of x, of wte's real rows and of its padding.
struct Head {
    logps: Vec<f64>,
    facts: Vec<f64>,
    dx: Vec<f64>,
    dwte: Vec<f64>,
    dpadding: Vec<f64>,
}

/// Runs the head rows in chunks between `cuts`, with the vocabulary in `shards` (real rows, rows with padding).
fn twin(
    [x, wte, dlogps]: [&[f64]; 3],
    targets: &[u32],
    cuts: &[usize],
    shards: &[(Range<usize>, usize)],
) -> Head {
    const LOUD: f64 = 100.0; // padding that would win every softmax
    let mut t = Twin::new();
    let width = x.len() / targets.len();
    let (targets_buffer, dlogps) = (t.words(targets), t.input(dlogps));
    let to = head::Results {
        logps: t.output(targets.len()),
        facts: t.output(targets.len() * head::FACTS),
    };
    let (mut tables, mut dwte) = (Vec::new(), Vec::new());
    for (tokens, stride) in shards {
        let mut rows = wte[tokens.start * width..tokens.end * width].to_vec();
        rows.resize(stride * width, LOUD);
        tables.push(t.input(&rows));
        dwte.push(t.sum(stride * width));
    }
    let mut dx = Vec::new();
    for cut in cuts.windows(2) {
        let heads = cut[0]..cut[1];
        let chunk = head::Chunk {
            x: t.input(&x[heads.start * width..heads.end * width]),
            width,
            targets: targets_buffer,
            stats: t.output(heads.len() * head::STATS),
            heads: heads.clone(),
        };
        let mut parts = Vec::new();
        for ((tokens, stride), &wte) in shards.iter().zip(&tables) {
            parts.push(head::Shard {
                wte,
                logits: t.output(heads.len() * stride),
                tokens: tokens.clone(),
                stride: *stride,
            });
        }
        let dx_chunk = t.output(heads.len() * width);
        head::forward(&mut t.rec, &chunk, &parts, to);
        let op = head::Backward {
            dlogps,
            dx: dx_chunk,
            dwte: Some(dwte.clone()),
        };
        head::backward(&mut t.rec, &chunk, &parts, &op);
        dx.push(dx_chunk);
    }
    t.run();
    let mut result = Head {
        logps: t.read(to.logps),
        facts: t.read(to.facts),
        dx: dx.into_iter().flat_map(|dx| t.read(dx)).collect(),
        dwte: Vec::new(),
        dpadding: Vec::new(),
    };
    for ((tokens, _), dwte) in shards.iter().zip(dwte) {
        let added = t.added(dwte);
        let (real, padding) = added.split_at(tokens.len() * width);
        result.dwte.extend(real);
        result.dpadding.extend(padding);
    }
    result
}

#[test]
fn forward_and_gradients() {
    let (vocab, width) = (11, 5);
    let mut targets = [3, 10, 0, 4, 7, 3_u32];
    let mut t = Twin::new();
    let (x, wte) = (
        t.random(targets.len() * width, 1.0),
        t.random(vocab * width, 1.0),
    );
    let dlogps = t.random(targets.len(), 1.0);
    // The third target is the likeliest token.
    let third = &x[2 * width..3 * width];
    let logit = |token: usize| dot(third, &wte[token * width..(token + 1) * width]);
    let likeliest = (0..vocab).max_by(|&a, &b| logit(a).total_cmp(&logit(b)));
    targets[2] = likeliest.unwrap() as u32;
    let formula = |[x, wte]: [&[f64]; 2]| -> Vec<f64> {
        let log_prob = |(x, &target): (&[f64], &u32)| {
            let logits: Vec<f64> = wte.chunks(width).map(|token| dot(x, token)).collect();
            logits[target as usize] - logits.iter().map(|l| l.exp()).sum::<f64>().ln()
        };
        x.chunks(width).zip(&targets).map(log_prob).collect()
    };
    // Entropy, mean logit, and whether the target is the likeliest token.
    let facts = |(x, &target): (&[f64], &u32)| {
        let logits: Vec<f64> = wte.chunks(width).map(|token| dot(x, token)).collect();
        let total: f64 = logits.iter().map(|l| l.exp()).sum();
        let surprise = |l: &f64| l.exp() / total * (total.ln() - l);
        let hit = logits.iter().all(|&l| l <= logits[target as usize]);
        [
            logits.iter().map(surprise).sum(),
            logits.iter().sum::<f64>() / vocab as f64,
            f64::from(u8::from(hit)),
        ]
    };
    let facts: Vec<f64> = x.chunks(width).zip(&targets).flat_map(facts).collect();
    let hits: f64 = facts.iter().skip(2).step_by(head::FACTS).sum();
    assert!(hits > 0.0 && hits < targets.len() as f64);
    let all = targets.len();
    for (cuts, shards) in [
        (&[0, all][..], vec![(0..vocab, vocab)]),
        (&[0, 4, all], vec![(0..4, 6), (4..8, 4), (8..vocab, 8)]),
    ] {
        let head = twin([&x, &wte, &dlogps], &targets, cuts, &shards);
        assert_close("logps", &head.logps, &formula([&x, &wte]));
        assert_close("facts", &head.facts, &facts);
        assert!(
            head.dpadding.iter().all(|&g| g == 0.0),
            "padding has a gradient"
        );
        let gradients = [("dx", head.dx), ("dwte", head.dwte)];
        assert_gradients(formula, [&x, &wte], &dlogps, gradients);
    }
}

#[test]
fn with_logits_far_apart() {
    // Logits -1e4, 5e3, 1e4: the third token has all the probability, whichever shard comes last.
    for shards in [vec![(0..1, 1), (1..3, 2)], vec![(0..3, 3)]] {
        let inputs = [&[1e4, 1e4][..], &[-1.0, 0.5, 1.0], &[1.0, 1.0]];
        let head = twin(inputs, &[0, 2], &[0, 2], &shards);
        assert_eq!(head.logps, [-2e4, 0.0]);
        let [no_entropy, mean] = [0.0, f64::from(5e3_f32 / 3.0)];
        assert_eq!(head.facts, [no_entropy, mean, 0.0, no_entropy, mean, 1.0]);
        assert_eq!(head.dx, [-2.0, 0.0]);
        assert_eq!(head.dwte, [1e4, 0.0, -1e4]);
    }
}
