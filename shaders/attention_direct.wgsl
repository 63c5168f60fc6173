// Attention for devices on which every load costs about the same, whichever lanes share it, and as much
// as dozens of multiplications: software Vulkan. The interface is attention.wgsl's.
//
// A workgroup is one run of LANES lanes and owns a tile of TILE_ROWS rows of one head, a lane four rows
// of it: tile row `lane + LANES · r` is component r of the lane's vec4s. What the lanes read of the other
// side is one value for all. Scores are made in blocks of BLOCK rows of the other side, so that a load
// feeds many products; the weights of HELD rows wait in workgroup memory, where each lane reads only what
// it wrote itself (no barrier), while they are multiplied into COLS columns of the result at a time.
// The head's width is a multiple of 4.

struct Params {
    rows: u32,        // rows of this dispatch
    first_row: u32,   // their first row in qkv and spans
    first_y: u32,     // and in y and lse; less than first_row when generating
    first_tile: u32,  // their first tile
    heads: u32,       // H
    head_dim: u32,    // D
    scale: f32,       // 1/sqrt(D)
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;        // [stream rows, 3C], by fours
@group(0) @binding(2) var<storage, read> spans: array<vec4<u32>>;      // [stream rows]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;          // [rows, C]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;        // [rows, H]
@group(0) @binding(6) var<storage, read> saved_lse: array<f32>;        // the same, in the backward passes
@group(0) @binding(7) var<storage, read> dy: array<vec4<f32>>;         // [rows, C], by fours
@group(0) @binding(9) var<storage, read> saved_dots: array<f32>;       // [rows, H]: dy · y
@group(0) @binding(10) var<storage, read_write> dqkv: array<f32>;      // [stream rows, 3C]
@group(0) @binding(11) var<storage, read> tiles: array<vec4<u32>>;     // first row, end

const LANES: u32 = 8u;
const TILE_ROWS: u32 = 32u;   // at most, of a tile
const GROUP_ROWS: u32 = TILE_ROWS;
const GROUP_COLS: u32 = 64u;  // of a head
const BLOCK: u32 = 8u;
const HELD: u32 = 56u;  // a multiple of BLOCK; two of them and `staged` fill 16 KiB
const COLS: u32 = 16u;
const LOWEST: f32 = -1e30;

var<workgroup> held: array<vec4<f32>, 448>;    // [HELD, LANES]
var<workgroup> held_p: array<vec4<f32>, 448>;  // [HELD, LANES]
var<workgroup> staged: array<vec4<f32>, 128>;  // [COLS, LANES]

// Where the query, key or value (part 0, 1, 2) of a row and head begins in qkv.
fn qkv_at(row: u32, part: u32, head: u32) -> u32 {
    return ((row * 3u + part) * params.heads + head) * params.head_dim;
}

// The same for four rows.
fn own_qkv(rows: vec4<u32>, part: u32, head: u32) -> vec4<u32> {
    return ((rows * 3u + part) * params.heads + head) * params.head_dim;
}

fn y_at(row: u32, head: u32) -> u32 {
    return (row * params.heads + head) * params.head_dim;
}

// The t-th key row that a query with this span sees.
fn key_row(span: vec4<u32>, t: u32) -> u32 {
    let prefix = span.y - span.x;
    return select(span.z + t - prefix, span.x + t, t < prefix);
}

// What a workgroup, and a lane of it, owns.
struct Own {
    tile: vec4<u32>,
    head: u32,
    col: u32,          // columns [col, col_end) of the head are summed
    col_end: u32,
    rows: vec4<u32>,   // of the lane; over the tile's end the last one again
    live: vec4<bool>,  // which of them are there
}

fn own_of(group: vec3<u32>, lane: u32) -> Own {
    let chunks = (params.head_dim + GROUP_COLS - 1u) / GROUP_COLS;
    let tile = tiles[params.first_tile + group.y];
    let col = group.x % chunks * GROUP_COLS;
    let rows = tile.x + lane + LANES * vec4(0u, 1u, 2u, 3u);
    return Own(
        tile,
        group.x / chunks,
        col,
        min(col + GROUP_COLS, params.head_dim),
        min(rows, vec4(tile.y - 1u)),
        rows < vec4(tile.y),
    );
}

// The products of the lane's four rows, which begin at `own` in qkv, with rows of the other side, which
// begin at `other` in qkv: [c] holds those with `other[c]`.
fn qkv_by_qkv(own: vec4<u32>, other: array<u32, BLOCK>) -> array<vec4<f32>, BLOCK> {
    var sums: array<vec4<f32>, BLOCK>;
    for (var d = 0u; d < params.head_dim; d += 4u) {
        let at = (own + d) / 4u;
        let x = mat4x4(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]);
        for (var c = 0u; c < BLOCK; c++) {
            sums[c] += qkv[(other[c] + d) / 4u] * x;
        }
    }
    return sums;
}

fn dy_by_qkv(own: vec4<u32>, other: array<u32, BLOCK>) -> array<vec4<f32>, BLOCK> {
    var sums: array<vec4<f32>, BLOCK>;
    for (var d = 0u; d < params.head_dim; d += 4u) {
        let at = (own + d) / 4u;
        let x = mat4x4(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
        for (var c = 0u; c < BLOCK; c++) {
            sums[c] += qkv[(other[c] + d) / 4u] * x;
        }
    }
    return sums;
}

fn qkv_by_dy(own: vec4<u32>, other: array<u32, BLOCK>) -> array<vec4<f32>, BLOCK> {
    var sums: array<vec4<f32>, BLOCK>;
    for (var d = 0u; d < params.head_dim; d += 4u) {
        let at = (own + d) / 4u;
        let x = mat4x4(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]);
        for (var c = 0u; c < BLOCK; c++) {
            sums[c] += dy[(other[c] + d) / 4u] * x;
        }
    }
    return sums;
}

// w · v for four rows and four columns; a column of the result for each of v's.
fn outer(w: vec4<f32>, v: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(w * v.x, w * v.y, w * v.z, w * v.w);
}

fn stage(sums: array<mat4x4<f32>, 4>, lane: u32) {
    for (var c = 0u; c < COLS; c++) {
        staged[c * LANES + lane] = sums[c / 4u][c % 4u];
    }
}

// Stages the columns `d ..` of the weighted sum over `count` keys (part 1) or values (part 2), the first of
// them the `first`-th that the span sees.
fn weigh_keys(span: vec4<u32>, first: u32, count: u32, part: u32, head: u32, d: u32, lane: u32) {
    let last = min(COLS, params.head_dim - d) - 4u;
    var sums: array<mat4x4<f32>, 4>;
    for (var t = 0u; t < count; t++) {
        let at = qkv_at(key_row(span, first + t), part, head) + d;
        let w = held[t * LANES + lane];
        for (var c = 0u; c < 4u; c++) {
            sums[c] += outer(w, qkv[(at + min(4u * c, last)) / 4u]);
        }
    }
    stage(sums, lane);
}

// The same over the queries of `count` rows.
fn weigh_queries(row: u32, count: u32, head: u32, d: u32, lane: u32) {
    let last = min(COLS, params.head_dim - d) - 4u;
    var sums: array<mat4x4<f32>, 4>;
    for (var t = 0u; t < count; t++) {
        let at = qkv_at(row + t, 0u, head) + d;
        let w = held[t * LANES + lane];
        for (var c = 0u; c < 4u; c++) {
            sums[c] += outer(w, qkv[(at + min(4u * c, last)) / 4u]);
        }
    }
    stage(sums, lane);
}

// The same over the gradients of `count` rows, with the weights in `held_p`.
fn weigh_dy(row: u32, count: u32, head: u32, d: u32, lane: u32) {
    let last = min(COLS, params.head_dim - d) - 4u;
    var sums: array<mat4x4<f32>, 4>;
    for (var t = 0u; t < count; t++) {
        let at = y_at(row + t, head) + d;
        let w = held_p[t * LANES + lane];
        for (var c = 0u; c < 4u; c++) {
            sums[c] += outer(w, dy[(at + min(4u * c, last)) / 4u]);
        }
    }
    stage(sums, lane);
}

// Writes the staged columns to the four rows that begin at `at`, or adds them.
fn store_gradient(at: vec4<u32>, live: vec4<bool>, d: u32, accumulate: bool, lane: u32) {
    let cols = min(COLS, params.head_dim - d);
    for (var c = 0u; c < cols; c++) {
        for (var r = 0u; r < 4u; r++) {
            if live[r] {
                var sum = staged[c * LANES + lane][r];
                if accumulate {
                    sum += dqkv[at[r] + d + c];
                }
                dqkv[at[r] + d + c] = sum;
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = own_of(group, lane);
    let tile = own.tile;
    let head = own.head;
    let span = spans[tile.x];
    let rows = own.rows;
    let y_rows = rows - params.first_row + params.first_y;
    let query = own_qkv(rows, 0u, head);
    let out = y_rows * params.heads * params.head_dim + head * params.head_dim;
    // A row sees the keys up to its own, counted as key_row counts.
    let prefix = span.y - span.x;
    let keys = prefix + tile.y - span.z;
    let last_key = prefix + rows - span.z;

    var peak = vec4(LOWEST);
    var total = vec4(0.0);
    for (var first = 0u; first < keys; first += HELD) {
        let count = min(HELD, keys - first);
        var higher = peak;
        for (var block = 0u; block < count; block += BLOCK) {
            var key: array<u32, BLOCK>;
            for (var c = 0u; c < BLOCK; c++) {
                key[c] = qkv_at(key_row(span, min(first + block + c, keys - 1u)), 1u, head);
            }
            let dots = qkv_by_qkv(query, key);
            for (var c = 0u; c < BLOCK; c++) {
                let seen = vec4(first + block + c) <= last_key;
                let score = select(vec4(LOWEST), dots[c] * params.scale, seen);
                higher = max(higher, score);
                held[(block + c) * LANES + lane] = score;
            }
        }
        let shrink = exp(peak - higher);
        peak = higher;
        total *= shrink;
        for (var t = 0u; t < count; t++) {
            let weight = exp(held[t * LANES + lane] - peak);
            total += weight;
            held[t * LANES + lane] = weight;
        }
        let divisor = select(vec4(1.0), total, first + count == keys);
        for (var d = own.col; d < own.col_end; d += COLS) {
            weigh_keys(span, first, count, 2u, head, d, lane);
            let cols = min(COLS, params.head_dim - d);
            for (var c = 0u; c < cols; c++) {
                for (var r = 0u; r < 4u; r++) {
                    if own.live[r] {
                        var sum = staged[c * LANES + lane][r];
                        if first > 0u {
                            sum += y[out[r] + d + c] * shrink[r];
                        }
                        y[out[r] + d + c] = sum / divisor[r];
                    }
                }
            }
        }
    }
    for (var r = 0u; r < 4u; r++) {
        if own.live[r] && own.col == 0u {
            lse[y_rows[r] * params.heads + head] = peak[r] + log(total[r]);
        }
    }
}

// dq_r = scale · Σ_j ds_rj · k_j  with  ds = p · (dy · v - row_dots),  p = exp(score - lse).
@compute @workgroup_size(LANES)
fn backward_query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = own_of(group, lane);
    let tile = own.tile;
    let head = own.head;
    let span = spans[tile.x];
    let rows = own.rows;
    let query = own_qkv(rows, 0u, head);
    let out = (rows * params.heads + head) * params.head_dim;
    let prefix = span.y - span.x;
    let keys = prefix + tile.y - span.z;
    let last_key = prefix + rows - span.z;
    let at = rows * params.heads + head;
    let row_lse = vec4(saved_lse[at.x], saved_lse[at.y], saved_lse[at.z], saved_lse[at.w]);
    let row_dot = vec4(saved_dots[at.x], saved_dots[at.y], saved_dots[at.z], saved_dots[at.w]);

    for (var first = 0u; first < keys; first += HELD) {
        let count = min(HELD, keys - first);
        for (var block = 0u; block < count; block += BLOCK) {
            var key: array<u32, BLOCK>;
            var value: array<u32, BLOCK>;
            for (var c = 0u; c < BLOCK; c++) {
                let row = key_row(span, min(first + block + c, keys - 1u));
                key[c] = qkv_at(row, 1u, head);
                value[c] = qkv_at(row, 2u, head);
            }
            let dots = qkv_by_qkv(query, key);
            let dp = dy_by_qkv(out, value);
            for (var c = 0u; c < BLOCK; c++) {
                let p = exp(dots[c] * params.scale - row_lse);
                let ds = p * (dp[c] - row_dot) * params.scale;
                let seen = vec4(first + block + c) <= last_key;
                held[(block + c) * LANES + lane] = select(vec4(0.0), ds, seen);
            }
        }
        for (var d = own.col; d < own.col_end; d += COLS) {
            weigh_keys(span, first, count, 1u, head, d, lane);
            store_gradient(query, own.live, d, first > 0u, lane);
        }
    }
}

// dk_j = scale · Σ_i ds_ij · q_i  and  dv_j = Σ_i p_ij · dy_i  over the queries i that see row j.
@compute @workgroup_size(LANES)
fn backward_key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = own_of(group, lane);
    let tile = own.tile;
    let head = own.head;
    let end = spans[tile.x].w;
    let rows = own.rows;
    let key = own_qkv(rows, 1u, head);
    let value = own_qkv(rows, 2u, head);

    for (var first = tile.x; first < end; first += HELD) {
        let count = min(HELD, end - first);
        for (var block = 0u; block < count; block += BLOCK) {
            var query: array<u32, BLOCK>;
            var out: array<u32, BLOCK>;
            for (var c = 0u; c < BLOCK; c++) {
                let row = min(first + block + c, end - 1u);
                query[c] = qkv_at(row, 0u, head);
                out[c] = y_at(row, head);
            }
            let dots = qkv_by_qkv(key, query);
            let dp = qkv_by_dy(value, out);
            for (var c = 0u; c < BLOCK; c++) {
                let row = min(first + block + c, end - 1u);
                let at = row * params.heads + head;
                let weight = exp(dots[c] * params.scale - saved_lse[at]);
                let p = select(vec4(0.0), weight, vec4(row) >= rows);
                held_p[(block + c) * LANES + lane] = p;
                held[(block + c) * LANES + lane] = p * (dp[c] - saved_dots[at]) * params.scale;
            }
        }
        let later = first > tile.x;
        for (var d = own.col; d < own.col_end; d += COLS) {
            weigh_queries(first, count, head, d, lane);
            store_gradient(key, own.live, d, later, lane);
            weigh_dy(first, count, head, d, lane);
            store_gradient(value, own.live, d, later, lane);
        }
    }
}
