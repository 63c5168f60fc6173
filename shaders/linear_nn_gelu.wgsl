// Epilogue of nn_gelu: y[rows, out] = x[rows, in] · w[in, out] + bias, and activated = gelu(y).

const A_ALONG_SUM: bool = true;
const B_ALONG_SUM: bool = false;
const HAS_EPILOGUE: bool = true;

fn read_beside(at: u32, col: u32) -> Value {
    return bias_of(col);
}

fn finish(value: Value, beside: Value, at: u32) {
    let y = value + beside;
    c[at] = y;
    activated[at] = gelu(y);
}
