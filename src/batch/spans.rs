//! Spans say which rows of a stream attend to which rows; tiles say which rows attention takes together.

use std::ops::Range;

/// The rows to which one row attends, and the rows that attend to it; all in stream rows.
///
/// A query row attends to the key rows `[prefix_start, prefix_end)` and `[own_start, row]`; a key row
/// is seen by the query rows `[row, query_end)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Span {
    /// First row of the prompt, for rows of a response.
    pub prefix_start: u32,
    /// End of the prompt; equals `prefix_start` for the prompt's own rows.
    pub prefix_end: u32,
    /// First row of the row's own part: prompt, chosen or rejected.
    pub own_start: u32,
    /// End of the rows that attend to this one: for the prompt the pair's, else the response's.
    pub query_end: u32,
}

impl Span {
    /// The spans of a pair whose first row is `start` and that has these numbers of rows.
    pub fn of_pair(start: usize, prompt: usize, chosen: usize, rejected: usize) -> Vec<Span> {
        let prefix = [start, start + prompt];
        let chosen_end = prefix[1] + chosen;
        let end = chosen_end + rejected;
        let span = |prefix: [usize; 2], own: usize, query_end: usize| Span {
            prefix_start: prefix[0] as u32,
            prefix_end: prefix[1] as u32,
            own_start: own as u32,
            query_end: query_end as u32,
        };
        let mut spans = vec![span([start, start], start, end); prompt];
        spans.extend(vec![span(prefix, prefix[1], chosen_end); chosen]);
        spans.extend(vec![span(prefix, chosen_end, end); rejected]);
        spans
    }

    /// The key rows that query row `row`, whose span this is, attends to.
    pub fn keys(&self, row: usize) -> impl Iterator<Item = usize> {
        (self.prefix_start as usize..self.prefix_end as usize)
            .chain(self.own_start as usize..row + 1)
    }
}

/// Rows of a tile at most: the attention shader's constant of the same name. A test compares the two.
pub const TILE_ROWS: u32 = 32;

/// A run of rows of one prompt or response, which workgroups take together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Tile {
    /// First stream row.
    pub first: u32,
    /// End of its rows, [`TILE_ROWS`] at most.
    pub end: u32,
    /// (query, key) pairs that attend with these rows as queries.
    pub links: u32,
    /// (query, key) pairs that attend with these rows as keys.
    pub back_links: u32,
}

impl Tile {
    /// Cuts the rows `rows` of a stream: within a prompt or response, and there from its first row on, so
    /// that a tile does not depend on what else is in the stream.
    pub fn of(spans: &[Span], rows: Range<usize>) -> Vec<Tile> {
        let mut tiles: Vec<Tile> = Vec::new();
        for row in rows {
            let (span, row) = (&spans[row], row as u32);
            let links = span.prefix_end - span.prefix_start + row + 1 - span.own_start;
            let back_links = span.query_end - row;
            match tiles.last_mut() {
                Some(tile) if (row - span.own_start) % TILE_ROWS != 0 => {
                    tile.end += 1;
                    tile.links += links;
                    tile.back_links += back_links;
                }
                _ => tiles.push(Tile {
                    first: row,
                    end: row + 1,
                    links,
                    back_links,
                }),
            }
        }
        tiles
    }
}
