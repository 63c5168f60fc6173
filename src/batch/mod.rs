//! Preference pairs as one flat stream of rows, a row per input token, with no padding.
//!
//! ```text
//! pair i:  [ prompt rows | chosen rows | rejected rows ]     pair i+1: [ ... ]
//! ```
//!
//! The rows of a prompt are computed once for both responses. Chosen and rejected rows attend to the prompt and
//! to their own side, and rejected positions restart at the end of the prompt. The result equals two separate
//! forward passes. The last token of a response predicts nothing and has no row. The head computes only the
//! rows that predict a response token; the last prompt row predicts the first token of both responses.

mod spans;

use std::ops::{AddAssign, Range};

use serde::{Deserialize, Serialize};

use crate::data::Example;

pub use spans::{Span, TILE_ROWS, Tile};

/// "No head row" in [`Stream::inverse`].
pub const NONE: u32 = u32::MAX;

/// Stream rows sorted by the row of a table (tokens or positions) that they read, for the gradient of that
/// table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Stream rows; the readers of one table row are adjacent, in stream order.
    pub order: Vec<u32>,
    /// For each used table row, ascending: the table row, and the first and end index of its readers in `order`.
    pub segments: Vec<[u32; 3]>,
}

impl Uses {
    fn of(table_rows: &[u32]) -> Uses {
        let mut order: Vec<u32> = (0..table_rows.len() as u32).collect();
        order.sort_by_key(|&row| table_rows[row as usize]); // stable
        let mut segments: Vec<[u32; 3]> = Vec::new();
        for (i, &row) in order.iter().enumerate() {
            let table_row = table_rows[row as usize];
            match segments.last_mut() {
                Some(last) if last[0] == table_row => last[2] = i as u32 + 1,
                _ => segments.push([table_row, i as u32, i as u32 + 1]),
            }
        }
        Uses { order, segments }
    }

    /// The indices of the segments whose table row lies in `rows`.
    pub fn within(&self, rows: &Range<usize>) -> Range<usize> {
        let before = |end: usize| self.segments.partition_point(|s| (s[0] as usize) < end);
        before(rows.start)..before(rows.end)
    }
}

/// The responses of each pair that enter the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// DPO uses the chosen and the rejected response.
    Both,
    /// Supervised training uses only the chosen response.
    Chosen,
}

/// The head rows of a pair, and what its loss takes beside their log-probs; mirrors `Pair` of
/// `shaders/preference.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Pair {
    /// The first chosen head row.
    pub start: u32,
    /// The first rejected head row, and the end of the chosen ones.
    pub middle: u32,
    /// The end of the rejected head rows.
    pub end: u32,
    /// What the pair's loss counts.
    pub weight: f32,
    /// What the losses over a whole step take.
    pub rivals: Rivals,
}

impl Pair {
    /// The count of 4-byte words.
    pub const WORDS: usize = size_of::<Pair>() / 4;

    /// A pair of these head rows that counts once.
    pub fn of_rows(start: u32, middle: u32, end: u32) -> Pair {
        Pair {
            start,
            middle,
            end,
            weight: 1.0,
            rivals: Rivals::default(),
        }
    }

    /// The head rows of the chosen response.
    pub fn chosen(&self) -> Range<usize> {
        self.start as usize..self.middle as usize
    }

    /// The head rows of the rejected response.
    pub fn rejected(&self) -> Range<usize> {
        self.middle as usize..self.end as usize
    }
}

/// What a pair is compared with where a loss sorts the responses of a whole step (`ops::preference::rank`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Rivals {
    /// The rejected gain that is ranked as the pair's chosen one.
    pub of_chosen: f32,
    /// The chosen gain that is ranked as the pair's rejected one.
    pub of_rejected: f32,
    /// The reference's margin less the one that is ranked as the policy's.
    pub reference_shift: f32,
}

/// A micro-batch as one stream of N rows with P head rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {
    /// `[N]` token ids.
    pub tokens: Vec<u32>,
    /// `[N]` positions.
    pub positions: Vec<u32>,
    /// `[N]` the rows that each row attends to.
    pub spans: Vec<Span>,
    /// The groups of rows that one workgroup of attention handles together.
    pub tiles: Vec<Tile>,
    /// `[P]` the stream row of each head row.
    pub sources: Vec<u32>,
    /// `[P]` the token that each head row predicts.
    pub targets: Vec<u32>,
    /// `[N]` the head rows taken from each stream row, [`NONE`] where there is none.
    pub inverse: Vec<[u32; 2]>,
    /// The head rows of each pair, and what its loss takes beside.
    pub pairs: Vec<Pair>,
    /// The stream rows of each pair.
    pub rows: Vec<Range<usize>>,
    /// `tokens` sorted, for the gradient of `wte`.
    pub token_uses: Uses,
    /// `positions` sorted, for the gradient of `wpe`.
    pub position_uses: Uses,
    /// The tokens of prompts and responses.
    pub num_tokens: TokenCount,
}

/// A number of tokens, counted in two ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCount {
    /// Each prompt once, though two responses share it: what the device computes.
    pub shared: usize,
    /// Each prompt once for each of its responses, as in TRL's padded batches.
    pub apart: usize,
}

impl AddAssign for TokenCount {
    fn add_assign(&mut self, other: TokenCount) {
        self.shared += other.shared;
        self.apart += other.apart;
    }
}

impl Stream {
    /// The stream of these pairs, in their order.
    pub fn new<'a>(examples: impl IntoIterator<Item = &'a Example>, sides: Sides) -> Stream {
        let mut stream = Stream::default();
        for example in examples {
            stream.push(example, sides);
        }
        stream.tiles = Tile::of(&stream.spans, 0..stream.spans.len());
        stream.token_uses = Uses::of(&stream.tokens);
        stream.position_uses = Uses::of(&stream.positions);
        stream
    }

    /// Gives each pair its rivals.
    ///
    /// # Panics
    /// If there are not as many as pairs.
    pub fn set_rivals(&mut self, rivals: &[Rivals]) {
        assert_eq!(rivals.len(), self.pairs.len());
        for (pair, &rivals) in self.pairs.iter_mut().zip(rivals) {
            pair.rivals = rivals;
        }
    }

    /// One sequence without targets, for generation.
    pub fn sequence(tokens: &[u32]) -> Stream {
        let mut stream = Stream {
            spans: Span::of_pair(0, tokens.len(), 0, 0),
            ..Stream::default()
        };
        stream.push_rows(tokens, 0);
        stream
    }

    fn push(&mut self, example: &Example, sides: Sides) {
        let rejected: &[u32] = match sides {
            Sides::Both => &example.rejected,
            Sides::Chosen => &[],
        };
        let start = self.tokens.len();
        let prompt = &example.prompt;
        let rows_of = |response: &[u32]| response.len().saturating_sub(1);
        let (chosen_rows, rejected_rows) = (rows_of(&example.chosen), rows_of(rejected));
        self.spans.extend(Span::of_pair(
            start,
            prompt.len(),
            chosen_rows,
            rejected_rows,
        ));
        self.push_rows(prompt, 0);
        let first_head = self.sources.len() as u32;
        for (response, rows) in [
            (&example.chosen[..], chosen_rows),
            (rejected, rejected_rows),
        ] {
            let first_row = self.tokens.len();
            self.push_rows(&response[..rows], prompt.len());
            let last_prompt_row = start + prompt.len() - 1;
            for (i, &target) in response.iter().enumerate() {
                let row = if i == 0 {
                    last_prompt_row
                } else {
                    first_row + i - 1
                };
                let head = self.sources.len() as u32;
                let places = &mut self.inverse[row];
                places[usize::from(places[0] != NONE)] = head;
                self.sources.push(row as u32);
                self.targets.push(target);
            }
        }
        let middle = first_head + example.chosen.len() as u32;
        let end = self.sources.len() as u32;
        self.pairs.push(Pair {
            weight: example.weight,
            ..Pair::of_rows(first_head, middle, end)
        });
        self.rows.push(start..self.tokens.len());
        let responses = example.chosen.len() + rejected.len();
        let sides = 1 + usize::from(!rejected.is_empty());
        self.num_tokens += TokenCount {
            shared: prompt.len() + responses,
            apart: sides * prompt.len() + responses,
        };
    }

    fn push_rows(&mut self, tokens: &[u32], first_position: usize) {
        self.tokens.extend(tokens);
        let positions = first_position..first_position + tokens.len();
        self.positions.extend(positions.map(|p| p as u32));
        self.inverse.resize(self.tokens.len(), [NONE; 2]);
    }

    /// The head rows of the pairs `pairs`.
    ///
    /// # Panics
    /// If `pairs` is empty or reaches beyond the stream's pairs.
    pub fn heads(&self, pairs: &Range<usize>) -> Range<usize> {
        self.pairs[pairs.start].start as usize..self.pairs[pairs.end - 1].end as usize
    }

    /// Cuts the pairs into runs of at most `max_heads` head rows. A pair with more head rows is a run of its own.
    pub fn chunks(&self, max_heads: usize) -> Vec<Range<usize>> {
        let mut chunks: Vec<Range<usize>> = Vec::new();
        for pair in 0..self.pairs.len() {
            match chunks.last_mut() {
                Some(last) if self.heads(&(last.start..pair + 1)).len() <= max_heads => {
                    last.end = pair + 1;
                }
                _ => chunks.push(pair..pair + 1),
            }
        }
        chunks
    }
}

/// The largest sizes of a run's micro-batches, for which buffers are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Stream rows.
    pub rows: usize,
    /// Head rows.
    pub heads: usize,
    /// Head rows of the largest pair.
    pub pair_heads: usize,
    /// Pairs.
    pub pairs: usize,
}

impl Extent {
    /// Room for any `batch_size` of these examples: the longest examples decide.
    pub fn of(examples: &[Example], batch_size: usize, sides: Sides) -> Extent {
        let heads = |e: &Example| match sides {
            Sides::Both => e.chosen.len() + e.rejected.len(),
            Sides::Chosen => e.chosen.len(),
        };
        let largest = |size: &dyn Fn(&Example) -> usize| {
            let mut sizes: Vec<usize> = examples.iter().map(size).collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            sizes.iter().take(batch_size).sum::<usize>()
        };
        Extent {
            rows: largest(&|e| e.prompt.len() + heads(e)),
            heads: largest(&heads),
            pair_heads: examples.iter().map(heads).max().unwrap_or(0),
            pairs: batch_size.min(examples.len()),
        }
    }

    /// Room for the micro-batches of both extents.
    pub fn union(self, other: Extent) -> Extent {
        Extent {
            rows: self.rows.max(other.rows),
            heads: self.heads.max(other.heads),
            pair_heads: self.pair_heads.max(other.pair_heads),
            pairs: self.pairs.max(other.pairs),
        }
    }
}
