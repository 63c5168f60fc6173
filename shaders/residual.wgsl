// The residual stream: y += x. Its backward pass is the identity and needs no kernel.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;        // [count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [count]

const WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if i < params.count {
        y[i] += x[i];
    }
}
