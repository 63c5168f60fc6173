// The ceiling of matrix units: products of matrices that stay in registers. `matrices` in ceiling.wgsl
// computes the same result; matrix8.wgsl or matrix16.wgsl, the part before this one, declares the matrices.
//
// A subgroup computes a part as four independent sums, so that a product does not wait for another.

struct Params {
    count: u32,
    rounds: u32,
    side: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // [2 SIDE, SIDE], [SIDE, 2 SIDE]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;  // [groups, PARTS, 2 SIDE, 2 SIDE]

const MATRIX_WORKGROUP: u32 = 128u;
const PARTS: u32 = 4u;
const MATRIX: u32 = SIDE * SIDE;
const ROW_VECTORS: u32 = SIDE / 4u;
const VECTORS: u32 = MATRIX / 4u;

var<workgroup> left_tile: array<f16, 2u * MATRIX>;   // [2 SIDE, SIDE]
var<workgroup> right_tile: array<f16, 2u * MATRIX>;  // [SIDE, 2 SIDE]
var<workgroup> sums: array<f32, PARTS * MATRIX>;     // one matrix for each part

// Writes one of the four matrices of each part [passed, end) to y, the matrix at `corner` (row, column),
// through `sums`.
fn put_down(group: u32, lane: u32, part: u32, end: u32, passed: u32, corner: vec2<u32>, matrix: Sum) {
    let at = part * MATRIX;
    workgroupBarrier();
    if part < PARTS {
        coopStoreT(matrix, &sums[at], SIDE);
    }
    workgroupBarrier();
    for (var v = passed * VECTORS + lane; v < end * VECTORS; v += MATRIX_WORKGROUP) {
        let row = corner.x * SIDE + v % VECTORS / ROW_VECTORS;
        let col = corner.y * ROW_VECTORS + v % ROW_VECTORS;
        let first = (group * PARTS + v / VECTORS) * 4u * VECTORS;
        y[first + row * 2u * ROW_VECTORS + col] =
            vec4(sums[4u * v], sums[4u * v + 1u], sums[4u * v + 2u], sums[4u * v + 3u]);
    }
}

@compute @workgroup_size(MATRIX_WORKGROUP)
fn matrices(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    for (var i = lane; i < 2u * MATRIX; i += MATRIX_WORKGROUP) {
        left_tile[i] = f16(x[i / 4u][i % 4u]);
        right_tile[i] = f16(x[2u * VECTORS + i / 4u][i % 4u]);
    }
    for (var passed = 0u; passed < PARTS; passed += subgroups) {
        workgroupBarrier();
        for (var v = lane; v < MATRIX; v += MATRIX_WORKGROUP) {
            sums[v] = 0.0;
        }
        workgroupBarrier();
        var s00 = coopLoadT<Sum>(&sums[0], SIDE);
        var s01 = coopLoadT<Sum>(&sums[0], SIDE);
        var s10 = coopLoadT<Sum>(&sums[0], SIDE);
        var s11 = coopLoadT<Sum>(&sums[0], SIDE);
        let part = passed + subgroup;
        if part < PARTS {
            let a0 = coopLoadT<Left>(&left_tile[0], SIDE);
            let a1 = coopLoadT<Left>(&left_tile[MATRIX], SIDE);
            let b0 = coopLoadT<Right>(&right_tile[0], 2u * SIDE);
            let b1 = coopLoadT<Right>(&right_tile[SIDE], 2u * SIDE);
            for (var i = 0u; i < params.rounds; i++) {
                s00 = coopMultiplyAdd(a0, b0, s00);
                s01 = coopMultiplyAdd(a0, b1, s01);
                s10 = coopMultiplyAdd(a1, b0, s10);
                s11 = coopMultiplyAdd(a1, b1, s11);
            }
        }
        let end = min(passed + subgroups, PARTS);
        put_down(group.x, lane, part, end, passed, vec2(0u, 0u), s00);
        put_down(group.x, lane, part, end, passed, vec2(0u, 1u), s01);
        put_down(group.x, lane, part, end, passed, vec2(1u, 0u), s10);
        put_down(group.x, lane, part, end, passed, vec2(1u, 1u), s11);
    }
}
