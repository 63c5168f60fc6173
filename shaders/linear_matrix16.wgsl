// The tiles of linear_matrix.wgsl for matrices of 16 × 16: an item is a vec4 of f16.

const UNIT: u32 = 4u; // f16 values in an item
var<workgroup> a_tile: array<vec4<f16>, 640>;
var<workgroup> b_tile: array<vec4<f16>, 640>;

fn put_a(at: u32, terms: vec4<f32>) {
    a_tile[at / UNIT] = vec4<f16>(terms);
}

fn put_b(at: u32, terms: vec4<f32>) {
    b_tile[at / UNIT] = vec4<f16>(terms);
}
