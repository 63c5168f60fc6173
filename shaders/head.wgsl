// Computes log-probs from logits, one vocabulary shard after another, and the gradient of the logits in place.
//
// `forward` folds one shard's logits into each row's running log-sum-exp and the target's logit (max, sum of
// exp, logit); after the last shard it writes the log-prob of the target token. `backward` overwrites a shard's
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
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;         // [rows, 3]: max, sum of exp, logit
@group(0) @binding(4) var<storage, read_write> logps: array<f32>;         // [head rows]
@group(0) @binding(5) var<storage, read> saved: array<f32>;               // stats, in the backward pass
@group(0) @binding(6) var<storage, read> dlogps: array<f32>;               // [head rows]: dloss/dlogp
@group(0) @binding(7) var<storage, read_write> dlogits: array<vec4<f32>>; // [rows, stride], by fours, in place

const LANES: u32 = 128u;
const LOWEST: f32 = -1e30;

const ROOT: u32 = 16u;  // lanes that merge the partial softmaxes of all lanes

var<workgroup> scratch: array<vec2<f32>, LANES>;

// Merges two partial softmaxes; each is (max, sum of exp(· - max)).
fn merged(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    let peak = max(a.x, b.x);
    return vec2(peak, a.y * exp(a.x - peak) + b.y * exp(b.x - peak));
}

// One workgroup computes one row.
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x;
    let base = row * params.stride;
    var own = vec2(LOWEST, 0.0);
    for (var c = 4u * lane; c < params.cols; c += 4u * LANES) {
        let four = logits[(base + c) / 4u];
        let real = select(vec4(LOWEST), four, c + vec4(0u, 1u, 2u, 3u) < vec4(params.cols));
        let peak = max(own.x, max(max(real.x, real.y), max(real.z, real.w)));
        let e = exp(real - peak);
        own = vec2(peak, own.y * exp(own.x - peak) + ((e.x + e.y) + (e.z + e.w)));
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
    if params.first_shard == 0u {
        softmax = merged(vec2(stats[3u * row], stats[3u * row + 1u]), softmax);
        target_logit = stats[3u * row + 2u];
    }
    let token = targets[params.first_head + row];
    if token >= params.first_token && token < params.first_token + params.cols {
        let at = base + token - params.first_token;
        target_logit = logits[at / 4u][at % 4u];
    }
    stats[3u * row] = softmax.x;
    stats[3u * row + 1u] = softmax.y;
    stats[3u * row + 2u] = target_logit;
    if params.last_shard != 0u {
        // The sum is at least 1, and for arguments of at least 1 the log of drivers is right, to 4e-7 as measured.
        logps[params.first_head + row] = (target_logit - softmax.x) - log(softmax.y);
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
    let p = exp(dlogits[i] - saved[3u * row]) / saved[3u * row + 1u];
    let hit = params.first_token + cols == vec4(targets[params.first_head + row]);
    let gradient = dlogps[params.first_head + row] * (select(vec4(0.0), vec4(1.0), hit) - p);
    dlogits[i] = select(vec4(0.0), gradient, cols < vec4(params.cols));
}
