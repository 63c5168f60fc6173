// Completes the gradient norm and decides the optimizer's step: the clip factor, whether the step is broken
// because the norm is not finite, and the loss scale of mixed precision.
// sum_over_lanes.wgsl and step_control_struct.wgsl go before this text.

struct Params {
    count: u32,            // partial sums
    max_norm: f32,         // clip to this norm; 0 = do not clip
    // The fields below are for a dynamic loss scale.
    growth_interval: u32,  // good steps in a row that double the loss scale; 0 = the loss scale is fixed
    log_beta1: f32,        // ln β1 of the optimizer
    log_beta2: f32,        // ln β2
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;  // [count]: see grad_norm.wgsl
@group(0) @binding(2) var<storage, read_write> control: StepControl;

const GIVE_UP: u32 = 4u;  // this many failures in a row at loss scale 1 do not come from an overflow of f16
const MAX_SCALE: f32 = 16777216.0;

// Infinity and NaN have all exponent bits set. The function tests the bits, because a compiler that assumes
// finite numbers may drop `x != x`.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// 1 - β^t = -expm1(t ln β). Near 0 it sums the series of expm1, because 1 - exp(x) would lose digits.
fn correction(log_beta: f32, steps: f32) -> f32 {
    let x = log_beta * steps;
    if x < -0.5 {
        return 1.0 - exp(x);
    }
    var series = 1.0;
    for (var n = 8.0; n > 1.0; n -= 1.0) {
        series = 1.0 + x / n * series;
    }
    return -x * series;
}

// Moves the loss scale as PyTorch's GradScaler does: a broken step is skipped and halves the scale, and
// `growth_interval` good steps in a row double it. A step that breaks at scale 1 counts as a failure, because
// there the scale cannot be the cause. After GIVE_UP failures in a row no step is taken any more.
fn move_scale(is_good: bool) {
    let scale = control.loss_scale;
    if !is_good || control.failures >= f32(GIVE_UP) {
        control.broken = 1.0;
        control.good_steps = 0.0;
        control.loss_scale = max(0.5 * scale, 1.0);
        if scale == 1.0 {
            control.failures += 1.0;
        }
        return;
    }
    control.broken = 0.0;
    control.failures = 0.0;
    control.taken += 1.0;
    control.step_factor = 1.0 / correction(params.log_beta1, control.taken);
    control.root_factor = 1.0 / sqrt(correction(params.log_beta2, control.taken));
    control.good_steps += 1.0;
    if control.good_steps >= f32(params.growth_interval) {
        control.good_steps = 0.0;
        control.loss_scale = min(2.0 * scale, MAX_SCALE);
    }
}

// The clip factor is that of PyTorch's clip_grad_norm_: max_norm / (norm + 1e-6), at most 1. If the loss scale
// is fixed, this kernel never clears `broken`: the optimizer leaves the parameters alone until the host reads
// the flag.
@compute @workgroup_size(WORKGROUP)
fn advance(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.count; i += WORKGROUP) {
        sum += partials[i];
    }
    let total = sum_over_lanes(sum, lane);
    if lane == 0u {
        let unscale = 1.0 / control.loss_scale;
        let norm = sqrt(total) * unscale;
        control.grad_norm = norm;
        control.clip_factor = unscale;
        if params.max_norm > 0.0 {
            control.clip_factor = min(1.0, params.max_norm / (norm + 1e-6)) * unscale;
        }
        if params.growth_interval > 0u {
            move_scale(is_finite(total));
        } else if !is_finite(total) {
            control.broken = 1.0;
        }
    }
}
