// Split-K, for results with few tiles; this text follows linear_wide, linear_ahead and an epilogue. product_split
// cuts the sum into SPLITS parts, each with own workgroups, and finish_split adds the parts up in a fixed order.

@group(0) @binding(8) var<storage, read_write> split_sums: array<vec4<f32>>;  // [SPLITS, rows, cols]

const SPLITS: u32 = 4u;

// The places in a part of a cell and the three cells below it; 0, which can be read, for a cell outside.
fn split_places(part: u32, cell: vec2<u32>) -> vec4<u32> {
    let rows = part * params.rows + cell.x + vec4(0u, 1u, 2u, 3u);
    return select(vec4(0u), (rows * params.cols + cell.y) / 4u, are_inside(cell));
}

fn read_four(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4(split_sums[at.x], split_sums[at.y], split_sums[at.z], split_sums[at.w]);
}

fn store_split(part: u32, cell: vec2<u32>, sums: mat4x4<f32>, continues: bool) {
    let at = split_places(part, cell);
    var values = sums;
    if continues {
        values += read_four(at);
    }
    let inside = are_inside(cell);
    if inside.x {
        split_sums[at.x] = values[0];
    }
    if inside.y {
        split_sums[at.y] = values[1];
    }
    if inside.z {
        split_sums[at.z] = values[2];
    }
    if inside.w {
        split_sums[at.w] = values[3];
    }
}

@compute @workgroup_size(WORKGROUP)
fn product_split(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let share = (params.inner + SPLITS * DEPTH - 1u) / (SPLITS * DEPTH) * DEPTH;
    let first = min(group.z * share, params.inner);
    let end = min(first + share, params.inner);
    for (var block = first; block == first || block < end; block += INNER_BLOCK) {
        let sums = lane_sums(group, lane, block, min(block + INNER_BLOCK, end));
        store_split(group.z, cell(group, lane, 0u, 0u), sums.xv, block > first);
        store_split(group.z, cell(group, lane, 1u, 0u), sums.yv, block > first);
        store_split(group.z, cell(group, lane, 0u, 1u), sums.xw, block > first);
        store_split(group.z, cell(group, lane, 1u, 1u), sums.yw, block > first);
    }
}

@compute @workgroup_size(WORKGROUP)
fn finish_split(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = 0u; i < 4u; i++) {
        let cell = cell(group, lane, i % 2u, i / 2u);
        var sums = mat4x4<f32>();
        for (var part = 0u; part < SPLITS; part++) {
            sums += read_four(split_places(part, cell));
        }
        store_four(cell, four(sums), false);
    }
}
