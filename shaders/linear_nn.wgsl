// Epilogue of nn: y[rows, out] = x[rows, in] · w[in, out] + bias + residual.

const A_ALONG_SUM: bool = true;
const B_ALONG_SUM: bool = false;
const HAS_EPILOGUE: bool = true;

fn read_beside(at: u32, col: u32) -> Value {
    let has = params.has_residual != 0u;
    return bias_of(col) + select(Value(0.0), residual[select(0u, at, has)], has);
}

fn finish(value: Value, beside: Value, at: u32) {
    c[at] = value + beside;
}
