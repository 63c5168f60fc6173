// Causal attention over the shared-prefix stream. Query row r attends to the key rows
// [prefix_start, prefix_end) and [own_start, r]; the query rows [j, query_end) attend to key row j. A span is
// these four numbers in this order: prefix start, prefix end, own start, query end.
// The kernels store no scores in memory: the forward pass keeps a running softmax (flash attention), and the
// backward passes recompute the probabilities from the saved log-sum-exp.
//
// The host cuts the rows into tiles. Each tile lies in one prompt or one response, so that all its rows have
// one span, and the sums of a row depend on its own pair alone.
//
// All attention kernels share this part; attention_tiled, attention_direct or attention_row follows it.

struct Params {
    rows: u32,        // rows of this dispatch
    first_row: u32,   // the first of these rows in qkv and spans
    first_y: u32,     // the first of these rows in y and lse; in generation less than first_row
    first_tile: u32,  // the first of the tiles of these rows
    heads: u32,       // H
    head_dim: u32,    // D
    scale: f32,       // 1/sqrt(D)
}

// The key rows of a query row: [prefix_start, prefix_end) and [own_start, row]. The query rows of a key row:
// [row, query_end).
struct Span {
    prefix_start: u32,
    prefix_end: u32,
    own_start: u32,
    query_end: u32,
}

// A run of rows that workgroups take together, and how many (query, key) pairs it has a part in.
struct Tile {
    first: u32,
    end: u32,
    links: u32,
    back_links: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;        // [stream rows, 3C], by fours
@group(0) @binding(2) var<storage, read> spans: array<Span>;           // [stream rows]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;          // [rows, C]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;        // [rows, H]
@group(0) @binding(5) var<storage, read> saved_y: array<vec4<f32>>;    // y of the forward pass, by fours
@group(0) @binding(6) var<storage, read> saved_lse: array<f32>;        // lse of the forward pass
@group(0) @binding(7) var<storage, read> dy: array<vec4<f32>>;         // [rows, C], by fours
@group(0) @binding(8) var<storage, read_write> row_dots: array<f32>;   // [rows, H]: dy · y
@group(0) @binding(9) var<storage, read> saved_dots: array<f32>;       // row_dots of backward_query
@group(0) @binding(10) var<storage, read_write> dqkv: array<f32>;      // [stream rows, 3C]
@group(0) @binding(11) var<storage, read> tiles: array<Tile>;

const TILE_ROWS: u32 = 32u;   // rows of the largest tile
const GROUP_COLS: u32 = 64u;  // columns of a head that a workgroup sums
const LOWEST: f32 = -1e30;

// The index in qkv at which the query, key or value (part 0, 1, 2) of a row and head begins.
fn qkv_at(row: u32, part: u32, head: u32) -> u32 {
    return ((row * 3u + part) * params.heads + head) * params.head_dim;
}

fn y_at(row: u32, head: u32) -> u32 {
    return (row * params.heads + head) * params.head_dim;
}

// The t-th key row to which a query with this span attends.
fn key_row(span: Span, t: u32) -> u32 {
    let prefix = span.prefix_end - span.prefix_start;
    return select(span.own_start + t - prefix, span.prefix_start + t, t < prefix);
}

// The vec4s that hold columns d to d + 3 of the head that begins at `at`, if no vec4 begins at column d; a column
// beyond the head has the place of the last one.
fn unaligned(at: u32, d: u32) -> vec2<u32> {
    let last = at + params.head_dim - 1u;
    return min(vec2(at + d, at + d + 3u), vec2(last)) / 4u;
}

// The four words from word `at` on, of which x holds the first and y the last; 0 beyond the head. No component is
// taken by a variable index: on some GPUs the vec4 would pass through memory.
fn aligned(x: vec4<f32>, y: vec4<f32>, at: u32, d: u32) -> vec4<f32> {
    let by = at % 4u;
    let low = select(x, vec4(x.yzw, y.x), by == 1u);
    let high = select(vec4(x.zw, y.xy), vec4(x.w, y.xyz), by == 3u);
    return select(vec4(0.0), select(low, high, by > 1u), d + vec4(0u, 1u, 2u, 3u) < vec4(params.head_dim));
}

// Columns d to d + 3 of the head that begins at `at`; 0 beyond the head.
fn qkv_four(at: u32, d: u32) -> vec4<f32> {
    if params.head_dim % 4u == 0u {
        return select(vec4(0.0), qkv[(at + min(d, params.head_dim - 4u)) / 4u], d < params.head_dim);
    }
    let places = unaligned(at, d);
    return aligned(qkv[places.x], qkv[places.y], at + d, d);
}
