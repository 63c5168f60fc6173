// Gathers the stream rows that predict a response token into the head's rows; the backward pass returns
// their gradients to the stream.
//
// The last prompt row predicts the first token of both responses, so two head rows may come from one stream
// row: `inverse` lists the head rows of each stream row, two at most, and the backward pass needs no atomics.

struct Params {
    rows: u32,       // forward: head rows; backward: stream rows
    width: u32,      // C
    first_row: u32,  // backward: the first stream row of the chunk
    first_head: u32, // the first head row of the chunk
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [stream rows, C]
@group(0) @binding(2) var<storage, read> sources: array<u32>;    // [head rows]: stream row
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // [chunk's head rows, C]
@group(0) @binding(4) var<storage, read> dy: array<f32>;         // [chunk's head rows, C]
@group(0) @binding(5) var<storage, read> inverse: array<u32>;    // [stream rows, 2]: head row or NONE
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;   // [stream rows, C]

// A workgroup takes LANES columns of one row.
const LANES: u32 = 64u;
const NONE: u32 = 0xffffffffu;

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let col = group.x * LANES + lane;
    if col < params.width {
        let row = sources[params.first_head + group.y];
        y[group.y * params.width + col] = x[row * params.width + col];
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
    let row = params.first_row + group.y;
    var sum = 0.0;
    for (var k = 0u; k < 2u; k++) {
        let head = inverse[2u * row + k];
        if head != NONE {
            sum += dy[(head - params.first_head) * params.width + col];
        }
    }
    dx[row * params.width + col] = sum;
}
