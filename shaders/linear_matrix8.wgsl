// Matrix units of 8 × 8 × 8: Apple's, and Mesa's software ones. linear_matrix.wgsl goes on from here.

enable f16;
enable wgpu_cooperative_matrix;
diagnostic(off, derivative_uniformity); // naga applies it to matrix units, and takes arguments for varying

const SIDE: u32 = 8u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;

// Metal loads matrices from scalars.
const UNIT: u32 = 1u; // terms an item of the tiles
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
