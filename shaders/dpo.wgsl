// The DPO loss of each pair from the log-probs of its response tokens, and its gradient.
//
// With Δ = Σ (logp - ref) over the chosen tokens - the same over the rejected ones:
//   loss = -log σ(βΔ),   dloss/dlogp = ∓ β σ(-βΔ) / pairs of the optimizer step.
// Both are right to 1e-6 relative, down to the smallest normal f32: below it they may be 0.
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

const LN_2: f32 = 0.69314718;

var<workgroup> scratch: array<vec4<f32>, LANES>;

// e^-z for z ≥ 0; NaN of NaN. Drivers' exp is up to 64 units in the last place off. z is a whole number
// and a rest of at most 1/2, which no rounding takes part in and no compiler can reorder; the powers
// of e multiply to e^-whole, and the rest goes through its series.
fn exp_of_minus(z: f32) -> f32 {
    let bounded = select(z, 127.0, z > 127.0);  // 0 already; `min` would make a number of NaN
    let whole = round(bounded);
    let n = u32(whole);
    var power = select(1.0, 0.36787945, (n & 1u) != 0u);    // e^-1
    power *= select(1.0, 0.13533528, (n & 2u) != 0u);       // e^-2
    power *= select(1.0, 0.01831564, (n & 4u) != 0u);       // e^-4, and so on
    power *= select(1.0, 0.00033546262, (n & 8u) != 0u);
    power *= select(1.0, 1.12535176e-7, (n & 16u) != 0u);
    power *= select(1.0, 1.2664166e-14, (n & 32u) != 0u);
    power *= select(1.0, 1.6038109e-28, (n & 64u) != 0u);
    let rest = bounded - whole;
    var series = 1.0;
    for (var k = 8.0; k > 0.0; k -= 1.0) {
        series = 1.0 - rest / k * series;
    }
    return power * series;
}

// log(1 + x) for x in [0, 1]; exactly LN_2 at 1. Where x is small, 1 + x has lost its digits, and no log
// brings them back. log(1 + x) = 2 atanh(x / (2 + x)); above 1/2, log 2 + log((1 + x) / 2).
fn log_1p(x: f32) -> f32 {
    let upper = x > 0.5;
    // Twice atanh's argument, at most 2/5: half of it may be too small for f32.
    let t = select(x / (1.0 + 0.5 * x), (x - 1.0) / (1.5 + 0.5 * x), upper);
    let square = 0.25 * t * t;
    var series = 1.0 / 13.0;
    for (var k = 11.0; k > 0.0; k -= 2.0) {
        series = 1.0 / k + square * series;
    }
    return select(0.0, LN_2, upper) + t * series;
}

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
        // -log σ(z) = max(-z, 0) + log(1 + e^-|z|)
        metrics[at] = max(-margin, 0.0) + log_1p(exp_of_minus(abs(margin)));
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
    let e = exp_of_minus(abs(margin));
    let sigma = select(1.0, e, margin > 0.0) / (1.0 + e);
    let slope = params.beta * sigma * params.scale * norm[SCALE];
    for (var r = start + lane; r < end; r += LANES) {
        drows[r] = select(slope, -slope, r < middle);
    }
}
