// Matrix products without workgroup memory, for devices on which that is plain memory: software Vulkan.
// The interface is linear.wgsl's.
//
// A workgroup is one run of LANES lanes: all of them work on the same TILE_ROWS rows, so that what they
// read of `a` is one value for all, and lane l owns the columns l, l + LANES, l + 2 LANES, … of the tile.
// Sums run in blocks of INNER_BLOCK terms that are added up in c, so that rounding grows with the block
// and not with the whole inner length (50,257 in the head's backward pass).

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    a_offset: u32,
    a_row: u32,       // stride of i in a
    a_inner: u32,     // stride of k in a
    b_inner: u32,     // stride of k in b
    b_col: u32,       // stride of j in b
    c_offset: u32,
    c_row: u32,       // stride of i in c
    accumulate: u32,
    has_bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // [cols]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

const LANES: u32 = 8u;
const TILE_ROWS: u32 = 8u;
const TILE_COLS: u32 = 8u;  // of a lane
const GROUP_ROWS: u32 = TILE_ROWS;
const GROUP_COLS: u32 = LANES * TILE_COLS;
const INNER_BLOCK: u32 = 512u;

// Writes four columns of a row; the first block of terms starts the sum, the others add to it.
fn store(row: u32, cols: vec4<u32>, sums: vec4<f32>, first_block: bool) {
    if row >= params.rows {
        return;
    }
    let base = params.c_offset + row * params.c_row;
    for (var k = 0u; k < 4u; k++) {
        let col = cols[k];
        if col < params.cols {
            var value = sums[k];
            if first_block && params.has_bias != 0u {
                value += bias[col];
            }
            if !first_block || params.accumulate != 0u {
                value += c[base + col];
            }
            c[base + col] = value;
        }
    }
}

fn product(group_row: u32, group_col: u32, lane: u32) {
    let row = group_row * GROUP_ROWS;
    let col = group_col * GROUP_COLS + lane;
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
    let cols0 = vec4(col) + LANES * vec4(0u, 1u, 2u, 3u);
    let b0 = min(cols0, last_col) * params.b_col;
    let cols1 = vec4(col) + LANES * vec4(4u, 5u, 6u, 7u);
    let b1 = min(cols1, last_col) * params.b_col;
    for (var block = 0u; block < params.inner; block += INNER_BLOCK) {
        var s0_0 = vec4(0.0); var s0_1 = vec4(0.0);
        var s1_0 = vec4(0.0); var s1_1 = vec4(0.0);
        var s2_0 = vec4(0.0); var s2_1 = vec4(0.0);
        var s3_0 = vec4(0.0); var s3_1 = vec4(0.0);
        var s4_0 = vec4(0.0); var s4_1 = vec4(0.0);
        var s5_0 = vec4(0.0); var s5_1 = vec4(0.0);
        var s6_0 = vec4(0.0); var s6_1 = vec4(0.0);
        var s7_0 = vec4(0.0); var s7_1 = vec4(0.0);
        let end = min(block + INNER_BLOCK, params.inner);
        for (var k = block; k < end; k++) {
            let ak = k * params.a_inner;
            let bk = k * params.b_inner;
            let v0 = vec4(b[b0.x + bk], b[b0.y + bk], b[b0.z + bk], b[b0.w + bk]);
            let v1 = vec4(b[b1.x + bk], b[b1.y + bk], b[b1.z + bk], b[b1.w + bk]);
            let x0 = a[a0 + ak];
            s0_0 += x0 * v0; s0_1 += x0 * v1;
            let x1 = a[a1 + ak];
            s1_0 += x1 * v0; s1_1 += x1 * v1;
            let x2 = a[a2 + ak];
            s2_0 += x2 * v0; s2_1 += x2 * v1;
            let x3 = a[a3 + ak];
            s3_0 += x3 * v0; s3_1 += x3 * v1;
            let x4 = a[a4 + ak];
            s4_0 += x4 * v0; s4_1 += x4 * v1;
            let x5 = a[a5 + ak];
            s5_0 += x5 * v0; s5_1 += x5 * v1;
            let x6 = a[a6 + ak];
            s6_0 += x6 * v0; s6_1 += x6 * v1;
            let x7 = a[a7 + ak];
            s7_0 += x7 * v0; s7_1 += x7 * v1;
        }
        store(row + 0u, cols0, s0_0, block == 0u);
        store(row + 0u, cols1, s0_1, block == 0u);
        store(row + 1u, cols0, s1_0, block == 0u);
        store(row + 1u, cols1, s1_1, block == 0u);
        store(row + 2u, cols0, s2_0, block == 0u);
        store(row + 2u, cols1, s2_1, block == 0u);
        store(row + 3u, cols0, s3_0, block == 0u);
        store(row + 3u, cols1, s3_1, block == 0u);
        store(row + 4u, cols0, s4_0, block == 0u);
        store(row + 4u, cols1, s4_1, block == 0u);
        store(row + 5u, cols0, s5_0, block == 0u);
        store(row + 5u, cols1, s5_1, block == 0u);
        store(row + 6u, cols0, s6_0, block == 0u);
        store(row + 6u, cols1, s6_1, block == 0u);
        store(row + 7u, cols0, s7_0, block == 0u);
        store(row + 7u, cols1, s7_1, block == 0u);
    }
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    product(group.y, group.x, lane);
}

@compute @workgroup_size(LANES)
fn backward_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    product(group.y, group.x, lane);
}

@compute @workgroup_size(LANES)
fn backward_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    product(group.y, group.x, lane);
}
