// Matrix units of 8 × 8 × 8: Apple's, and Mesa's software ones. ceiling_matrix.wgsl goes on from here.

enable f16;
enable wgpu_cooperative_matrix;
diagnostic(off, derivative_uniformity); // naga applies it to matrix units, and takes arguments for varying

const SIDE: u32 = 8u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
