// GELU, tanh approximation: y = x/2 · (1 + tanh(u)),  u = sqrt(2/π) · (x + 0.044715 x³).

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;         // [count], by fours
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;        // [count], by fours
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;   // [count], by fours
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;  // [count], by fours

const WORKGROUP: u32 = 64u;
const SQRT_2_OVER_PI: f32 = 0.7978845608028654;
const CUBIC: f32 = 0.044715;

// tanh overflows to NaN on Metal for large arguments; at ±10 it is ±1 in f32.
fn tanh_of_cubic(v: vec4<f32>) -> vec4<f32> {
    return tanh(clamp(SQRT_2_OVER_PI * (v + CUBIC * v * v * v), vec4(-10.0), vec4(10.0)));
}

// How many of the i-th four are there.
fn there(i: u32) -> u32 {
    return min(4u, params.count - 4u * i);
}

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if 4u * i >= params.count {
        return;
    }
    let v = x[i];
    let value = 0.5 * v * (1.0 + tanh_of_cubic(v));
    if there(i) == 4u {
        y[i] = value;
    } else {
        for (var k = 0u; k < there(i); k++) {
            y[i][k] = value[k];
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if 4u * i >= params.count {
        return;
    }
    let v = x[i];
    let t = tanh_of_cubic(v);
    let du = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * v * v);
    // 1 - t² is exactly 0 where the argument was clamped, as tanh's slope is there.
    let value = dy[i] * (0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * du);
    if there(i) == 4u {
        dx[i] = value;
    } else {
        for (var k = 0u; k < there(i); k++) {
            dx[i][k] = value[k];
        }
    }
}
