// AdamW as torch.optim.AdamW does it (decoupled weight decay), with the clip factor applied to the
// gradient on the way in, and the gradient set to zero for the next step on the way out. The bias
// corrections are in the params, or in `norm` where only the device knows how many steps were taken.

struct Params {
    count: u32,
    keep: f32,             // 1 - learning_rate · weight_decay
    step_size: f32,        // learning_rate / (1 - beta1^t), or learning_rate
    inverse_root: f32,     // 1 / sqrt(1 - beta2^t), or 1
    beta1: f32,
    one_minus_beta1: f32,  // given: 1 - 0.999 in f32 has lost four digits
    beta2: f32,
    one_minus_beta2: f32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> norm: array<f32>;                   // [NORM]: see grad_norm.wgsl
@group(0) @binding(2) var<storage, read_write> parameter: array<vec4<f32>>;  // [count], by fours
@group(0) @binding(3) var<storage, read_write> gradient: array<vec4<f32>>;   // [count], by fours
@group(0) @binding(4) var<storage, read_write> first: array<vec4<f32>>;      // [count], by fours: mean of g
@group(0) @binding(5) var<storage, read_write> second: array<vec4<f32>>;     // [count], by fours: mean of g²

const FACTOR: u32 = 1u;
const BROKEN: u32 = 2u;
const STEP_FACTOR: u32 = 6u;
const ROOT_FACTOR: u32 = 7u;

const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn update(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if 4u * i >= params.count {
        return;
    }
    // What shares the last four with the end stays as it is.
    let inside = 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(params.count);
    if norm[BROKEN] != 0.0 {
        gradient[i] = select(gradient[i], vec4(0.0), inside);
        return;
    }
    let g = gradient[i] * norm[FACTOR];
    let m = params.beta1 * first[i] + params.one_minus_beta1 * g;
    let v = params.beta2 * second[i] + params.one_minus_beta2 * g * g;
    let step_size = params.step_size * norm[STEP_FACTOR];
    let denominator = sqrt(v) * (params.inverse_root * norm[ROOT_FACTOR]) + params.epsilon;
    let updated = parameter[i] * params.keep - step_size * (m / denominator);
    parameter[i] = select(parameter[i], updated, inside);
    first[i] = select(first[i], m, inside);
    second[i] = select(second[i], v, inside);
    gradient[i] = select(gradient[i], vec4(0.0), inside);
}
