// Matrix units of 8 × 8 × 8: Apple's, and the software units of Mesa. WGSL wants directives first, so this is
// the first part of a kernel's text.

enable f16;
enable wgpu_cooperative_matrix;
diagnostic(off, derivative_uniformity); // naga checks matrix units by it, and takes uniform arguments for varying

const SIDE: u32 = 8u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
