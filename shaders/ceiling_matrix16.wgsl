// Matrix units of 16 × 16 × 16: NVIDIA's and AMD's. ceiling_matrix.wgsl goes on from here.

enable f16;
enable wgpu_cooperative_matrix;
diagnostic(off, derivative_uniformity); // naga applies it to matrix units, and takes arguments for varying

const SIDE: u32 = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
