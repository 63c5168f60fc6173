// dbias[j] += Σ_i dy[i, j]. A workgroup sums COLUMNS columns; ROW_LANES lanes share each column.

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;           // [rows, cols]
@group(0) @binding(2) var<storage, read_write> dbias: array<f32>;  // [cols], accumulated

const COLUMNS: u32 = 16u;
const ROW_LANES: u32 = 16u;
var<workgroup> column_sums: array<f32, 256>;

@compute @workgroup_size(COLUMNS, ROW_LANES)
fn bias(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let col = group.x * COLUMNS + local.x;
    var sum = 0.0;
    if col < params.cols {
        for (var r = local.y; r < params.rows; r += ROW_LANES) {
            sum += dy[r * params.cols + col];
        }
    }
    column_sums[local.y * COLUMNS + local.x] = sum;
    workgroupBarrier();
    if local.y == 0u && col < params.cols {
        var total = 0.0;
        for (var k = 0u; k < ROW_LANES; k++) {
            total += column_sums[k * COLUMNS + local.x];
        }
        dbias[col] += total;
    }
}
