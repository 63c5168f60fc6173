//! Rows of both tables that are used once, several times and never.

use gpt2_dpo::batch::{Sides, Stream};
use gpt2_dpo::data::Example;
use gpt2_dpo::ops::embedding;

use super::{Twin, assert_close, assert_gradients};

#[test]
fn forward_and_gradients() {
    let mut t = Twin::new();
    let pair = |prompt: &[u32], chosen: &[u32], rejected: &[u32]| {
        Example::new(
            prompt.to_vec(),
            chosen.to_vec(),
            rejected.to_vec(),
            gpt2_dpo::data::Place::new("made up", 1),
        )
    };
    let pairs = [
        pair(&[5, 6], &[7, 8, 2], &[7, 4]),
        pair(&[3], &[1], &[2, 6, 6]),
    ];
    let stream = Stream::new(&pairs, Sides::Both);
    let (width, vocab, n_positions) = (3, 9, 5);
    let shards = [0..6, 6..vocab];
    let rows = stream.tokens.len();
    let (wte, wpe) = (
        t.random(vocab * width, 1.0),
        t.random(n_positions * width, 1.0),
    );
    let dy = t.random(rows * width, 1.0);
    let formula = |[wte, wpe]: [&[f64]; 2]| -> Vec<f64> {
        let lookups = stream.tokens.iter().zip(&stream.positions);
        lookups
            .flat_map(|(&token, &position)| {
                let (token, position) = (token as usize * width, position as usize * width);
                (0..width).map(move |c| wte[token + c] + wpe[position + c])
            })
            .collect()
    };

    let (tokens, positions) = (t.words(&stream.tokens), t.words(&stream.positions));
    let (x, wpe_buffer, dx) = (t.output(rows * width), t.input(&wpe), t.input(&dy));
    let mut dwte = Vec::new();
    for shard in shards {
        let op = embedding::Forward {
            tokens,
            positions,
            wte: t.input(&wte[shard.start * width..shard.end * width]),
            shard: shard.clone(),
            wpe: wpe_buffer,
            x,
            rows,
            width,
        };
        embedding::forward(&mut t.rec, &op);
        dwte.push(t.sum(shard.len() * width));
    }
    let dwpe = t.sum(n_positions * width);
    for (uses, dtable, shard) in [
        (&stream.token_uses, dwte[0], 0..6),
        (&stream.token_uses, dwte[1], 6..vocab),
        (&stream.position_uses, dwpe, 0..n_positions),
    ] {
        let op = embedding::Backward {
            order: t.words(&uses.order),
            segments: t.words(&uses.segments),
            range: uses.within(&shard),
            dx,
            dtable,
            shard,
            width,
            rows,
        };
        embedding::backward(&mut t.rec, &op);
    }
    t.run();
    assert_close("x", &t.read(x), &formula([&wte, &wpe]));
    let dwte = [t.added(dwte[0]), t.added(dwte[1])].concat();
    let gradients = [("dwte", dwte), ("dwpe", t.added(dwpe))];
    assert_gradients(formula, [&wte, &wpe], &dy, gradients);
}
