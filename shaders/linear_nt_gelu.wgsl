// Epilogue of nt_gelu: (c + dy · wᵀ) · gelu'(wide), the gradient of GELU's input, and gelu(wide), recomputed.

const A_ALONG_SUM: bool = true;
const B_ALONG_SUM: bool = true;
const HAS_EPILOGUE: bool = true;

fn read_beside(at: u32, col: u32) -> Value {
    return pre_activation[at];
}

fn finish(value: Value, beside: Value, at: u32) {
    c[at] = value * gelu_slope(beside);
    activated[at] = gelu(beside);
}
