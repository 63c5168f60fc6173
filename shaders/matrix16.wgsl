// Matrix units of 16 × 16 × 16: NVIDIA's and AMD's. WGSL wants directives first, so this is the first
// part of a kernel's text.

enable f16;
enable wgpu_cooperative_matrix;
diagnostic(off, derivative_uniformity); // naga checks matrix units by it, and takes uniform arguments for varying

const SIDE: u32 = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
