// Layernorm over the C columns of each row: y = (x - mean) · rstd · gain + shift.

struct Params {
    rows: u32,
    width: u32,       // C
    epsilon: f32,
    accumulate: u32,  // backward_input: not 0: add to dx instead of overwriting it
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // [rows, C]
@group(0) @binding(2) var<storage, read> gain: array<f32>;           // [C]
@group(0) @binding(3) var<storage, read> shift: array<f32>;          // [C]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;        // [rows, C]
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;    // [rows, 2]: mean, rstd
@group(0) @binding(6) var<storage, read> saved: array<f32>;          // stats of the forward pass
@group(0) @binding(7) var<storage, read> dy: array<f32>;             // [rows, C]
@group(0) @binding(8) var<storage, read_write> dx: array<f32>;       // [rows, C]
@group(0) @binding(9) var<storage, read_write> dgain: array<f32>;    // [C], accumulated
@group(0) @binding(10) var<storage, read_write> dshift: array<f32>;  // [C], accumulated

const LANES: u32 = 64u;
const ROOT: u32 = 8u;  // the square root of LANES
var<workgroup> scratch: array<vec2<f32>, LANES>;
var<workgroup> partial_sums: array<vec2<f32>, ROOT>;

// Returns the sum of all lanes' values to every lane. Two levels of ROOT terms keep the rounding small with
// only two barriers.
fn sum_over_lanes(value: vec2<f32>, lane: u32) -> vec2<f32> {
    scratch[lane] = value;
    workgroupBarrier();
    if lane < ROOT {
        var sum = vec2(0.0, 0.0);
        for (var k = 0u; k < ROOT; k++) {
            sum += scratch[k * ROOT + lane];
        }
        partial_sums[lane] = sum;
    }
    workgroupBarrier();
    var total = vec2(0.0, 0.0);
    for (var k = 0u; k < ROOT; k++) {
        total += partial_sums[k];
    }
    return total;
}

// One workgroup computes one row.
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x;
    let base = row * params.width;
    let width = f32(params.width);
    var sum = 0.0;
    for (var c = lane; c < params.width; c += LANES) {
        sum += x[base + c];
    }
    let mean = sum_over_lanes(vec2(sum, 0.0), lane).x / width;
    var squares = 0.0;
    for (var c = lane; c < params.width; c += LANES) {
        let d = x[base + c] - mean;
        squares += d * d;
    }
    let variance = sum_over_lanes(vec2(squares, 0.0), lane).x / width;
    let rstd = 1.0 / sqrt(variance + params.epsilon);
    for (var c = lane; c < params.width; c += LANES) {
        y[base + c] = (x[base + c] - mean) * rstd * gain[c] + shift[c];
    }
    if lane == 0u {
        stats[2u * row] = mean;
        stats[2u * row + 1u] = rstd;
    }
}

// With x̂ = (x - mean) · rstd and g = dy · gain:  dx = rstd · (g - mean(g) - x̂ · mean(g · x̂)).
@compute @workgroup_size(LANES)
fn backward_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x;
    let base = row * params.width;
    let mean = saved[2u * row];
    let rstd = saved[2u * row + 1u];
    var sums = vec2(0.0, 0.0);
    for (var c = lane; c < params.width; c += LANES) {
        let g = dy[base + c] * gain[c];
        sums += vec2(g, g * (x[base + c] - mean) * rstd);
    }
    let means = sum_over_lanes(sums, lane) / f32(params.width);
    for (var c = lane; c < params.width; c += LANES) {
        let g = dy[base + c] * gain[c];
        let normed = (x[base + c] - mean) * rstd;
        let value = rstd * (g - means.x - normed * means.y);
        if params.accumulate != 0u {
            dx[base + c] += value;
        } else {
            dx[base + c] = value;
        }
    }
}

// A workgroup sums COLUMNS columns over all rows: ROW_LANES lanes divide the rows of a column, then one lane
// adds up their sums.
const COLUMNS: u32 = 8u;
const ROW_LANES: u32 = 32u;
var<workgroup> column_sums: array<vec2<f32>, 256>;

@compute @workgroup_size(COLUMNS, ROW_LANES)
fn backward_params(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let col = group.x * COLUMNS + local.x;
    var sums = vec2(0.0, 0.0);
    if col < params.width {
        for (var r = local.y; r < params.rows; r += ROW_LANES) {
            let g = dy[r * params.width + col];
            let normed = (x[r * params.width + col] - saved[2u * r]) * saved[2u * r + 1u];
            sums += vec2(g * normed, g);
        }
    }
    column_sums[local.y * COLUMNS + local.x] = sums;
    workgroupBarrier();
    if local.y == 0u && col < params.width {
        var total = vec2(0.0, 0.0);
        for (var k = 0u; k < ROW_LANES; k++) {
            total += column_sums[k * COLUMNS + local.x];
        }
        dgain[col] += total.x;
        dshift[col] += total.y;
    }
}
