// Causal attention over the shared-prefix stream. Query row r attends to the key rows
// [prefix_start, prefix_end) and [own_start, r]; key row j is seen by the queries [j, query_end).
// No score is ever stored: the forward pass keeps a running softmax (flash attention), the backward
// passes recompute the probabilities from the saved log-sum-exp.
//
// The host cuts the rows into tiles that lie in one prompt or response each, so that a tile has one span,
// and what is summed for a row depends on its own pair alone. A workgroup owns GROUP_ROWS rows of a tile
// and GROUP_COLS columns of one head (all of them, for heads as wide as GPT-2's), and walks the rows that
// they meet, the other side, SIDE rows at a time. Both sides pass through workgroup memory. A lane has two
// roles: it makes the scores of four own rows with one row of the other side, and sums four columns of
// four own rows. Row `group + 4 · r` of the own rows is component r of a lane's vec4s.

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
@group(0) @binding(5) var<storage, read> saved_y: array<f32>;          // y and lse, in the backward
@group(0) @binding(6) var<storage, read> saved_lse: array<f32>;        //   passes
@group(0) @binding(7) var<storage, read> dy: array<vec4<f32>>;         // [rows, C], by fours
@group(0) @binding(8) var<storage, read_write> row_dots: array<f32>;   // [rows, H]: dy · y
@group(0) @binding(9) var<storage, read> saved_dots: array<f32>;       // the same, when used
@group(0) @binding(10) var<storage, read_write> dqkv: array<f32>;      // [stream rows, 3C]
@group(0) @binding(11) var<storage, read> tiles: array<vec4<u32>>;     // first row, end

const LANES: u32 = 64u;
const TILE_ROWS: u32 = 32u;         // at most, of a tile
const GROUP_ROWS: u32 = 16u;
const GROUP_COLS: u32 = 64u;
const SIDE: u32 = 16u;
const VECTORS: u32 = 16u;           // vec4s in GROUP_COLS
const STRIDE: u32 = VECTORS + 1u;   // padded, so that lanes meet different banks
const QUADS: u32 = 4u;              // groups of four own rows
const MAX_HEAD_DIM: u32 = 256u;
const LOWEST: f32 = -1e30;

var<workgroup> own_a: array<vec4<f32>, 272>;      // [GROUP_ROWS, STRIDE]
var<workgroup> own_b: array<vec4<f32>, 272>;      // [GROUP_ROWS, STRIDE]
var<workgroup> other: array<vec4<f32>, 272>;      // [SIDE, STRIDE]
var<workgroup> weights_a: array<vec4<f32>, 64>;   // [SIDE, QUADS]
var<workgroup> weights_b: array<vec4<f32>, 64>;   // [SIDE, QUADS]
var<workgroup> shrinks: array<vec4<f32>, QUADS>;

// Where the query, key or value (part 0, 1, 2) of a row and head begins in qkv.
fn qkv_at(row: u32, part: u32, head: u32) -> u32 {
    return ((row * 3u + part) * params.heads + head) * params.head_dim;
}

fn y_at(row: u32, head: u32) -> u32 {
    return (row * params.heads + head) * params.head_dim;
}

// Column d of the head that begins at `at`; zero beyond the head.
fn qkv_one(at: u32, d: u32) -> f32 {
    if d < params.head_dim {
        return qkv[(at + d) / 4u][(at + d) % 4u];
    }
    return 0.0;
}

fn dy_one(at: u32, d: u32) -> f32 {
    if d < params.head_dim {
        return dy[(at + d) / 4u][(at + d) % 4u];
    }
    return 0.0;
}

// Columns d .. d + 4. No loop that writes to component `k` of a vector: FXC unrolls all loops around such a
// write, and gives up.
fn qkv_four(at: u32, d: u32) -> vec4<f32> {
    if params.head_dim % 4u != 0u {
        return vec4(qkv_one(at, d), qkv_one(at, d + 1u), qkv_one(at, d + 2u), qkv_one(at, d + 3u));
    }
    if d < params.head_dim {
        return qkv[(at + d) / 4u];
    }
    return vec4(0.0);
}

fn dy_four(at: u32, d: u32) -> vec4<f32> {
    if params.head_dim % 4u != 0u {
        return vec4(dy_one(at, d), dy_one(at, d + 1u), dy_one(at, d + 2u), dy_one(at, d + 3u));
    }
    if d < params.head_dim {
        return dy[(at + d) / 4u];
    }
    return vec4(0.0);
}

// The t-th key row that a query with this span sees.
fn key_row(span: vec4<u32>, t: u32) -> u32 {
    let prefix = span.y - span.x;
    return select(span.z + t - prefix, span.x + t, t < prefix);
}

// What a workgroup owns.
struct Own {
    first: u32,   // rows [first, end)
    end: u32,
    head: u32,
    col: u32,     // columns [col, col + GROUP_COLS) of the head are summed
}

fn own_of(group: vec3<u32>) -> Own {
    let chunks = head_chunks();
    let parts = TILE_ROWS / GROUP_ROWS;
    let tile = tiles[params.first_tile + group.y / parts];
    let first = tile.x + group.y % parts * GROUP_ROWS;
    let end = min(first + GROUP_ROWS, tile.y);
    return Own(first, end, group.x / chunks, group.x % chunks * GROUP_COLS);
}

// Runs of GROUP_COLS columns in a head.
fn head_chunks() -> u32 {
    return (params.head_dim + GROUP_COLS - 1u) / GROUP_COLS;
}

fn own_rows(own: Own, quad: u32) -> vec4<u32> {
    return own.first + quad + QUADS * vec4(0u, 1u, 2u, 3u);
}

// Columns col .. of part `part` of the own rows, into own_a; rows over the end repeat the last one.
fn load_own_a(own: Own, part: u32, col: u32, lane: u32) {
    for (var i = lane; i < GROUP_ROWS * VECTORS; i += LANES) {
        let at = qkv_at(min(own.first + i / VECTORS, own.end - 1u), part, own.head);
        own_a[i / VECTORS * STRIDE + i % VECTORS] = qkv_four(at, col + 4u * (i % VECTORS));
    }
}

fn load_own_b(own: Own, part: u32, col: u32, lane: u32) {
    for (var i = lane; i < GROUP_ROWS * VECTORS; i += LANES) {
        let at = qkv_at(min(own.first + i / VECTORS, own.end - 1u), part, own.head);
        own_b[i / VECTORS * STRIDE + i % VECTORS] = qkv_four(at, col + 4u * (i % VECTORS));
    }
}

fn load_own_b_from_dy(own: Own, col: u32, lane: u32) {
    for (var i = lane; i < GROUP_ROWS * VECTORS; i += LANES) {
        let at = y_at(min(own.first + i / VECTORS, own.end - 1u), own.head);
        own_b[i / VECTORS * STRIDE + i % VECTORS] = dy_four(at, col + 4u * (i % VECTORS));
    }
}

// The same of the keys or values that the span sees, from the first-th on, into `other`.
fn load_keys(span: vec4<u32>, first: u32, keys: u32, part: u32, head: u32, col: u32, lane: u32) {
    for (var i = lane; i < SIDE * VECTORS; i += LANES) {
        let row = key_row(span, min(first + i / VECTORS, keys - 1u));
        let four = qkv_four(qkv_at(row, part, head), col + 4u * (i % VECTORS));
        other[i / VECTORS * STRIDE + i % VECTORS] = four;
    }
}

// The same of the queries of the rows first .. end.
fn load_queries(first: u32, end: u32, head: u32, col: u32, lane: u32) {
    for (var i = lane; i < SIDE * VECTORS; i += LANES) {
        let at = qkv_at(min(first + i / VECTORS, end - 1u), 0u, head);
        other[i / VECTORS * STRIDE + i % VECTORS] = qkv_four(at, col + 4u * (i % VECTORS));
    }
}

fn load_dy(first: u32, end: u32, head: u32, col: u32, lane: u32) {
    for (var i = lane; i < SIDE * VECTORS; i += LANES) {
        let at = y_at(min(first + i / VECTORS, end - 1u), head);
        other[i / VECTORS * STRIDE + i % VECTORS] = dy_four(at, col + 4u * (i % VECTORS));
    }
}

// Vectors that hold columns of the head, of those loaded from column `col` on.
fn loaded_vectors(col: u32) -> u32 {
    return min(VECTORS, (params.head_dim - col + 3u) / 4u);
}

// The products of four own rows with a row of the other side, over the columns loaded from `col` on.
fn dots_a(quad: u32, side: u32, col: u32) -> vec4<f32> {
    var sums = vec4(0.0);
    let vectors = loaded_vectors(col);
    for (var v = 0u; v < vectors; v++) {
        let at = quad * STRIDE + v;
        let step = QUADS * STRIDE;
        let own = mat4x4(own_a[at], own_a[at + step], own_a[at + 2u * step], own_a[at + 3u * step]);
        sums += other[side * STRIDE + v] * own;
    }
    return sums;
}

fn dots_b(quad: u32, side: u32, col: u32) -> vec4<f32> {
    var sums = vec4(0.0);
    let vectors = loaded_vectors(col);
    for (var v = 0u; v < vectors; v++) {
        let at = quad * STRIDE + v;
        let step = QUADS * STRIDE;
        let own = mat4x4(own_b[at], own_b[at + step], own_b[at + 2u * step], own_b[at + 3u * step]);
        sums += other[side * STRIDE + v] * own;
    }
    return sums;
}

// Σ weight · other over `count` loaded rows, for four own rows (a matrix column each) and four columns.
fn weigh_a(count: u32, quad: u32, vector: u32) -> mat4x4<f32> {
    var sums = mat4x4<f32>();
    for (var s = 0u; s < count; s++) {
        let w = weights_a[s * QUADS + quad];
        let v = other[s * STRIDE + vector];
        sums += mat4x4(w.x * v, w.y * v, w.z * v, w.w * v);
    }
    return sums;
}

fn weigh_b(count: u32, quad: u32, vector: u32) -> mat4x4<f32> {
    var sums = mat4x4<f32>();
    for (var s = 0u; s < count; s++) {
        let w = weights_b[s * QUADS + quad];
        let v = other[s * STRIDE + vector];
        sums += mat4x4(w.x * v, w.y * v, w.z * v, w.w * v);
    }
    return sums;
}

// Writes the sums of the lane's four rows and columns to a part of dqkv.
fn store_gradient(own: Own, part: u32, quad: u32, vector: u32, sums: mat4x4<f32>) {
    for (var r = 0u; r < 4u; r++) {
        let row = own.first + quad + QUADS * r;
        for (var k = 0u; k < 4u; k++) {
            let d = own.col + 4u * vector + k;
            if row < own.end && d < params.head_dim {
                dqkv[qkv_at(row, part, own.head) + d] = sums[r][k];
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = own_of(group);
    if own.first >= own.end {
        return;
    }
    let chunks = head_chunks();
    let span = spans[own.first];
    let prefix = span.y - span.x;
    let keys = prefix + own.end - span.z;
    let quad = lane % QUADS;
    let side = lane / QUADS;
    let sum_quad = lane / VECTORS;
    let vector = lane % VECTORS;
    // A row sees the keys up to its own, counted as key_row counts.
    let last_key = prefix + own_rows(own, quad) - span.z;

    var peak = vec4(LOWEST);
    var total = vec4(0.0);  // over this lane's rows of the other side
    var sums = mat4x4<f32>();
    for (var first = 0u; first < keys; first += SIDE) {
        let count = min(SIDE, keys - first);
        var dots = vec4(0.0);
        for (var chunk = 0u; chunk < chunks; chunk++) {
            let col = chunk * GROUP_COLS;
            workgroupBarrier();
            if first == 0u || chunks > 1u {
                load_own_a(own, 0u, col, lane);
            }
            load_keys(span, first, keys, 1u, own.head, col, lane);
            workgroupBarrier();
            dots += dots_a(quad, side, col);
        }
        let score = select(vec4(LOWEST), dots * params.scale, vec4(first + side) <= last_key);
        weights_a[lane] = score;
        workgroupBarrier();
        load_keys(span, first, keys, 2u, own.head, own.col, lane);
        var higher = peak;
        for (var s = 0u; s < count; s++) {
            higher = max(higher, weights_a[s * QUADS + quad]);
        }
        let weight = exp(score - higher);
        let shrink = exp(peak - higher);
        peak = higher;
        total = total * shrink + weight;
        if side == 0u {
            shrinks[quad] = shrink;
        }
        workgroupBarrier();
        weights_a[lane] = weight;
        workgroupBarrier();
        let by = shrinks[sum_quad];
        sums = mat4x4(sums[0] * by.x, sums[1] * by.y, sums[2] * by.z, sums[3] * by.w);
        sums += weigh_a(count, sum_quad, vector);
    }
    workgroupBarrier();
    weights_a[lane] = total;
    workgroupBarrier();
    if side == 0u && own.col == 0u {
        total = vec4(0.0);
        for (var s = 0u; s < SIDE; s++) {
            total += weights_a[s * QUADS + quad];
        }
        let value = peak + log(total);
        for (var r = 0u; r < 4u; r++) {
            let row = own.first + quad + QUADS * r;
            if row < own.end {
                lse[(row - params.first_row + params.first_y) * params.heads + own.head] = value[r];
            }
        }
    }
    total = vec4(0.0);
    for (var s = 0u; s < SIDE; s++) {
        total += weights_a[s * QUADS + sum_quad];
    }
    for (var r = 0u; r < 4u; r++) {
        let row = own.first + sum_quad + QUADS * r;
        for (var k = 0u; k < 4u; k++) {
            let d = own.col + 4u * vector + k;
            if row < own.end && d < params.head_dim {
                y[y_at(row - params.first_row + params.first_y, own.head) + d] = sums[r][k] / total[r];
            }
        }
    }
}

// dq_r = scale · Σ_j ds_rj · k_j  with  ds = p · (dy · v - row_dots),  p = exp(score - lse).
@compute @workgroup_size(LANES)
fn backward_query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = own_of(group);
    if own.first >= own.end {
        return;
    }
    let chunks = head_chunks();
    let span = spans[own.first];
    let prefix = span.y - span.x;
    let keys = prefix + own.end - span.z;
    let quad = lane % QUADS;
    let side = lane / QUADS;
    let sum_quad = lane / VECTORS;
    let vector = lane % VECTORS;
    let rows = min(own_rows(own, quad), vec4(own.end - 1u));
    let last_key = prefix + rows - span.z;
    let at = rows * params.heads + own.head;
    let row_lse = vec4(saved_lse[at.x], saved_lse[at.y], saved_lse[at.z], saved_lse[at.w]);
    let row_dot = vec4(saved_dots[at.x], saved_dots[at.y], saved_dots[at.z], saved_dots[at.w]);

    var sums = mat4x4<f32>();
    for (var first = 0u; first < keys; first += SIDE) {
        let count = min(SIDE, keys - first);
        var dots = vec4(0.0);
        var dp = vec4(0.0);
        for (var chunk = 0u; chunk < chunks; chunk++) {
            let col = chunk * GROUP_COLS;
            workgroupBarrier();
            if first == 0u || chunks > 1u {
                load_own_a(own, 0u, col, lane);
                load_own_b_from_dy(own, col, lane);
            }
            load_keys(span, first, keys, 2u, own.head, col, lane);
            workgroupBarrier();
            dp += dots_b(quad, side, col);
            workgroupBarrier();
            load_keys(span, first, keys, 1u, own.head, col, lane);
            workgroupBarrier();
            dots += dots_a(quad, side, col);
        }
        let p = exp(dots * params.scale - row_lse);
        let ds = p * (dp - row_dot) * params.scale;
        weights_a[lane] = select(vec4(0.0), ds, vec4(first + side) <= last_key);
        if chunks > 1u {
            workgroupBarrier();
            load_keys(span, first, keys, 1u, own.head, own.col, lane);
        }
        workgroupBarrier();
        sums += weigh_a(count, sum_quad, vector);
    }
    store_gradient(own, 0u, sum_quad, vector, sums);
}

// dk_j = scale · Σ_i ds_ij · q_i  and  dv_j = Σ_i p_ij · dy_i  over the queries i that see row j.
@compute @workgroup_size(LANES)
fn backward_key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = own_of(group);
    if own.first >= own.end {
        return;
    }
    let chunks = head_chunks();
    let end = spans[own.first].w;
    let quad = lane % QUADS;
    let side = lane / QUADS;
    let sum_quad = lane / VECTORS;
    let vector = lane % VECTORS;
    let rows = own_rows(own, quad);

    var key_sums = mat4x4<f32>();
    var value_sums = mat4x4<f32>();
    for (var first = own.first; first < end; first += SIDE) {
        let count = min(SIDE, end - first);
        var dots = vec4(0.0);
        var dp = vec4(0.0);
        for (var chunk = 0u; chunk < chunks; chunk++) {
            let col = chunk * GROUP_COLS;
            workgroupBarrier();
            if first == own.first || chunks > 1u {
                load_own_a(own, 1u, col, lane);
                load_own_b(own, 2u, col, lane);
            }
            load_queries(first, end, own.head, col, lane);
            workgroupBarrier();
            dots += dots_a(quad, side, col);
            workgroupBarrier();
            load_dy(first, end, own.head, col, lane);
            workgroupBarrier();
            dp += dots_b(quad, side, col);
        }
        let query = first + side;
        let at = min(query, end - 1u) * params.heads + own.head;
        let weight = exp(dots * params.scale - saved_lse[at]);
        let p = select(vec4(0.0), weight, (vec4(query) >= rows) & vec4(query < end));
        weights_a[lane] = p * (dp - saved_dots[at]) * params.scale;
        weights_b[lane] = p;
        if chunks > 1u {
            workgroupBarrier();
            load_dy(first, end, own.head, own.col, lane);
        }
        workgroupBarrier();
        value_sums += weigh_b(count, sum_quad, vector);
        workgroupBarrier();
        load_queries(first, end, own.head, own.col, lane);
        workgroupBarrier();
        key_sums += weigh_a(count, sum_quad, vector);
    }
    store_gradient(own, 1u, sum_quad, vector, key_sums);
    store_gradient(own, 2u, sum_quad, vector, value_sums);
}

// row_dots[r, h] = Σ_d dy · y, which the softmax's derivative subtracts.
@compute @workgroup_size(LANES)
fn backward_row_dots(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * LANES + lane;
    if i < params.rows * params.heads {
        var sum = 0.0;
        for (var d = i * params.head_dim; d < (i + 1u) * params.head_dim; d++) {
            sum += dy[d / 4u][d % 4u] * saved_y[d];
        }
        row_dots[i] = sum;
    }
}

// One row alone, when generating: a workgroup owns it, and its lanes share out the keys.
const SLOTS: u32 = 4u;  // head columns a lane owns: MAX_HEAD_DIM / LANES
var<workgroup> row_query: array<vec4<f32>, 64>;  // MAX_HEAD_DIM / 4
var<workgroup> row_scores: array<f32, LANES>;
var<workgroup> row_weights: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn forward_row(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = params.first_row + group.x;
    let head = group.y;
    let span = spans[row];
    let keys = span.y - span.x + row - span.z + 1u;
    row_query[lane] = qkv_four(qkv_at(row, 0u, head), 4u * lane) * params.scale;
    workgroupBarrier();

    var peak = LOWEST;
    var total = 0.0;
    var sums = array<f32, SLOTS>();
    for (var first = 0u; first < keys; first += LANES) {
        let count = min(LANES, keys - first);
        var score = LOWEST;
        if lane < count {
            let key = qkv_at(key_row(span, first + lane), 1u, head);
            score = 0.0;
            for (var d = 0u; d < params.head_dim; d += 4u) {
                score += dot(row_query[d / 4u], qkv_four(key, d));
            }
        }
        row_scores[lane] = score;
        workgroupBarrier();
        var higher = peak;
        for (var k = 0u; k < count; k++) {
            higher = max(higher, row_scores[k]);
        }
        row_weights[lane] = exp(score - higher);
        workgroupBarrier();
        let shrink = exp(peak - higher);
        peak = higher;
        total *= shrink;
        for (var k = 0u; k < count; k++) {
            total += row_weights[k];
        }
        for (var s = 0u; s < SLOTS; s++) {
            let d = s * LANES + lane;
            if d < params.head_dim {
                var sum = 0.0;
                for (var k = 0u; k < count; k++) {
                    let at = qkv_at(key_row(span, first + k), 2u, head) + d;
                    sum += row_weights[k] * qkv[at / 4u][at % 4u];
                }
                sums[s] = sums[s] * shrink + sum;
            }
        }
        workgroupBarrier();
    }
    let y_row = group.x + params.first_y;
    for (var s = 0u; s < SLOTS; s++) {
        let d = s * LANES + lane;
        if d < params.head_dim {
            y[y_at(y_row, head) + d] = sums[s] / total;
        }
    }
    if lane == 0u {
        lse[y_row * params.heads + head] = peak + log(total);
    }
}
