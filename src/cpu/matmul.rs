//! The CPU's matrix product: the f32 kernels of the `gemm` crates behind checked slices.

use gemm_common::Parallelism;

/// A matrix in a slice, with one stride for each dimension.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    data: &'a [f32],
    row: usize,
    col: usize,
}

impl<'a> Operand<'a> {
    /// The matrix whose element (i, j) is `data[i * row + j * col]`. [`matmul`] checks the bounds.
    pub fn new(data: &'a [f32], row: u32, col: u32) -> Self {
        Operand {
            data,
            row: row as usize,
            col: col as usize,
        }
    }

    /// A row-major matrix: rows are `row` apart, and the elements of a row are adjacent.
    pub fn rows(data: &'a [f32], row: usize) -> Self {
        Operand { data, row, col: 1 }
    }

    /// The transposed matrix on the same data.
    pub fn transposed(self) -> Self {
        Operand {
            data: self.data,
            row: self.col,
            col: self.row,
        }
    }

    fn reaches(&self, rows: usize, cols: usize) -> usize {
        (rows - 1) * self.row + (cols - 1) * self.col + 1
    }
}

/// c `[rows, cols]` (+)= scale · a `[rows, inner]` · b `[inner, cols]` on all cores, rows of c being
/// `c_row` apart. The order of the sums depends on the sizes alone, so that equal calls give equal bits.
///
/// # Panics
/// If a slice is shorter than its matrix, or rows of c overlap.
pub fn matmul(
    sizes: [usize; 3],
    scale: f32,
    a: Operand,
    b: Operand,
    c: &mut [f32],
    c_row: usize,
    accumulate: bool,
) {
    product(
        sizes,
        scale,
        (a, b),
        (c, c_row),
        accumulate,
        Parallelism::Rayon(0),
    );
}

/// c (+)= scale · a · b, on the calling thread: a [`matmul`] for loops that are parallel themselves.
///
/// # Panics
/// Under the conditions of [`matmul`].
pub fn matmul_here(
    sizes: [usize; 3],
    scale: f32,
    (a, b): (Operand, Operand),
    (c, c_row): (&mut [f32], usize),
    accumulate: bool,
) {
    product(
        sizes,
        scale,
        (a, b),
        (c, c_row),
        accumulate,
        Parallelism::None,
    );
}

fn product(
    [rows, cols, inner]: [usize; 3],
    scale: f32,
    (a, b): (Operand, Operand),
    (c, c_row): (&mut [f32], usize),
    accumulate: bool,
    parallelism: Parallelism,
) {
    assert!(a.data.len() >= a.reaches(rows, inner), "a is too short");
    assert!(b.data.len() >= b.reaches(inner, cols), "b is too short");
    assert!(c.len() > (rows - 1) * c_row + cols - 1, "c is too short");
    assert!(c_row >= cols, "rows of c overlap");
    // The kernels want columns of c: its transpose is the product of the transposes.
    let (sizes, (a, b), strides) = match c_row > 1 {
        true => ([cols, rows], (b.transposed(), a.transposed()), [c_row, 1]),
        false => ([rows, cols], (a, b), [1, c_row]),
    };
    // SAFETY: the assertions above keep every element in its slice, c is borrowed mutably and its
    // elements are distinct.
    #[allow(unsafe_code)]
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            sizes[0],
            sizes[1],
            inner,
            c.as_mut_ptr(),
            strides[0] as isize,
            strides[1] as isize,
            accumulate,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
