// Epilogue of tn: dw[in, out] += x[rows, in]ᵀ · dy[rows, out].

const A_ALONG_SUM: bool = false;
const B_ALONG_SUM: bool = false;
const HAS_EPILOGUE: bool = false;

fn finish(value: Value, at: u32, col: u32) {
    c[at] = value;
}
