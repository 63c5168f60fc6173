//! Preference pairs as a stream of rows: a small example by hand, and properties of every stream.

use std::ops::Range;

use gpt2_dpo::batch::NONE;
use gpt2_dpo::batch::{Extent, Pair, Sides, Span, Stream, Tile, Uses};
use gpt2_dpo::data::Example;
use gpt2_dpo::kernel::Kernel;
use gpt2_dpo::ops::attention;

fn example(prompt: &[u32], chosen: &[u32], rejected: &[u32]) -> Example {
    Example::new(
        prompt.to_vec(),
        chosen.to_vec(),
        rejected.to_vec(),
        gpt2_dpo::data::Place::new("made up", 1),
    )
}

/// In the second pair, prompt and chosen response have one token each.
fn by_hand() -> [Example; 2] {
    [
        example(&[5, 6], &[7, 8, 9], &[7, 4]),
        example(&[3], &[1], &[2, 6, 6]),
    ]
}

/// Pairs of many sizes; some prompts and responses have one token.
fn many() -> Vec<Example> {
    let tokens = |count: usize, seed: usize| -> Vec<u32> {
        (0..count)
            .map(|i| ((i * 7 + seed * 5) % 11) as u32)
            .collect()
    };
    (0..30)
        .map(|i| {
            let sizes = [1 + i * 5 % 7, 1 + i * 3 % 5, 1 + i * 7 % 6];
            example(
                &tokens(sizes[0], i),
                &tokens(sizes[1], i + 1),
                &tokens(sizes[2], i + 2),
            )
        })
        .collect()
}

fn spans(of: &[[u32; 4]]) -> Vec<Span> {
    let span = |&[prefix_start, prefix_end, own_start, query_end]: &[u32; 4]| Span {
        prefix_start,
        prefix_end,
        own_start,
        query_end,
    };
    of.iter().map(span).collect()
}

#[test]
fn both_responses_share_their_prompt() {
    let stream = Stream::new(&by_hand(), Sides::Both);
    //                          pair 0                pair 1
    //                         [prompt chosen rej. ] [prompt rejected]
    assert_eq!(stream.tokens, [5, 6, 7, 8, 7, 3, 2, 6]);
    assert_eq!(stream.positions, [0, 1, 2, 3, 2, 0, 1, 2]);
    let expected = spans(&[
        [0, 0, 0, 5],
        [0, 0, 0, 5],
        [0, 2, 2, 4],
        [0, 2, 2, 4],
        [0, 2, 4, 5],
        [5, 5, 5, 8],
        [5, 6, 6, 8],
        [5, 6, 6, 8],
    ]);
    assert_eq!(stream.spans, expected);
    assert_eq!(stream.sources, [1, 2, 3, 1, 4, 5, 5, 6, 7]);
    assert_eq!(stream.targets, [7, 8, 9, 7, 4, 1, 2, 6, 6]);
    let inverse = [
        [NONE, NONE],
        [0, 3], // the last prompt row predicts the first token of both
        [1, NONE],
        [2, NONE],
        [4, NONE],
        [5, 6],
        [7, NONE],
        [8, NONE],
    ];
    assert_eq!(stream.inverse, inverse);
    assert_eq!(
        stream.pairs,
        [Pair::of_rows(0, 3, 5), Pair::of_rows(5, 6, 9)]
    );
    assert_eq!(stream.rows, [0..5, 5..8]);
    assert_eq!(
        (stream.num_tokens.shared, stream.num_tokens.apart),
        (7 + 5, 9 + 6)
    );
    let tile = |first, end, links, back_links| Tile {
        first,
        end,
        links,
        back_links,
    };
    let tiles = [
        tile(0, 2, 1 + 2, 5 + 4),
        tile(2, 4, 3 + 4, 2 + 1),
        tile(4, 5, 3, 1),
        tile(5, 6, 1, 3),
        tile(6, 8, 2 + 3, 2 + 1),
    ];
    assert_eq!(stream.tiles, tiles);
}

#[test]
fn tiles_begin_anew_in_each_part_and_after_so_many_rows() {
    let spans = Span::of_pair(0, 40, 32, 70);
    let cuts = |rows| -> Vec<[u32; 2]> {
        let tiles = Tile::of(&spans, rows);
        tiles.iter().map(|t| [t.first, t.end]).collect()
    };
    let prompt_and_chosen = [[0, 32], [32, 40], [40, 72]];
    let rejected = [[72, 104], [104, 136], [136, 142]];
    assert_eq!(cuts(0..142), [prompt_and_chosen, rejected].concat());
    // As in generation: rows before the first one do not move the cuts.
    assert_eq!(cuts(5..38), [[5, 32], [32, 38]]);
    assert_eq!(cuts(141..142), [[141, 142]]);
    // Every variant of a kernel uses the same tiles, and the same groups of a head's columns.
    for kernel in attention::KERNELS {
        for variant in kernel.variants() {
            let sizes = |kernel: &Kernel| ["TILE_ROWS", "GROUP_COLS"].map(|n| kernel.constant(n));
            assert_eq!(sizes(variant), sizes(kernel), "{}", kernel.name());
        }
    }
}

#[test]
fn supervised_training_sees_the_chosen_response_only() {
    let stream = Stream::new(&by_hand(), Sides::Chosen);
    assert_eq!(stream.tokens, [5, 6, 7, 8, 3]);
    assert_eq!(stream.positions, [0, 1, 2, 3, 0]);
    let expected = spans(&[
        [0, 0, 0, 4],
        [0, 0, 0, 4],
        [0, 2, 2, 4],
        [0, 2, 2, 4],
        [4, 4, 4, 5],
    ]);
    assert_eq!(stream.spans, expected);
    assert_eq!(stream.sources, [1, 2, 3, 4]);
    assert_eq!(stream.targets, [7, 8, 9, 1]);
    let inverse = [[NONE, NONE], [0, NONE], [1, NONE], [2, NONE], [3, NONE]];
    assert_eq!(stream.inverse, inverse);
    assert_eq!(
        stream.pairs,
        [Pair::of_rows(0, 3, 3), Pair::of_rows(3, 4, 4)]
    );
    assert_eq!(stream.rows, [0..4, 4..5]);
    assert_eq!(
        (stream.num_tokens.shared, stream.num_tokens.apart),
        (5 + 2, 5 + 2)
    );
}

#[test]
fn one_token_each_is_one_row() {
    let stream = Stream::new(&[example(&[4], &[2], &[3])], Sides::Both);
    assert_eq!(stream.tokens, [4]);
    assert_eq!(stream.spans, spans(&[[0, 0, 0, 1]]));
    assert_eq!(stream.sources, [0, 0]);
    assert_eq!(stream.targets, [2, 3]);
    assert_eq!(stream.inverse, [[0, 1]]);
    assert_eq!(stream.pairs, [Pair::of_rows(0, 1, 2)]);
    assert_eq!((stream.num_tokens.shared, stream.num_tokens.apart), (3, 4));
}

#[test]
fn a_lone_sequence_has_no_head_rows() {
    let stream = Stream::sequence(&[4, 4, 9]);
    assert_eq!(stream.tokens, [4, 4, 9]);
    assert_eq!(stream.positions, [0, 1, 2]);
    assert_eq!(stream.spans, spans(&[[0, 0, 0, 3]; 3]));
    assert!(stream.sources.is_empty() && stream.targets.is_empty() && stream.pairs.is_empty());
    assert_eq!(stream.inverse, [[NONE, NONE]; 3]);
}

#[test]
fn uses_sort_the_rows_by_what_they_read() {
    let stream = Stream::new(&by_hand(), Sides::Both);
    let tokens = Uses {
        order: vec![6, 5, 0, 1, 7, 2, 4, 3],
        segments: vec![
            [2, 0, 1],
            [3, 1, 2],
            [5, 2, 3],
            [6, 3, 5],
            [7, 5, 7],
            [8, 7, 8],
        ],
    };
    let positions = Uses {
        order: vec![0, 5, 1, 6, 2, 4, 7, 3],
        segments: vec![[0, 0, 2], [1, 2, 4], [2, 4, 7], [3, 7, 8]],
    };
    assert_eq!(stream.token_uses, tokens);
    assert_eq!(stream.position_uses, positions);
    for (shard, segments) in [
        (0..9, 0..6),
        (0..2, 0..0),
        (0..6, 0..3),
        (6..7, 3..4),
        (7..20, 4..6),
    ] {
        assert_eq!(
            stream.token_uses.within(&shard),
            segments,
            "table rows {shard:?}"
        );
    }
}

/// The `query_end` of key rows and the keys of query rows describe the same mask, which is the documented one.
#[test]
fn spans_are_the_shared_prefix_mask() {
    for sides in [Sides::Both, Sides::Chosen] {
        let examples = many();
        let stream = Stream::new(&examples, sides);
        let mut labels = Vec::new(); // (pair, side) of each row, side 0 being the prompt
        for (pair, e) in examples.iter().enumerate() {
            labels.extend(vec![(pair, 0); e.prompt.len()]);
            labels.extend(vec![(pair, 1); e.chosen.len() - 1]);
            if sides == Sides::Both {
                labels.extend(vec![(pair, 2); e.rejected.len() - 1]);
            }
        }
        assert_eq!(labels.len(), stream.spans.len());
        let sees = |r: usize, j: usize| {
            let (pair, side) = labels[r];
            j <= r && (labels[j] == (pair, 0) || labels[j] == (pair, side))
        };
        let rows = 0..labels.len();
        let (mut links, mut back_links) = (0, 0);
        for (r, span) in stream.spans.iter().enumerate() {
            let keys: Vec<usize> = rows.clone().filter(|&j| sees(r, j)).collect();
            let queries: Vec<usize> = rows.clone().filter(|&i| sees(i, r)).collect();
            assert_eq!(span.keys(r).collect::<Vec<_>>(), keys, "keys of row {r}");
            let seen_by: Vec<usize> = (r..span.query_end as usize).collect();
            assert_eq!(seen_by, queries, "queries of row {r}");
            links += keys.len();
            back_links += queries.len();
        }
        let of_tiles = |count: fn(&Tile) -> u32| -> usize {
            stream.tiles.iter().map(|tile| count(tile) as usize).sum()
        };
        assert_eq!(of_tiles(|tile| tile.links), links);
        assert_eq!(of_tiles(|tile| tile.back_links), back_links);
    }
}

#[test]
fn head_rows_read_what_a_causal_model_would() {
    let examples = many();
    let stream = Stream::new(&examples, Sides::Both);
    for (pair, e) in examples.iter().enumerate() {
        let heads = &stream.pairs[pair];
        for (heads, response) in [(heads.chosen(), &e.chosen), (heads.rejected(), &e.rejected)] {
            assert_eq!(stream.targets[heads.clone()], response[..]);
            // The keys of a head row's stream row, itself last, are the text so far.
            let whole = [&e.prompt[..], response].concat();
            for (i, head) in heads.enumerate() {
                let row = stream.sources[head] as usize;
                let keys: Vec<usize> = stream.spans[row].keys(row).collect();
                let seen: Vec<u32> = keys.iter().map(|&j| stream.tokens[j]).collect();
                assert_eq!(seen, whole[..e.prompt.len() + i], "pair {pair} token {i}");
                let positions: Vec<u32> = keys.iter().map(|&j| stream.positions[j]).collect();
                assert_eq!(positions, (0..seen.len() as u32).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn inverse_undoes_sources() {
    let stream = Stream::new(&many(), Sides::Both);
    for (row, places) in stream.inverse.iter().enumerate() {
        let named: Vec<u32> = places.iter().copied().filter(|&h| h != NONE).collect();
        let heads =
            (0..stream.sources.len() as u32).filter(|&h| stream.sources[h as usize] == row as u32);
        assert_eq!(named, heads.collect::<Vec<_>>(), "row {row}");
    }
}

#[test]
fn chunks_are_whole_pairs_under_the_budget() {
    let [a, b] = by_hand(); // 5 and 4 head rows
    let c = example(&[1, 2], &[3], &[4]); // 2
    let stream = Stream::new([&a, &b, &c], Sides::Both);
    assert_eq!(stream.heads(&(0..1)), 0..5);
    assert_eq!(stream.heads(&(1..3)), 5..11);
    for (budget, cuts) in [
        (100, &[0, 3][..]),
        (11, &[0, 3]),
        (10, &[0, 2, 3]),
        (9, &[0, 2, 3]),
        (8, &[0, 1, 3]),
        (6, &[0, 1, 3]),
        (5, &[0, 1, 2, 3]),
        (1, &[0, 1, 2, 3]), // a pair above the budget runs alone
    ] {
        let chunks: Vec<Range<usize>> = cuts.windows(2).map(|c| c[0]..c[1]).collect();
        assert_eq!(stream.chunks(budget), chunks, "{budget} head rows");
    }
    assert!(Stream::new(&[], Sides::Both).chunks(8).is_empty());
}

#[test]
fn extent_holds_every_micro_batch() {
    let examples = many();
    for sides in [Sides::Both, Sides::Chosen] {
        for batch_size in [1, 2, 5, examples.len(), examples.len() + 3] {
            let extent = Extent::of(&examples, batch_size, sides);
            // Any start and stride: adjacent examples, and examples far apart.
            for start in 0..examples.len() {
                for stride in 1..8 {
                    let batch = examples.iter().skip(start).step_by(stride).take(batch_size);
                    let stream = Stream::new(batch, sides);
                    assert!(stream.tokens.len() <= extent.rows);
                    assert!(stream.sources.len() <= extent.heads);
                    assert!(stream.pairs.len() <= extent.pairs);
                    for pair in 0..stream.pairs.len() {
                        assert!(stream.heads(&(pair..pair + 1)).len() <= extent.pair_heads);
                    }
                }
            }
            // The extent is tight: the longest examples together have exactly its head rows.
            let mut longest = examples.clone();
            longest.sort_by_key(|e| {
                std::cmp::Reverse(
                    e.chosen.len()
                        + if sides == Sides::Both {
                            e.rejected.len()
                        } else {
                            0
                        },
                )
            });
            let stream = Stream::new(longest.iter().take(batch_size), sides);
            assert_eq!(stream.sources.len(), extent.heads);
            assert_eq!(stream.heads(&(0..1)).len(), extent.pair_heads);
        }
    }
}

#[test]
fn extents_unite_side_by_side() {
    let wide = Extent {
        rows: 9,
        heads: 2,
        pair_heads: 1,
        pairs: 4,
    };
    let tall = Extent {
        rows: 3,
        heads: 8,
        pair_heads: 5,
        pairs: 2,
    };
    let both = Extent {
        rows: 9,
        heads: 8,
        pair_heads: 5,
        pairs: 4,
    };
    assert_eq!(wide.union(tall), both);
    assert_eq!(tall.union(wide), both);
}
