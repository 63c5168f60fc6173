// The global gradient norm in two passes, the clip factor, and whether anything is not finite.

struct Params {
    count: u32,       // sum_squares: elements of this gradient; finish: partial sums
    first_slot: u32,  // sum_squares: this gradient's first slot among the partial sums
    max_norm: f32,    // finish: clip to this norm; 0 = do not clip
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;    // [count], by fours
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;    // [slots]
@group(0) @binding(3) var<storage, read> sums: array<f32>;              // the same, in `finish`
@group(0) @binding(4) var<storage, read_write> norm: array<f32>;        // [3]: norm, clip factor, broken

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

// The clip factor is PyTorch's clip_grad_norm_: max_norm / (norm + 1e-6), at most 1. `broken` stays
// set once it is: the optimizer then leaves the parameters alone until the host has looked.
@compute @workgroup_size(WORKGROUP)
fn finish(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.count; i += WORKGROUP) {
        sum += sums[i];
    }
    let total = sum_over_lanes(sum, lane);
    if lane == 0u {
        let value = sqrt(total);
        norm[0] = value;
        norm[1] = 1.0;
        if params.max_norm > 0.0 {
            norm[1] = min(1.0, params.max_norm / (value + 1e-6));
        }
        if !is_finite(total) {
            norm[2] = 1.0;
        }
    }
}
