// The global gradient norm in two passes, the clip factor, whether anything is not finite, and how the
// loss scale of mixed precision moves.

struct Params {
    count: u32,       // sum_squares: elements of this gradient; finish: partial sums
    first_slot: u32,  // sum_squares: this gradient's first slot among the partial sums
    max_norm: f32,    // finish: clip to this norm; 0 = do not clip
    // The rest is for `finish` with a loss scale that moves.
    growth_interval: u32,  // good steps after which it doubles; 0 = it stays as it is
    log_beta1: f32,        // ln β of the optimizer
    log_beta2: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;    // [count], by fours
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;    // [slots]
@group(0) @binding(3) var<storage, read> sums: array<f32>;              // the same, in `finish`
@group(0) @binding(4) var<storage, read_write> norm: array<f32>;        // [NORM], as named below

const NORM: u32 = 0u;         // ‖g‖, unscaled
const FACTOR: u32 = 1u;       // unscales and clips the gradient
const BROKEN: u32 = 2u;       // not 0: the optimizer is to take no step
const SCALE: u32 = 3u;        // of the loss
const GOOD_STEPS: u32 = 4u;   // in a row since the scale moved
const TAKEN: u32 = 5u;        // steps in all, if the scale moves
const STEP_FACTOR: u32 = 6u;  // 1 / (1 - beta1^TAKEN), if the scale moves; else 1
const ROOT_FACTOR: u32 = 7u;  // 1 / sqrt(1 - beta2^TAKEN), if the scale moves; else 1
const FAILURES: u32 = 8u;     // steps in a row that were broken at scale 1

const GIVE_UP: u32 = 4u;      // that many failures are no overflow of f16
const MAX_SCALE: f32 = 16777216.0;

const WORKGROUP: u32 = 256u;
const ROOT: u32 = 16u;  // of WORKGROUP
var<workgroup> scratch: array<f32, WORKGROUP>;
var<workgroup> partial_sums: array<f32, ROOT>;

// The sum of each lane's value, to every lane, in two levels of ROOT.
fn sum_over_lanes(value: f32, lane: u32) -> f32 {
    scratch[lane] = value;
    workgroupBarrier();
    if lane < ROOT {
        var sum = 0.0;
        for (var k = 0u; k < ROOT; k++) {
            sum += scratch[k * ROOT + lane];
        }
        partial_sums[lane] = sum;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var k = 0u; k < ROOT; k++) {
        total += partial_sums[k];
    }
    return total;
}

// partials[first_slot + group] = the group's share of Σ g²
@compute @workgroup_size(WORKGROUP)
fn sum_squares(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sums = vec4(0.0);
    for (var i = group.x * WORKGROUP + lane; 4u * i < params.count; i += groups.x * WORKGROUP) {
        let inside = 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(params.count);
        let g = select(vec4(0.0), gradient[i], inside);
        sums += g * g;
    }
    let total = sum_over_lanes((sums.x + sums.y) + (sums.z + sums.w), lane);
    if lane == 0u {
        partials[params.first_slot + group.x] = total;
    }
}

// Infinity and NaN have all exponent bits set. The bits are looked at: a compiler that assumes
// finite numbers may drop `x != x`.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// 1 - β^t = -expm1(t ln β); near 0 by its series: 1 - exp(x) would lose the digits.
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

// As PyTorch's GradScaler: halved at a step that is broken, which is then not taken; doubled after so
// many good ones in a row. At scale 1 the scale is not what breaks it.
fn move_scale(is_good: bool) {
    let scale = norm[SCALE];
    if !is_good || norm[FAILURES] >= f32(GIVE_UP) {
        norm[BROKEN] = 1.0;
        norm[GOOD_STEPS] = 0.0;
        norm[SCALE] = max(0.5 * scale, 1.0);
        if scale == 1.0 {
            norm[FAILURES] += 1.0;
        }
        return;
    }
    norm[BROKEN] = 0.0;
    norm[FAILURES] = 0.0;
    norm[TAKEN] += 1.0;
    norm[STEP_FACTOR] = 1.0 / correction(params.log_beta1, norm[TAKEN]);
    norm[ROOT_FACTOR] = 1.0 / sqrt(correction(params.log_beta2, norm[TAKEN]));
    norm[GOOD_STEPS] += 1.0;
    if norm[GOOD_STEPS] >= f32(params.growth_interval) {
        norm[GOOD_STEPS] = 0.0;
        norm[SCALE] = min(2.0 * scale, MAX_SCALE);
    }
}

// The clip factor is PyTorch's clip_grad_norm_: max_norm / (norm + 1e-6), at most 1. Where the scale
// does not move, BROKEN stays set once it is: the optimizer then leaves the parameters alone until the
// host has looked.
@compute @workgroup_size(WORKGROUP)
fn finish(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.count; i += WORKGROUP) {
        sum += sums[i];
    }
    let total = sum_over_lanes(sum, lane);
    if lane == 0u {
        let unscale = 1.0 / norm[SCALE];
        let value = sqrt(total) * unscale;
        norm[NORM] = value;
        norm[FACTOR] = unscale;
        if params.max_norm > 0.0 {
            norm[FACTOR] = min(1.0, params.max_norm / (value + 1e-6)) * unscale;
        }
        if params.growth_interval > 0u {
            move_scale(is_finite(total));
        } else if !is_finite(total) {
            norm[BROKEN] = 1.0;
        }
    }
}
