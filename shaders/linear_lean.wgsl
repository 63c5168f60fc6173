// The loop of linear_wide with few registers: a lane holds no words of the next tile while it multiplies. Several
// workgroups fit a core of Apple's and Qualcomm's GPUs, and fetch while others multiply; on Intel's, whose lanes
// have 128 registers, linear_ahead spills.

// The sums of a lane over the terms [first, end).
fn lane_sums(group: vec3<u32>, lane: u32, first: u32, end: u32) -> Sums {
    let own = lane_place(lane);
    var s: Sums;
    for (var k = first; k < end; k += DEPTH) {
        workgroupBarrier();
        put(false, fetch(false, group, lane, k, end), lane, k, end);
        if lane < WORKGROUP / 2u {
            put(true, fetch(true, group, lane, k, end), lane, k, end);
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            add_term(&s, own, d);
        }
    }
    return s;
}
