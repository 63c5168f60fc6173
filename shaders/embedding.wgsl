// Token + position embedding: x[r] = wte[token[r]] + wpe[position[r]].
//
// `wte` lies in row shards, and a dispatch binds one shard: it fills the stream rows whose token lies in
// that shard. The backward pass adds up the gradients of all stream rows that used a table row. The host
// sorts the stream rows by table row (`order`) and lists one segment of `order` for each table row
// (`segments`), so that the pass needs no atomics and the order of a sum is fixed.

struct Params {
    rows: u32,         // forward: stream rows; backward: segments
    width: u32,        // C
    first_row: u32,    // the shard's first row in the whole table
    shard_rows: u32,
    first_segment: u32, // backward: the first segment of this dispatch
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;            // [rows]
@group(0) @binding(2) var<storage, read> positions: array<u32>;         // [rows]
@group(0) @binding(3) var<storage, read> wte: array<f32>;               // [shard_rows, C]
@group(0) @binding(4) var<storage, read> wpe: array<f32>;               // [n_positions, C]
@group(0) @binding(5) var<storage, read_write> x: array<f32>;           // [rows, C]
@group(0) @binding(6) var<storage, read> order: array<u32>;             // [rows]: stream rows by table row
@group(0) @binding(7) var<storage, read> segments: array<u32>;          // [.., 3]: table row, start and end in `order`
@group(0) @binding(8) var<storage, read> dx: array<f32>;                // [rows, C]
@group(0) @binding(9) var<storage, read_write> dtable: array<f32>;      // [shard_rows, C], accumulated

// A workgroup takes LANES columns of one row.
const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let col = group.x * LANES + lane;
    if col >= params.width {
        return;
    }
    let row = group.y;
    let token = tokens[row];
    if token >= params.first_row && token < params.first_row + params.shard_rows {
        x[row * params.width + col] = wte[(token - params.first_row) * params.width + col]
            + wpe[positions[row] * params.width + col];
    }
}

@compute @workgroup_size(LANES)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let col = group.x * LANES + lane;
    if col >= params.width {
        return;
    }
    let segment = 3u * (params.first_segment + group.y);
    var sum = 0.0;
    for (var s = segments[segment + 1u]; s < segments[segment + 2u]; s++) {
        sum += dx[order[s] * params.width + col];
    }
    dtable[(segments[segment] - params.first_row) * params.width + col] += sum;
}
