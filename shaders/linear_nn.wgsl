// Epilogue of nn: y[rows, out] = x[rows, in] · w[in, out] + bias + residual.

const A_ALONG_SUM: bool = true;
const B_ALONG_SUM: bool = false;
const HAS_EPILOGUE: bool = true;

fn finish(value: Value, at: u32, col: u32) {
    var y = with_bias(value, col);
    if params.has_residual != 0u {
        y += residual[at];
    }
    c[at] = y;
}
