// Matrix products, one body for all three: c[i, j] (+)= Σ_k a[i, k] · b[k, j] (+ bias[j]), each
// operand with its own strides. NN, NT and TN differ in the strides that the host fills in.
//
// An invocation owns a tile of 4 × 8 outputs in registers and reads its operands straight from
// storage. Sums run in blocks of INNER_BLOCK terms that are then added up, so that rounding grows
// with the block and not with the whole inner length (50,257 in the head's backward pass).

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
@group(0) @binding(5) var<storage, read> dy: array<f32>;           // [rows, cols]
@group(0) @binding(6) var<storage, read_write> dbias: array<f32>;  // [cols], accumulated

const TILE_ROWS: u32 = 4u;
const TILE_COLS: u32 = 8u;
const INNER_BLOCK: u32 = 128u;
const LANES_X: u32 = 8u;
const LANES_Y: u32 = 8u;

fn store(row: u32, first_col: u32, left: vec4<f32>, right: vec4<f32>) {
    if row >= params.rows {
        return;
    }
    for (var k = 0u; k < TILE_COLS; k++) {
        let col = first_col + k;
        if col < params.cols {
            var value = select(right[k & 3u], left[k & 3u], k < 4u);
            if params.has_bias != 0u {
                value += bias[col];
            }
            let at = params.c_offset + row * params.c_row + col;
            if params.accumulate != 0u {
                value += c[at];
            }
            c[at] = value;
        }
    }
}

fn product(lane_row: u32, lane_col: u32) {
    let row = lane_row * TILE_ROWS;
    let col = lane_col * TILE_COLS;
    if row >= params.rows || col >= params.cols {
        return;
    }
    // Lanes over the edge read the last row or column again and do not store.
    let rows = params.a_offset + min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(params.rows - 1u)) * params.a_row;
    let cols_l = min(vec4(col) + vec4(0u, 1u, 2u, 3u), vec4(params.cols - 1u)) * params.b_col;
    let cols_r = min(vec4(col) + vec4(4u, 5u, 6u, 7u), vec4(params.cols - 1u)) * params.b_col;
    var l0 = vec4(0.0); var l1 = vec4(0.0); var l2 = vec4(0.0); var l3 = vec4(0.0);
    var r0 = vec4(0.0); var r1 = vec4(0.0); var r2 = vec4(0.0); var r3 = vec4(0.0);
    for (var block = 0u; block < params.inner; block += INNER_BLOCK) {
        var p0 = vec4(0.0); var p1 = vec4(0.0); var p2 = vec4(0.0); var p3 = vec4(0.0);
        var q0 = vec4(0.0); var q1 = vec4(0.0); var q2 = vec4(0.0); var q3 = vec4(0.0);
        let end = min(block + INNER_BLOCK, params.inner);
        for (var k = block; k < end; k++) {
            let at = rows + k * params.a_inner;
            let bl = cols_l + k * params.b_inner;
            let br = cols_r + k * params.b_inner;
            let left = vec4(b[bl.x], b[bl.y], b[bl.z], b[bl.w]);
            let right = vec4(b[br.x], b[br.y], b[br.z], b[br.w]);
            let a0 = a[at.x];
            let a1 = a[at.y];
            let a2 = a[at.z];
            let a3 = a[at.w];
            p0 += a0 * left; q0 += a0 * right;
            p1 += a1 * left; q1 += a1 * right;
            p2 += a2 * left; q2 += a2 * right;
            p3 += a3 * left; q3 += a3 * right;
        }
        l0 += p0; l1 += p1; l2 += p2; l3 += p3;
        r0 += q0; r1 += q1; r2 += q2; r3 += q3;
    }
    store(row, col, l0, r0);
    store(row + 1u, col, l1, r1);
    store(row + 2u, col, l2, r2);
    store(row + 3u, col, l3, r3);
}

// NN: y[rows, out] = x[rows, in] · w[in, out] + bias
@compute @workgroup_size(LANES_X, LANES_Y)
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    product(id.y, id.x);
}

// NT: dx[rows, in] = dy[rows, out] · w[in, out]ᵀ; the head's logits are one too.
@compute @workgroup_size(LANES_X, LANES_Y)
fn backward_input(@builtin(global_invocation_id) id: vec3<u32>) {
    product(id.y, id.x);
}

// TN: dw[in, out] += x[rows, in]ᵀ · dy[rows, out]
@compute @workgroup_size(LANES_X, LANES_Y)
fn backward_weight(@builtin(global_invocation_id) id: vec3<u32>) {
    product(id.y, id.x);
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
