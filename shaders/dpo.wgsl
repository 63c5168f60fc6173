// The DPO loss of each pair from the log-probs of its response tokens, and its gradient.
//
// With Δ = Σ (logp - ref) over the chosen tokens - the same over the rejected ones:
//   loss = -log σ(βΔ),   dloss/dlogp = ∓ β σ(-βΔ) / pairs of the optimizer step.
// The differences to the reference are summed token by token: they are small where the sums of
// log-probs are large, so Δ keeps its digits, and is exactly 0 where policy and reference agree.

struct Params {
    beta: f32,
    scale: f32,        // 1 / pairs of the optimizer step
    count: u32,        // pairs of this dispatch
    first_pair: u32,   // the first of them in `pairs`
    first_slot: u32,   // where `pairs[0]` reports in `metrics`
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pairs: array<u32>;             // [pairs, 3]: head rows start, middle, end
@group(0) @binding(2) var<storage, read> logps: array<f32>;             // [head rows]
@group(0) @binding(3) var<storage, read> references: array<f32>;        // [head rows]
@group(0) @binding(4) var<storage, read_write> metrics: array<f32>;     // [slots, METRICS]
@group(0) @binding(5) var<storage, read> saved: array<f32>;             // metrics, in the backward pass
@group(0) @binding(6) var<storage, read_write> drows: array<f32>;       // [head rows]: dloss/dlogp · loss scale
@group(0) @binding(7) var<storage, read> norm: array<f32>;              // [NORM]: see grad_norm.wgsl

const LANES: u32 = 64u;
// loss, reward margin βΔ, chosen reward, rejected reward, chosen log-prob, rejected log-prob
const METRICS: u32 = 6u;
const SCALE: u32 = 3u;

var<workgroup> scratch: array<vec4<f32>, LANES>;

// One workgroup a pair.
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = params.first_pair + group.x;
    let start = pairs[3u * pair];
    let middle = pairs[3u * pair + 1u];
    let end = pairs[3u * pair + 2u];
    // chosen and rejected difference to the reference, chosen and rejected log-prob
    var sums = vec4(0.0);
    for (var r = start + lane; r < end; r += LANES) {
        let logp = logps[r];
        let gain = logp - references[r];
        sums += select(vec4(0.0, gain, 0.0, logp), vec4(gain, 0.0, logp, 0.0), r < middle);
    }
    scratch[lane] = sums;
    workgroupBarrier();
    for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
        if lane < reach {
            scratch[lane] += scratch[lane + reach];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        let total = scratch[0];
        let margin = params.beta * (total.x - total.y);
        let at = METRICS * (params.first_slot + pair);
        // -log σ(z) = max(-z, 0) + log(1 + exp(-|z|))
        metrics[at] = max(-margin, 0.0) + log(1.0 + exp(-abs(margin)));
        metrics[at + 1u] = margin;
        metrics[at + 2u] = params.beta * total.x;
        metrics[at + 3u] = params.beta * total.y;
        metrics[at + 4u] = total.z;
        metrics[at + 5u] = total.w;
    }
}

@compute @workgroup_size(LANES)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = params.first_pair + group.x;
    let start = pairs[3u * pair];
    let middle = pairs[3u * pair + 1u];
    let end = pairs[3u * pair + 2u];
    let margin = saved[METRICS * (params.first_slot + pair) + 1u];
    // σ(-z) without overflow on either side
    let e = exp(-abs(margin));
    let sigma = select(1.0, e, margin > 0.0) / (1.0 + e);
    let slope = params.beta * sigma * params.scale * norm[SCALE];
    for (var r = start + lane; r < end; r += LANES) {
        drows[r] = select(slope, -slope, r < middle);
    }
}
