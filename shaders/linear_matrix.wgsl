// The variant on matrix units, f16 operands and f32 sums. linear_matrix8.wgsl or linear_matrix16.wgsl declares
// the tiles, matrix8.wgsl or matrix16.wgsl the matrices. The kernel rounds both operands to f16 on the way
// into workgroup memory; products are exact in f32, and sums are f32. But NVIDIA's units cut sums off where f32
// would round them, so that a long sum drifts. A sum runs in blocks of INNER_BLOCK terms, and c adds them up.
//
// A workgroup owns GROUP × GROUP outputs. They form REGIONS regions of 2 × 2 matrices, one subgroup a region.
// Subgroups may have any size that divides LANES. Where subgroups are fewer than regions, a subgroup takes
// several regions, each in a pass over the operands; where they are more, the rest only help to load. The
// lanes fetch the next terms into registers while they multiply the present ones. Finished sums go through
// workgroup memory, so that the edge and the epilogue are plain code.
// Dense strides are whole vec4s: see `is_in_fours` in src/ops/linear/variants.rs.

alias Value = vec4<f32>;
const WIDTH: u32 = 4u;

const LANES: u32 = 128u;
const GROUP: u32 = 4u * SIDE;
const GROUP_ROWS: u32 = GROUP;
const GROUP_COLS: u32 = GROUP;
const DEPTH: u32 = 2048u / GROUP;  // terms of the sum in a tile; a lane loads 16 words of each operand
const INNER_BLOCK: u32 = 4096u;     // a multiple of DEPTH
const PAD: u32 = 8u;               // between lines of a tile, so that loads of matrices meet different banks
const REGION: u32 = 2u * SIDE;
const REGIONS: u32 = 4u;
const MATRIX: u32 = SIDE * SIDE;
const VECTORS: u32 = MATRIX / 4u;

var<workgroup> sums: array<f32, REGIONS * MATRIX>;  // one matrix a region

// A tile keeps the dense dimension of its operand, so that every load is a whole vec4. A line of a tile holds
// DEPTH terms of the sum if the operand is dense along the sum, otherwise GROUP rows (of b: columns).
fn line_stride(along_sum: bool) -> u32 {
    return select(GROUP, DEPTH, along_sum) + PAD;
}

// The line of the tile that the lane's load `number` fills, and the first word in that line.
fn line_place(lane: u32, number: u32, along_sum: bool) -> vec2<u32> {
    let at = 4u * (number * LANES + lane);
    let length = select(GROUP, DEPTH, along_sum);
    return vec2(at / length, at % length);
}

// The index in a tile of the lane's load `number`.
fn slot(lane: u32, number: u32, along_sum: bool) -> u32 {
    let to = line_place(lane, number, along_sum);
    return to.x * line_stride(along_sum) + to.y;
}

// A place beyond the operand reads its last vec4 instead, so that no load waits for a branch: results beyond c
// are not stored, and `real` sets terms beyond the sum to zero.
fn load(is_a: bool, first_side: u32, first: u32, lane: u32, number: u32) -> vec4<f32> {
    let along_sum = select(B_ALONG_SUM, A_ALONG_SUM, is_a);
    let to = line_place(lane, number, along_sum);
    let last_side = select(params.cols, params.rows, is_a) - select(4u, 1u, along_sum);
    let last_term = params.inner - select(1u, 4u, along_sum);
    let side = min(first_side + select(to.y, to.x, along_sum), last_side);
    let k = min(first + select(to.x, to.y, along_sum), last_term);
    if is_a {
        return a[(params.a_offset + side * params.a_row + k * params.a_inner) / 4u];
    }
    return b[(k * params.b_inner + side * params.b_col) / 4u];
}

// The lane's load `number` of the terms from `first` on, with zeros for terms beyond the sum.
fn real(terms: vec4<f32>, first: u32, lane: u32, number: u32, along_sum: bool) -> vec4<f32> {
    let to = line_place(lane, number, along_sum);
    return select(vec4(0.0), terms, first + select(to.x, to.y, along_sum) < params.inner);
}

// The four loads of a lane from the DEPTH terms that begin at `first`.
fn next(is_a: bool, side: u32, first: u32, lane: u32) -> mat4x4<f32> {
    return mat4x4(
        load(is_a, side, first, lane, 0u), load(is_a, side, first, lane, 1u),
        load(is_a, side, first, lane, 2u), load(is_a, side, first, lane, 3u),
    );
}

// The matrix at (side, k) of a tile.
fn left(side: u32, k: u32) -> Left {
    let stride = line_stride(A_ALONG_SUM);
    if A_ALONG_SUM {
        let at = (side * stride + k) / UNIT;
        return coopLoadT<Left>(&a_tile[at], stride / UNIT);
    }
    let at = (k * stride + side) / UNIT;
    return coopLoad<Left>(&a_tile[at], stride / UNIT);
}

fn right(side: u32, k: u32) -> Right {
    let stride = line_stride(B_ALONG_SUM);
    if B_ALONG_SUM {
        let at = (side * stride + k) / UNIT;
        return coopLoad<Right>(&b_tile[at], stride / UNIT);
    }
    let at = (k * stride + side) / UNIT;
    return coopLoadT<Right>(&b_tile[at], stride / UNIT);
}

// The first row and column of a region in its workgroup's outputs.
fn corner(region: u32) -> vec2<u32> {
    return REGION * vec2(region / 2u, region % 2u);
}

struct Own {
    group: vec3<u32>,
    lane: u32,
    subgroup: u32,   // its number in the workgroup
    subgroups: u32,
}

// Fills workgroup memory with the zeros that `zero` loads.
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

// Adds up the matrices [s00 s01; s10 s11] of the region that the subgroup takes in this pass, over the terms of
// the block that begins at `block`.
fn multiply(
    own: Own, passed: u32, block: u32,
    s00: ptr<function, Sum>, s01: ptr<function, Sum>,
    s10: ptr<function, Sum>, s11: ptr<function, Sum>,
) {
    let first_row = own.group.y * GROUP;
    let first_col = own.group.x * GROUP;
    let region = passed + own.subgroup;
    let side = corner(region);
    var a_next = next(true, first_row, block, own.lane);
    var b_next = next(false, first_col, block, own.lane);
    for (var first = block; first < min(block + INNER_BLOCK, params.inner); first += DEPTH) {
        put_a(slot(own.lane, 0u, A_ALONG_SUM), real(a_next[0], first, own.lane, 0u, A_ALONG_SUM));
        put_a(slot(own.lane, 1u, A_ALONG_SUM), real(a_next[1], first, own.lane, 1u, A_ALONG_SUM));
        put_a(slot(own.lane, 2u, A_ALONG_SUM), real(a_next[2], first, own.lane, 2u, A_ALONG_SUM));
        put_a(slot(own.lane, 3u, A_ALONG_SUM), real(a_next[3], first, own.lane, 3u, A_ALONG_SUM));
        put_b(slot(own.lane, 0u, B_ALONG_SUM), real(b_next[0], first, own.lane, 0u, B_ALONG_SUM));
        put_b(slot(own.lane, 1u, B_ALONG_SUM), real(b_next[1], first, own.lane, 1u, B_ALONG_SUM));
        put_b(slot(own.lane, 2u, B_ALONG_SUM), real(b_next[2], first, own.lane, 2u, B_ALONG_SUM));
        put_b(slot(own.lane, 3u, B_ALONG_SUM), real(b_next[3], first, own.lane, 3u, B_ALONG_SUM));
        workgroupBarrier();
        a_next = next(true, first_row, first + DEPTH, own.lane);
        b_next = next(false, first_col, first + DEPTH, own.lane);
        if region < REGIONS {
            for (var k = 0u; k < DEPTH; k += SIDE) {
                let a0 = left(side.x, k);
                let a1 = left(side.x + SIDE, k);
                let b0 = right(side.y, k);
                let b1 = right(side.y + SIDE, k);
                *s00 = coopMultiplyAdd(a0, b0, *s00);
                *s01 = coopMultiplyAdd(a0, b1, *s01);
                *s10 = coopMultiplyAdd(a1, b0, *s10);
                *s11 = coopMultiplyAdd(a1, b1, *s11);
            }
        }
        workgroupBarrier();
    }
}

// Stores one of the 2 × 2 matrices of each region in a pass, the matrix at `at`, through workgroup memory.
fn store_matrix(own: Own, passed: u32, block: u32, at: vec2<u32>, matrix: Sum) {
    let region = passed + own.subgroup;
    let first = region * MATRIX;
    workgroupBarrier();
    if region < REGIONS {
        coopStoreT(matrix, &sums[first], SIDE);
    }
    workgroupBarrier();
    let end = min(passed + own.subgroups, REGIONS) * VECTORS;
    for (var v = passed * VECTORS + own.lane; v < end; v += LANES) {
        let within = vec2(v % VECTORS / (SIDE / 4u), 4u * (v % (SIDE / 4u)));
        let cell = GROUP * own.group.yx + corner(v / VECTORS) + SIDE * at + within;
        let sum = vec4(sums[4u * v], sums[4u * v + 1u], sums[4u * v + 2u], sums[4u * v + 3u]);
        if block + INNER_BLOCK < params.inner {
            store_part(cell, sum, block > 0u);
        } else {
            store(cell, sum, block > 0u);
        }
    }
}

@compute @workgroup_size(LANES)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let own = Own(group, lane, subgroup, subgroups);
    for (var passed = 0u; passed < REGIONS; passed += subgroups) {
        for (var block = 0u; block == 0u || block < params.inner; block += INNER_BLOCK) {
            clear(lane);
            var s00 = zero(); var s01 = zero();
            var s10 = zero(); var s11 = zero();
            multiply(own, passed, block, &s00, &s01, &s10, &s11);
            store_matrix(own, passed, block, vec2(0u, 0u), s00);
            store_matrix(own, passed, block, vec2(0u, 1u), s01);
            store_matrix(own, passed, block, vec2(1u, 0u), s10);
            store_matrix(own, passed, block, vec2(1u, 1u), s11);
        }
    }
}
