// The products of linear.wgsl without workgroup memory, for devices on which that is plain memory and
// a barrier is a loop: software Vulkan. There a load costs as much as some fifty multiplications, whether
// its lanes read one word or eight, and one of four words little more than one of one: everything is
// read and written in fours (sizes, strides and offsets are multiples of 4), and the tile of a lane is
// large and square, 16 × 16. The accumulators are far more than registers; they stay in the cache.
// Where they lie is never computed: a private array with a computed index is a ladder of branches there.
//
// Sums run in blocks of INNER_BLOCK terms that are then added up in c; what follows a product is a
// second pass of the lane over its part of c.

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

const LANES: u32 = 8u;
const TILE: u32 = 16u;   // rows, and columns, of a lane
const QUADS: u32 = 4u;   // vec4s of a row of it; they lie LANES apart, so that neighbours read neighbours
const GROUP_ROWS: u32 = TILE;
const GROUP_COLS: u32 = LANES * TILE;
const INNER_BLOCK: u32 = 512u;  // a multiple of 4

// A matrix a row, a column a quad.
struct Sums {
    r0: mat4x4<f32>,
    r1: mat4x4<f32>,
    r2: mat4x4<f32>,
    r3: mat4x4<f32>,
    r4: mat4x4<f32>,
    r5: mat4x4<f32>,
    r6: mat4x4<f32>,
    r7: mat4x4<f32>,
    r8: mat4x4<f32>,
    r9: mat4x4<f32>,
    r10: mat4x4<f32>,
    r11: mat4x4<f32>,
    r12: mat4x4<f32>,
    r13: mat4x4<f32>,
    r14: mat4x4<f32>,
    r15: mat4x4<f32>,
}

// Adds what one k contributes: 16 words of a, 16 of b.
fn add_term(s: ptr<function, Sums>, x: vec4<f32>, y: vec4<f32>, z: vec4<f32>, w: vec4<f32>, v: mat4x4<f32>) {
    (*s).r0 += x.x * v;
    (*s).r1 += x.y * v;
    (*s).r2 += x.z * v;
    (*s).r3 += x.w * v;
    (*s).r4 += y.x * v;
    (*s).r5 += y.y * v;
    (*s).r6 += y.z * v;
    (*s).r7 += y.w * v;
    (*s).r8 += z.x * v;
    (*s).r9 += z.y * v;
    (*s).r10 += z.z * v;
    (*s).r11 += z.w * v;
    (*s).r12 += w.x * v;
    (*s).r13 += w.y * v;
    (*s).r14 += w.z * v;
    (*s).r15 += w.w * v;
}

// Four terms: a0 to a3 hold four rows each, b0 to b3 a quad of columns each; a column a k.
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

// Rows over the edge read the last ones again and are not stored.
fn a_along_k(row: u32, k: u32) -> mat4x4<f32> {
    let last = params.rows - 1u;
    let at = params.a_offset + k;
    return transpose(mat4x4(
        a[(at + min(row, last) * params.a_row) / 4u],
        a[(at + min(row + 1u, last) * params.a_row) / 4u],
        a[(at + min(row + 2u, last) * params.a_row) / 4u],
        a[(at + min(row + 3u, last) * params.a_row) / 4u],
    ));
}

// Terms over the edge count as 0 in a, so that b's may be anything.
fn a_across_k(row: u32, k: u32) -> mat4x4<f32> {
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

fn b_along_k(k: u32, col: u32) -> mat4x4<f32> {
    let first = min(col, params.cols - 4u);
    return transpose(mat4x4(
        b[(k + first * params.b_col) / 4u],
        b[(k + (first + 1u) * params.b_col) / 4u],
        b[(k + (first + 2u) * params.b_col) / 4u],
        b[(k + (first + 3u) * params.b_col) / 4u],
    ));
}

fn b_across_k(k: u32, col: u32) -> mat4x4<f32> {
    let first = min(col, params.cols - 4u);
    let last = params.inner - 1u;
    return mat4x4(
        b[(first + k * params.b_inner) / 4u],
        b[(first + min(k + 1u, last) * params.b_inner) / 4u],
        b[(first + min(k + 2u, last) * params.b_inner) / 4u],
        b[(first + min(k + 3u, last) * params.b_inner) / 4u],
    );
}

// First row and column of a lane's tile.
fn corner(group: vec3<u32>, lane: u32) -> vec2<u32> {
    return vec2(group.y * GROUP_ROWS, group.x * GROUP_COLS + 4u * lane);
}

// Column of the q-th quad of a tile.
fn quad_col(first: u32, q: u32) -> u32 {
    return first + 4u * LANES * q;
}

fn store_quad(row: u32, col: u32, sums: vec4<f32>, adds: bool) {
    if col < params.cols {
        let at = (params.c_offset + row * params.c_row + col) / 4u;
        if adds {
            c[at] += sums;
        } else {
            c[at] = sums;
        }
    }
}

fn store_row(row: u32, col: u32, sums: mat4x4<f32>, adds: bool) {
    if row < params.rows {
        store_quad(row, quad_col(col, 0u), sums[0], adds);
        store_quad(row, quad_col(col, 1u), sums[1], adds);
        store_quad(row, quad_col(col, 2u), sums[2], adds);
        store_quad(row, quad_col(col, 3u), sums[3], adds);
    }
}

// Stores the sums of the block of terms that begins at `block`, or adds them.
fn store(at: vec2<u32>, s: ptr<function, Sums>, block: u32) {
    let adds = block > 0u || params.accumulate != 0u;
    store_row(at.x + 0u, at.y, (*s).r0, adds);
    store_row(at.x + 1u, at.y, (*s).r1, adds);
    store_row(at.x + 2u, at.y, (*s).r2, adds);
    store_row(at.x + 3u, at.y, (*s).r3, adds);
    store_row(at.x + 4u, at.y, (*s).r4, adds);
    store_row(at.x + 5u, at.y, (*s).r5, adds);
    store_row(at.x + 6u, at.y, (*s).r6, adds);
    store_row(at.x + 7u, at.y, (*s).r7, adds);
    store_row(at.x + 8u, at.y, (*s).r8, adds);
    store_row(at.x + 9u, at.y, (*s).r9, adds);
    store_row(at.x + 10u, at.y, (*s).r10, adds);
    store_row(at.x + 11u, at.y, (*s).r11, adds);
    store_row(at.x + 12u, at.y, (*s).r12, adds);
    store_row(at.x + 13u, at.y, (*s).r13, adds);
    store_row(at.x + 14u, at.y, (*s).r14, adds);
    store_row(at.x + 15u, at.y, (*s).r15, adds);
}

// c (+)= a[rows, inner] · b[inner, cols]
fn product_nn(at: vec2<u32>) {
    for (var block = 0u; block < params.inner; block += INNER_BLOCK) {
        var s = Sums();
        let end = min(block + INNER_BLOCK, params.inner);
        for (var k = block; k < end; k += 4u) {
            add_terms(
                &s,
                a_along_k(at.x, k), a_along_k(at.x + 4u, k),
                a_along_k(at.x + 8u, k), a_along_k(at.x + 12u, k),
                b_across_k(k, quad_col(at.y, 0u)), b_across_k(k, quad_col(at.y, 1u)),
                b_across_k(k, quad_col(at.y, 2u)), b_across_k(k, quad_col(at.y, 3u)),
            );
        }
        store(at, &s, block);
    }
}

// c (+)= a[rows, inner] · b[cols, inner]ᵀ
fn product_nt(at: vec2<u32>) {
    for (var block = 0u; block < params.inner; block += INNER_BLOCK) {
        var s = Sums();
        let end = min(block + INNER_BLOCK, params.inner);
        for (var k = block; k < end; k += 4u) {
            add_terms(
                &s,
                a_along_k(at.x, k), a_along_k(at.x + 4u, k),
                a_along_k(at.x + 8u, k), a_along_k(at.x + 12u, k),
                b_along_k(k, quad_col(at.y, 0u)), b_along_k(k, quad_col(at.y, 1u)),
                b_along_k(k, quad_col(at.y, 2u)), b_along_k(k, quad_col(at.y, 3u)),
            );
        }
        store(at, &s, block);
    }
}

// c (+)= a[inner, rows]ᵀ · b[inner, cols]
fn product_tn(at: vec2<u32>) {
    for (var block = 0u; block < params.inner; block += INNER_BLOCK) {
        var s = Sums();
        let end = min(block + INNER_BLOCK, params.inner);
        for (var k = block; k < end; k += 4u) {
            add_terms(
                &s,
                a_across_k(at.x, k), a_across_k(at.x + 4u, k),
                a_across_k(at.x + 8u, k), a_across_k(at.x + 12u, k),
                b_across_k(k, quad_col(at.y, 0u)), b_across_k(k, quad_col(at.y, 1u)),
                b_across_k(k, quad_col(at.y, 2u)), b_across_k(k, quad_col(at.y, 3u)),
            );
        }
        store(at, &s, block);
    }
}

// Row and column of the i-th quad of a lane's tile.
fn cell(corner: vec2<u32>, i: u32) -> vec2<u32> {
    return vec2(corner.x + i / QUADS, quad_col(corner.y, i % QUADS));
}

fn is_inside(cell: vec2<u32>) -> bool {
    return cell.x < params.rows && cell.y < params.cols;
}

// Where a cell lies in c, and in what is laid out like it.
fn place(cell: vec2<u32>) -> u32 {
    return (params.c_offset + cell.x * params.c_row + cell.y) / 4u;
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
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let corner = corner(group, lane);
    product_nn(corner);
    for (var i = 0u; i < TILE * QUADS; i++) {
        let cell = cell(corner, i);
        if is_inside(cell) {
            let at = place(cell);
            var value = with_bias(c[at], cell.y);
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
    let corner = corner(group, lane);
    product_nn(corner);
    for (var i = 0u; i < TILE * QUADS; i++) {
        let cell = cell(corner, i);
        if is_inside(cell) {
            let at = place(cell);
            let value = with_bias(c[at], cell.y);
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
    product_nt(corner(group, lane));
}

// The same, carried on through GELU to the gradient of its input, and GELU's output again; never
// accumulated.
@compute @workgroup_size(LANES)
fn backward_input_gelu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let corner = corner(group, lane);
    product_nt(corner);
    for (var i = 0u; i < TILE * QUADS; i++) {
        let cell = cell(corner, i);
        if is_inside(cell) {
            let at = place(cell);
            let wide = pre_activation[at];
            c[at] *= gelu_slope(wide);
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
    product_tn(corner(group, lane));
}
