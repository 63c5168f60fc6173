// Split-K, for results with few tiles; this text follows linear_wide and an epilogue. product_split cuts the sum
// into SPLITS parts, each with own workgroups, and finish_split adds the parts up in a fixed order.

@group(0) @binding(8) var<storage, read_write> split_sums: array<vec4<f32>>;  // [SPLITS, rows, cols]

const SPLITS: u32 = 4u;

fn split_at(part: u32, cell: vec2<u32>) -> u32 {
    return ((part * params.rows + cell.x) * params.cols + cell.y) / 4u;
}

@compute @workgroup_size(WORKGROUP)
fn product_split(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let share = (params.inner + SPLITS * DEPTH - 1u) / (SPLITS * DEPTH) * DEPTH;
    let first = min(group.z * share, params.inner);
    let end = min(first + share, params.inner);
    for (var block = first; block == first || block < end; block += INNER_BLOCK) {
        var sums = lane_sums(group, lane, block, min(block + INNER_BLOCK, end));
        for (var i = 0u; i < SUMS; i++) {
            let cell = cell(group, lane, i);
            let at = split_at(group.z, cell);
            if is_inside(cell) {
                split_sums[at] = sums[i] + select(vec4(0.0), split_sums[at], block > first);
            }
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn finish_split(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = 0u; i < SUMS; i++) {
        let cell = cell(group, lane, i);
        var sum = vec4(0.0);
        for (var s = 0u; s < SPLITS && is_inside(cell); s++) {
            sum += split_sums[split_at(s, cell)];
        }
        store(cell, sum, false);
    }
}
