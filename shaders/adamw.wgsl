// AdamW as torch.optim.AdamW does it (decoupled weight decay), with the clip factor applied to the
// gradient on the way in, and the gradient set to zero for the next step on the way out.

struct Params {
    count: u32,
    keep: f32,             // 1 - learning_rate · weight_decay
    step_size: f32,        // learning_rate / (1 - beta1^t)
    inverse_root: f32,     // 1 / sqrt(1 - beta2^t)
    beta1: f32,
    one_minus_beta1: f32,  // given: 1 - 0.999 in f32 has lost four digits
    beta2: f32,
    one_minus_beta2: f32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> norm: array<f32>;                   // [3]: norm, clip factor, broken
@group(0) @binding(2) var<storage, read_write> parameter: array<vec4<f32>>;  // [count], by fours
@group(0) @binding(3) var<storage, read_write> gradient: array<vec4<f32>>;   // [count], by fours
@group(0) @binding(4) var<storage, read_write> first: array<vec4<f32>>;      // [count], by fours: mean of g
@group(0) @binding(5) var<storage, read_write> second: array<vec4<f32>>;     // [count], by fours: mean of g²

const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn update(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if 4u * i >= params.count || norm[2] != 0.0 {
        return;
    }
    let g = gradient[i] * norm[1];
    let m = params.beta1 * first[i] + params.one_minus_beta1 * g;
    let v = params.beta2 * second[i] + params.one_minus_beta2 * g * g;
    let denominator = sqrt(v) * params.inverse_root + params.epsilon;
    let updated = parameter[i] * params.keep - params.step_size * (m / denominator);
    // What shares the last four with the end stays as it is.
    let inside = 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(params.count);
    parameter[i] = select(parameter[i], updated, inside);
    first[i] = select(first[i], m, inside);
    second[i] = select(second[i], v, inside);
    gradient[i] = select(gradient[i], vec4(0.0), inside);
}
