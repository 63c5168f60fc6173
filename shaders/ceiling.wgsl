// The ceilings of a device: multiply-adds that touch no memory, and a copy that computes nothing. Training
// does not use these kernels; benchmarks compare the rates of the other kernels with theirs.
//
//                    x                                     y
//   multiply_add_*   [STARTS, 4]                           [count, 4], one vec4 a lane
//   copy             [count, 4]                            [count, 4]
//   matrices         [2 side, side], [side, 2 side]        [groups, PARTS, 2 side, 2 side]
//
// An element of x or y is a vec4, as `count` counts it.

struct Params {
    count: u32,   // elements of y, in `copy` also of x; in `matrices`: parts of all workgroups
    rounds: u32,  // each of UNROLL multiply-adds to every sum; in `matrices`: products that a part adds up
    side: u32,    // rows of a matrix in `matrices`
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

const WORKGROUP: u32 = 64u;
const UNROLL: u32 = 4u;
const STARTS: u32 = 64u;
const COPY_WORKGROUP: u32 = 256u;
// Lanes that copy neighbouring elements: 128 bytes, a cache line of every device. Software Vulkan runs 8 lanes
// at once, from the begin of the loop to its end.
const CELL: u32 = 8u;

// 8 independent sums, so that a multiply-add does not wait for the multiply-add before it.
struct Sums {
    a: vec4<f32>,
    b: vec4<f32>,
}

// Start values that differ between sums and between lanes, so that no compiler computes one sum for all.
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

// CELL lanes together copy one stretch, CELL elements at a time.
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
const PARTS: u32 = 4u;  // copies of the result that a workgroup computes

// The reference for ceiling_matrix.wgsl, which uses matrix units. x holds left [2 side, side], then
// right [side, 2 side]. Each part of y is the product left · right, added up `rounds` times.
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
