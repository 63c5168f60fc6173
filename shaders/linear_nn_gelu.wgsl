// Epilogue of nn_gelu: y[rows, out] = x[rows, in] · w[in, out] + bias, and activated = gelu(y).

const A_ALONG_SUM: bool = true;
const B_ALONG_SUM: bool = false;
const HAS_EPILOGUE: bool = true;

fn finish(value: Value, at: u32, col: u32) {
    let y = with_bias(value, col);
    c[at] = y;
    activated[at] = gelu(y);
}
