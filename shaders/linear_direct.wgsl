// The variant without workgroup memory, for software Vulkan, where workgroup memory is plain memory and a
// barrier is a loop. There a load costs as much as about fifty multiplications, whether the lanes read one
// address or eight, and a load of a vec4 costs little more than a load of a word. So this variant loads and
// stores vec4s (sizes, strides and offsets are multiples of 4), and a lane owns a square tile of 16 × 16
// outputs, so that each load feeds many multiplications. The 256 accumulators do not fit the registers; they
// stay in the L1 cache. Each row of accumulators is a named field, because this driver compiles a run-time
// index into a private array to a ladder of branches.
//
// A sum runs in blocks of INNER_BLOCK terms, and c adds the blocks up. The epilogue is a second pass of the
// lane over its part of c, so that the compiler sees the epilogue once and not once for each accumulator.

alias Value = vec4<f32>;
const WIDTH: u32 = 4u;

const LANES: u32 = 8u;
const TILE: u32 = 16u;   // rows of a lane's tile, and columns
const QUADS: u32 = 4u;   // vec4s in a row of the tile, LANES apart, so that neighbouring lanes read neighbours
const GROUP_ROWS: u32 = TILE;
const GROUP_COLS: u32 = LANES * TILE;
const INNER_BLOCK: u32 = 512u;  // a multiple of 4

// The accumulators: one matrix for each row of the tile, one matrix column for each quad of the row.
struct Sums {
    r0: mat4x4<f32>, r1: mat4x4<f32>, r2: mat4x4<f32>, r3: mat4x4<f32>,
    r4: mat4x4<f32>, r5: mat4x4<f32>, r6: mat4x4<f32>, r7: mat4x4<f32>,
    r8: mat4x4<f32>, r9: mat4x4<f32>, r10: mat4x4<f32>, r11: mat4x4<f32>,
    r12: mat4x4<f32>, r13: mat4x4<f32>, r14: mat4x4<f32>, r15: mat4x4<f32>,
}

// Adds the products of one term k: 16 words of a (x, y, z, w) by 16 words of b (v).
fn add_term(s: ptr<function, Sums>, x: vec4<f32>, y: vec4<f32>, z: vec4<f32>, w: vec4<f32>, v: mat4x4<f32>) {
    (*s).r0 += x.x * v; (*s).r1 += x.y * v; (*s).r2 += x.z * v; (*s).r3 += x.w * v;
    (*s).r4 += y.x * v; (*s).r5 += y.y * v; (*s).r6 += y.z * v; (*s).r7 += y.w * v;
    (*s).r8 += z.x * v; (*s).r9 += z.y * v; (*s).r10 += z.z * v; (*s).r11 += z.w * v;
    (*s).r12 += w.x * v; (*s).r13 += w.y * v; (*s).r14 += w.z * v; (*s).r15 += w.w * v;
}

// Adds four terms. Each of a0 to a3 holds four rows, each of b0 to b3 four columns; a matrix column is a term.
fn add_terms(
    s: ptr<function, Sums>,
    a0: mat4x4<f32>, a1: mat4x4<f32>, a2: mat4x4<f32>, a3: mat4x4<f32>,
    b0: mat4x4<f32>, b1: mat4x4<f32>, b2: mat4x4<f32>, b3: mat4x4<f32>,
) {
    add_term(s, a0[0], a1[0], a2[0], a3[0], mat4x4(b0[0], b1[0], b2[0], b3[0]));
    add_term(s, a0[1], a1[1], a2[1], a3[1], mat4x4(b0[1], b1[1], b2[1], b3[1]));
    add_term(s, a0[2], a1[2], a2[2], a3[2], mat4x4(b0[2], b1[2], b2[2], b3[2]));
    add_term(s, a0[3], a1[3], a2[3], a3[3], mat4x4(b0[3], b1[3], b2[3], b3[3]));
}

// Loads four rows of a by four terms. A row over the edge reads the last row again, and its sums are not
// stored. A term over the edge is 0 in a, so that the value that b reads there does not matter.
fn load_a(row: u32, k: u32) -> mat4x4<f32> {
    if A_ALONG_SUM {
        let last = params.rows - 1u;
        let at = params.a_offset + k;
        return transpose(mat4x4(
            a[(at + min(row, last) * params.a_row) / 4u],
            a[(at + min(row + 1u, last) * params.a_row) / 4u],
            a[(at + min(row + 2u, last) * params.a_row) / 4u],
            a[(at + min(row + 3u, last) * params.a_row) / 4u],
        ));
    }
    let at = params.a_offset + min(row, params.rows - 4u);
    let last = params.inner - 1u;
    let real = vec4(k) + vec4(0u, 1u, 2u, 3u) <= vec4(last);
    let x = a[(at + k * params.a_inner) / 4u];
    let y = a[(at + min(k + 1u, last) * params.a_inner) / 4u];
    let z = a[(at + min(k + 2u, last) * params.a_inner) / 4u];
    let w = a[(at + min(k + 3u, last) * params.a_inner) / 4u];
    let zero = vec4(0.0);
    return mat4x4(x, select(zero, y, real.y), select(zero, z, real.z), select(zero, w, real.w));
}

// Loads four columns of b by four terms.
fn load_b(k: u32, col: u32) -> mat4x4<f32> {
    let first = min(col, params.cols - 4u);
    if B_ALONG_SUM {
        return transpose(mat4x4(
            b[(k + first * params.b_col) / 4u],
            b[(k + (first + 1u) * params.b_col) / 4u],
            b[(k + (first + 2u) * params.b_col) / 4u],
            b[(k + (first + 3u) * params.b_col) / 4u],
        ));
    }
    let last = params.inner - 1u;
    return mat4x4(
        b[(first + k * params.b_inner) / 4u],
        b[(first + min(k + 1u, last) * params.b_inner) / 4u],
        b[(first + min(k + 2u, last) * params.b_inner) / 4u],
        b[(first + min(k + 3u, last) * params.b_inner) / 4u],
    );
}

// The first column of quad q in a tile that begins at column `first`.
fn quad_col(first: u32, q: u32) -> u32 {
    return first + 4u * LANES * q;
}

// One condition for a row: SwiftShader's compiler takes minutes for a condition of both sides at each quad.
fn put_quad(row: u32, col: u32, sum: vec4<f32>, continues: bool) {
    if col < params.cols {
        let at = place(vec2(row, col));
        c[at] = so_far(sum, at, continues);
    }
}

fn put_row(row: u32, col: u32, sums: mat4x4<f32>, continues: bool) {
    if row < params.rows {
        put_quad(row, quad_col(col, 0u), sums[0], continues);
        put_quad(row, quad_col(col, 1u), sums[1], continues);
        put_quad(row, quad_col(col, 2u), sums[2], continues);
        put_quad(row, quad_col(col, 3u), sums[3], continues);
    }
}

fn put(row: u32, col: u32, s: ptr<function, Sums>, continues: bool) {
    put_row(row + 0u, col, (*s).r0, continues); put_row(row + 1u, col, (*s).r1, continues);
    put_row(row + 2u, col, (*s).r2, continues); put_row(row + 3u, col, (*s).r3, continues);
    put_row(row + 4u, col, (*s).r4, continues); put_row(row + 5u, col, (*s).r5, continues);
    put_row(row + 6u, col, (*s).r6, continues); put_row(row + 7u, col, (*s).r7, continues);
    put_row(row + 8u, col, (*s).r8, continues); put_row(row + 9u, col, (*s).r9, continues);
    put_row(row + 10u, col, (*s).r10, continues); put_row(row + 11u, col, (*s).r11, continues);
    put_row(row + 12u, col, (*s).r12, continues); put_row(row + 13u, col, (*s).r13, continues);
    put_row(row + 14u, col, (*s).r14, continues); put_row(row + 15u, col, (*s).r15, continues);
}

@compute @workgroup_size(LANES)
fn product(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * GROUP_ROWS;
    let col = group.x * GROUP_COLS + 4u * lane;
    for (var block = 0u; block < params.inner; block += INNER_BLOCK) {
        var s = Sums();
        let end = min(block + INNER_BLOCK, params.inner);
        for (var k = block; k < end; k += 4u) {
            add_terms(
                &s,
                load_a(row, k), load_a(row + 4u, k), load_a(row + 8u, k), load_a(row + 12u, k),
                load_b(k, quad_col(col, 0u)), load_b(k, quad_col(col, 1u)),
                load_b(k, quad_col(col, 2u)), load_b(k, quad_col(col, 3u)),
            );
        }
        put(row, col, &s, block > 0u);
    }
    if HAS_EPILOGUE {
        for (var i = 0u; i < TILE * QUADS; i++) {
            let cell = vec2(row + i / QUADS, quad_col(col, i % QUADS));
            if is_inside(cell) {
                let at = place(cell);
                finish(c[at], read_beside(at, cell.y), at);
            }
        }
    }
}
