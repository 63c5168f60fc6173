// The variant for every shape: a workgroup owns a tile of 64 × 64 outputs, an invocation 4 × 4 of them in
// registers. Both operands pass through workgroup memory, DEPTH terms of the sum at a time. The kernel adds each
// block of INNER_BLOCK terms to the whole sum, so that rounding grows with the block and not with the sum.

alias Value = f32;
const WIDTH: u32 = 1u;

const LANES: u32 = 16u;         // lanes of a workgroup in x, and in y
const GROUP_ROWS: u32 = 64u;
const GROUP_COLS: u32 = 64u;
const SIDE: u32 = 4u;           // rows, and columns, of the outputs that a lane owns
const DEPTH: u32 = 16u;         // terms of the sum in workgroup memory
const VECTORS: u32 = 16u;       // vec4s along a side of the tile
const STRIDE: u32 = VECTORS + 1u;  // padded, so that lanes use different banks
const INNER_BLOCK: u32 = 128u;  // a multiple of DEPTH

var<workgroup> a_tile: array<vec4<f32>, 272>;  // [DEPTH, STRIDE]; a vec4 holds four rows of a
var<workgroup> b_tile: array<vec4<f32>, 272>;  // [DEPTH, STRIDE]; a vec4 holds four columns of b

// The vec4 of the tile that a lane loads, as (vector, depth). Neighbouring lanes read neighbouring words:
// along the sum if the sum is the operand's dense dimension, otherwise along the side of the tile.
fn own_load(lane: u32, along_sum: bool) -> vec2<u32> {
    let low = lane % 16u;
    let high = lane / 16u;
    return select(vec2(low, high), vec2(high, low), along_sum);
}

// One word of an operand, at row (or column) `s` and term `k`; 0 outside it.
fn word_at(is_a: bool, s: u32, k: u32) -> f32 {
    if s >= select(params.cols, params.rows, is_a) || k >= params.inner {
        return 0.0;
    }
    if is_a {
        return a[params.a_offset + s * params.a_row + k * params.a_inner];
    }
    return b[k * params.b_inner + s * params.b_col];
}

// No loop here writes component `r` of a vector: FXC unrolls all loops around such a write, and gives up.
fn load(is_a: bool, s: u32, k: u32) -> vec4<f32> {
    return vec4(word_at(is_a, s, k), word_at(is_a, s + 1u, k), word_at(is_a, s + 2u, k), word_at(is_a, s + 3u, k));
}

// The 4 × 4 sums of a lane; each vec4 is a row.
fn lane_sums(group: vec3<u32>, lane: u32) -> array<vec4<f32>, SIDE> {
    let first_row = group.y * GROUP_ROWS;
    let first_col = group.x * GROUP_COLS;
    let a_load = own_load(lane, A_ALONG_SUM);
    let b_load = own_load(lane, B_ALONG_SUM);
    let own_row = lane / LANES;
    let own_col = lane % LANES;
    var s0 = vec4(0.0); var s1 = vec4(0.0); var s2 = vec4(0.0); var s3 = vec4(0.0);
    var p0 = vec4(0.0); var p1 = vec4(0.0); var p2 = vec4(0.0); var p3 = vec4(0.0);
    for (var first = 0u; first < params.inner; first += DEPTH) {
        if first % INNER_BLOCK == 0u {
            s0 += p0; s1 += p1; s2 += p2; s3 += p3;
            p0 = vec4(0.0); p1 = vec4(0.0); p2 = vec4(0.0); p3 = vec4(0.0);
        }
        a_tile[a_load.y * STRIDE + a_load.x] = load(true, first_row + 4u * a_load.x, first + a_load.y);
        b_tile[b_load.y * STRIDE + b_load.x] = load(false, first_col + 4u * b_load.x, first + b_load.y);
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let x = a_tile[k * STRIDE + own_row];
            let y = b_tile[k * STRIDE + own_col];
            p0 += x.x * y; p1 += x.y * y;
            p2 += x.z * y; p3 += x.w * y;
        }
        workgroupBarrier();
    }
    return array(s0 + p0, s1 + p1, s2 + p2, s3 + p3);
}

@compute @workgroup_size(LANES, LANES)
fn product(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let sums = lane_sums(group, lane);
    let by_col = transpose(mat4x4(sums[0], sums[1], sums[2], sums[3]));
    let first = vec2(group.y * GROUP_ROWS + SIDE * (lane / LANES), group.x * GROUP_COLS + SIDE * (lane % LANES));
    store_four(first, Four(by_col[0].x, by_col[0].y, by_col[0].z, by_col[0].w), false);
    store_four(first + vec2(0u, 1u), Four(by_col[1].x, by_col[1].y, by_col[1].z, by_col[1].w), false);
    store_four(first + vec2(0u, 2u), Four(by_col[2].x, by_col[2].y, by_col[2].z, by_col[2].w), false);
    store_four(first + vec2(0u, 3u), Four(by_col[3].x, by_col[3].y, by_col[3].z, by_col[3].w), false);
}
