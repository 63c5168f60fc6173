// The variant for every shape. A workgroup owns GROUP_ROWS rows of a tile and GROUP_COLS columns of one head
// (the whole head, if it is as wide as GPT-2's). The rows that the own rows meet are the other side; the
// workgroup walks them SIDE rows at a time. Both sides pass through workgroup memory. A lane has two roles:
// it computes the scores of four own rows with one row of the other side, and it sums four columns of four
// own rows. Own row `quad + QUADS · r` is component r of a lane's vec4s.

const LANES: u32 = 64u;
const GROUP_ROWS: u32 = 16u;
const SIDE: u32 = 16u;
const VECTORS: u32 = 16u;           // vec4s in GROUP_COLS
const STRIDE: u32 = VECTORS + 1u;   // padded, so that lanes use different banks
const QUADS: u32 = 4u;              // groups of four own rows

var<workgroup> own_a: array<vec4<f32>, 272>;      // [GROUP_ROWS, STRIDE]
var<workgroup> own_b: array<vec4<f32>, 272>;      // [GROUP_ROWS, STRIDE]
var<workgroup> other: array<vec4<f32>, 272>;      // [SIDE, STRIDE]
var<workgroup> weights_a: array<vec4<f32>, 64>;   // [SIDE, QUADS]
var<workgroup> weights_b: array<vec4<f32>, 64>;   // [SIDE, QUADS]
var<workgroup> shrinks: array<vec4<f32>, QUADS>;

// `qkv_one` and `qkv_four` for dy.
fn dy_one(at: u32, d: u32) -> f32 {
    if d < params.head_dim {
        return dy[(at + d) / 4u][(at + d) % 4u];
    }
    return 0.0;
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

// The part of the result that a workgroup owns.
struct Own {
    first: u32,   // the own rows are [first, end)
    end: u32,
    head: u32,
    col: u32,     // the workgroup sums columns [col, col + GROUP_COLS) of the head
}

fn own_of(group: vec3<u32>) -> Own {
    let chunks = head_chunks();
    let parts = TILE_ROWS / GROUP_ROWS;
    let tile = tiles[params.first_tile + group.y / parts];
    let first = tile.first + group.y % parts * GROUP_ROWS;
    let end = min(first + GROUP_ROWS, tile.end);
    return Own(first, end, group.x / chunks, group.x % chunks * GROUP_COLS);
}

// The number of chunks of GROUP_COLS columns in a head.
fn head_chunks() -> u32 {
    return (params.head_dim + GROUP_COLS - 1u) / GROUP_COLS;
}

fn own_rows(own: Own, quad: u32) -> vec4<u32> {
    return own.first + quad + QUADS * vec4(0u, 1u, 2u, 3u);
}

// Loads GROUP_COLS columns, from `col` on, of the own rows' queries, keys or values (part 0, 1, 2) into own_a.
// A row over the end repeats the last row.
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

// Loads the same columns of SIDE keys (part 1) or values (part 2) into `other`, from key row number `first` of
// the span on, counted as in `key_row`.
fn load_keys(span: Span, first: u32, keys: u32, part: u32, head: u32, col: u32, lane: u32) {
    for (var i = lane; i < SIDE * VECTORS; i += LANES) {
        let row = key_row(span, min(first + i / VECTORS, keys - 1u));
        let four = qkv_four(qkv_at(row, part, head), col + 4u * (i % VECTORS));
        other[i / VECTORS * STRIDE + i % VECTORS] = four;
    }
}

// Loads GROUP_COLS columns, from `col` on, of SIDE queries into `other`, from row `first` on; `end` is the end of
// the rows.
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

// The number of loaded vec4s that hold columns of the head, if the load began at column `col`.
fn loaded_vectors(col: u32) -> u32 {
    return min(VECTORS, (params.head_dim - col + 3u) / 4u);
}

// The dot products of four own rows with one row of the other side, over the columns loaded from `col` on.
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

// Σ weight · other over `count` loaded rows, for four own rows (one matrix column each) and four columns.
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

// Writes the lane's sums, four rows by four columns, to the gradient of queries, keys or values in dqkv.
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
    let prefix = span.prefix_end - span.prefix_start;
    let keys = prefix + own.end - span.own_start;
    let quad = lane % QUADS;
    let side = lane / QUADS;
    let sum_quad = lane / VECTORS;
    let vector = lane % VECTORS;
    // A row attends to the keys up to its own, numbered as in `key_row`.
    let last_key = prefix + own_rows(own, quad) - span.own_start;

    var peak = vec4(LOWEST);
    var total = vec4(0.0);  // the sum of weights over this lane's rows of the other side
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
    let prefix = span.prefix_end - span.prefix_start;
    let keys = prefix + own.end - span.own_start;
    let quad = lane % QUADS;
    let side = lane / QUADS;
    let sum_quad = lane / VECTORS;
    let vector = lane % VECTORS;
    let rows = min(own_rows(own, quad), vec4(own.end - 1u));
    let last_key = prefix + rows - span.own_start;
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

// dk_j = scale · Σ_i ds_ij · q_i  and  dv_j = Σ_i p_ij · dy_i  over the queries i that attend to row j.
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
    let end = spans[own.first].query_end;
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
