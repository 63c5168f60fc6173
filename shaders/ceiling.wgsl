// The most that a device can do: multiply-adds that touch no memory, and a copy that does nothing else.
// No part of training: what the other kernels reach is held against these.

struct Params {
    count: u32,   // elements of y; in `copy` of x too; matrices: parts in all
    rounds: u32,  // of UNROLL multiply-adds of each sum; matrices: of products
    side: u32,    // matrices: see there
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // [STARTS]; copy: [count]; matrices: both
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;  // [count]: an element a lane; matrices: [groups, PARTS, 2 side, 2 side]

const WORKGROUP: u32 = 64u;
const UNROLL: u32 = 4u;
const STARTS: u32 = 64u;
const COPY_WORKGROUP: u32 = 256u;
// Lanes that copy side by side: 128 bytes, a cache line of every device. Software Vulkan runs so many at
// once, from the loop's begin to its end.
const CELL: u32 = 8u;

// 8 independent sums: a multiply-add does not wait for the one before it.
struct Sums {
    a: vec4<f32>,
    b: vec4<f32>,
}

// Starts that differ from sum to sum and from lane to lane, so that no compiler computes one for all.
fn start(lane: u32, part: u32) -> Sums {
    let at = lane + 2u * part;
    return Sums(x[at % STARTS], x[(at + 1u) % STARTS]);
}

fn multiply_add(s: Sums, m: vec4<f32>, n: vec4<f32>) -> Sums {
    return Sums(fma(s.a, m, n), fma(s.b, m, n));
}

fn total(s: Sums) -> vec4<f32> {
    return s.a + s.b;
}

@compute @workgroup_size(WORKGROUP)
fn multiply_add_16(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m = x[0];
    let n = x[1];
    var s = start(lane, 0u);
    var t = start(lane, 1u);
    for (var i = 0u; i < params.rounds; i++) {
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
    }
    y[group.x * WORKGROUP + lane] = total(s) + total(t);
}

@compute @workgroup_size(WORKGROUP)
fn multiply_add_24(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m = x[0];
    let n = x[1];
    var s = start(lane, 0u);
    var t = start(lane, 1u);
    var u = start(lane, 2u);
    for (var i = 0u; i < params.rounds; i++) {
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        u = multiply_add(u, m, n);
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        u = multiply_add(u, m, n);
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        u = multiply_add(u, m, n);
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        u = multiply_add(u, m, n);
    }
    y[group.x * WORKGROUP + lane] = total(s) + total(t) + total(u);
}

@compute @workgroup_size(WORKGROUP)
fn multiply_add_32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m = x[0];
    let n = x[1];
    var s = start(lane, 0u);
    var t = start(lane, 1u);
    var u = start(lane, 2u);
    var v = start(lane, 3u);
    for (var i = 0u; i < params.rounds; i++) {
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        u = multiply_add(u, m, n); v = multiply_add(v, m, n);
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        u = multiply_add(u, m, n); v = multiply_add(v, m, n);
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        u = multiply_add(u, m, n); v = multiply_add(v, m, n);
        s = multiply_add(s, m, n); t = multiply_add(t, m, n);
        u = multiply_add(u, m, n); v = multiply_add(v, m, n);
    }
    y[group.x * WORKGROUP + lane] = (total(s) + total(t)) + (total(u) + total(v));
}

// A cell copies a stretch of its own, CELL elements at a time.
@compute @workgroup_size(COPY_WORKGROUP)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let cells = COPY_WORKGROUP / CELL;
    let stretch = (params.count + groups.x * cells - 1u) / (groups.x * cells);
    let first = (group.x * cells + lane / CELL) * stretch;
    let end = min(first + stretch, params.count);
    for (var i = first + lane % CELL; i < end; i += CELL) {
        y[i] = x[i];
    }
}

const MATRIX_WORKGROUP: u32 = 128u;
const PARTS: u32 = 4u;  // that a workgroup computes, all the same

// For each part left [2 side, side] · right [side, 2 side], which x holds in this order, added up `rounds`
// times. What matrix units do is in ceiling_matrix.wgsl; this says what comes out.
@compute @workgroup_size(MATRIX_WORKGROUP)
fn matrices(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let side = params.side;
    let row_vectors = side / 2u;
    let vectors = 2u * side * row_vectors;
    for (var v = lane; v < PARTS * vectors; v += MATRIX_WORKGROUP) {
        let row = v % vectors / row_vectors;
        let col = v % row_vectors;
        var sum = vec4(0.0);
        for (var i = 0u; i < params.rounds; i++) {
            for (var k = 0u; k < side; k++) {
                let left = x[(row * side + k) / 4u][k % 4u];
                sum = fma(vec4(left), x[vectors / 2u + k * row_vectors + col], sum);
            }
        }
        y[group.x * PARTS * vectors + v] = sum;
    }
}
