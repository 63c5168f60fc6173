// Moves one arena towards another: y = (1 - share) · y + share · x. TR-DPO moves the reference towards the policy.

struct Params {
    count: u32,
    share: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // [count], by fours
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;  // [count], by fours

const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if 4u * i >= params.count {
        return;
    }
    // Words after the end of the range stay as they are, even in the vec4 that holds the end.
    let inside = 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(params.count);
    let blended = (1.0 - params.share) * y[i] + params.share * x[i];
    y[i] = select(y[i], blended, inside);
}
