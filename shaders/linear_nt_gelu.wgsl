// Epilogue of nt_gelu: (c + dy · wᵀ) · gelu'(wide), the gradient of GELU's input, and gelu(wide), recomputed.

const A_ALONG_SUM: bool = true;
const B_ALONG_SUM: bool = true;
const HAS_EPILOGUE: bool = true;

fn finish(value: Value, at: u32, col: u32) {
    let wide = pre_activation[at];
    c[at] = value * gelu_slope(wide);
    activated[at] = gelu(wide);
}
