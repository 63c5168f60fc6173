// The tiles of linear_matrix.wgsl for matrices of 8 × 8: an item is one f16, because Metal loads matrices from
// arrays of scalars.

const UNIT: u32 = 1u; // f16 values in an item
var<workgroup> a_tile: array<f16, 2560>;
var<workgroup> b_tile: array<f16, 2560>;

fn put_a(at: u32, terms: vec4<f32>) {
    let halves = vec4<f16>(terms);
    a_tile[at] = halves.x;
    a_tile[at + 1u] = halves.y;
    a_tile[at + 2u] = halves.z;
    a_tile[at + 3u] = halves.w;
}

fn put_b(at: u32, terms: vec4<f32>) {
    let halves = vec4<f16>(terms);
    b_tile[at] = halves.x;
    b_tile[at + 1u] = halves.y;
    b_tile[at + 2u] = halves.z;
    b_tile[at + 3u] = halves.w;
}
