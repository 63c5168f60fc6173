// Matrix products, one body for all: c[i, j] (+)= Σ_k a[i, k] · b[k, j], each operand with its own
// strides. NN, NT and TN differ in the strides that the host fills in; what happens to a sum on its way
// to memory differs by entry point: bias, residual, GELU, GELU's slope.
//
// A workgroup owns a tile of 64 × 64 outputs, an invocation 4 × 4 of them in registers. Both operands
// pass through workgroup memory, DEPTH terms of the sum at a time. Sums run in blocks of INNER_BLOCK
// terms that are then added up, so that rounding grows with the block and not with the whole inner
// length (50,257 in the head's backward pass).

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    a_offset: u32,
    a_row: u32,         // stride of i in a
    a_inner: u32,       // stride of k in a
    b_inner: u32,       // stride of k in b
    b_col: u32,         // stride of j in b
    c_offset: u32,
    c_row: u32,         // stride of i in c
    accumulate: u32,    // add to what c holds
    has_bias: u32,
    has_residual: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;             // [cols]
@group(0) @binding(4) var<storage, read> residual: array<f32>;         // laid out as c
@group(0) @binding(5) var<storage, read> pre_activation: array<f32>;   // laid out as c: GELU's input
@group(0) @binding(6) var<storage, read_write> c: array<f32>;
@group(0) @binding(7) var<storage, read_write> activated: array<f32>;  // laid out as c: GELU's output
@group(0) @binding(8) var<storage, read> dy: array<f32>;               // [rows, cols]
@group(0) @binding(9) var<storage, read_write> dbias: array<f32>;      // [cols], accumulated

const LANES: u32 = 16u;         // of a workgroup, in x and y
const GROUP_ROWS: u32 = 64u;
const GROUP_COLS: u32 = 64u;
const SIDE: u32 = 4u;           // of the square of outputs that a lane owns
const DEPTH: u32 = 16u;         // terms of the sum in workgroup memory
const VECTORS: u32 = 16u;       // vec4s along a side of the tile
const STRIDE: u32 = VECTORS + 1u;  // padded, so that lanes meet different banks
const INNER_BLOCK: u32 = 128u;  // a multiple of DEPTH

var<workgroup> a_tile: array<vec4<f32>, 272>;  // [DEPTH, STRIDE], four rows each
var<workgroup> b_tile: array<vec4<f32>, 272>;  // [DEPTH, STRIDE], four columns each

// Which vec4 of the tile a lane loads, (vector, depth), such that neighbours read neighbouring words:
// along the sum if that is the operand's dense dimension, else along the side.
fn own_load(lane: u32, along_sum: bool) -> vec2<u32> {
    let low = lane % 16u;
    let high = lane / 16u;
    return select(vec2(low, high), vec2(high, low), along_sum);
}

// A cell of an operand; zero outside.
fn a_at(row: u32, k: u32) -> f32 {
    if row < params.rows && k < params.inner {
        return a[params.a_offset + row * params.a_row + k * params.a_inner];
    }
    return 0.0;
}

fn b_at(k: u32, col: u32) -> f32 {
    if col < params.cols && k < params.inner {
        return b[k * params.b_inner + col * params.b_col];
    }
    return 0.0;
}

// No loop that writes to component `r` of a vector: FXC unrolls all loops around such a write, and gives up.
fn load_a(r: u32, k: u32) -> vec4<f32> {
    return vec4(a_at(r, k), a_at(r + 1u, k), a_at(r + 2u, k), a_at(r + 3u, k));
}

fn load_b(c: u32, k: u32) -> vec4<f32> {
    return vec4(b_at(k, c), b_at(k, c + 1u), b_at(k, c + 2u), b_at(k, c + 3u));
}

// The 4 × 4 sums of a lane, a vec4 a row.
fn product(group: vec3<u32>, lane: u32) -> array<vec4<f32>, SIDE> {
    let first_row = group.y * GROUP_ROWS;
    let first_col = group.x * GROUP_COLS;
    let a_load = own_load(lane, params.a_inner == 1u);
    let b_load = own_load(lane, params.b_inner == 1u);
    let own_row = lane / LANES;
    let own_col = lane % LANES;
    var s0 = vec4(0.0); var s1 = vec4(0.0); var s2 = vec4(0.0); var s3 = vec4(0.0);
    var p0 = vec4(0.0); var p1 = vec4(0.0); var p2 = vec4(0.0); var p3 = vec4(0.0);
    for (var first = 0u; first < params.inner; first += DEPTH) {
        if first % INNER_BLOCK == 0u {
            s0 += p0; s1 += p1; s2 += p2; s3 += p3;
            p0 = vec4(0.0); p1 = vec4(0.0); p2 = vec4(0.0); p3 = vec4(0.0);
        }
        a_tile[a_load.y * STRIDE + a_load.x] = load_a(first_row + 4u * a_load.x, first + a_load.y);
        b_tile[b_load.y * STRIDE + b_load.x] = load_b(first_col + 4u * b_load.x, first + b_load.y);
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let x = a_tile[k * STRIDE + own_row];
            let y = b_tile[k * STRIDE + own_col];
            p0 += x.x * y;
            p1 += x.y * y;
            p2 += x.z * y;
            p3 += x.w * y;
        }
        workgroupBarrier();
    }
    return array(s0 + p0, s1 + p1, s2 + p2, s3 + p3);
}

const SQRT_2_OVER_PI: f32 = 0.7978845608028654;
const CUBIC: f32 = 0.044715;

// GELU in GPT-2's tanh approximation. tanh overflows to NaN on Metal for large arguments; at ±10 it is
// ±1 in f32, and the slope's 1 - t² exactly 0.
fn tanh_of_cubic(v: f32) -> f32 {
    return tanh(clamp(SQRT_2_OVER_PI * (v + CUBIC * v * v * v), -10.0, 10.0));
}

fn gelu(v: f32) -> f32 {
    return 0.5 * v * (1.0 + tanh_of_cubic(v));
}

fn gelu_slope(v: f32) -> f32 {
    let t = tanh_of_cubic(v);
    let du = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * v * v);
    return 0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * du;
}

// Row and column of the i-th sum of a lane.
fn cell(group: vec3<u32>, lane: u32, i: u32) -> vec2<u32> {
    let row = group.y * GROUP_ROWS + SIDE * (lane / LANES) + i / SIDE;
    return vec2(row, group.x * GROUP_COLS + SIDE * (lane % LANES) + i % SIDE);
}

fn is_inside(cell: vec2<u32>) -> bool {
    return cell.x < params.rows && cell.y < params.cols;
}

// Where a cell lies in c, and in what is laid out like it.
fn place(cell: vec2<u32>) -> u32 {
    return params.c_offset + cell.x * params.c_row + cell.y;
}

fn so_far(sum: f32, at: u32) -> f32 {
    if params.accumulate != 0u {
        return c[at] + sum;
    }
    return sum;
}

fn with_bias(sum: f32, col: u32) -> f32 {
    if params.has_bias != 0u {
        return sum + bias[col];
    }
    return sum;
}

// NN: y[rows, out] = x[rows, in] · w[in, out] + bias + residual
@compute @workgroup_size(LANES, LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = product(group, lane);
    for (var i = 0u; i < SIDE * SIDE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            var value = with_bias(so_far(sums[i / SIDE][i % SIDE], at), cell.y);
            if params.has_residual != 0u {
                value += residual[at];
            }
            c[at] = value;
        }
    }
}

// The same, without residual; and gelu(y).
@compute @workgroup_size(LANES, LANES)
fn forward_gelu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = product(group, lane);
    for (var i = 0u; i < SIDE * SIDE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            let value = with_bias(so_far(sums[i / SIDE][i % SIDE], at), cell.y);
            c[at] = value;
            activated[at] = gelu(value);
        }
    }
}

// NT: dx[rows, in] = dy[rows, out] · w[in, out]ᵀ; the head's logits are one too.
@compute @workgroup_size(LANES, LANES)
fn backward_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = product(group, lane);
    for (var i = 0u; i < SIDE * SIDE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            c[at] = so_far(sums[i / SIDE][i % SIDE], at);
        }
    }
}

// The same, carried on through GELU to the gradient of its input, and GELU's output again; never
// accumulated.
@compute @workgroup_size(LANES, LANES)
fn backward_input_gelu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = product(group, lane);
    for (var i = 0u; i < SIDE * SIDE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            let wide = pre_activation[at];
            c[at] = sums[i / SIDE][i % SIDE] * gelu_slope(wide);
            activated[at] = gelu(wide);
        }
    }
}

// TN: dw[in, out] += x[rows, in]ᵀ · dy[rows, out]
@compute @workgroup_size(LANES, LANES)
fn backward_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = product(group, lane);
    for (var i = 0u; i < SIDE * SIDE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            c[at] = so_far(sums[i / SIDE][i % SIDE], at);
        }
    }
}

// dbias[j] += Σ_i dy[i, j]. A workgroup sums COLUMNS columns, ROW_LANES lanes a column.
const COLUMNS: u32 = 16u;
const ROW_LANES: u32 = 16u;
var<workgroup> column_sums: array<f32, 256>;

@compute @workgroup_size(COLUMNS, ROW_LANES)
fn backward_bias(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let col = group.x * COLUMNS + local.x;
    var sum = 0.0;
    if col < params.cols {
        for (var r = local.y; r < params.rows; r += ROW_LANES) {
            sum += dy[r * params.cols + col];
        }
    }
    column_sums[local.y * COLUMNS + local.x] = sum;
    workgroupBarrier();
    if local.y == 0u && col < params.cols {
        var total = 0.0;
        for (var k = 0u; k < ROW_LANES; k++) {
            total += column_sums[k * COLUMNS + local.x];
        }
        dbias[col] += total;
    }
}
