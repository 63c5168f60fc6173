// The forward pass of single rows, as in generation, which needs no tiles.

const LANES: u32 = 64u;
const MAX_HEAD_DIM: u32 = 256u;

var<workgroup> row_query: array<vec4<f32>, 64>;  // MAX_HEAD_DIM / 4
var<workgroup> row_scores: array<f32, LANES>;
var<workgroup> row_weights: array<f32, LANES>;

// Σ weight · value over the keys from number `first` on, for column d of the head; 0 beyond the head.
fn weigh_column(span: Span, first: u32, count: u32, head: u32, d: u32) -> f32 {
    var sum = 0.0;
    if d < params.head_dim {
        for (var k = 0u; k < count; k++) {
            let at = qkv_at(key_row(span, first + k), 2u, head) + d;
            sum += row_weights[k] * qkv[at / 4u][at % 4u];
        }
    }
    return sum;
}

fn store_column(y_row: u32, head: u32, d: u32, value: f32) {
    if d < params.head_dim {
        y[y_at(y_row, head) + d] = value;
    }
}

// A workgroup owns the row, and its lanes divide the keys.
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
    var sums = vec4(0.0);  // of the lane's columns: lane, lane + LANES and so on up to MAX_HEAD_DIM
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
        sums *= shrink;
        sums.x += weigh_column(span, first, count, head, lane);
        if params.head_dim > LANES {
            sums.y += weigh_column(span, first, count, head, lane + LANES);
            sums.z += weigh_column(span, first, count, head, lane + 2u * LANES);
            sums.w += weigh_column(span, first, count, head, lane + 3u * LANES);
        }
        workgroupBarrier();
    }
    let y_row = group.x + params.first_y;
    let out = sums / total;
    store_column(y_row, head, lane, out.x);
    store_column(y_row, head, lane + LANES, out.y);
    store_column(y_row, head, lane + 2u * LANES, out.z);
    store_column(y_row, head, lane + 3u * LANES, out.w);
    if lane == 0u {
        lse[y_row * params.heads + head] = peak + log(total);
    }
}
