//! The CPU's matrix product: the f32 kernels of the `gemm` crates behind checked slices.

use std::marker::PhantomData;
use std::ops::Range;

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

    /// The part from row `row` and column `col` on.
    fn from(self, row: usize, col: usize) -> Self {
        Operand {
            data: &self.data[row * self.row + col * self.col..],
            ..self
        }
    }

    fn reaches(&self, rows: usize, cols: usize) -> usize {
        (rows - 1) * self.row + (cols - 1) * self.col + 1
    }
}

/// The shortest sum for which a product is cut between columns, too: with shorter ones the time goes into c, and rows
/// of c in one piece are faster.
const SHORT_SUM: usize = 64;

/// The fewest rows or columns of a piece that is cut. The kernels sum in another order where neither exceeds 64.
const SHORTEST: usize = 128;

/// The fewest cells of a piece. The kernels sum in another order up to 256.
const FEWEST: usize = 257;

/// The elements of the longest vector.
const VECTOR: usize = 16;

/// The multiply-adds of the smallest product that is worth a second thread.
const SMALL: usize = 1 << 19;

/// The most columns of a narrow product.
const NARROW: usize = 32;

/// The time in which the kernels copy a number of a `[rows, inner]` into their order, in multiply-adds.
const PACKING: usize = 32;

/// The copy of b `[inner, cols]` takes this many times as long.
const PACKING_OF_B: usize = 2 * PACKING;

/// Into how many pieces a product is cut, along the rows of c and along its columns. A thread computes a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Grid {
    rows: usize,
    cols: usize,
}

impl Grid {
    const WHOLE: Grid = Grid { rows: 1, cols: 1 };

    /// The grid for which a thread has least to do. Each piece copies its own rows of a and columns of b, so that no
    /// thread waits for another before the end.
    fn of([rows, cols, inner]: [usize; 3], threads: usize) -> Grid {
        if rows * cols * inner < SMALL {
            return Grid::WHOLE;
        }
        let most = |len: usize, across: usize| {
            let least = SHORTEST.max(FEWEST.div_ceil(across) + VECTOR);
            (len / least).max(1)
        };
        let grids = (1..=threads.min(most(rows, cols))).map(|down| Grid {
            rows: down,
            cols: match inner < SHORT_SUM {
                true => 1,
                false => most(cols, rows / down).min(threads / down),
            },
        });
        let work = |grid: &Grid| {
            let (rows, cols) = (rows.div_ceil(grid.rows), cols.div_ceil(grid.cols));
            rows * cols + PACKING * rows + PACKING_OF_B * cols
        };
        grids.min_by_key(work).unwrap_or(Grid::WHOLE)
    }
}

/// Piece `i` of `count` pieces of `0..len`, which differ by at most [`VECTOR`]. They begin at multiples of it.
fn piece(len: usize, i: usize, count: usize) -> Range<usize> {
    let start = |i: usize| match i == count {
        true => len,
        false => i * len / count / VECTOR * VECTOR,
    };
    start(i)..start(i + 1)
}

/// c `[rows, cols]` (+)= scale · a `[rows, inner]` · b `[inner, cols]` on all cores, rows of c being
/// `c_row` apart. The order of the sums depends on the sizes alone, so that equal calls give equal bits on any number
/// of cores.
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
    let product = Product::new(sizes, scale, (a, b), (c, c_row), accumulate);
    let grid = Grid::of(sizes, rayon::current_num_threads());
    let [rows, cols, _] = sizes;
    if grid == Grid::WHOLE {
        return product.compute(0..rows, 0..cols);
    }
    rayon::scope(|scope| {
        for i in 0..grid.rows {
            for j in 0..grid.cols {
                let (rows, cols) = (piece(rows, i, grid.rows), piece(cols, j, grid.cols));
                let product = &product;
                scope.spawn(move |_| product.compute(rows, cols));
            }
        }
    });
}

/// c (+)= scale · a · b, on the calling thread: a [`matmul`] for loops that are parallel themselves.
///
/// # Panics
/// Under the conditions of [`matmul`].
pub fn matmul_here(
    sizes: [usize; 3],
    scale: f32,
    operands: (Operand, Operand),
    result: (&mut [f32], usize),
    accumulate: bool,
) {
    let [rows, cols, _] = sizes;
    Product::new(sizes, scale, operands, result, accumulate).compute(0..rows, 0..cols);
}

/// A product whose slices hold its matrices.
struct Product<'a> {
    inner: usize,
    scale: f32,
    a: Operand<'a>,
    b: Operand<'a>,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
    narrow: bool,
    /// c is borrowed for as long as the product lives.
    borrows: PhantomData<&'a mut [f32]>,
}

// SAFETY: threads share a product to compute pieces of c that do not overlap.
#[allow(unsafe_code)]
unsafe impl Sync for Product<'_> {}

impl<'a> Product<'a> {
    fn new(
        [rows, cols, inner]: [usize; 3],
        scale: f32,
        (a, b): (Operand<'a>, Operand<'a>),
        (c, c_row): (&'a mut [f32], usize),
        accumulate: bool,
    ) -> Self {
        assert!(a.data.len() >= a.reaches(rows, inner), "a is too short");
        assert!(b.data.len() >= b.reaches(inner, cols), "b is too short");
        assert!(c.len() > (rows - 1) * c_row + cols - 1, "c is too short");
        assert!(c_row >= cols, "rows of c overlap");
        Product {
            inner,
            scale,
            a,
            b,
            c: c.as_mut_ptr(),
            c_row,
            accumulate,
            narrow: cols <= NARROW && a.row == 1,
            borrows: PhantomData,
        }
    }

    /// Computes the cells `rows` × `cols` of c.
    fn compute(&self, rows: Range<usize>, cols: Range<usize>) {
        if rows.is_empty() || cols.is_empty() {
            return;
        }
        let a = self.a.from(rows.start, 0);
        let b = self.b.from(0, cols.start);
        // The kernels want columns of c: its transpose is the product of the transposes. If c is narrow and columns of
        // a are adjacent, that costs more than it gives.
        let whole = [rows.len(), cols.len()];
        let (sizes, (a, b), strides) = match self.c_row > 1 && !self.narrow {
            true => (
                [whole[1], whole[0]],
                (b.transposed(), a.transposed()),
                [self.c_row, 1],
            ),
            false => (whole, (a, b), [1, self.c_row]),
        };
        // SAFETY: `Product::new` asserts that all cells lie in their slices, and c is borrowed mutably. The caller
        // computes no cell twice at a time.
        #[allow(unsafe_code)]
        unsafe {
            gemm_f32::gemm::f32::get_gemm_fn()(
                sizes[0],
                sizes[1],
                self.inner,
                self.c.add(rows.start * self.c_row + cols.start),
                strides[0] as isize,
                strides[1] as isize,
                self.accumulate,
                a.data.as_ptr(),
                a.col as isize,
                a.row as isize,
                b.data.as_ptr(),
                b.col as isize,
                b.row as isize,
                1.0,
                self.scale,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A product on so many threads, with b transposed or not.
    fn on(threads: usize, [rows, cols, inner]: [usize; 3], transposed: bool) -> Vec<u32> {
        let values = |len: usize, step: f32| -> Vec<f32> {
            (0..len).map(|i| (i as f32 * step).sin()).collect()
        };
        let (a, b) = (values(rows * inner, 0.37), values(inner * cols, 0.73));
        let b = match transposed {
            true => Operand::rows(&b, inner).transposed(),
            false => Operand::rows(&b, cols),
        };
        let mut c = values(rows * cols, 0.11);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let a = Operand::rows(&a, inner);
            matmul([rows, cols, inner], 0.5, a, b, &mut c, cols, true);
        });
        c.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn the_bits_are_the_same_on_any_number_of_threads() {
        for sizes in [
            [1, 1000, 700],
            [2, 1000, 700],
            [300, 16, 768],
            [300, 768, 16],
            [65, 300, 600],
            [261, 257, 1100],
        ] {
            for transposed in [false, true] {
                let alone = on(1, sizes, transposed);
                for threads in [2, 3, 8, 16] {
                    assert!(
                        on(threads, sizes, transposed) == alone,
                        "{sizes:?} on {threads}"
                    );
                }
            }
        }
    }

    #[test]
    fn pieces_are_large_and_as_many_as_threads_where_there_is_work() {
        for threads in [1, 2, 3, 8, 16] {
            for sizes in [
                [888, 768, 768],
                [888, 3072, 768],
                [256, 50304, 768],
                [3072, 768, 888],
            ] {
                let grid = Grid::of(sizes, threads);
                let count = grid.rows * grid.cols;
                assert!(
                    count <= threads && 4 * count >= 3 * threads,
                    "{sizes:?}: {grid:?}"
                );
            }
        }
        // Narrow products and short sums are cut between rows alone.
        assert_eq!(Grid::of([888, 16, 768], 2), Grid { rows: 2, cols: 1 });
        assert_eq!(Grid::of([888, 768, 16], 2), Grid { rows: 2, cols: 1 });
        assert_eq!(Grid::of([4, 4, 4], 8), Grid::WHOLE);
    }

    #[test]
    fn pieces_cover_a_length_once() {
        for (len, count) in [(1, 1), (129, 8), (300, 2), (888, 3), (50304, 16)] {
            let ends: Vec<usize> = (0..count).map(|i| piece(len, i, count).end).collect();
            assert_eq!(piece(len, 0, count).start, 0);
            for i in 1..count {
                assert_eq!(piece(len, i, count).start, ends[i - 1]);
            }
            assert_eq!(ends[count - 1], len);
        }
    }
}
