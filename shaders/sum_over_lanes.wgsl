const WORKGROUP: u32 = 256u;
const ROOT: u32 = 16u;  // the square root of WORKGROUP
var<workgroup> lane_values: array<f32, WORKGROUP>;
var<workgroup> partial_sums: array<f32, ROOT>;

// Returns the sum of all lanes' values to every lane, in two levels of ROOT terms.
fn sum_over_lanes(value: f32, lane: u32) -> f32 {
    lane_values[lane] = value;
    workgroupBarrier();
    if lane < ROOT {
        var sum = 0.0;
        for (var k = 0u; k < ROOT; k++) {
            sum += lane_values[k * ROOT + lane];
        }
        partial_sums[lane] = sum;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var k = 0u; k < ROOT; k++) {
        total += partial_sums[k];
    }
    return total;
}
