// Epilogue of nt: dx[rows, in] = dy[rows, out] · w[in, out]ᵀ. The head's logits are such a product too.

const A_ALONG_SUM: bool = true;
const B_ALONG_SUM: bool = true;
const HAS_EPILOGUE: bool = false;

fn finish(value: Value, at: u32, col: u32) {
    c[at] = value;
}
