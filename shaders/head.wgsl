// Computes log-probs from logits, one vocabulary shard after another, and the gradient of the logits in place.
//
// `forward` folds one shard's logits into each row's running log-sum-exp, the sums beside it and the target's logit; after
// the last shard it writes the log-prob of the target token, and the row's entropy, mean logit and hit. `backward` overwrites a shard's
// logits with their gradient: dlogp · (onehot - softmax). Columns beyond `cols` pad the shard: they do not
// enter the softmax, and their gradient is zero.

struct Params {
    rows: u32,        // head rows of this chunk
    cols: u32,        // real vocabulary rows of this shard
    stride: u32,      // `cols` with padding, a multiple of 4
    first_token: u32, // the shard's first vocabulary row
    first_head: u32,  // the chunk's first row in targets, logps and dlogps
    first_shard: u32, // not 0: this is the first shard of the vocabulary
    last_shard: u32,  // not 0: this is the last shard
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;             // [head rows]
@group(0) @binding(2) var<storage, read> logits: array<vec4<f32>>;        // [rows, stride], by fours
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;         // [rows, STATS]: the four of `Part`, the target's logit
@group(0) @binding(4) var<storage, read_write> logps: array<f32>;         // [head rows]
@group(0) @binding(5) var<storage, read> saved: array<f32>;               // stats, in the backward pass
@group(0) @binding(6) var<storage, read> dlogps: array<f32>;               // [head rows]: dloss/dlogp
@group(0) @binding(7) var<storage, read_write> dlogits: array<vec4<f32>>; // [rows, stride], by fours, in place
@group(0) @binding(8) var<storage, read_write> facts: array<f32>;         // [head rows, FACTS]: entropy, mean logit, hit

const LANES: u32 = 128u;
const LOWEST: f32 = -1e30;

const STATS: u32 = 5u;
const FACTS: u32 = 3u;

const ROOT: u32 = 16u;  // lanes that merge the partial softmaxes of all lanes

// A part of a row's softmax, over some of its logits l.
struct Part {
    peak: f32,      // max l
    total: f32,     // Σ e^(l - peak)
    weighted: f32,  // Σ e^(l - peak) · (l - peak)
    plain: f32,     // Σ l
}

var<workgroup> scratch: array<Part, LANES>;

// The part, seen from a peak that is at least its own.
fn seen_from(peak: f32, part: Part) -> Part {
    let below = part.peak - peak;
    let scale = exp(below);
    return Part(peak, part.total * scale, (part.weighted + part.total * below) * scale, part.plain);
}

fn merged(a: Part, b: Part) -> Part {
    let peak = max(a.peak, b.peak);
    let x = seen_from(peak, a);
    let y = seen_from(peak, b);
    return Part(peak, x.total + y.total, x.weighted + y.weighted, x.plain + y.plain);
}

// One workgroup computes one row.
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x;
    let base = row * params.stride;
    var own = Part(LOWEST, 0.0, 0.0, 0.0);
    for (var c = 4u * lane; c < params.cols; c += 4u * LANES) {
        let four = logits[(base + c) / 4u];
        let is_real = c + vec4(0u, 1u, 2u, 3u) < vec4(params.cols);
        let real = select(vec4(LOWEST), four, is_real);
        let peak = max(own.peak, max(max(real.x, real.y), max(real.z, real.w)));
        let below = real - peak;
        let e = exp(below);
        own = seen_from(peak, own);
        own.total += (e.x + e.y) + (e.z + e.w);
        own.weighted += dot(e, below);
        own.plain += dot(select(vec4(0.0), four, is_real), vec4(1.0));
    }
    scratch[lane] = own;
    workgroupBarrier();
    if lane < ROOT {
        for (var k = lane + ROOT; k < LANES; k += ROOT) {
            own = merged(own, scratch[k]);
        }
        scratch[lane] = own;
    }
    workgroupBarrier();
    if lane != 0u {
        return;
    }
    var softmax = own;
    for (var k = 1u; k < ROOT; k++) {
        softmax = merged(softmax, scratch[k]);
    }
    var target_logit = 0.0;
    let at = STATS * row;
    if params.first_shard == 0u {
        let before = Part(stats[at], stats[at + 1u], stats[at + 2u], stats[at + 3u]);
        softmax = merged(before, softmax);
        target_logit = stats[at + 4u];
    }
    let token = targets[params.first_head + row];
    if token >= params.first_token && token < params.first_token + params.cols {
        let place = base + token - params.first_token;
        target_logit = logits[place / 4u][place % 4u];
    }
    stats[at] = softmax.peak;
    stats[at + 1u] = softmax.total;
    stats[at + 2u] = softmax.weighted;
    stats[at + 3u] = softmax.plain;
    stats[at + 4u] = target_logit;
    if params.last_shard != 0u {
        // The sum is at least 1, and for arguments of at least 1 the log of drivers is right, to 4e-7 as measured.
        let log_total = log(softmax.total);
        logps[params.first_head + row] = (target_logit - softmax.peak) - log_total;
        let fact = FACTS * (params.first_head + row);
        facts[fact] = log_total - softmax.weighted / softmax.total;
        facts[fact + 1u] = softmax.plain / f32(params.first_token + params.cols);
        facts[fact + 2u] = select(0.0, 1.0, target_logit >= softmax.peak);
    }
}

// A workgroup computes LANES vec4s of one row.
@compute @workgroup_size(LANES)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y;
    let first = 4u * (group.x * LANES + lane);
    if first >= params.stride {
        return;
    }
    let i = (row * params.stride + first) / 4u;
    let cols = first + vec4(0u, 1u, 2u, 3u);
    let p = exp(dlogits[i] - saved[STATS * row]) / saved[STATS * row + 1u];
    let hit = params.first_token + cols == vec4(targets[params.first_head + row]);
    let gradient = dlogps[params.first_head + row] * (select(vec4(0.0), vec4(1.0), hit) - p);
    dlogits[i] = select(vec4(0.0), gradient, cols < vec4(params.cols));
}
