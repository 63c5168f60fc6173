// The variant for large matrices on a GPU: a workgroup owns a tile of 128 × 128 outputs, an invocation 8 × 8
// of them, so that a word read from workgroup memory feeds eight multiplications. It loads and stores vec4s:
// sizes, strides and offsets are multiples of 4.
//
// A tile of an operand is [DEPTH, QUADS] vec4s; a vec4 holds four neighbouring rows of a (or columns of b) at
// one k. Half of the lanes fill the tile of a, half the tile of b. A lane fetches a block of 4 × 4 words and
// transposes it if its operand is dense along k. The lanes fetch the next blocks while they multiply the
// present tile. A sum runs in blocks of INNER_BLOCK terms, and c adds the blocks up.

alias Value = vec4<f32>;
const WIDTH: u32 = 4u;

const GROUP_ROWS: u32 = 128u;
const GROUP_COLS: u32 = 128u;
const WORKGROUP: u32 = 256u;
const LANES: u32 = 16u;         // lanes of a workgroup along the rows of the tile, and along the columns
const QUADS: u32 = 32u;         // vec4s along a side of the tile
const DEPTH: u32 = 16u;         // terms of the sum in workgroup memory
const INNER_BLOCK: u32 = 1024u; // a multiple of DEPTH
const SUMS: u32 = 16u;          // vec4s of a lane; lane 0 has rows, and columns, 0 to 3 and 64 to 67

var<workgroup> a_tile: array<vec4<f32>, 512>;  // [DEPTH, QUADS]
var<workgroup> b_tile: array<vec4<f32>, 512>;

alias Tile = array<vec4<f32>, SUMS>;

// The index of quad `q` at depth `k` in a tile. Every four depths the quads change places, so that lanes
// that write blocks of the same row use different banks.
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

// The quad and the first depth of the block that a lane fetches. Neighbouring lanes read neighbouring words.
fn own_block(lane: u32, along_sum: bool) -> vec2<u32> {
    let i = lane % (WORKGROUP / 2u);
    return select(vec2(i % QUADS, 4u * (i / QUADS)), vec2(i / 4u, 4u * (i % 4u)), along_sum);
}

// Fetches a block: a matrix column for each of the depths k to k + 3, over four rows of a (or columns of b)
// that begin at `s`.
fn fetch(is_a: bool, s: u32, k: u32, end: u32) -> mat4x4<f32> {
    if is_a {
        if A_ALONG_SUM {
            return transpose(mat4x4(a_at(s, k, end), a_at(s + 1u, k, end), a_at(s + 2u, k, end), a_at(s + 3u, k, end)));
        }
        return mat4x4(a_at(s, k, end), a_at(s, k + 1u, end), a_at(s, k + 2u, end), a_at(s, k + 3u, end));
    }
    if B_ALONG_SUM {
        return transpose(mat4x4(b_at(k, s, end), b_at(k, s + 1u, end), b_at(k, s + 2u, end), b_at(k, s + 3u, end)));
    }
    return mat4x4(b_at(k, s, end), b_at(k + 1u, s, end), b_at(k + 2u, s, end), b_at(k + 3u, s, end));
}

// The sums of a lane over the terms [first, end).
fn lane_sums(group: vec3<u32>, lane: u32, first: u32, end: u32) -> Tile {
    let fetches_a = lane < WORKGROUP / 2u;
    let own = own_block(lane, select(B_ALONG_SUM, A_ALONG_SUM, fetches_a));
    let side = select(group.x * GROUP_COLS, group.y * GROUP_ROWS, fetches_a) + 4u * own.x;
    let own_row = lane / LANES;
    let own_col = lane % LANES;
    var s0 = vec4(0.0); var s1 = vec4(0.0); var s2 = vec4(0.0); var s3 = vec4(0.0);
    var s4 = vec4(0.0); var s5 = vec4(0.0); var s6 = vec4(0.0); var s7 = vec4(0.0);
    var t0 = vec4(0.0); var t1 = vec4(0.0); var t2 = vec4(0.0); var t3 = vec4(0.0);
    var t4 = vec4(0.0); var t5 = vec4(0.0); var t6 = vec4(0.0); var t7 = vec4(0.0);
    var block = fetch(fetches_a, side, first + own.y, end);
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
        // After the last terms this reads nothing.
        block = fetch(fetches_a, side, k + DEPTH + own.y, end);
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

// The cell of the i-th vec4 of a lane.
fn cell(group: vec3<u32>, lane: u32, i: u32) -> vec2<u32> {
    let row = 4u * (lane / LANES) + i % 4u + 64u * (i / 4u % 2u);
    let col = 4u * (lane % LANES) + 64u * (i / 8u);
    return vec2(group.y * GROUP_ROWS + row, group.x * GROUP_COLS + col);
}

// Writes the sums of a block other than the last to c, or adds them if the block `continues` the sum.
fn put(group: vec3<u32>, lane: u32, tile: Tile, continues: bool) {
    var sums = tile;
    for (var i = 0u; i < SUMS; i++) {
        let cell = cell(group, lane, i);
        if is_inside(cell) {
            let at = place(cell);
            c[at] = so_far(sums[i], at, continues);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = Tile();
    for (var block = 0u; block < params.inner; block += INNER_BLOCK) {
        if block > 0u {
            put(group, lane, sums, block > INNER_BLOCK);
        }
        sums = lane_sums(group, lane, block, min(block + INNER_BLOCK, params.inner));
    }
    for (var i = 0u; i < SUMS; i++) {
        store(cell(group, lane, i), sums[i], params.inner > INNER_BLOCK);
    }
}
