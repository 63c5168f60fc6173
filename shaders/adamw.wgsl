// AdamW as torch.optim.AdamW defines it (decoupled weight decay). The kernel multiplies the gradient by the
// clip factor when it reads it, and sets the gradient to zero for the next step. The bias corrections are in
// the params, or in `control` if only the device knows how many steps the optimizer took.
// step_control_struct.wgsl goes before this text.

struct Params {
    count: u32,
    keep: f32,             // 1 - learning_rate · weight_decay
    step_size: f32,        // learning_rate / (1 - beta1^t); learning_rate if `control` has the correction
    inverse_root: f32,     // 1 / sqrt(1 - beta2^t); 1 if `control` has the correction
    beta1: f32,
    one_minus_beta1: f32,  // from the host: 1 - 0.999 computed in f32 loses four digits
    beta2: f32,
    one_minus_beta2: f32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> control: StepControl;
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
    if 4u * i >= params.count {
        return;
    }
    // Words after the end of the range stay as they are, even in the vec4 that holds the end. Each vec4 is read once,
    // before the first store: after a store a compiler may have to read the others again.
    let inside = 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(params.count);
    let old_gradient = gradient[i];
    if control.broken != 0.0 {
        gradient[i] = select(old_gradient, vec4(0.0), inside);
        return;
    }
    let old = parameter[i];
    let old_first = first[i];
    let old_second = second[i];
    let g = old_gradient * control.clip_factor;
    let m = params.beta1 * old_first + params.one_minus_beta1 * g;
    let v = params.beta2 * old_second + params.one_minus_beta2 * g * g;
    let step_size = params.step_size * control.step_factor;
    let denominator = sqrt(v) * (params.inverse_root * control.root_factor) + params.epsilon;
    let updated = old * params.keep - step_size * (m / denominator);
    parameter[i] = select(old, updated, inside);
    first[i] = select(old_first, m, inside);
    second[i] = select(old_second, v, inside);
    gradient[i] = select(old_gradient, vec4(0.0), inside);
}
