// Matrix products c[i, j] (+)= scale · Σ_k a[i, k] · b[k, j]. A kernel's text is three parts, joined:
//
//   this file    params, bindings, and the functions that every epilogue calls;
//   a variant    linear_tiled, _direct, _wide or _matrix: the tile, the entry point `product`, the type
//                `Value` in which a kernel reads and writes c, and WIDTH, the words of a Value;
//   an epilogue  linear_nn, _nn_gelu, _nt, _nt_gelu or _tn: the dense dimension of each operand; `read_beside`, what
//                a finished sum needs from memory beside itself; and `finish`, which writes it to memory.

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    a_offset: u32,
    a_row: u32,         // stride of i in a
    a_inner: u32,       // stride of k in a; 1 if A_ALONG_SUM, otherwise a_row is 1
    b_inner: u32,       // stride of k in b; 1 if B_ALONG_SUM, otherwise b_col is 1
    b_col: u32,         // stride of j in b
    c_offset: u32,
    c_row: u32,         // stride of i in c
    accumulate: u32,    // not 0: add to the old content of c
    has_bias: u32,
    has_residual: u32,
    scale: f32,         // factor of the product alone, not of bias, residual or the old content of c
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Value>;
@group(0) @binding(2) var<storage, read> b: array<Value>;
@group(0) @binding(3) var<storage, read> bias: array<Value>;             // [cols]
@group(0) @binding(4) var<storage, read> residual: array<Value>;         // laid out as c
@group(0) @binding(5) var<storage, read> pre_activation: array<Value>;   // laid out as c: GELU's input
@group(0) @binding(6) var<storage, read_write> c: array<Value>;
@group(0) @binding(7) var<storage, read_write> activated: array<Value>;  // laid out as c: GELU's output

// A cell names one Value of the result by its row and first column.
fn is_inside(cell: vec2<u32>) -> bool {
    return cell.x < params.rows && cell.y < params.cols;
}

// The index of a cell in c and in every buffer that is laid out as c.
fn place(cell: vec2<u32>) -> u32 {
    return (params.c_offset + cell.x * params.c_row + cell.y) / WIDTH;
}

// Scales a sum, and adds it to c where c already holds a part of the result: another product's part if
// the product accumulates, or the part of earlier terms if the sum `continues`.
fn so_far(sum: Value, at: u32, continues: bool) -> Value {
    let scaled = params.scale * sum;
    if continues | (params.accumulate != 0u) {
        return c[at] + scaled;
    }
    return scaled;
}

fn store(cell: vec2<u32>, sum: Value, continues: bool) {
    if is_inside(cell) {
        let at = place(cell);
        finish(so_far(sum, at, continues), read_beside(at, cell.y), at);
    }
}

// Stores the first terms of a sum of which more terms follow.
fn store_part(cell: vec2<u32>, sum: Value, continues: bool) {
    if is_inside(cell) {
        c[place(cell)] = so_far(sum, place(cell), continues);
    }
}

// A lane stores four cells of one column together: loads in branches of their own would wait for each other.
alias Four = array<Value, 4>;

fn are_inside(cell: vec2<u32>) -> vec4<bool> {
    return (cell.x + vec4(0u, 1u, 2u, 3u) < vec4(params.rows)) & vec4(cell.y < params.cols);
}

// The places of a cell and the three cells below it; 0, which can be read, for a cell outside.
fn places(cell: vec2<u32>) -> vec4<u32> {
    let first = params.c_offset + cell.x * params.c_row + cell.y;
    return select(vec4(0u), (first + params.c_row * vec4(0u, 1u, 2u, 3u)) / WIDTH, are_inside(cell));
}

// `so_far` of four cells.
fn four_so_far(sums: Four, at: vec4<u32>, continues: bool) -> Four {
    let x = params.scale * sums[0];
    let y = params.scale * sums[1];
    let z = params.scale * sums[2];
    let w = params.scale * sums[3];
    if continues | (params.accumulate != 0u) {
        let old = Four(c[at.x], c[at.y], c[at.z], c[at.w]);
        return Four(old[0] + x, old[1] + y, old[2] + z, old[3] + w);
    }
    return Four(x, y, z, w);
}

// `store` of a cell and the three cells below it.
fn store_four(cell: vec2<u32>, sums: Four, continues: bool) {
    let at = places(cell);
    let values = four_so_far(sums, at, continues);
    let beside = Four(
        read_beside(at.x, cell.y), read_beside(at.y, cell.y), read_beside(at.z, cell.y), read_beside(at.w, cell.y),
    );
    let inside = are_inside(cell);
    if inside.x {
        finish(values[0], beside[0], at.x);
    }
    if inside.y {
        finish(values[1], beside[1], at.y);
    }
    if inside.z {
        finish(values[2], beside[2], at.z);
    }
    if inside.w {
        finish(values[3], beside[3], at.w);
    }
}

// `store_part` of a cell and the three cells below it.
fn store_four_parts(cell: vec2<u32>, sums: Four, continues: bool) {
    let at = places(cell);
    let values = four_so_far(sums, at, continues);
    let inside = are_inside(cell);
    if inside.x {
        c[at.x] = values[0];
    }
    if inside.y {
        c[at.y] = values[1];
    }
    if inside.z {
        c[at.z] = values[2];
    }
    if inside.w {
        c[at.w] = values[3];
    }
}

// The bias of a column, 0 without a bias; a column outside has that of the last one.
fn bias_of(col: u32) -> Value {
    let has = params.has_bias != 0u;
    return select(Value(0.0), bias[select(0u, min(col, params.cols - 1u) / WIDTH, has)], has);
}

const SQRT_2_OVER_PI: f32 = 0.7978845608028654;
const CUBIC: f32 = 0.044715;

// GELU in GPT-2's tanh approximation. On Metal tanh overflows to NaN for large arguments. At ±10 tanh is
// exactly ±1 in f32, and the factor 1 - t² of the slope is exactly 0, so the clamp changes no result.
fn tanh_of_cubic(v: Value) -> Value {
    return tanh(clamp(SQRT_2_OVER_PI * (v + CUBIC * v * v * v), Value(-10.0), Value(10.0)));
}

fn gelu(v: Value) -> Value {
    return 0.5 * v * (1.0 + tanh_of_cubic(v));
}

fn gelu_slope(v: Value) -> Value {
    let t = tanh_of_cubic(v);
    let du = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * v * v);
    return 0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * du;
}
