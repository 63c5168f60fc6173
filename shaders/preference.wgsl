// The loss of each preference pair from the log-probs of its response tokens, and its gradient.
//
// `forward` sums a pair's log-probs and hands the sums to `pair_loss`, which adds up the run's losses. `pair_loss`
// returns the scalar loss of the pair, and its slopes with respect to the gain and the log-probs of each side. `backward`
// hands the saved sums to `pair_loss` again, and writes to each token the slope of its side.
// step_control_struct.wgsl goes before this text, and preference_losses.wgsl, which has the losses, behind it.

struct Params {
    has_reference: u32,  // 0: every token's reference log-prob counts as equal to the policy's
    beta: f32,
    weight: f32,         // weight of a pair in the mean over the optimizer step: 1 / pairs of the step
    token_weight: f32,   // weight of a chosen token in such a mean: 1 / chosen tokens of the step
    count: u32,          // pairs of this dispatch
    first_pair: u32,     // the first pair of this dispatch in `pairs`
    first_slot: u32,     // the slot of `pairs[0]` in `metrics`
    label_smoothing: f32,  // ε: the share of labels that may be wrong
    log_kept: f32,         // log(1 - ε)
    log_smoothing: f32,    // log ε
    discopop_tau: f32,
    dpop_lambda: f32,
    simpo_gamma: f32,
    ld_alpha: f32,         // what a token beyond the shorter response's length counts in a gain
    average: u32,          // 1: a gain is a mean over tokens, not a sum
    is_js: u32,            // 1: the divergence is Jensen's and Shannon's
    alpha_less_1: f32,     // α - 1 of the alpha-divergence; forward KL has -1, reverse KL 0
    // The weight of each loss in the sum.
    sigmoid: f32,
    hinge: f32,
    ipo: f32,
    robust: f32,
    exo_pair: f32,
    nca_pair: f32,
    bco_pair: f32,
    sppo_hard: f32,
    apo_zero: f32,
    apo_down: f32,
    discopop: f32,
    sigmoid_norm: f32,
    dpop: f32,
    aot: f32,
    aot_unpaired: f32,
    simpo: f32,
    orpo: f32,
    sft: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pairs: array<Pair>;         // [pairs]
@group(0) @binding(2) var<storage, read> logps: array<f32>;          // [head rows]
@group(0) @binding(3) var<storage, read> references: array<f32>;     // [head rows]
@group(0) @binding(4) var<storage, read_write> sums: array<Sums>;    // [pairs]
@group(0) @binding(5) var<storage, read_write> metrics: array<f32>;  // [slots, METRICS]
@group(0) @binding(6) var<storage, read> saved: array<Sums>;         // `sums` of the forward pass
@group(0) @binding(7) var<storage, read_write> dlogps: array<f32>;   // [head rows]: dloss/dlogp · loss scale
@group(0) @binding(8) var<storage, read> control: StepControl;
@group(0) @binding(9) var<storage, read> facts: array<f32>;          // [head rows, FACTS]: entropy, mean logit, hit

// A pair's head rows, and what the loss takes of it beside their log-probs.
struct Pair {
    start: u32,             // the first chosen head row
    middle: u32,            // the first rejected one
    end: u32,
    weight: f32,            // what the pair's loss counts
    chosen_rival: f32,      // aot_unpaired: the rejected gain that is ranked as the chosen one
    rejected_rival: f32,    // aot_unpaired: the chosen gain that is ranked as the rejected one
    reference_shift: f32,   // aot: the reference's margin less the one that is ranked as the policy's
}

// A pair's sums over its response tokens. A gain is a sum of differences, token by token. The differences are
// small where the sums of log-probs are large, so a gain keeps its digits, and it is exactly 0 where policy and
// reference agree.
struct Sums {
    chosen_gain: f32,    // Σ (logp - reference), or the mean
    rejected_gain: f32,
    chosen_logp: f32,    // Σ logp
    rejected_logp: f32,
    chosen_len: f32,     // number of tokens
    rejected_len: f32,
}

// The result of `pair_loss`.
struct PairLoss {
    loss: f32,            // not divided by the pairs of the step
    chosen_slope: f32,    // dloss/dgain · weight
    rejected_slope: f32,
    chosen_token: f32,    // dloss/dlogp of each chosen token · weight, beside that through the gain
    rejected_token: f32,
}

const LANES: u32 = 64u;
// loss, reward margin, chosen reward, rejected reward, chosen log-prob, rejected log-prob; sums over tokens: entropies,
// mean logits of the chosen response, of the rejected one, hits in the chosen one; tokens of either response
const METRICS: u32 = 12u;
const FACTS: u32 = 3u;

const LN_2: f32 = 0.69314718;

// e^-z for z ≥ 0, infinity included. The exp of drivers is up to 64 units in the last place off. This function
// splits z into a whole number and a rest of at most 1/2. The split has no rounding, and no compiler can
// reorder it. A product of powers of e gives e^-whole, and a series gives e^-rest.
fn exp_of_minus(z: f32) -> f32 {
    let bounded = select(z, 127.0, z > 127.0);  // e^-127 is 0 in f32
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

// log(1 + x) for x in [0, 1]; exactly LN_2 at 1. For a small x the sum 1 + x loses the digits of x, and no
// log restores them. So log(1 + x) = 2 atanh(x / (2 + x)), and for x above 1/2 log 2 + log((1 + x) / 2).
fn log_1p(x: f32) -> f32 {
    let upper = x > 0.5;
    // t is twice the argument of atanh, at most 2/5; the argument itself may be too small for f32.
    let t = select(x / (1.0 + 0.5 * x), (x - 1.0) / (1.5 + 0.5 * x), upper);
    let square = 0.25 * t * t;
    var series = 1.0 / 13.0;
    for (var k = 11.0; k > 0.0; k -= 2.0) {
        series = 1.0 / k + square * series;
    }
    return select(0.0, LN_2, upper) + t * series;
}

// NVIDIA's compiler makes `min` and `max` of a `select` after a comparison, and these turn NaN into a number. So
// this function tests the bits.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// What the log-prob of a head row counts in the gain of its response.
fn share(pair: Pair, row: u32) -> f32 {
    let chosen = pair.middle - pair.start;
    let rejected = pair.end - pair.middle;
    let is_chosen = row < pair.middle;
    let index = row - select(pair.middle, pair.start, is_chosen);
    let of_tail = select(params.ld_alpha, 1.0, index < min(chosen, rejected));
    let count = select(rejected, chosen, is_chosen);
    return select(of_tail, of_tail / f32(count), params.average != 0u);
}

var<workgroup> scratch: array<vec4<f32>, LANES>;
var<workgroup> fact_scratch: array<vec4<f32>, LANES>;

// One workgroup computes one pair.
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = params.first_pair + group.x;
    let pair = pairs[at];
    let chosen_len = pair.middle - pair.start;
    let rejected_len = pair.end - pair.middle;
    // chosen and rejected gain, chosen and rejected log-prob
    var own = vec4(0.0);
    // entropies, chosen and rejected mean logits, hits
    var own_facts = vec4(0.0);
    for (var r = pair.start + lane; r < pair.end; r += LANES) {
        let is_chosen = r < pair.middle;
        let logp = logps[r];
        var gain = 0.0;
        if params.has_reference != 0u {
            gain = (logp - references[r]) * share(pair, r);
        }
        own += select(vec4(0.0, gain, 0.0, logp), vec4(gain, 0.0, logp, 0.0), is_chosen);
        let entropy = facts[FACTS * r];
        let logit = facts[FACTS * r + 1u];
        let hit = facts[FACTS * r + 2u];
        own_facts += select(vec4(entropy, 0.0, logit, 0.0), vec4(entropy, logit, 0.0, hit), is_chosen);
    }
    scratch[lane] = own;
    fact_scratch[lane] = own_facts;
    workgroupBarrier();
    for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
        if lane < reach {
            scratch[lane] += scratch[lane + reach];
            fact_scratch[lane] += fact_scratch[lane + reach];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        let total = scratch[0];
        let s = Sums(total.x, total.y, total.z, total.w, f32(chosen_len), f32(rejected_len));
        sums[at] = s;
        let chosen = reward(s.chosen_gain, s.chosen_logp, s.chosen_len);
        let rejected = reward(s.rejected_gain, s.rejected_logp, s.rejected_len);
        let slot = METRICS * (params.first_slot + at);
        metrics[slot] = pair_loss(s, pair).loss;
        metrics[slot + 1u] = params.beta * (chosen - rejected);
        metrics[slot + 2u] = params.beta * chosen;
        metrics[slot + 3u] = params.beta * rejected;
        metrics[slot + 4u] = s.chosen_logp;
        metrics[slot + 5u] = s.rejected_logp;
        let of_tokens = fact_scratch[0];
        metrics[slot + 6u] = of_tokens.x;
        metrics[slot + 7u] = of_tokens.y;
        metrics[slot + 8u] = of_tokens.z;
        metrics[slot + 9u] = of_tokens.w;
        metrics[slot + 10u] = s.chosen_len;
        metrics[slot + 11u] = s.rejected_len;
    }
}

// A response's reward, without β: the gain, or for losses without a reference the mean log-prob of its tokens.
fn reward(gain: f32, logp: f32, count: f32) -> f32 {
    let is_free = params.has_reference == 0u && (params.simpo != 0.0 || params.orpo != 0.0);
    return select(gain, logp / max(count, 1.0), is_free);
}

@compute @workgroup_size(LANES)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = params.first_pair + group.x;
    let pair = pairs[at];
    let loss = pair_loss(saved[at], pair);
    for (var r = pair.start + lane; r < pair.end; r += LANES) {
        let is_chosen = r < pair.middle;
        let through_gain = select(loss.rejected_slope, loss.chosen_slope, is_chosen) * share(pair, r);
        let slope = through_gain + select(loss.rejected_token, loss.chosen_token, is_chosen);
        dlogps[r] = slope * control.loss_scale;
    }
}
