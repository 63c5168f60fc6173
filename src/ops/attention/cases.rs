//! The cases that hold a device to the twins of attention.

use super::{Backward, Forward, Shape, backward, forward};
use crate::batch::{Span, Tile};
use crate::ops::case::Case;

/// Streams of two pairs: prompts and responses a little shorter and longer than a tile, heads narrower and wider
/// than the columns of a workgroup; and the single rows of generation.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let sizes = [
        (1, 1, [1, 0, 0]),
        (3, 5, [2, 3, 1]),
        (2, 64, [70, 9, 66]),
        (1, 100, [33, 31, 32]),
        (2, 130, [5, 65, 2]),
    ];
    for (heads, head_dim, [prompt, chosen, rejected]) in sizes {
        let mut spans = Span::of_pair(0, prompt, chosen, rejected);
        spans.extend(Span::of_pair(spans.len(), prompt + 1, rejected, chosen));
        let (rows, width) = (spans.len(), heads * head_dim);
        let label = format!("{heads}x{head_dim} over {prompt}+{chosen}+{rejected}");
        let words: Vec<u32> = bytemuck::cast_slice(&spans).to_vec();
        for (what, range) in [
            ("", 0..rows),
            (" last prompt row", prompt - 1..prompt),
            (" second pair", rows - chosen - rejected - prompt - 1..rows),
        ] {
            let tiles = Tile::of(&spans, range.clone());
            cases.push(
                Case::new(format!("forward {label}{what}"))
                    .input(rows * 3 * width, 1.0)
                    .indices(words.clone())
                    .indices(bytemuck::cast_slice(&tiles).to_vec())
                    .output(range.len() * width)
                    .output(range.len() * heads)
                    .record(move |rec, b| {
                        let op = Forward {
                            qkv: b[0],
                            spans: b[1],
                            tiles: b[2],
                            y: b[3],
                            lse: b[4],
                        };
                        let tiles = &tiles;
                        forward(
                            rec,
                            &op,
                            Shape {
                                tiles,
                                heads,
                                head_dim,
                            },
                        );
                    }),
            );
        }
        // y and lse are the forward pass's own, so that the probabilities are ones. Whole, and as a long
        // stream is: in several steps.
        for (what, most) in [("", None), (" a step a tile", Some(0))] {
            let tiles = Tile::of(&spans, 0..rows);
            cases.push(
                Case::new(format!("backward {label}{what}"))
                    .input(rows * 3 * width, 1.0)
                    .indices(words.clone())
                    .indices(bytemuck::cast_slice(&tiles).to_vec())
                    .input(rows * width, 1.0)
                    .output(rows * width)
                    .output(rows * heads)
                    .output(rows * heads)
                    .output(rows * 3 * width)
                    .record(move |rec, b| {
                        let op = Backward {
                            qkv: b[0],
                            spans: b[1],
                            tiles: b[2],
                            dy: b[3],
                            y: b[4],
                            lse: b[5],
                            row_dots: b[6],
                            dqkv: b[7],
                        };
                        let shape = Shape {
                            tiles: &tiles,
                            heads,
                            head_dim,
                        };
                        rec.limit_steps(most.unwrap_or(u64::MAX));
                        forward(rec, &op.forward(), shape);
                        backward(rec, &op, shape);
                    }),
            );
        }
    }
    cases
}
