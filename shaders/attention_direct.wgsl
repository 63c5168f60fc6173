// The variant for software Vulkan. There a load costs as much as dozens of multiplications, and about the same
// for every pattern of lanes that share it.
//
// A workgroup is LANES lanes and owns a tile of TILE_ROWS rows of one head. A lane owns four rows of the tile:
// tile row `lane + LANES · r` is component r of the lane's vec4s. The rows that the tile's rows meet are the
// other side; all lanes read the same value of it at a time. A lane computes scores for BLOCK rows of the
// other side at once, so that a load feeds many products. It keeps the weights of HELD rows in workgroup
// memory, and multiplies them into COLS columns of the result at a time. Each lane reads only the words that
// it wrote itself, so no barrier is needed.
// The head's width is a multiple of 4.

const LANES: u32 = 8u;
const GROUP_ROWS: u32 = TILE_ROWS;
const BLOCK: u32 = 8u;
const HELD: u32 = 56u;  // a multiple of BLOCK; `held`, `held_p` and `staged` fill 16 KiB
const COLS: u32 = 16u;

var<workgroup> held: array<vec4<f32>, 448>;    // [HELD, LANES]
var<workgroup> held_p: array<vec4<f32>, 448>;  // [HELD, LANES]
var<workgroup> staged: array<vec4<f32>, 128>;  // [COLS, LANES]

// `qkv_at` for four rows.
fn own_qkv(rows: vec4<u32>, part: u32, head: u32) -> vec4<u32> {
    return ((rows * 3u + part) * params.heads + head) * params.head_dim;
}

// The part of the result that a workgroup and a lane own.
struct Own {
    tile: Tile,
    head: u32,
    col: u32,          // the workgroup sums columns [col, col_end) of the head
    col_end: u32,
    rows: vec4<u32>,   // the lane's rows; a row over the tile's end repeats the tile's last row
    live: vec4<bool>,  // true for each of the lane's rows that lies in the tile
}

fn own_of(group: vec3<u32>, lane: u32) -> Own {
    let chunks = (params.head_dim + GROUP_COLS - 1u) / GROUP_COLS;
    let tile = tiles[params.first_tile + group.y];
    let col = group.x % chunks * GROUP_COLS;
    let rows = tile.first + lane + LANES * vec4(0u, 1u, 2u, 3u);
    return Own(
        tile,
        group.x / chunks,
        col,
        min(col + GROUP_COLS, params.head_dim),
        min(rows, vec4(tile.end - 1u)),
        rows < vec4(tile.end),
    );
}

// The dot products of the lane's four rows with BLOCK rows of the other side: element c is for `other[c]`.
// `own` and `other` are the indices in qkv at which the rows begin.
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

// The outer product of w (four rows) and v (four columns); a matrix column is a column of the result.
fn outer(w: vec4<f32>, v: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(w * v.x, w * v.y, w * v.z, w * v.w);
}

fn stage(sums: array<mat4x4<f32>, 4>, lane: u32) {
    for (var c = 0u; c < COLS; c++) {
        staged[c * LANES + lane] = sums[c / 4u][c % 4u];
    }
}

// Stages COLS columns, from `d` on, of Σ weight · row over `count` keys (part 1) or values (part 2). The sum
// begins at key row number `first` of the span, counted as in `key_row`.
fn weigh_keys(span: Span, first: u32, count: u32, part: u32, head: u32, d: u32, lane: u32) {
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

// As `weigh_keys`, but over the queries of `count` rows from `row` on.
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

// As `weigh_queries`, but over the rows' gradients dy, with the weights in `held_p`.
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

// Writes the staged columns to the four rows that begin at `at` in dqkv, or adds them to the rows.
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
    let span = spans[tile.first];
    let rows = own.rows;
    let y_rows = rows - params.first_row + params.first_y;
    let query = own_qkv(rows, 0u, head);
    let out = y_rows * params.heads * params.head_dim + head * params.head_dim;
    // A row attends to the keys up to its own, numbered as in `key_row`.
    let prefix = span.prefix_end - span.prefix_start;
    let keys = prefix + tile.end - span.own_start;
    let last_key = prefix + rows - span.own_start;

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

// dq_r = scale · Σ_j ds_rj · k_j  with  ds = p · (dy · v - row_dots),  p = exp(score - lse),
// row_dots = Σ dy · y.
@compute @workgroup_size(LANES)
fn backward_query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = own_of(group, lane);
    let tile = own.tile;
    let head = own.head;
    let span = spans[tile.first];
    let rows = own.rows;
    let query = own_qkv(rows, 0u, head);
    let out = (rows * params.heads + head) * params.head_dim;
    let prefix = span.prefix_end - span.prefix_start;
    let keys = prefix + tile.end - span.own_start;
    let last_key = prefix + rows - span.own_start;
    let at = rows * params.heads + head;
    let row_lse = vec4(saved_lse[at.x], saved_lse[at.y], saved_lse[at.z], saved_lse[at.w]);
    var row_dot = vec4(0.0);
    for (var d = 0u; d < params.head_dim; d += 4u) {
        let places = (out + d) / 4u;
        row_dot += vec4(
            dot(dy[places.x], saved_y[places.x]), dot(dy[places.y], saved_y[places.y]),
            dot(dy[places.z], saved_y[places.z]), dot(dy[places.w], saved_y[places.w]),
        );
    }
    for (var r = 0u; r < 4u; r++) {
        if own.live[r] && own.col == 0u {
            row_dots[at[r]] = row_dot[r];
        }
    }

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

// dk_j = scale · Σ_i ds_ij · q_i  and  dv_j = Σ_i p_ij · dy_i  over the queries i that attend to row j.
@compute @workgroup_size(LANES)
fn backward_key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = own_of(group, lane);
    let tile = own.tile;
    let head = own.head;
    let end = spans[tile.first].query_end;
    let rows = own.rows;
    let key = own_qkv(rows, 1u, head);
    let value = own_qkv(rows, 2u, head);

    for (var first = tile.first; first < end; first += HELD) {
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
        let later = first > tile.first;
        for (var d = own.col; d < own.col_end; d += COLS) {
            weigh_queries(first, count, head, d, lane);
            store_gradient(key, own.live, d, later, lane);
            weigh_dy(first, count, head, d, lane);
            store_gradient(value, own.live, d, later, lane);
        }
    }
}
