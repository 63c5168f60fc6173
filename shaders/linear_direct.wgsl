// The products of linear.wgsl without workgroup memory, for devices on which that is plain memory and
// a barrier is a loop: software Vulkan. There a load costs as much as a dozen multiplications, whether
// its lanes read one word or eight, so the tile of a lane is large and square: 16 rows, and 16 columns
// that lie LANES apart so that neighbours read neighbouring words. The accumulators are far more than
// registers; they stay in the cache.
//
// Sums run in blocks of INNER_BLOCK terms that are then added up in c.

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

const LANES: u32 = 8u;
const TILE: u32 = 16u;  // rows, and columns, of a lane
const GROUP_ROWS: u32 = TILE;
const GROUP_COLS: u32 = LANES * TILE;
const INNER_BLOCK: u32 = 512u;

// A matrix a row; its columns hold the lane's columns 0 to 3, 4 to 7, ….
alias Tile = array<mat4x4<f32>, TILE>;

// The sums of the last block of terms; those of the blocks before it are added to c.
fn product(group: vec3<u32>, lane: u32) -> Tile {
    let row = group.y * GROUP_ROWS;
    let col = group.x * GROUP_COLS + lane;
    // Rows and columns over the edge read the last one again and are not stored.
    let last_row = params.rows - 1u;
    let last_col = vec4(params.cols - 1u);
    let a0 = params.a_offset + min(row + 0u, last_row) * params.a_row;
    let a1 = params.a_offset + min(row + 1u, last_row) * params.a_row;
    let a2 = params.a_offset + min(row + 2u, last_row) * params.a_row;
    let a3 = params.a_offset + min(row + 3u, last_row) * params.a_row;
    let a4 = params.a_offset + min(row + 4u, last_row) * params.a_row;
    let a5 = params.a_offset + min(row + 5u, last_row) * params.a_row;
    let a6 = params.a_offset + min(row + 6u, last_row) * params.a_row;
    let a7 = params.a_offset + min(row + 7u, last_row) * params.a_row;
    let a8 = params.a_offset + min(row + 8u, last_row) * params.a_row;
    let a9 = params.a_offset + min(row + 9u, last_row) * params.a_row;
    let a10 = params.a_offset + min(row + 10u, last_row) * params.a_row;
    let a11 = params.a_offset + min(row + 11u, last_row) * params.a_row;
    let a12 = params.a_offset + min(row + 12u, last_row) * params.a_row;
    let a13 = params.a_offset + min(row + 13u, last_row) * params.a_row;
    let a14 = params.a_offset + min(row + 14u, last_row) * params.a_row;
    let a15 = params.a_offset + min(row + 15u, last_row) * params.a_row;
    let b0 = min(vec4(col) + LANES * vec4(0u, 1u, 2u, 3u), last_col) * params.b_col;
    let b1 = min(vec4(col) + LANES * vec4(4u, 5u, 6u, 7u), last_col) * params.b_col;
    let b2 = min(vec4(col) + LANES * vec4(8u, 9u, 10u, 11u), last_col) * params.b_col;
    let b3 = min(vec4(col) + LANES * vec4(12u, 13u, 14u, 15u), last_col) * params.b_col;
    var tile = Tile();
    for (var block = 0u; block < params.inner; block += INNER_BLOCK) {
        if block > 0u {
            add_block(group, lane, tile, block == INNER_BLOCK);
        }
        var m0 = mat4x4<f32>(); var m1 = mat4x4<f32>();
        var m2 = mat4x4<f32>(); var m3 = mat4x4<f32>();
        var m4 = mat4x4<f32>(); var m5 = mat4x4<f32>();
        var m6 = mat4x4<f32>(); var m7 = mat4x4<f32>();
        var m8 = mat4x4<f32>(); var m9 = mat4x4<f32>();
        var m10 = mat4x4<f32>(); var m11 = mat4x4<f32>();
        var m12 = mat4x4<f32>(); var m13 = mat4x4<f32>();
        var m14 = mat4x4<f32>(); var m15 = mat4x4<f32>();
        let end = min(block + INNER_BLOCK, params.inner);
        for (var k = block; k < end; k++) {
            let ak = k * params.a_inner;
            let bk = k * params.b_inner;
            let v = mat4x4(
                vec4(b[b0.x + bk], b[b0.y + bk], b[b0.z + bk], b[b0.w + bk]),
                vec4(b[b1.x + bk], b[b1.y + bk], b[b1.z + bk], b[b1.w + bk]),
                vec4(b[b2.x + bk], b[b2.y + bk], b[b2.z + bk], b[b2.w + bk]),
                vec4(b[b3.x + bk], b[b3.y + bk], b[b3.z + bk], b[b3.w + bk]),
            );
            m0 += a[a0 + ak] * v;
            m1 += a[a1 + ak] * v;
            m2 += a[a2 + ak] * v;
            m3 += a[a3 + ak] * v;
            m4 += a[a4 + ak] * v;
            m5 += a[a5 + ak] * v;
            m6 += a[a6 + ak] * v;
            m7 += a[a7 + ak] * v;
            m8 += a[a8 + ak] * v;
            m9 += a[a9 + ak] * v;
            m10 += a[a10 + ak] * v;
            m11 += a[a11 + ak] * v;
            m12 += a[a12 + ak] * v;
            m13 += a[a13 + ak] * v;
            m14 += a[a14 + ak] * v;
            m15 += a[a15 + ak] * v;
        }
        tile = Tile(m0, m1, m2, m3, m4, m5, m6, m7,
                    m8, m9, m10, m11, m12, m13, m14, m15);
    }
    return tile;
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
    return vec2(group.y * GROUP_ROWS + i / TILE, group.x * GROUP_COLS + lane + LANES * (i % TILE));
}

fn is_inside(cell: vec2<u32>) -> bool {
    return cell.x < params.rows && cell.y < params.cols;
}

// Where a cell lies in c, and in what is laid out like it.
fn place(cell: vec2<u32>) -> u32 {
    return params.c_offset + cell.x * params.c_row + cell.y;
}

fn sum_of(tile: ptr<function, Tile>, i: u32) -> f32 {
    return (*tile)[i / TILE][i % TILE / 4u][i % 4u];
}

// Adds the sums of a block that is not the last to c.
fn add_block(group: vec3<u32>, lane: u32, sums: Tile, first: bool) {
    var tile = sums;
    for (var i = 0u; i < TILE * TILE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            var value = sum_of(&tile, i);
            if !first || params.accumulate != 0u {
                value += c[at];
            }
            c[at] = value;
        }
    }
}

// The last block's sum and what c holds of it.
fn so_far(sum: f32, at: u32) -> f32 {
    if params.accumulate != 0u || params.inner > INNER_BLOCK {
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
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = product(group, lane);
    for (var i = 0u; i < TILE * TILE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            var value = with_bias(so_far(sum_of(&sums, i), at), cell.y);
            if params.has_residual != 0u {
                value += residual[at];
            }
            c[at] = value;
        }
    }
}

// The same, without residual; and gelu(y).
@compute @workgroup_size(LANES)
fn forward_gelu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = product(group, lane);
    for (var i = 0u; i < TILE * TILE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            let value = with_bias(so_far(sum_of(&sums, i), at), cell.y);
            c[at] = value;
            activated[at] = gelu(value);
        }
    }
}

// NT: dx[rows, in] = dy[rows, out] · w[in, out]ᵀ; the head's logits are one too.
@compute @workgroup_size(LANES)
fn backward_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = product(group, lane);
    for (var i = 0u; i < TILE * TILE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            c[at] = so_far(sum_of(&sums, i), at);
        }
    }
}

// The same, carried on through GELU to the gradient of its input, and GELU's output again; never
// accumulated.
@compute @workgroup_size(LANES)
fn backward_input_gelu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = product(group, lane);
    for (var i = 0u; i < TILE * TILE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            let wide = pre_activation[at];
            c[at] = so_far(sum_of(&sums, i), at) * gelu_slope(wide);
            activated[at] = gelu(wide);
        }
    }
}

// TN: dw[in, out] += x[rows, in]ᵀ · dy[rows, out]
@compute @workgroup_size(LANES)
fn backward_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = product(group, lane);
    for (var i = 0u; i < TILE * TILE; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            c[at] = so_far(sum_of(&sums, i), at);
        }
    }
}
