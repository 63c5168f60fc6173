//! A recording: the steps of a computation as plain data, which an engine runs.

use crate::buffer::{ALIGNMENT, Buffer};
use crate::kernel::{Bindings, Class, Field, Kernel, Slot};
use crate::target::Target;

/// The most bytes that a kernel's `Params` may have.
pub const MAX_PARAMS: usize = 192;

/// One dispatch: kernel, buffers, params, grid.
#[derive(Clone, Copy)]
pub struct Step {
    /// The kernel that runs.
    pub kernel: &'static Kernel,
    buffers: [Buffer; Step::MAX_BUFFERS],
    buffer_count: u8,
    params: [u8; MAX_PARAMS],
    params_size: u8,
    grid: Grid,
    /// Floating-point operations. They limit the work of a submission, and tables show them.
    pub flops: u64,
    /// Bytes that the step reads and writes, each byte counted once for reading and once for writing. They limit
    /// the work of a submission, and tables show them.
    pub bytes: u64,
}

impl Step {
    /// WebGPU's default limit of storage buffers a stage.
    pub const MAX_BUFFERS: usize = 8;

    /// The bound buffers, in the order of the shader's binding numbers.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers[..self.buffer_count as usize]
    }

    /// The same step over other buffers: each range becomes `copy` of it, of the same length.
    pub(crate) fn over(&self, copy: impl Fn(Buffer) -> Buffer) -> Step {
        let mut step = *self;
        for buffer in &mut step.buffers[..self.buffer_count as usize] {
            *buffer = copy(*buffer);
        }
        step
    }

    /// What the workgroups are spread over.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The workgroups in x, y, z of `kernel`: the step's kernel or a variant of it.
    pub fn groups(&self, kernel: &Kernel) -> [u32; 3] {
        self.grid.groups(kernel)
    }

    /// The variant of the step's kernel that has this name; the kernel itself if no variant has.
    pub fn variant(&self, name: &str) -> &'static Kernel {
        let mut variants = self.kernel.variants();
        variants
            .find(|variant| variant.variant == name)
            .unwrap_or(self.kernel)
    }

    /// The rank of a variant of the step's kernel on a device; `None` = the variant cannot run the step there.
    pub fn rate(&self, variant: &Kernel, target: &Target) -> Option<u32> {
        variant.rate(self.params(), self.buffers(), target)
    }

    /// Steps of one class run the same variant of their kernel.
    pub fn class(&self) -> Class {
        self.kernel.class(self.params(), self.buffers())
    }

    /// Runs the CPU twin of a variant of the step's kernel on `buffers`, the contents of the step's buffers, and
    /// returns the contents after the run.
    pub fn twin(&self, variant: &Kernel, mut buffers: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
        let storage = &self.kernel.reflection().storage;
        let slots = storage.iter().zip(&mut buffers);
        let slots = slots.map(|(binding, words)| match binding.written {
            true => Slot::Write(words),
            false => Slot::Read(words),
        });
        variant.run_twin(self.params(), Bindings::new(slots.collect()));
        buffers
    }

    /// The bytes of the uniform `Params`.
    pub fn params(&self) -> &[u8] {
        &self.params[..self.params_size as usize]
    }

    /// The step's shape for tables: its params that are sizes and not 0, for example `[rows, cols, inner]` of a
    /// product.
    pub fn sizes(&self) -> Vec<u32> {
        let size = |field: &Field| {
            let bytes = self.params().get(field.offset..)?.get(..size_of::<u32>())?;
            let size = bytemuck::pod_read_unaligned(bytes);
            (SIZES.contains(&field.name) && size > 0).then_some(size)
        };
        let fields = self.kernel.params().fields;
        fields.iter().filter_map(size).collect()
    }
}

/// The names of the params that are sizes. Other params are offsets, strides, flags and numbers.
const SIZES: [&str; 7] = [
    "rows", "cols", "inner", "width", "heads", "head_dim", "count",
];

/// The cost of a step: operations, and the words that it must read and write at least.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    flops: u64,
    words: Option<u64>,
}

impl Cost {
    /// The cost of these operations and words. A word that is read and written counts twice.
    pub fn new(flops: u64, words: usize) -> Self {
        Cost {
            flops,
            words: Some(words as u64),
        }
    }
}

impl From<u64> for Cost {
    /// The cost of these operations over whole buffers; the shader tells which buffers it reads and writes.
    fn from(flops: u64) -> Self {
        Cost { flops, words: None }
    }
}

/// The workgroups of a step.
#[derive(Clone, Copy, Debug)]
pub enum Grid {
    /// One invocation for each item. If x alone has not enough workgroups, they are spread over x and y.
    Items(usize),
    /// One invocation for each element of a matrix: columns along x, rows along y.
    Rows {
        /// Rows of the matrix.
        rows: usize,
        /// Elements of a row.
        width: usize,
    },
    /// Workgroups in x, y, z.
    Groups([usize; 3]),
    /// Enough workgroups for a matrix; each owns `GROUP_ROWS` × `GROUP_COLS` elements, constants of the kernel. A
    /// split-K kernel has `SPLITS` of these grids along z.
    Matrix {
        /// Rows of the result.
        rows: usize,
        /// Columns of the result.
        cols: usize,
    },
}

/// WebGPU's limit of workgroups in a dimension.
pub const MAX_GROUPS: usize = 65535;

impl Grid {
    /// The workgroups of `kernel`, the recorded kernel or a variant of it.
    fn groups(self, kernel: &Kernel) -> [u32; 3] {
        let workgroup_size = kernel.reflection().workgroup_size;
        match self {
            Grid::Matrix { rows, cols } => {
                let groups = |items: usize, of: &str| (items as u32).div_ceil(kernel.constant(of));
                [
                    groups(cols, "GROUP_COLS"),
                    groups(rows, "GROUP_ROWS"),
                    kernel.splits(),
                ]
            }
            Grid::Items(items) => {
                let groups = items.div_ceil(workgroup_size[0] as usize);
                let y = groups.div_ceil(MAX_GROUPS).max(1);
                [groups.div_ceil(y) as u32, y as u32, 1]
            }
            Grid::Rows { rows, width } => {
                [(width as u32).div_ceil(workgroup_size[0]), rows as u32, 1]
            }
            Grid::Groups(groups) => groups.map(|g| g as u32),
        }
    }
}

/// An upload from the host before the first step of a recording.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The range to which the words go, of the same length as `words`.
    pub buffer: Buffer,
    /// The words to send.
    pub words: Vec<u32>,
}

/// A whole computation: uploads, then steps in order, then fetches. Each step sees the results of the steps before
/// it. An engine can run a recording any number of times.
///
/// An [`Engine`](crate::engine::Engine) makes the recordings that it runs, because the most operations of a step
/// depend on the device.
#[derive(Clone)]
pub struct Recording {
    /// The steps, in the order in which they run.
    pub steps: Vec<Step>,
    uploads: Vec<Upload>,
    fetches: Vec<Buffer>,
    max_step_flops: u64,
}

impl Recording {
    /// An empty recording for a device whose steps have at most `max_step_flops` operations.
    pub fn for_device(max_step_flops: u64) -> Self {
        Recording {
            steps: Vec::new(),
            uploads: Vec::new(),
            fetches: Vec::new(),
            max_step_flops,
        }
    }

    /// A recording of `steps` alone, without uploads and fetches. The steps come from another recording of the
    /// same device.
    pub fn of(steps: Vec<Step>) -> Recording {
        Recording {
            steps,
            ..Recording::for_device(u64::MAX)
        }
    }

    /// The most operations of one matrix product's step.
    pub fn max_step_flops(&self) -> u64 {
        self.max_step_flops
    }

    /// Limits later steps to at most `flops` operations, if the device's limit is higher.
    pub fn limit_steps(&mut self, flops: u64) {
        self.max_step_flops = self.max_step_flops.min(flops).max(1);
    }

    /// The uploads before the first step, in order.
    pub fn uploads(&self) -> &[Upload] {
        &self.uploads
    }

    /// The ranges that are copied to the host after the last step, in order.
    pub fn fetches(&self) -> &[Buffer] {
        &self.fetches
    }

    /// Adds an upload of `words` to the first words of `buffer`, before the first step.
    ///
    /// # Panics
    /// If the buffer has fewer words.
    pub fn upload<T: bytemuck::Pod>(&mut self, buffer: Buffer, words: &[T]) {
        let words: &[u32] = bytemuck::cast_slice(words);
        self.uploads.push(Upload {
            buffer: buffer.first(words.len()),
            words: words.to_vec(),
        });
    }

    /// Adds a copy of a range of a buffer to the host, after the last step. The engine's
    /// [`run`](crate::engine::Engine::run) returns a ticket for each fetch, in order.
    pub fn fetch(&mut self, buffer: Buffer) {
        self.fetches.push(buffer);
    }

    /// Appends a dispatch of a kernel that is not this crate's, for tests. A trusted kernel, which a device may
    /// run without checks, is recorded only by the function of `ops` that makes its params.
    ///
    /// # Panics
    /// If the kernel is trusted, or as the functions of `ops` do: mistakes of the caller.
    #[doc(hidden)]
    pub fn push_foreign<P: bytemuck::Pod>(
        &mut self,
        kernel: &'static Kernel,
        buffers: &[Buffer],
        params: P,
        grid: Grid,
    ) {
        assert!(!kernel.is_trusted(), "{}", kernel.name());
        self.push(kernel, buffers, params, grid, 0);
    }

    /// Appends a dispatch of `kernel` over `buffers`, which are in the order of the shader's binding
    /// numbers. A step without workgroups is left out.
    ///
    /// # Panics
    /// These are mistakes of the caller, not of data: the shader declares another number of buffers; a range
    /// does not begin at a multiple of [`ALIGNMENT`]; a range that the shader writes overlaps another bound range,
    /// or lies in a buffer of which the shader reads another range (WebGPU tracks whole buffers); the grid is
    /// larger than WebGPU allows; the params are larger than [`MAX_PARAMS`].
    pub(crate) fn push<P: bytemuck::Pod>(
        &mut self,
        kernel: &'static Kernel,
        buffers: &[Buffer],
        params: P,
        grid: Grid,
        work: impl Into<Cost>,
    ) {
        let reflection = kernel.reflection();
        let groups = grid.groups(kernel);
        if groups.contains(&0) {
            return;
        }
        let name = kernel.name();
        assert_eq!(buffers.len(), reflection.storage.len(), "{name}: buffers");
        assert!(
            groups.iter().all(|&g| g as usize <= MAX_GROUPS),
            "{name}: {groups:?} workgroups"
        );
        for (i, (binding, &buffer)) in reflection.storage.iter().zip(buffers).enumerate() {
            assert!(
                buffer.offset.is_multiple_of(ALIGNMENT),
                "{name}: `{}` begins at word {}",
                binding.name,
                buffer.offset
            );
            let others = reflection.storage.iter().zip(buffers).enumerate();
            let mut same = others.filter(|&(j, (_, other))| j != i && other.id == buffer.id);
            assert!(
                !binding.written
                    || same.all(|(_, (other, &at))| other.written && !at.overlaps(buffer)),
                "{name}: `{}` is written and bound twice",
                binding.name
            );
        }
        let Cost { flops, words } = work.into();
        let words = words.unwrap_or_else(|| {
            let uses = reflection.storage.iter().zip(buffers);
            uses.map(|(b, buffer)| (u64::from(b.read) + u64::from(b.written)) * buffer.words as u64)
                .sum()
        });
        let bytes = bytemuck::bytes_of(&params);
        let mut step = Step {
            kernel,
            buffers: [buffers[0]; Step::MAX_BUFFERS],
            buffer_count: buffers.len() as u8,
            params: [0; MAX_PARAMS],
            params_size: bytes.len() as u8,
            grid,
            flops,
            bytes: size_of::<u32>() as u64 * words,
        };
        step.buffers[..buffers.len()].copy_from_slice(buffers);
        step.params[..bytes.len()].copy_from_slice(bytes);
        self.steps.push(step);
    }
}
