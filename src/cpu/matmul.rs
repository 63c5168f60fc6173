//! The CPU's matrix product: the `gemm` crate behind checked slices.

use gemm::Parallelism;

/// A matrix in a slice, with a stride for each of its two dimensions.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    data: &'a [f32],
    row: usize,
    col: usize,
}

impl<'a> Operand<'a> {
    /// Element (i, j) is `data[i * row + j * col]`. [`matmul`] checks that it is there.
    pub fn new(data: &'a [f32], row: u32, col: u32) -> Self {
        Operand {
            data,
            row: row as usize,
            col: col as usize,
        }
    }

    fn reaches(&self, rows: usize, cols: usize) -> usize {
        (rows - 1) * self.row + (cols - 1) * self.col + 1
    }
}

/// c `[rows, cols]` (+)= a `[rows, inner]` · b `[inner, cols]`, rows of c being `c_row` apart. The order
/// of the sums depends on the sizes alone, so that equal calls give equal bits.
///
/// # Panics
/// If a slice is shorter than its matrix, or rows of c overlap.
pub fn matmul(
    [rows, cols, inner]: [usize; 3],
    a: Operand,
    b: Operand,
    c: &mut [f32],
    c_row: usize,
    accumulate: bool,
) {
    assert!(a.data.len() >= a.reaches(rows, inner), "a is too short");
    assert!(b.data.len() >= b.reaches(inner, cols), "b is too short");
    assert!(c.len() > (rows - 1) * c_row + cols - 1, "c is too short");
    assert!(c_row >= cols, "rows of c overlap");
    // SAFETY: the assertions above keep every element in its slice, c is borrowed mutably and its
    // elements are distinct.
    unsafe {
        gemm::gemm(
            rows,
            cols,
            inner,
            c.as_mut_ptr(),
            1,
            c_row as isize,
            accumulate,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}
