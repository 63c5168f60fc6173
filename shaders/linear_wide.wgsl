// The products of linear.wgsl for large matrices on a GPU: a workgroup owns a tile of 128 × 128 outputs,
// an invocation 8 × 8 of them, so that a word read from workgroup memory serves eight multiplications.
// Everything is read and written four words at a time: sizes, strides and offsets are multiples of 4.
//
// A tile of an operand is [DEPTH, QUADS] vec4s, each four neighbouring rows of a (or columns of b) at
// one k. Half of the lanes fill a's, half b's: each fetches a block of 4 × 4 and turns it if its
// operand lies along k. The next blocks are fetched while this tile is multiplied.
//
// backward_weight_split cuts its sum in SPLITS parts, each with workgroups of its own, for weights with
// few tiles; finish_backward_weight adds the parts up in a fixed order.

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
@group(0) @binding(8) var<storage, read_write> split_sums: array<vec4<f32>>; // [SPLITS, rows, cols]

const GROUP_ROWS: u32 = 128u;
const GROUP_COLS: u32 = 128u;
const WORKGROUP: u32 = 256u;
const LANES: u32 = 16u;         // of a workgroup, in rows and in columns of outputs
const QUADS: u32 = 32u;         // vec4s along a side of the tile
const DEPTH: u32 = 16u;         // terms of the sum in workgroup memory
const INNER_BLOCK: u32 = 1024u; // terms summed before they are added to c; a multiple of DEPTH
const SPLITS: u32 = 4u;
const SUMS: u32 = 16u;          // vec4s of a lane: rows 0 to 3 and 64 to 67, columns the same

var<workgroup> a_tile: array<vec4<f32>, 512>;  // [DEPTH, QUADS]
var<workgroup> b_tile: array<vec4<f32>, 512>;

alias Tile = array<vec4<f32>, SUMS>;

// Where quad `q` at depth `k` lies in a tile: turned a little from each four depths to the next, so that
// lanes that write blocks of one row meet different banks.
fn tile_at(q: u32, k: u32) -> u32 {
    return k * QUADS + (q ^ (2u * (k / 4u)));
}

fn a_at(row: u32, k: u32, end: u32) -> vec4<f32> {
    if row < params.rows && k < end {
        return a[(params.a_offset + row * params.a_row + k * params.a_inner) / 4u];
    }
    return vec4(0.0);
}

fn b_at(k: u32, col: u32, end: u32) -> vec4<f32> {
    if col < params.cols && k < end {
        return b[(k * params.b_inner + col * params.b_col) / 4u];
    }
    return vec4(0.0);
}

// Quad and first depth of the block that a lane fetches; neighbours read neighbouring words.
fn own_block(lane: u32, along_sum: bool) -> vec2<u32> {
    let i = lane % (WORKGROUP / 2u);
    return select(vec2(i % QUADS, 4u * (i / QUADS)), vec2(i / 4u, 4u * (i % 4u)), along_sum);
}

// Four vec4s, one a depth, each over four rows of a.
fn fetch_a(first_row: u32, k: u32, end: u32) -> mat4x4<f32> {
    let r = first_row;
    if params.a_inner == 1u {
        return transpose(mat4x4(a_at(r, k, end), a_at(r + 1u, k, end), a_at(r + 2u, k, end), a_at(r + 3u, k, end)));
    }
    return mat4x4(a_at(r, k, end), a_at(r, k + 1u, end), a_at(r, k + 2u, end), a_at(r, k + 3u, end));
}

// Four vec4s, one a depth, each over four columns of b.
fn fetch_b(first_col: u32, k: u32, end: u32) -> mat4x4<f32> {
    let c = first_col;
    if params.b_inner == 1u {
        return transpose(mat4x4(b_at(k, c, end), b_at(k, c + 1u, end), b_at(k, c + 2u, end), b_at(k, c + 3u, end)));
    }
    return mat4x4(b_at(k, c, end), b_at(k + 1u, c, end), b_at(k + 2u, c, end), b_at(k + 3u, c, end));
}

// The sums over the terms [first, end).
fn product(group: vec3<u32>, lane: u32, first: u32, end: u32) -> Tile {
    let fetches_a = lane < WORKGROUP / 2u;
    let along_sum = select(params.b_inner == 1u, params.a_inner == 1u, fetches_a);
    let own = own_block(lane, along_sum);
    let side = select(group.x * GROUP_COLS, group.y * GROUP_ROWS, fetches_a) + 4u * own.x;
    let own_row = lane / LANES;
    let own_col = lane % LANES;
    var s0 = vec4(0.0); var s1 = vec4(0.0); var s2 = vec4(0.0); var s3 = vec4(0.0);
    var s4 = vec4(0.0); var s5 = vec4(0.0); var s6 = vec4(0.0); var s7 = vec4(0.0);
    var t0 = vec4(0.0); var t1 = vec4(0.0); var t2 = vec4(0.0); var t3 = vec4(0.0);
    var t4 = vec4(0.0); var t5 = vec4(0.0); var t6 = vec4(0.0); var t7 = vec4(0.0);
    var block = mat4x4<f32>();
    if fetches_a {
        block = fetch_a(side, first + own.y, end);
    } else {
        block = fetch_b(side, first + own.y, end);
    }
    for (var k = first; k < end; k += DEPTH) {
        workgroupBarrier();
        if fetches_a {
            a_tile[tile_at(own.x, own.y)] = block[0];
            a_tile[tile_at(own.x, own.y + 1u)] = block[1];
            a_tile[tile_at(own.x, own.y + 2u)] = block[2];
            a_tile[tile_at(own.x, own.y + 3u)] = block[3];
        } else {
            b_tile[tile_at(own.x, own.y)] = block[0];
            b_tile[tile_at(own.x, own.y + 1u)] = block[1];
            b_tile[tile_at(own.x, own.y + 2u)] = block[2];
            b_tile[tile_at(own.x, own.y + 3u)] = block[3];
        }
        workgroupBarrier();
        // Beyond the end nothing is read.
        if fetches_a {
            block = fetch_a(side, k + DEPTH + own.y, end);
        } else {
            block = fetch_b(side, k + DEPTH + own.y, end);
        }
        for (var d = 0u; d < DEPTH; d++) {
            let x = a_tile[tile_at(own_row, d)];
            let y = a_tile[tile_at(own_row + LANES, d)];
            let v = b_tile[tile_at(own_col, d)];
            let w = b_tile[tile_at(own_col + LANES, d)];
            s0 += x.x * v; s1 += x.y * v; s2 += x.z * v; s3 += x.w * v;
            s4 += y.x * v; s5 += y.y * v; s6 += y.z * v; s7 += y.w * v;
            t0 += x.x * w; t1 += x.y * w; t2 += x.z * w; t3 += x.w * w;
            t4 += y.x * w; t5 += y.y * w; t6 += y.z * w; t7 += y.w * w;
        }
    }
    return Tile(s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5, t6, t7);
}

// All sums; those of the blocks before the last are added to c.
fn whole_product(group: vec3<u32>, lane: u32) -> Tile {
    var sums = Tile();
    for (var block = 0u; block < params.inner; block += INNER_BLOCK) {
        if block > 0u {
            add_block(group, lane, sums, block == INNER_BLOCK);
        }
        sums = product(group, lane, block, min(block + INNER_BLOCK, params.inner));
    }
    return sums;
}

// Row and first column of the i-th vec4 of a lane.
fn cell(group: vec3<u32>, lane: u32, i: u32) -> vec2<u32> {
    let row = 4u * (lane / LANES) + i % 4u + 64u * (i / 4u % 2u);
    let col = 4u * (lane % LANES) + 64u * (i / 8u);
    return vec2(group.y * GROUP_ROWS + row, group.x * GROUP_COLS + col);
}

fn is_inside(cell: vec2<u32>) -> bool {
    return cell.x < params.rows && cell.y < params.cols;
}

// Where a cell lies in c, and in what is laid out like it.
fn place(cell: vec2<u32>) -> u32 {
    return (params.c_offset + cell.x * params.c_row + cell.y) / 4u;
}

fn add_block(group: vec3<u32>, lane: u32, tile: Tile, first: bool) {
    var sums = tile;
    for (var i = 0u; i < SUMS; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            var value = sums[i];
            if !first || params.accumulate != 0u {
                value += c[at];
            }
            c[at] = value;
        }
    }
}

// The last block's sum and what c holds of it.
fn so_far(sum: vec4<f32>, at: u32) -> vec4<f32> {
    if params.accumulate != 0u || params.inner > INNER_BLOCK {
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

// GELU in GPT-2's tanh approximation. tanh overflows to NaN on Metal for large arguments; at ±10 it is
// ±1 in f32, and the slope's 1 - t² exactly 0.
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
@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = whole_product(group, lane);
    for (var i = 0u; i < SUMS; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            var value = with_bias(so_far(sums[i], at), cell.y);
            if params.has_residual != 0u {
                value += residual[at];
            }
            c[at] = value;
        }
    }
}

// The same, without residual; and gelu(y).
@compute @workgroup_size(WORKGROUP)
fn forward_gelu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = whole_product(group, lane);
    for (var i = 0u; i < SUMS; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            let value = with_bias(so_far(sums[i], at), cell.y);
            c[at] = value;
            activated[at] = gelu(value);
        }
    }
}

// NT: dx[rows, in] = dy[rows, out] · w[in, out]ᵀ; the head's logits are one too.
@compute @workgroup_size(WORKGROUP)
fn backward_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = whole_product(group, lane);
    for (var i = 0u; i < SUMS; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            c[at] = so_far(sums[i], at);
        }
    }
}

// The same, carried on through GELU to the gradient of its input, and GELU's output again; never
// accumulated.
@compute @workgroup_size(WORKGROUP)
fn backward_input_gelu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = whole_product(group, lane);
    for (var i = 0u; i < SUMS; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            let wide = pre_activation[at];
            c[at] = so_far(sums[i], at) * gelu_slope(wide);
            activated[at] = gelu(wide);
        }
    }
}

// TN: dw[in, out] += x[rows, in]ᵀ · dy[rows, out]
@compute @workgroup_size(WORKGROUP)
fn backward_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = whole_product(group, lane);
    for (var i = 0u; i < SUMS; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            c[at] = so_far(sums[i], at);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward_weight_split(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let share = (params.inner + SPLITS * DEPTH - 1u) / (SPLITS * DEPTH) * DEPTH;
    let first = min(group.z * share, params.inner);
    var sums = product(group, lane, first, min(first + share, params.inner));
    for (var i = 0u; i < SUMS; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            split_sums[((group.z * params.rows + cell.x) * params.cols + cell.y) / 4u] = sums[i];
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn finish_backward_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    for (var i = 0u; i < SUMS; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            var value = vec4(0.0);
            for (var s = 0u; s < SPLITS; s++) {
                value += split_sums[((s * params.rows + cell.x) * params.cols + cell.y) / 4u];
            }
            if params.accumulate != 0u {
                value += c[at];
            }
            c[at] = value;
        }
    }
}
