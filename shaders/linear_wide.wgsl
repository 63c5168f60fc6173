// The variant for large matrices on a GPU: a workgroup owns a tile of 64 × 128 outputs, an invocation 8 × 8 of
// them, so that a word read from workgroup memory feeds eight multiplications. It loads and stores vec4s: sizes,
// strides and offsets are multiples of 4.
//
// A tile of an operand is [DEPTH, quads] vec4s; a vec4 holds four neighbouring rows of a (or columns of b) at one
// k. Every lane fetches a block of 4 × 4 words of b, and half of the lanes one of a, and transposes a block that
// is dense along k. A sum runs in blocks of INNER_BLOCK terms, and c adds the blocks up.
// linear_ahead or linear_lean, which follows, has `lane_sums`: the loop over the terms.

alias Value = vec4<f32>;
const WIDTH: u32 = 4u;

const GROUP_ROWS: u32 = 64u;
const GROUP_COLS: u32 = 128u;
const WORKGROUP: u32 = 128u;
const ROW_QUADS: u32 = 16u;
const COL_QUADS: u32 = 32u;
const DEPTH: u32 = 16u;         // terms of the sum in workgroup memory
const INNER_BLOCK: u32 = 1024u; // a multiple of DEPTH

var<workgroup> a_tile: array<vec4<f32>, 256>;  // [DEPTH, ROW_QUADS]
var<workgroup> b_tile: array<vec4<f32>, 512>;  // [DEPTH, COL_QUADS]

// The row and column of a lane among [ROW_QUADS / 2, COL_QUADS / 2] lanes; 32 neighbours form 4 × 8.
fn lane_place(lane: u32) -> vec2<u32> {
    return vec2(4u * (lane / 64u) + lane % 32u / 8u, 8u * (lane / 32u % 2u) + lane % 8u);
}

// The index of quad `q` at depth `k` in a tile. Every four depths the quads change places, so that lanes that
// write blocks of the same row use different banks.
fn tile_at(quads: u32, q: u32, k: u32) -> u32 {
    return k * quads + (q ^ (2u * (k / 4u)));
}

// A vec4 at row (or column) `s` and term `k`: four terms if the operand is dense along the sum, otherwise four
// rows (or columns). A place beyond the operand reads its last vec4 instead, so that no load waits for a branch:
// results beyond c are not stored, and `put` sets terms beyond `end` to zero.
fn four_at(is_a: bool, s: u32, k: u32, end: u32) -> vec4<f32> {
    let along_sum = select(B_ALONG_SUM, A_ALONG_SUM, is_a);
    let at = min(s, select(params.cols, params.rows, is_a) - select(4u, 1u, along_sum));
    let term = min(k, end - select(1u, 4u, along_sum));
    if is_a {
        return a[(params.a_offset + at * params.a_row + term * params.a_inner) / 4u];
    }
    return b[(term * params.b_inner + at * params.b_col) / 4u];
}

// The quad and the first depth of a lane's block. Neighbouring lanes read neighbouring words.
fn block_place(is_a: bool, lane: u32) -> vec2<u32> {
    if select(B_ALONG_SUM, A_ALONG_SUM, is_a) {
        return vec2(lane / 4u, 4u * (lane % 4u));
    }
    let quads = select(COL_QUADS, ROW_QUADS, is_a);
    return vec2(lane % quads, 4u * (lane / quads));
}

// A lane's block of the terms from `first` on, as it lies in memory: a matrix column for each of four rows (or
// columns) if the operand is dense along the sum, otherwise for each of four terms.
fn fetch(is_a: bool, group: vec3<u32>, lane: u32, first: u32, end: u32) -> mat4x4<f32> {
    let place = block_place(is_a, lane);
    let s = select(group.x * GROUP_COLS, group.y * GROUP_ROWS, is_a) + 4u * place.x;
    let k = first + place.y;
    let step = select(vec2(0u, 1u), vec2(1u, 0u), select(B_ALONG_SUM, A_ALONG_SUM, is_a));
    return mat4x4(
        four_at(is_a, s, k, end), four_at(is_a, s + step.x, k + step.y, end),
        four_at(is_a, s + 2u * step.x, k + 2u * step.y, end), four_at(is_a, s + 3u * step.x, k + 3u * step.y, end),
    );
}

// Puts a fetched block into its tile, by terms.
fn put(is_a: bool, block: mat4x4<f32>, lane: u32, first: u32, end: u32) {
    let place = block_place(is_a, lane);
    var terms = block;
    if select(B_ALONG_SUM, A_ALONG_SUM, is_a) {
        terms = transpose(block);
    }
    put_term(is_a, place, terms[0], first + place.y < end);
    put_term(is_a, place + vec2(0u, 1u), terms[1], first + place.y + 1u < end);
    put_term(is_a, place + vec2(0u, 2u), terms[2], first + place.y + 2u < end);
    put_term(is_a, place + vec2(0u, 3u), terms[3], first + place.y + 3u < end);
}

fn put_term(is_a: bool, place: vec2<u32>, term: vec4<f32>, is_inside: bool) {
    let value = select(vec4(0.0), term, is_inside);
    if is_a {
        a_tile[tile_at(ROW_QUADS, place.x, place.y)] = value;
    } else {
        b_tile[tile_at(COL_QUADS, place.x, place.y)] = value;
    }
}

// The sums of a lane, by its two groups of four rows (x, y) and of four columns (v, w); a matrix column is a row.
struct Sums { xv: mat4x4<f32>, yv: mat4x4<f32>, xw: mat4x4<f32>, yw: mat4x4<f32> }

fn outer(rows: vec4<f32>, cols: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(rows.x * cols, rows.y * cols, rows.z * cols, rows.w * cols);
}

fn add_term(sums: ptr<function, Sums>, own: vec2<u32>, k: u32) {
    let x = a_tile[tile_at(ROW_QUADS, own.x, k)];
    let y = a_tile[tile_at(ROW_QUADS, own.x + ROW_QUADS / 2u, k)];
    let v = b_tile[tile_at(COL_QUADS, own.y, k)];
    let w = b_tile[tile_at(COL_QUADS, own.y + COL_QUADS / 2u, k)];
    (*sums).xv += outer(x, v);
    (*sums).yv += outer(y, v);
    (*sums).xw += outer(x, w);
    (*sums).yw += outer(y, w);
}

// The first cell of a lane's sums in its `i`-th group of rows and `j`-th group of columns.
fn cell(group: vec3<u32>, lane: u32, i: u32, j: u32) -> vec2<u32> {
    let first = vec2(group.y * GROUP_ROWS, group.x * GROUP_COLS) + 4u * lane_place(lane);
    return first + vec2(i * GROUP_ROWS, j * GROUP_COLS) / 2u;
}

fn four(block: mat4x4<f32>) -> Four {
    return Four(block[0], block[1], block[2], block[3]);
}

@compute @workgroup_size(WORKGROUP)
fn product(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sums: Sums;
    for (var block = 0u; block < params.inner; block += INNER_BLOCK) {
        if block > 0u {
            let continues = block > INNER_BLOCK;
            store_four_parts(cell(group, lane, 0u, 0u), four(sums.xv), continues);
            store_four_parts(cell(group, lane, 1u, 0u), four(sums.yv), continues);
            store_four_parts(cell(group, lane, 0u, 1u), four(sums.xw), continues);
            store_four_parts(cell(group, lane, 1u, 1u), four(sums.yw), continues);
        }
        sums = lane_sums(group, lane, block, min(block + INNER_BLOCK, params.inner));
    }
    let continues = params.inner > INNER_BLOCK;
    store_four(cell(group, lane, 0u, 0u), four(sums.xv), continues);
    store_four(cell(group, lane, 1u, 0u), four(sums.yv), continues);
    store_four(cell(group, lane, 0u, 1u), four(sums.xw), continues);
    store_four(cell(group, lane, 1u, 1u), four(sums.yw), continues);
}
