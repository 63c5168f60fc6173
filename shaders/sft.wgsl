// The supervised loss of each example: the mean negative log-prob of the chosen response's tokens.

struct Params {
    scale: f32,        // 1 / examples of the optimizer step
    count: u32,        // examples of this dispatch
    first_pair: u32,   // the first of them in `pairs`
    first_slot: u32,   // where `pairs[0]` reports in `metrics`
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pairs: array<u32>;          // [pairs, 3]: head rows start, middle, end
@group(0) @binding(2) var<storage, read> logps: array<f32>;          // [head rows]
@group(0) @binding(3) var<storage, read_write> metrics: array<f32>;  // [slots, METRICS]
@group(0) @binding(4) var<storage, read_write> drows: array<f32>;    // [head rows]: dloss/dlogp · loss scale
@group(0) @binding(5) var<storage, read> norm: array<f32>;           // [NORM]: see grad_norm.wgsl

const LANES: u32 = 64u;
// The layout of dpo.wgsl; only the loss and the chosen log-prob are not 0 here.
const METRICS: u32 = 6u;
const SCALE: u32 = 3u;

var<workgroup> scratch: array<f32, LANES>;

// One workgroup an example.
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = params.first_pair + group.x;
    let start = pairs[3u * pair];
    let middle = pairs[3u * pair + 1u];
    var sum = 0.0;
    for (var r = start + lane; r < middle; r += LANES) {
        sum += logps[r];
    }
    scratch[lane] = sum;
    workgroupBarrier();
    for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
        if lane < reach {
            scratch[lane] += scratch[lane + reach];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        let at = METRICS * (params.first_slot + pair);
        metrics[at] = -scratch[0] / f32(middle - start);
        for (var k = 1u; k < METRICS; k++) {
            metrics[at + k] = 0.0;
        }
        metrics[at + 4u] = scratch[0];
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
    let slope = params.scale / f32(middle - start) * norm[SCALE];
    for (var r = start + lane; r < pairs[3u * pair + 2u]; r += LANES) {
        drows[r] = select(0.0, -slope, r < middle);
    }
}
