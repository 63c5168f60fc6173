// The loop of linear_wide that fetches the next tile while it multiplies the present one: for GPUs whose lanes
// have registers for both.

// The sums of a lane over the terms [first, end).
fn lane_sums(group: vec3<u32>, lane: u32, first: u32, end: u32) -> Sums {
    let own = lane_place(lane);
    let fetches_a = lane < WORKGROUP / 2u;
    var s: Sums;
    var a_block: mat4x4<f32>;
    var b_block = fetch(false, group, lane, first, end);
    if fetches_a {
        a_block = fetch(true, group, lane, first, end);
    }
    for (var k = first; k < end; k += DEPTH) {
        workgroupBarrier();
        put(false, b_block, lane, k, end);
        if fetches_a {
            put(true, a_block, lane, k, end);
        }
        workgroupBarrier();
        b_block = fetch(false, group, lane, k + DEPTH, end);
        if fetches_a {
            a_block = fetch(true, group, lane, k + DEPTH, end);
        }
        // Not every compiler unrolls a loop, and each index is a constant this way.
        add_term(&s, own, 0u); add_term(&s, own, 1u); add_term(&s, own, 2u); add_term(&s, own, 3u);
        add_term(&s, own, 4u); add_term(&s, own, 5u); add_term(&s, own, 6u); add_term(&s, own, 7u);
        add_term(&s, own, 8u); add_term(&s, own, 9u); add_term(&s, own, 10u); add_term(&s, own, 11u);
        add_term(&s, own, 12u); add_term(&s, own, 13u); add_term(&s, own, 14u); add_term(&s, own, 15u);
    }
    return s;
}
