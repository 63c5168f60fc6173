// Matrix units of 16 × 16 × 16: NVIDIA's and AMD's. linear_matrix.wgsl goes on from here.

enable f16;
enable wgpu_cooperative_matrix;
diagnostic(off, derivative_uniformity); // naga applies it to matrix units, and takes arguments for varying

const SIDE: u32 = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

const UNIT: u32 = 4u; // terms an item of the tiles
var<workgroup> a_tile: array<vec4<f16>, 640>;
var<workgroup> b_tile: array<vec4<f16>, 640>;

fn put_a(at: u32, terms: vec4<f32>) {
    a_tile[at / UNIT] = vec4<f16>(terms);
}

fn put_b(at: u32, terms: vec4<f32>) {
    b_tile[at / UNIT] = vec4<f16>(terms);
}
