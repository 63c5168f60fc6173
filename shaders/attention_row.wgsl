// Kernels that need no tiles: the row dots of the backward pass, and the forward pass of single rows, as in
// generation.

const LANES: u32 = 64u;
const MAX_HEAD_DIM: u32 = 256u;

// row_dots[r, h] = Σ_d dy · y. The derivative of the softmax subtracts this sum.
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

// The forward pass of a single row in generation: a workgroup owns the row, and its lanes divide the keys.
const SLOTS: u32 = 4u;  // head columns that a lane owns: MAX_HEAD_DIM / LANES
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
    let keys = span.prefix_end - span.prefix_start + row - span.own_start + 1u;
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
