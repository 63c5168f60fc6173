// The product of one row, a token of generation: c[j] (+)= scale · Σ_k a[k] · b[k, j]. Each weight is read once, so the
// memory sets the time, and what counts is how many loads are under way. A workgroup owns GROUP_COLS outputs. Its
// lanes share the terms of their sums, and add up in workgroup memory.
// Dense strides are whole vec4s: see `is_in_fours` in src/ops/linear/variants.rs.

alias Value = vec4<f32>;
const WIDTH: u32 = 4u;

const LANES: u32 = 256u;
const GROUP_ROWS: u32 = 1u;
const GROUP_COLS: u32 = 16u;
const VECTORS: u32 = 4u;    // vec4s of outputs
const SHARERS: u32 = 16u;   // lanes of one output, where b is dense along the sum

var<workgroup> partial_sums: array<vec4<f32>, LANES>;

// The terms of a lane where b is dense along j: of four outputs, every 64th four terms.
fn terms_of_columns(first_col: u32, lane: u32) -> vec4<f32> {
    let col = min(first_col + 4u * (lane % VECTORS), params.cols - 4u);
    var sum = vec4(0.0);
    for (var k = 4u * (lane / VECTORS); k < params.inner; k += 4u * LANES / VECTORS) {
        let x = a[(params.a_offset + k) / 4u];
        let at = (k * params.b_inner + col) / 4u;
        let row = params.b_inner / 4u;
        sum += x.x * b[at] + x.y * b[at + row] + x.z * b[at + 2u * row] + x.w * b[at + 3u * row];
    }
    return sum;
}

// The terms of a lane where b is dense along the sum: of one output, in four sums.
fn terms_of_row(first_col: u32, lane: u32) -> vec4<f32> {
    let col = min(first_col + lane / SHARERS, params.cols - 1u);
    var sum = vec4(0.0);
    for (var k = 4u * (lane % SHARERS); k < params.inner; k += 4u * SHARERS) {
        sum += a[(params.a_offset + k) / 4u] * b[(col * params.b_col + k) / 4u];
    }
    return sum;
}

// Adds up the sums of lanes that are `least`, 2 · `least`, … below `end` apart, within runs of `end` lanes.
fn add_up(lane: u32, least: u32, end: u32) {
    for (var apart = end / 2u; apart >= least; apart /= 2u) {
        workgroupBarrier();
        if lane % end < apart {
            partial_sums[lane] += partial_sums[lane + apart];
        }
    }
    workgroupBarrier();
}

fn total(output: u32) -> f32 {
    let sums = partial_sums[output * SHARERS];
    return (sums.x + sums.y) + (sums.z + sums.w);
}

@compute @workgroup_size(LANES)
fn product(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_col = group.x * GROUP_COLS;
    let cell = vec2(0u, first_col + 4u * lane);
    if B_ALONG_SUM {
        partial_sums[lane] = terms_of_row(first_col, lane);
        add_up(lane, 1u, SHARERS);
        if lane < VECTORS {
            let first = 4u * lane;
            store(cell, vec4(total(first), total(first + 1u), total(first + 2u), total(first + 3u)), false);
        }
    } else {
        partial_sums[lane] = terms_of_columns(first_col, lane);
        add_up(lane, VECTORS, LANES);
        if lane < VECTORS {
            store(cell, partial_sums[lane], false);
        }
    }
}
