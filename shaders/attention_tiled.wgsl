// The variant for every shape. A workgroup owns the rows of a tile and GROUP_COLS columns of one head (the whole
// head, if it is as wide as GPT-2's). The rows that the own rows meet are the other side; the workgroup walks
// them SIDE rows at a time. A lane has two roles: it computes the scores of four own rows with two rows of the
// other side, `side` and `side + SIDE / 2`, and it sums four columns of the same own rows. Own row
// `quad + QUADS · r` is component r of a lane's vec4s.
//
// Both sides pass through `loaded`: CHUNK columns of own and other rows for their dot products, then GROUP_COLS
// columns of the other rows for the sums. So 128 lanes share 12 KiB, and a core holds several workgroups.

const LANES: u32 = 128u;
const GROUP_ROWS: u32 = TILE_ROWS;
const SIDE: u32 = 32u;
const QUADS: u32 = 8u;          // groups of four own rows
const VECTORS: u32 = 16u;       // vec4s in GROUP_COLS
const CHUNK: u32 = 32u;         // columns of a dot product that are loaded at a time
const CHUNK_VECTORS: u32 = 8u;  // vec4s in CHUNK
const HALF: u32 = 128u;         // vec4s in half of the own rows of a chunk, or of the other rows
const OTHER: u32 = 256u;        // where the other rows of a chunk begin in `loaded`

var<workgroup> loaded: array<vec4<f32>, 512>;   // own and other rows of a chunk, or [SIDE, VECTORS]
var<workgroup> weights: array<vec4<f32>, 256>;  // [QUADS, SIDE]

// `qkv_four` for dy.
fn dy_four(at: u32, d: u32) -> vec4<f32> {
    let places = unaligned(at, d);
    return aligned(dy[places.x], dy[places.y], at + d, d);
}

// `qkv_four` for y of the forward pass.
fn y_four(at: u32, d: u32) -> vec4<f32> {
    let places = unaligned(at, d);
    return aligned(saved_y[places.x], saved_y[places.y], at + d, d);
}

// The part of the result that a workgroup owns.
struct Own {
    first: u32,   // the own rows are [first, end)
    end: u32,
    head: u32,
    col: u32,     // the workgroup sums columns [col, col + GROUP_COLS) of the head
}

fn own_of(group: vec3<u32>) -> Own {
    let chunks = (params.head_dim + GROUP_COLS - 1u) / GROUP_COLS;
    let tile = tiles[params.first_tile + group.y];
    return Own(tile.first, tile.end, group.x / chunks, group.x % chunks * GROUP_COLS);
}

fn own_rows(own: Own, quad: u32) -> vec4<u32> {
    return own.first + quad + QUADS * vec4(0u, 1u, 2u, 3u);
}

// True if heads are whole vec4s. Then no load of the functions below stands in a branch, so that none waits for
// another.
fn are_whole() -> bool {
    return params.head_dim % 4u == 0u;
}

// Puts columns d to d + 3 of four rows into `loaded`; 0 beyond the head.
fn put(to: vec4<u32>, d: u32, x: vec4<f32>, y: vec4<f32>, z: vec4<f32>, w: vec4<f32>) {
    let inside = d < params.head_dim;
    loaded[to.x] = select(vec4(0.0), x, inside);
    loaded[to.y] = select(vec4(0.0), y, inside);
    loaded[to.z] = select(vec4(0.0), z, inside);
    loaded[to.w] = select(vec4(0.0), w, inside);
}

// Loads columns d to d + 3 of four rows; `at` says where their heads begin.
fn load_qkv(to: vec4<u32>, at: vec4<u32>, d: u32) {
    if are_whole() {
        let places = (at + min(d, params.head_dim - 4u)) / 4u;
        put(to, d, qkv[places.x], qkv[places.y], qkv[places.z], qkv[places.w]);
    } else {
        put(to, d, qkv_four(at.x, d), qkv_four(at.y, d), qkv_four(at.z, d), qkv_four(at.w, d));
    }
}

fn load_dy(to: vec4<u32>, at: vec4<u32>, d: u32) {
    if are_whole() {
        let places = (at + min(d, params.head_dim - 4u)) / 4u;
        put(to, d, dy[places.x], dy[places.y], dy[places.z], dy[places.w]);
    } else {
        put(to, d, dy_four(at.x, d), dy_four(at.y, d), dy_four(at.z, d), dy_four(at.w, d));
    }
}

// Rows x and y are of qkv, z and w of dy.
fn load_both(to: vec4<u32>, at: vec4<u32>, d: u32) {
    if are_whole() {
        let places = (at + min(d, params.head_dim - 4u)) / 4u;
        put(to, d, qkv[places.x], qkv[places.y], dy[places.z], dy[places.w]);
    } else {
        put(to, d, qkv_four(at.x, d), qkv_four(at.y, d), dy_four(at.z, d), dy_four(at.w, d));
    }
}

// Where vec4 `v` of a line of a chunk lies: turned from line to line, so that lanes use different banks.
fn slot(line: u32, v: u32) -> u32 {
    return line * CHUNK_VECTORS + (v ^ (line % CHUNK_VECTORS));
}

// In a chunk a lane loads one vec4 of two own rows and of two other rows: the places of these four in `loaded`.
fn chunk_slots(lane: u32) -> vec4<u32> {
    let first = slot(lane / CHUNK_VECTORS, lane % CHUNK_VECTORS);
    return first + vec4(0u, HALF, OTHER, OTHER + HALF);
}

// The numbers of these rows among the own rows, and among the other rows.
fn chunk_lines(lane: u32) -> vec2<u32> {
    return lane / CHUNK_VECTORS + SIDE / 2u * vec2(0u, 1u);
}

// For the sums a lane loads one vec4 of four other rows: the numbers of the rows, and their places in `loaded`.
fn sum_lines(lane: u32) -> vec4<u32> {
    return lane / VECTORS + SIDE / 4u * vec4(0u, 1u, 2u, 3u);
}

fn sum_slots(lane: u32) -> vec4<u32> {
    return sum_lines(lane) * VECTORS + lane % VECTORS;
}

// Where the heads of rows begin in qkv; `row_words` are the numbers of words before the rows in dy.
fn in_qkv(row_words: vec2<u32>, part: u32, head: u32) -> vec2<u32> {
    return 3u * row_words + (part * params.heads + head) * params.head_dim;
}

fn four_in_qkv(row_words: vec4<u32>, part: u32, head: u32) -> vec4<u32> {
    return vec4(in_qkv(row_words.xy, part, head), in_qkv(row_words.zw, part, head));
}

// The key rows of the numbers `t`, counted as in `key_row`; a number over the end is that of the last key.
fn two_keys(span: Span, t: vec2<u32>, keys: u32) -> vec2<u32> {
    return vec2(key_row(span, min(t.x, keys - 1u)), key_row(span, min(t.y, keys - 1u)));
}

fn four_keys(span: Span, t: vec4<u32>, keys: u32) -> vec4<u32> {
    return vec4(two_keys(span, t.xy, keys), two_keys(span, t.zw, keys));
}

// Adds the dot products of four own rows with the other rows `side` and `side + SIDE / 2`, over the chunk that
// begins at `col`.
fn dots(before: mat2x4<f32>, quad: u32, side: u32, col: u32) -> mat2x4<f32> {
    var sums = before;
    let vectors = min(CHUNK_VECTORS, (params.head_dim - col + 3u) / 4u);
    for (var v = 0u; v < vectors; v++) {
        let at = slot(quad, v);
        let step = QUADS * CHUNK_VECTORS;
        let own = mat4x4(loaded[at], loaded[at + step], loaded[at + 2u * step], loaded[at + 3u * step]);
        let other = OTHER + slot(side, v);
        sums += mat2x4(loaded[other] * own, loaded[other + HALF] * own);
    }
    return sums;
}

// Adds Σ weight · other over `count` loaded rows, for four own rows (one matrix column each) and four columns.
fn weigh(before: mat4x4<f32>, count: u32, quad: u32, vector: u32) -> mat4x4<f32> {
    var sums = before;
    for (var s = 0u; s < count; s++) {
        let w = weights[quad * SIDE + s];
        let v = loaded[s * VECTORS + vector];
        sums += mat4x4(w.x * v, w.y * v, w.z * v, w.w * v);
    }
    return sums;
}

// Puts a lane's weights of the other rows `side` and `side + SIDE / 2` into their places.
fn put_weights(quad: u32, side: u32, of_rows: mat2x4<f32>) {
    weights[quad * SIDE + side] = of_rows[0];
    weights[quad * SIDE + side + SIDE / 2u] = of_rows[1];
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
    let span = spans[own.first];
    let prefix = span.prefix_end - span.prefix_start;
    let keys = prefix + own.end - span.own_start;
    let quad = lane / VECTORS;
    let side = lane % VECTORS;  // and the lane's vec4 in the sums
    let width = params.heads * params.head_dim;
    let own_words = width * min(own.first + chunk_lines(lane), vec2(own.end - 1u));

    var peak = vec4(LOWEST);
    var total = vec4(0.0);  // the sum of weights over this lane's rows of the other side
    var sums = mat4x4<f32>();
    for (var first = 0u; first < keys; first += SIDE) {
        let other_words = width * two_keys(span, first + chunk_lines(lane), keys);
        var products = mat2x4<f32>();
        for (var col = 0u; col < params.head_dim; col += CHUNK) {
            workgroupBarrier();
            let at = vec4(in_qkv(own_words, 0u, own.head), in_qkv(other_words, 1u, own.head));
            load_qkv(chunk_slots(lane), at, col + 4u * (lane % CHUNK_VECTORS));
            workgroupBarrier();
            products = dots(products, quad, side, col);
        }
        // A row attends to the keys up to its own, numbered as in `key_row`.
        let last_key = prefix + own_rows(own, quad) - span.own_start;
        let score = select(vec4(LOWEST), products[0] * params.scale, vec4(first + side) <= last_key);
        let other_score = select(vec4(LOWEST), products[1] * params.scale, vec4(first + side + SIDE / 2u) <= last_key);
        weights[quad * SIDE + side] = max(score, other_score);
        workgroupBarrier();
        let value_words = width * four_keys(span, first + sum_lines(lane), keys);
        load_qkv(sum_slots(lane), four_in_qkv(value_words, 2u, own.head), own.col + 4u * side);
        var higher = peak;
        for (var s = 0u; s < SIDE / 2u; s++) {
            higher = max(higher, weights[quad * SIDE + s]);
        }
        let weight = mat2x4(exp(score - higher), exp(other_score - higher));
        let shrink = exp(peak - higher);
        peak = higher;
        total = total * shrink + (weight[0] + weight[1]);
        workgroupBarrier();
        put_weights(quad, side, weight);
        workgroupBarrier();
        sums = mat4x4(sums[0] * shrink.x, sums[1] * shrink.y, sums[2] * shrink.z, sums[3] * shrink.w);
        sums = weigh(sums, min(SIDE, keys - first), quad, side);
    }
    workgroupBarrier();
    weights[quad * SIDE + side] = total;
    workgroupBarrier();
    total = vec4(0.0);
    for (var s = 0u; s < SIDE / 2u; s++) {
        total += weights[quad * SIDE + s];
    }
    let row_lse = peak + log(total);
    for (var r = 0u; r < 4u; r++) {
        let row = own.first + quad + QUADS * r;
        let y_row = row - params.first_row + params.first_y;
        if row < own.end && side == 0u && own.col == 0u {
            lse[y_row * params.heads + own.head] = row_lse[r];
        }
        for (var k = 0u; k < 4u; k++) {
            let d = own.col + 4u * side + k;
            if row < own.end && d < params.head_dim {
                y[y_at(y_row, own.head) + d] = sums[r][k] / total[r];
            }
        }
    }
}

// Σ dy · y over every fourth vec4, from number `part` on, of the head that begins at `at`.
fn dot_with_y(at: u32, part: u32) -> f32 {
    var sum = 0.0;
    for (var d = 4u * part; d < params.head_dim; d += 16u) {
        if are_whole() {
            sum += dot(dy[(at + d) / 4u], saved_y[(at + d) / 4u]);
        } else {
            sum += dot(dy_four(at, d), y_four(at, d));
        }
    }
    return sum;
}

// The sum over the four parts of an own row, which four lanes left in `weights`.
fn row_dot_of(line: u32) -> f32 {
    let at = 4u * line;
    return (weights[at].x + weights[at + 1u].x) + (weights[at + 2u].x + weights[at + 3u].x);
}

// dq_r = scale · Σ_j ds_rj · k_j  with  ds = p · (dy · v - row_dots),  p = exp(score - lse),
// row_dots = Σ dy · y.
@compute @workgroup_size(LANES)
fn backward_query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = own_of(group);
    let span = spans[own.first];
    let prefix = span.prefix_end - span.prefix_start;
    let keys = prefix + own.end - span.own_start;
    let quad = lane / VECTORS;
    let side = lane % VECTORS;  // and the lane's vec4 in the sums
    let at = min(own_rows(own, quad), vec4(own.end - 1u)) * params.heads + own.head;
    let row_lse = vec4(saved_lse[at.x], saved_lse[at.y], saved_lse[at.z], saved_lse[at.w]);
    weights[lane] = vec4(dot_with_y(y_at(min(own.first + lane / 4u, own.end - 1u), own.head), lane % 4u));
    workgroupBarrier();
    let row_dot = vec4(
        row_dot_of(quad), row_dot_of(quad + QUADS), row_dot_of(quad + 2u * QUADS), row_dot_of(quad + 3u * QUADS),
    );
    if lane < GROUP_ROWS && own.first + lane < own.end && own.col == 0u {
        row_dots[(own.first + lane) * params.heads + own.head] = row_dot_of(lane);
    }
    let width = params.heads * params.head_dim;
    let own_words = width * min(own.first + chunk_lines(lane), vec2(own.end - 1u));

    var sums = mat4x4<f32>();
    for (var first = 0u; first < keys; first += SIDE) {
        let other_words = width * two_keys(span, first + chunk_lines(lane), keys);
        var products = mat2x4<f32>();
        var dp = mat2x4<f32>();
        for (var col = 0u; col < params.head_dim; col += CHUNK) {
            workgroupBarrier();
            let at = vec4(in_qkv(own_words, 0u, own.head), in_qkv(other_words, 1u, own.head));
            load_qkv(chunk_slots(lane), at, col + 4u * (lane % CHUNK_VECTORS));
            workgroupBarrier();
            products = dots(products, quad, side, col);
            workgroupBarrier();
            let other_dy_at = vec4(in_qkv(other_words, 2u, own.head), own_words + own.head * params.head_dim);
            load_both(chunk_slots(lane).zwxy, other_dy_at, col + 4u * (lane % CHUNK_VECTORS));
            workgroupBarrier();
            dp = dots(dp, quad, side, col);
        }
        let last_key = prefix + own_rows(own, quad) - span.own_start;
        let p = mat2x4(exp(products[0] * params.scale - row_lse), exp(products[1] * params.scale - row_lse));
        let ds = p[0] * (dp[0] - row_dot) * params.scale;
        let other_ds = p[1] * (dp[1] - row_dot) * params.scale;
        put_weights(quad, side, mat2x4(
            select(vec4(0.0), ds, vec4(first + side) <= last_key),
            select(vec4(0.0), other_ds, vec4(first + side + SIDE / 2u) <= last_key),
        ));
        workgroupBarrier();
        let key_words = width * four_keys(span, first + sum_lines(lane), keys);
        load_qkv(sum_slots(lane), four_in_qkv(key_words, 1u, own.head), own.col + 4u * side);
        workgroupBarrier();
        sums = weigh(sums, min(SIDE, keys - first), quad, side);
    }
    store_gradient(own, 0u, quad, side, sums);
}

// dk_j = scale · Σ_i ds_ij · q_i  and  dv_j = Σ_i p_ij · dy_i  over the queries i that attend to row j.
@compute @workgroup_size(LANES)
fn backward_key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = own_of(group);
    let end = spans[own.first].query_end;
    let quad = lane / VECTORS;
    let side = lane % VECTORS;  // and the lane's vec4 in the sums
    let width = params.heads * params.head_dim;
    let own_words = width * min(own.first + chunk_lines(lane), vec2(own.end - 1u));

    var key_sums = mat4x4<f32>();
    var value_sums = mat4x4<f32>();
    for (var first = own.first; first < end; first += SIDE) {
        let other_words = width * min(first + chunk_lines(lane), vec2(end - 1u));
        var products = mat2x4<f32>();
        var dp = mat2x4<f32>();
        for (var col = 0u; col < params.head_dim; col += CHUNK) {
            workgroupBarrier();
            let at = vec4(in_qkv(own_words, 1u, own.head), in_qkv(other_words, 0u, own.head));
            load_qkv(chunk_slots(lane), at, col + 4u * (lane % CHUNK_VECTORS));
            workgroupBarrier();
            products = dots(products, quad, side, col);
            workgroupBarrier();
            let value_dy_at = vec4(in_qkv(own_words, 2u, own.head), other_words + own.head * params.head_dim);
            load_both(chunk_slots(lane), value_dy_at, col + 4u * (lane % CHUNK_VECTORS));
            workgroupBarrier();
            dp = dots(dp, quad, side, col);
        }
        let rows = own_rows(own, quad);
        let query = first + side + SIDE / 2u * vec2(0u, 1u);
        let at = min(query, vec2(end - 1u)) * params.heads + own.head;
        let weight = exp(products[0] * params.scale - saved_lse[at.x]);
        let other_weight = exp(products[1] * params.scale - saved_lse[at.y]);
        let p = mat2x4(
            select(vec4(0.0), weight, (vec4(query.x) >= rows) & vec4(query.x < end)),
            select(vec4(0.0), other_weight, (vec4(query.y) >= rows) & vec4(query.y < end)),
        );
        let ds = mat2x4(
            p[0] * (dp[0] - saved_dots[at.x]) * params.scale,
            p[1] * (dp[1] - saved_dots[at.y]) * params.scale,
        );
        let count = min(SIDE, end - first);
        let sum_words = width * min(first + sum_lines(lane), vec4(end - 1u));
        let sum_d = own.col + 4u * side;
        put_weights(quad, side, p);
        workgroupBarrier();
        load_dy(sum_slots(lane), sum_words + own.head * params.head_dim, sum_d);
        workgroupBarrier();
        value_sums = weigh(value_sums, count, quad, side);
        workgroupBarrier();
        put_weights(quad, side, ds);
        load_qkv(sum_slots(lane), four_in_qkv(sum_words, 0u, own.head), sum_d);
        workgroupBarrier();
        key_sums = weigh(key_sums, count, quad, side);
    }
    store_gradient(own, 1u, quad, side, key_sums);
    store_gradient(own, 2u, quad, side, value_sums);
}
