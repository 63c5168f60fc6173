// Partial sums of the global gradient norm: each workgroup sums the squares of its share of an arena.
// sum_over_lanes.wgsl goes before this text; step_control.wgsl adds the partial sums up.

struct Params {
    count: u32,       // elements of the arena
    first_slot: u32,  // the arena's first slot among the partial sums
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;  // [count], by fours
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;  // [slots]

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
