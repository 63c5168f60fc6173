// Causal attention over the shared-prefix stream. Query row r attends to the key rows
// [prefix_start, prefix_end) and [own_start, r]; key row j is seen by the queries [j, query_end).
// No score is ever stored: the forward pass keeps a running softmax (flash attention), the backward
// passes recompute the probabilities from the saved log-sum-exp. A workgroup owns one row of one
// head and walks the other side in chunks of LANES rows.

struct Params {
    rows: u32,       // query rows of this dispatch
    first_row: u32,  // their first row in qkv and spans: above 0 only when generating
    heads: u32,      // H
    head_dim: u32,   // D
    scale: f32,      // 1/sqrt(D)
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;              // [stream rows, 3C]
@group(0) @binding(2) var<storage, read> spans: array<vec4<u32>>;      // [stream rows]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;          // [rows, C]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;        // [rows, H]
@group(0) @binding(5) var<storage, read> saved_y: array<f32>;          // y and lse, in the backward
@group(0) @binding(6) var<storage, read> saved_lse: array<f32>;        //   passes
@group(0) @binding(7) var<storage, read> dy: array<f32>;               // [rows, C]
@group(0) @binding(8) var<storage, read_write> row_dots: array<f32>;   // [rows, H]: dy · y
@group(0) @binding(9) var<storage, read> saved_dots: array<f32>;       // the same, when used
@group(0) @binding(10) var<storage, read_write> dqkv: array<f32>;      // [stream rows, 3C]

const LANES: u32 = 64u;
const MAX_HEAD_DIM: u32 = 256u;
const SLOTS: u32 = 4u;  // head columns a lane owns: MAX_HEAD_DIM / LANES
const LOWEST: f32 = -1e30;

var<workgroup> own_a: array<f32, MAX_HEAD_DIM>;
var<workgroup> own_b: array<f32, MAX_HEAD_DIM>;
var<workgroup> weights_a: array<f32, LANES>;
var<workgroup> weights_b: array<f32, LANES>;

// Where the query, key or value (part 0, 1, 2) of a row and head begins in qkv.
fn qkv_at(row: u32, part: u32, head: u32) -> u32 {
    return (row * 3u + part) * params.heads * params.head_dim + head * params.head_dim;
}

fn y_at(row: u32, head: u32) -> u32 {
    return (row * params.heads + head) * params.head_dim;
}

// The t-th key row that a query with this span sees.
fn key_row(span: vec4<u32>, t: u32) -> u32 {
    let prefix = span.y - span.x;
    return select(span.z + t - prefix, span.x + t, t < prefix);
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = params.first_row + group.x;
    let head = group.y;
    let span = spans[row];
    let keys = span.y - span.x + row - span.z + 1u;
    let query = qkv_at(row, 0u, head);
    for (var d = lane; d < params.head_dim; d += LANES) {
        own_a[d] = qkv[query + d] * params.scale;
    }
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
            for (var d = 0u; d < params.head_dim; d++) {
                score += own_a[d] * qkv[key + d];
            }
        }
        weights_a[lane] = score;
        workgroupBarrier();
        var chunk_peak = peak;
        for (var k = 0u; k < count; k++) {
            chunk_peak = max(chunk_peak, weights_a[k]);
        }
        weights_b[lane] = exp(score - chunk_peak);
        workgroupBarrier();
        let shrink = exp(peak - chunk_peak);
        peak = chunk_peak;
        total *= shrink;
        for (var k = 0u; k < count; k++) {
            total += weights_b[k];
        }
        for (var s = 0u; s < SLOTS; s++) {
            let d = s * LANES + lane;
            if d < params.head_dim {
                var sum = 0.0;
                for (var k = 0u; k < count; k++) {
                    sum += weights_b[k] * qkv[qkv_at(key_row(span, first + k), 2u, head) + d];
                }
                sums[s] = sums[s] * shrink + sum;
            }
        }
        workgroupBarrier();
    }
    let out = y_at(group.x, head);
    for (var s = 0u; s < SLOTS; s++) {
        let d = s * LANES + lane;
        if d < params.head_dim {
            y[out + d] = sums[s] / total;
        }
    }
    if lane == 0u {
        lse[group.x * params.heads + head] = peak + log(total);
    }
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
        for (var d = 0u; d < params.head_dim; d++) {
            sum += dy[i * params.head_dim + d] * saved_y[i * params.head_dim + d];
        }
        row_dots[i] = sum;
    }
}

// dq_r = scale · Σ_j ds_rj · k_j  with  ds = p · (dy · v - row_dots),  p = exp(score - lse).
@compute @workgroup_size(LANES)
fn backward_query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x;
    let head = group.y;
    let span = spans[row];
    let keys = span.y - span.x + row - span.z + 1u;
    let query = qkv_at(row, 0u, head);
    for (var d = lane; d < params.head_dim; d += LANES) {
        own_a[d] = qkv[query + d] * params.scale;
        own_b[d] = dy[y_at(row, head) + d];
    }
    workgroupBarrier();

    let row_lse = saved_lse[row * params.heads + head];
    let row_dot = saved_dots[row * params.heads + head];
    var sums = array<f32, SLOTS>();
    for (var first = 0u; first < keys; first += LANES) {
        let count = min(LANES, keys - first);
        if lane < count {
            let key = qkv_at(key_row(span, first + lane), 1u, head);
            let value = qkv_at(key_row(span, first + lane), 2u, head);
            var score = 0.0;
            var dp = 0.0;
            for (var d = 0u; d < params.head_dim; d++) {
                score += own_a[d] * qkv[key + d];
                dp += own_b[d] * qkv[value + d];
            }
            weights_a[lane] = exp(score - row_lse) * (dp - row_dot) * params.scale;
        }
        workgroupBarrier();
        for (var s = 0u; s < SLOTS; s++) {
            let d = s * LANES + lane;
            if d < params.head_dim {
                for (var k = 0u; k < count; k++) {
                    sums[s] += weights_a[k] * qkv[qkv_at(key_row(span, first + k), 1u, head) + d];
                }
            }
        }
        workgroupBarrier();
    }
    for (var s = 0u; s < SLOTS; s++) {
        let d = s * LANES + lane;
        if d < params.head_dim {
            dqkv[query + d] = sums[s];
        }
    }
}

// dk_j = scale · Σ_i ds_ij · q_i  and  dv_j = Σ_i p_ij · dy_i  over the queries i that see row j.
@compute @workgroup_size(LANES)
fn backward_key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x;
    let head = group.y;
    let end = spans[row].w;
    let key = qkv_at(row, 1u, head);
    let value = qkv_at(row, 2u, head);
    for (var d = lane; d < params.head_dim; d += LANES) {
        own_a[d] = qkv[key + d];
        own_b[d] = qkv[value + d];
    }
    workgroupBarrier();

    var key_sums = array<f32, SLOTS>();
    var value_sums = array<f32, SLOTS>();
    for (var first = row; first < end; first += LANES) {
        let count = min(LANES, end - first);
        if lane < count {
            let i = first + lane;
            let query = qkv_at(i, 0u, head);
            let out = y_at(i, head);
            var score = 0.0;
            var dp = 0.0;
            for (var d = 0u; d < params.head_dim; d++) {
                score += own_a[d] * qkv[query + d];
                dp += own_b[d] * dy[out + d];
            }
            let p = exp(score * params.scale - saved_lse[i * params.heads + head]);
            weights_a[lane] = p * (dp - saved_dots[i * params.heads + head]) * params.scale;
            weights_b[lane] = p;
        }
        workgroupBarrier();
        for (var s = 0u; s < SLOTS; s++) {
            let d = s * LANES + lane;
            if d < params.head_dim {
                for (var k = 0u; k < count; k++) {
                    key_sums[s] += weights_a[k] * qkv[qkv_at(first + k, 0u, head) + d];
                    value_sums[s] += weights_b[k] * dy[y_at(first + k, head) + d];
                }
            }
        }
        workgroupBarrier();
    }
    for (var s = 0u; s < SLOTS; s++) {
        let d = s * LANES + lane;
        if d < params.head_dim {
            dqkv[key + d] = key_sums[s];
            dqkv[value + d] = value_sums[s];
        }
    }
}
