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

const WORKGROUP: u32 = 256u;
const LANES: u32 = 64u;  // lanes of a row
const ROWS: u32 = 4u;    // rows of a workgroup
const ROOT: u32 = 8u;    // the square root of LANES
var<workgroup> scratch: array<vec2<f32>, WORKGROUP>;
var<workgroup> partial_sums: array<vec2<f32>, 32>;  // [ROWS, ROOT]

// Returns the sum of a row's lanes' values to each of them. Two levels of ROOT terms keep the rounding small with
// only two barriers.
fn sum_over_lanes(value: vec2<f32>, lane: u32) -> vec2<f32> {
    scratch[lane] = value;
    workgroupBarrier();
    let of_row = lane / LANES;
    if lane % LANES < ROOT {
        var sum = vec2(0.0, 0.0);
        for (var k = 0u; k < ROOT; k++) {
            sum += scratch[of_row * LANES + k * ROOT + lane % LANES];
        }
        partial_sums[of_row * ROOT + lane % LANES] = sum;
    }
    workgroupBarrier();
    var total = vec2(0.0, 0.0);
    for (var k = 0u; k < ROOT; k++) {
        total += partial_sums[of_row * ROOT + k];
    }
    return total;
}

// The columns of a row: none over the last row, so that its lanes do nothing.
fn width_of(row: u32) -> u32 {
    return select(0u, params.width, row < params.rows);
}

// A workgroup computes ROWS rows.
@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x * ROWS + lane / LANES;
    let base = row * params.width;
    let end = width_of(row);
    let width = f32(params.width);
    var sum = 0.0;
    for (var c = lane % LANES; c < end; c += LANES) {
        sum += x[base + c];
    }
    let mean = sum_over_lanes(vec2(sum, 0.0), lane).x / width;
    var squares = 0.0;
    for (var c = lane % LANES; c < end; c += LANES) {
        let d = x[base + c] - mean;
        squares += d * d;
    }
    let variance = sum_over_lanes(vec2(squares, 0.0), lane).x / width;
    let rstd = 1.0 / sqrt(variance + params.epsilon);
    for (var c = lane % LANES; c < end; c += LANES) {
        y[base + c] = (x[base + c] - mean) * rstd * gain[c] + shift[c];
    }
    if lane % LANES == 0u && row < params.rows {
        stats[2u * row] = mean;
        stats[2u * row + 1u] = rstd;
    }
}

// With x̂ = (x - mean) · rstd and g = dy · gain:  dx = rstd · (g - mean(g) - x̂ · mean(g · x̂)).
fn input_gradient(row: u32, lane: u32) {
    let base = row * params.width;
    let end = width_of(row);
    let at = min(row, params.rows - 1u);
    let mean = saved[2u * at];
    let rstd = saved[2u * at + 1u];
    var sums = vec2(0.0, 0.0);
    for (var c = lane % LANES; c < end; c += LANES) {
        let g = dy[base + c] * gain[c];
        sums += vec2(g, g * (x[base + c] - mean) * rstd);
    }
    let means = sum_over_lanes(sums, lane) / f32(params.width);
    for (var c = lane % LANES; c < end; c += LANES) {
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

// COLUMNS columns over all rows: ROW_LANES lanes divide the rows of a column, then one lane adds up their sums.
const COLUMNS: u32 = 8u;
const ROW_LANES: u32 = 32u;

fn param_gradients(first_col: u32, lane: u32) {
    let col = first_col + lane % COLUMNS;
    var sums = vec2(0.0, 0.0);
    if col < params.width {
        for (var r = lane / COLUMNS; r < params.rows; r += ROW_LANES) {
            let g = dy[r * params.width + col];
            let normed = (x[r * params.width + col] - saved[2u * r]) * saved[2u * r + 1u];
            sums += vec2(g * normed, g);
        }
    }
    scratch[lane] = sums;
    workgroupBarrier();
    if lane < COLUMNS && col < params.width {
        var total = vec2(0.0, 0.0);
        for (var k = 0u; k < ROW_LANES; k++) {
            total += scratch[k * COLUMNS + lane];
        }
        dgain[col] += total.x;
        dshift[col] += total.y;
    }
}

// The gradient of the input alone, where gain and shift are not trained.
@compute @workgroup_size(WORKGROUP)
fn backward_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    input_gradient(group.x * ROWS + lane / LANES, lane);
}

// All gradients: the first workgroups sum over rows, which takes longest, the others compute rows.
@compute @workgroup_size(WORKGROUP)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column_groups = (params.width + COLUMNS - 1u) / COLUMNS;
    if group.x < column_groups {
        param_gradients(group.x * COLUMNS, lane);
    } else {
        input_gradient((group.x - column_groups) * ROWS + lane / LANES, lane);
    }
}
