// Matrix products on matrix units, f16 operands and f32 sums. linear.wgsl says what is computed;
// linear_matrix8.wgsl and linear_matrix16.wgsl, each of which goes on with this text, name the matrices.
// Both operands are rounded to f16 on their way into workgroup memory; products are exact in f32, and sums
// are f32.
//
// A workgroup owns GROUP × GROUP outputs, a subgroup regions of 2 × 2 matrices among them. Subgroups
// may be of any size that divides LANES: with fewer subgroups than regions each takes several, one pass
// over the operands a region; where there are more, the rest only help with loading. The next terms
// travel to registers while the matrices of these are multiplied. Finished sums go through workgroup
// memory, so that the edge and what follows a product are plain code.
//
// All dense strides are in whole vec4s: see `is_in_fours` in src/ops/linear.rs.

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
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;             // [cols]
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;         // laid out as c
@group(0) @binding(5) var<storage, read> pre_activation: array<vec4<f32>>;   // laid out as c: GELU's input
@group(0) @binding(6) var<storage, read_write> c: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> activated: array<vec4<f32>>;  // laid out as c: GELU's output

const LANES: u32 = 128u;
const GROUP: u32 = 4u * SIDE;
const GROUP_ROWS: u32 = GROUP;
const GROUP_COLS: u32 = GROUP;
const DEPTH: u32 = 2048u / GROUP;  // terms of the sum in workgroup memory: 16 of each operand a lane
const PAD: u32 = 8u;               // between lines of a tile, so that matrices meet different banks
const REGION: u32 = 2u * SIDE;
const REGIONS: u32 = 4u;
const MATRIX: u32 = SIDE * SIDE;
const VECTORS: u32 = MATRIX / 4u;

var<workgroup> sums: array<f32, REGIONS * MATRIX>;  // one matrix a region

// Tiles keep their operand's dense dimension, so that loads are of whole vec4s: the sum's terms, or the
// side's rows (columns). A line is that many.
fn line_length(along_sum: bool) -> u32 {
    return select(GROUP, DEPTH, along_sum);
}

fn line_stride(along_sum: bool) -> u32 {
    return line_length(along_sum) + PAD;
}

// Which line, and where in it, the lane's load `number` is.
fn line_place(lane: u32, number: u32, along_sum: bool) -> vec2<u32> {
    let at = 4u * (number * LANES + lane);
    return vec2(at / line_length(along_sum), at % line_length(along_sum));
}

fn load_a(first_row: u32, first: u32, to: vec2<u32>, along_sum: bool) -> vec4<f32> {
    let row = first_row + select(to.y, to.x, along_sum);
    let k = first + select(to.x, to.y, along_sum);
    if row < params.rows && k < params.inner {
        return a[(params.a_offset + row * params.a_row + k * params.a_inner) / 4u];
    }
    return vec4(0.0);
}

fn load_b(first_col: u32, first: u32, to: vec2<u32>, along_sum: bool) -> vec4<f32> {
    let col = first_col + select(to.y, to.x, along_sum);
    let k = first + select(to.x, to.y, along_sum);
    if col < params.cols && k < params.inner {
        return b[(k * params.b_inner + col * params.b_col) / 4u];
    }
    return vec4(0.0);
}

// What a lane loads of the terms from `first` on.
fn next_a(first_row: u32, first: u32, lane: u32, along_sum: bool) -> mat4x4<f32> {
    return mat4x4(
        load_a(first_row, first, line_place(lane, 0u, along_sum), along_sum),
        load_a(first_row, first, line_place(lane, 1u, along_sum), along_sum),
        load_a(first_row, first, line_place(lane, 2u, along_sum), along_sum),
        load_a(first_row, first, line_place(lane, 3u, along_sum), along_sum),
    );
}

fn next_b(first_col: u32, first: u32, lane: u32, along_sum: bool) -> mat4x4<f32> {
    return mat4x4(
        load_b(first_col, first, line_place(lane, 0u, along_sum), along_sum),
        load_b(first_col, first, line_place(lane, 1u, along_sum), along_sum),
        load_b(first_col, first, line_place(lane, 2u, along_sum), along_sum),
        load_b(first_col, first, line_place(lane, 3u, along_sum), along_sum),
    );
}

// Where in a tile the lane's load `number` goes.
fn slot(lane: u32, number: u32, along_sum: bool) -> u32 {
    let to = line_place(lane, number, along_sum);
    return to.x * line_stride(along_sum) + to.y;
}

// The matrix at (side, k) of a tile.
fn left(side: u32, k: u32, along_sum: bool) -> Left {
    let stride = line_stride(along_sum) / UNIT;
    if along_sum {
        let at = (side * line_stride(along_sum) + k) / UNIT;
        return coopLoadT<Left>(&a_tile[at], stride);
    }
    let at = (k * line_stride(along_sum) + side) / UNIT;
    return coopLoad<Left>(&a_tile[at], stride);
}

fn right(side: u32, k: u32, along_sum: bool) -> Right {
    let stride = line_stride(along_sum) / UNIT;
    if along_sum {
        let at = (side * line_stride(along_sum) + k) / UNIT;
        return coopLoad<Right>(&b_tile[at], stride);
    }
    let at = (k * line_stride(along_sum) + side) / UNIT;
    return coopLoadT<Right>(&b_tile[at], stride);
}

// The first row and column of a region in its workgroup's outputs.
fn corner(region: u32) -> vec2<u32> {
    return REGION * vec2(region / 2u, region % 2u);
}

struct Place {
    group: vec3<u32>,
    lane: u32,
    subgroup: u32,   // of the workgroup's
    subgroups: u32,
}

// Subgroup s takes region s of each pass. Zeroes for its four matrices:
fn clear(lane: u32) {
    workgroupBarrier();
    for (var v = lane; v < MATRIX; v += LANES) {
        sums[v] = 0.0;
    }
    workgroupBarrier();
}

fn zero() -> Sum {
    return coopLoadT<Sum>(&sums[0], SIDE);
}

// The matrices [s00 s01; s10 s11] of a subgroup's region, summed up.
fn product(
    own: Place,
    passed: u32,
    a_along_sum: bool,
    b_along_sum: bool,
    s00: ptr<function, Sum>,
    s01: ptr<function, Sum>,
    s10: ptr<function, Sum>,
    s11: ptr<function, Sum>,
) {
    let first_row = own.group.y * GROUP;
    let first_col = own.group.x * GROUP;
    let region = passed + own.subgroup;
    let side = corner(region);
    var a_next = next_a(first_row, 0u, own.lane, a_along_sum);
    var b_next = next_b(first_col, 0u, own.lane, b_along_sum);
    for (var first = 0u; first < params.inner; first += DEPTH) {
        put_a(slot(own.lane, 0u, a_along_sum), a_next[0]);
        put_a(slot(own.lane, 1u, a_along_sum), a_next[1]);
        put_a(slot(own.lane, 2u, a_along_sum), a_next[2]);
        put_a(slot(own.lane, 3u, a_along_sum), a_next[3]);
        put_b(slot(own.lane, 0u, b_along_sum), b_next[0]);
        put_b(slot(own.lane, 1u, b_along_sum), b_next[1]);
        put_b(slot(own.lane, 2u, b_along_sum), b_next[2]);
        put_b(slot(own.lane, 3u, b_along_sum), b_next[3]);
        workgroupBarrier();
        a_next = next_a(first_row, first + DEPTH, own.lane, a_along_sum);
        b_next = next_b(first_col, first + DEPTH, own.lane, b_along_sum);
        if region < REGIONS {
            for (var k = 0u; k < DEPTH; k += SIDE) {
                let a0 = left(side.x, k, a_along_sum);
                let a1 = left(side.x + SIDE, k, a_along_sum);
                let b0 = right(side.y, k, b_along_sum);
                let b1 = right(side.y + SIDE, k, b_along_sum);
                *s00 = coopMultiplyAdd(a0, b0, *s00);
                *s01 = coopMultiplyAdd(a0, b1, *s01);
                *s10 = coopMultiplyAdd(a1, b0, *s10);
                *s11 = coopMultiplyAdd(a1, b1, *s11);
            }
        }
        workgroupBarrier();
    }
}

// One matrix of each region of a pass, to workgroup memory.
fn lay_down(own: Place, passed: u32, matrix: Sum) {
    let region = passed + own.subgroup;
    let at = region * MATRIX;
    workgroupBarrier();
    if region < REGIONS {
        coopStoreT(matrix, &sums[at], SIDE);
    }
    workgroupBarrier();
}

// What was laid down are the vec4s from passed * VECTORS up to here.
fn end_of_pass(own: Place, passed: u32) -> u32 {
    return min(passed + own.subgroups, REGIONS) * VECTORS;
}

fn sum_at(v: u32) -> vec4<f32> {
    return vec4(sums[4u * v], sums[4u * v + 1u], sums[4u * v + 2u], sums[4u * v + 3u]);
}

// Row and first column of vec4 v, if it is of matrix m of its region.
fn cell(own: Place, m: u32, v: u32) -> vec2<u32> {
    let matrix = corner(v / VECTORS) + SIDE * vec2(m / 2u, m % 2u);
    let within = vec2(v % VECTORS / (SIDE / 4u), 4u * (v % (SIDE / 4u)));
    return GROUP * own.group.yx + matrix + within;
}

fn is_inside(cell: vec2<u32>) -> bool {
    return cell.x < params.rows && cell.y < params.cols;
}

// Where a cell lies in c, and in what is laid out like it.
fn place(cell: vec2<u32>) -> u32 {
    return (params.c_offset + cell.x * params.c_row + cell.y) / 4u;
}

fn so_far(sum: vec4<f32>, at: u32) -> vec4<f32> {
    if params.accumulate != 0u {
        return c[at] + sum;
    }
    return sum;
}

fn with_bias(sum: vec4<f32>, col: u32) -> vec4<f32> {
    if params.has_bias != 0u {
        return sum + bias[col / 4u];
    }
    return sum;
}

const SQRT_2_OVER_PI: f32 = 0.7978845608028654;
const CUBIC: f32 = 0.044715;

// GELU as in linear.wgsl.
fn tanh_of_cubic(v: vec4<f32>) -> vec4<f32> {
    return tanh(clamp(SQRT_2_OVER_PI * (v + CUBIC * v * v * v), vec4(-10.0), vec4(10.0)));
}

fn gelu(v: vec4<f32>) -> vec4<f32> {
    return 0.5 * v * (1.0 + tanh_of_cubic(v));
}

fn gelu_slope(v: vec4<f32>) -> vec4<f32> {
    let t = tanh_of_cubic(v);
    let du = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * v * v);
    return 0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * du;
}

// NN: y[rows, out] = x[rows, in] · w[in, out] + bias + residual
fn finish_forward(own: Place, passed: u32, m: u32) {
    for (var v = passed * VECTORS + own.lane; v < end_of_pass(own, passed); v += LANES) {
        let cell = cell(own, m, v);
        if is_inside(cell) {
            let at = place(cell);
            var value = with_bias(so_far(sum_at(v), at), cell.y);
            if params.has_residual != 0u {
                value += residual[at];
            }
            c[at] = value;
        }
    }
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let own = Place(group, lane, subgroup, subgroups);
    for (var passed = 0u; passed < REGIONS; passed += subgroups) {
        clear(lane);
        var s00 = zero();
        var s01 = zero();
        var s10 = zero();
        var s11 = zero();
        product(own, passed, true, false, &s00, &s01, &s10, &s11);
        lay_down(own, passed, s00);
        finish_forward(own, passed, 0u);
        lay_down(own, passed, s01);
        finish_forward(own, passed, 1u);
        lay_down(own, passed, s10);
        finish_forward(own, passed, 2u);
        lay_down(own, passed, s11);
        finish_forward(own, passed, 3u);
    }
}

// The same, without residual; and gelu(y).
fn finish_forward_gelu(own: Place, passed: u32, m: u32) {
    for (var v = passed * VECTORS + own.lane; v < end_of_pass(own, passed); v += LANES) {
        let cell = cell(own, m, v);
        if is_inside(cell) {
            let at = place(cell);
            let value = with_bias(so_far(sum_at(v), at), cell.y);
            c[at] = value;
            activated[at] = gelu(value);
        }
    }
}

@compute @workgroup_size(LANES)
fn forward_gelu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let own = Place(group, lane, subgroup, subgroups);
    for (var passed = 0u; passed < REGIONS; passed += subgroups) {
        clear(lane);
        var s00 = zero();
        var s01 = zero();
        var s10 = zero();
        var s11 = zero();
        product(own, passed, true, false, &s00, &s01, &s10, &s11);
        lay_down(own, passed, s00);
        finish_forward_gelu(own, passed, 0u);
        lay_down(own, passed, s01);
        finish_forward_gelu(own, passed, 1u);
        lay_down(own, passed, s10);
        finish_forward_gelu(own, passed, 2u);
        lay_down(own, passed, s11);
        finish_forward_gelu(own, passed, 3u);
    }
}

// NT: dx[rows, in] = dy[rows, out] · w[in, out]ᵀ; the head's logits are one too.
fn finish_backward_input(own: Place, passed: u32, m: u32) {
    for (var v = passed * VECTORS + own.lane; v < end_of_pass(own, passed); v += LANES) {
        let cell = cell(own, m, v);
        if is_inside(cell) {
            let at = place(cell);
            c[at] = so_far(sum_at(v), at);
        }
    }
}

@compute @workgroup_size(LANES)
fn backward_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let own = Place(group, lane, subgroup, subgroups);
    for (var passed = 0u; passed < REGIONS; passed += subgroups) {
        clear(lane);
        var s00 = zero();
        var s01 = zero();
        var s10 = zero();
        var s11 = zero();
        product(own, passed, true, true, &s00, &s01, &s10, &s11);
        lay_down(own, passed, s00);
        finish_backward_input(own, passed, 0u);
        lay_down(own, passed, s01);
        finish_backward_input(own, passed, 1u);
        lay_down(own, passed, s10);
        finish_backward_input(own, passed, 2u);
        lay_down(own, passed, s11);
        finish_backward_input(own, passed, 3u);
    }
}

// The same, carried on through GELU to the gradient of its input, and GELU's output again; never
// accumulated.
fn finish_backward_input_gelu(own: Place, passed: u32, m: u32) {
    for (var v = passed * VECTORS + own.lane; v < end_of_pass(own, passed); v += LANES) {
        let cell = cell(own, m, v);
        if is_inside(cell) {
            let at = place(cell);
            let wide = pre_activation[at];
            c[at] = sum_at(v) * gelu_slope(wide);
            activated[at] = gelu(wide);
        }
    }
}

@compute @workgroup_size(LANES)
fn backward_input_gelu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let own = Place(group, lane, subgroup, subgroups);
    for (var passed = 0u; passed < REGIONS; passed += subgroups) {
        clear(lane);
        var s00 = zero();
        var s01 = zero();
        var s10 = zero();
        var s11 = zero();
        product(own, passed, true, true, &s00, &s01, &s10, &s11);
        lay_down(own, passed, s00);
        finish_backward_input_gelu(own, passed, 0u);
        lay_down(own, passed, s01);
        finish_backward_input_gelu(own, passed, 1u);
        lay_down(own, passed, s10);
        finish_backward_input_gelu(own, passed, 2u);
        lay_down(own, passed, s11);
        finish_backward_input_gelu(own, passed, 3u);
    }
}

// TN: dw[in, out] += x[rows, in]ᵀ · dy[rows, out]
fn finish_backward_weight(own: Place, passed: u32, m: u32) {
    for (var v = passed * VECTORS + own.lane; v < end_of_pass(own, passed); v += LANES) {
        let cell = cell(own, m, v);
        if is_inside(cell) {
            let at = place(cell);
            c[at] = so_far(sum_at(v), at);
        }
    }
}

@compute @workgroup_size(LANES)
fn backward_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let own = Place(group, lane, subgroup, subgroups);
    for (var passed = 0u; passed < REGIONS; passed += subgroups) {
        clear(lane);
        var s00 = zero();
        var s01 = zero();
        var s10 = zero();
        var s11 = zero();
        product(own, passed, false, false, &s00, &s01, &s10, &s11);
        lay_down(own, passed, s00);
        finish_backward_weight(own, passed, 0u);
        lay_down(own, passed, s01);
        finish_backward_weight(own, passed, 1u);
        lay_down(own, passed, s10);
        finish_backward_weight(own, passed, 2u);
        lay_down(own, passed, s11);
        finish_backward_weight(own, passed, 3u);
    }
}
