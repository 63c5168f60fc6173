//! A recording: the steps of a computation as plain data, for whichever engine runs it.

use crate::buffer::Buffer;
use crate::kernel::{Bindings, Class, Field, Kernel, Slot};
use crate::target::Target;

/// The most bytes that a kernel's `Params` may have.
pub const MAX_PARAMS: usize = 64;

/// One dispatch: kernel, buffers, params, groups.
#[derive(Clone, Copy)]
pub struct Step {
    /// What to run.
    pub kernel: &'static Kernel,
    buffers: [Buffer; Step::MAX_BUFFERS],
    buffer_count: u8,
    params: [u8; MAX_PARAMS],
    params_size: u8,
    grid: Grid,
    /// Floating-point operations: for keeping submissions short, and for tables.
    pub flops: u64,
    /// Bytes that have to be read and written, each once, if no cache holds any: for tables.
    pub bytes: u64,
}

impl Step {
    /// WebGPU's default limit of storage buffers a stage.
    pub const MAX_BUFFERS: usize = 8;

    /// The buffers bound, in the order of the shader's binding numbers.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers[..self.buffer_count as usize]
    }

    /// Workgroups in x, y, z for the step's kernel, or for the variant of it that an engine runs.
    pub fn groups(&self, kernel: &Kernel) -> [u32; 3] {
        self.grid.groups(kernel)
    }

    /// The way to run its kernel that has this variant's name; the kernel itself if none has.
    pub fn way(&self, variant: &str) -> &'static Kernel {
        let mut ways = self.kernel.ways();
        ways.find(|way| way.variant == variant)
            .unwrap_or(self.kernel)
    }

    /// How well `way`, a variant of the step's kernel, suits the step on a device; `None` = not at all.
    pub fn rate(&self, way: &Kernel, target: &Target) -> Option<u32> {
        (way.rate)(self.params(), self.buffers(), target)
    }

    /// See [`Kernel::class`].
    pub fn class(&self) -> Class {
        (self.kernel.class)(self.params(), self.buffers())
    }

    /// Runs the CPU twin of `way`, a variant of the step's kernel, on the contents of the step's buffers
    /// and returns them as it leaves them.
    pub fn twin(&self, way: &Kernel, mut buffers: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
        let storage = &self.kernel.reflection().storage;
        let slots = storage.iter().zip(&mut buffers);
        let slots = slots.map(|(binding, words)| match binding.written {
            true => Slot::Write(words),
            false => Slot::Read(words),
        });
        (way.twin)(self.params(), Bindings::new(slots.collect()));
        buffers
    }

    /// The bytes of the uniform `Params`.
    pub fn params(&self) -> &[u8] {
        &self.params[..self.params_size as usize]
    }

    /// The sizes among the params that are not 0, as people name a step's shape: `[rows, cols, inner]`
    /// of a product.
    pub fn sizes(&self) -> Vec<u32> {
        let (_, fields) = (self.kernel.params)();
        let size = |(name, offset, _): &Field| {
            let bytes = self.params().get(*offset..*offset + size_of::<u32>())?;
            let size = bytemuck::pod_read_unaligned(bytes);
            (SIZES.contains(name) && size > 0).then_some(size)
        };
        fields.iter().filter_map(size).collect()
    }
}

/// The names of sizes in every `Params`; its other fields are offsets, strides, flags and numbers.
const SIZES: [&str; 7] = [
    "rows", "cols", "inner", "width", "heads", "head_dim", "count",
];

/// What a step takes in the best of cases.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    flops: u64,
    words: Option<u64>,
}

impl Work {
    /// Operations, and words read and written, a word that is both counting twice.
    pub fn new(flops: u64, words: usize) -> Self {
        Work {
            flops,
            words: Some(words as u64),
        }
    }
}

impl From<u64> for Work {
    /// Operations over the whole of every buffer: each is read, written or both, as the shader says.
    fn from(flops: u64) -> Self {
        Work { flops, words: None }
    }
}

/// How many workgroups a step needs.
#[derive(Clone, Copy, Debug)]
pub enum Grid {
    /// One invocation an item; the groups are folded over x and y where x alone has too few.
    Items(usize),
    /// One invocation an element of a matrix: the columns along x, a row for each y.
    Rows {
        /// Of the matrix.
        rows: usize,
        /// Elements of a row.
        width: usize,
    },
    /// Workgroups in x, y, z.
    Groups([usize; 3]),
    /// Enough workgroups, each of the kernel's `GROUP_ROWS` × `GROUP_COLS`, for a matrix; as many times
    /// over, in z, as the kernel's `SPLITS` says, if it says.
    Matrix {
        /// Rows of the result.
        rows: usize,
        /// Columns of the result.
        cols: usize,
    },
}

/// The most operations of one matrix product's step for a GPU. One that needs more is recorded as
/// several: a GPU as slow as 50 GFLOP/s then finishes each in 100 ms, and no operating system takes it
/// for hung.
pub const MAX_STEP_FLOPS: u64 = 5_000_000_000;

/// WebGPU's limit of workgroups in a dimension.
pub const MAX_GROUPS: usize = 65535;

impl Grid {
    /// Workgroups of `kernel`, which may be a variant of the one recorded.
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

/// Steps in the order in which they run; each sees what the ones before it wrote.
#[derive(Clone)]
pub struct Recording {
    /// First to run, first in the list.
    pub steps: Vec<Step>,
    /// The most operations of one matrix product's step.
    pub max_step_flops: u64,
}

impl Default for Recording {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Vec<Step>> for Recording {
    /// Steps recorded before.
    fn from(steps: Vec<Step>) -> Recording {
        Recording {
            steps,
            ..Recording::new()
        }
    }
}

impl Recording {
    /// An empty recording for any device.
    pub fn new() -> Self {
        Self::with_max_step_flops(MAX_STEP_FLOPS)
    }

    /// An empty recording for a device that takes longer steps than [`MAX_STEP_FLOPS`].
    pub fn with_max_step_flops(max_step_flops: u64) -> Self {
        Recording {
            steps: Vec::new(),
            max_step_flops,
        }
    }

    /// Appends a dispatch of `kernel` over `buffers`, which are in the order of the shader's binding
    /// numbers. Steps over nothing are left out.
    ///
    /// # Panics
    /// If the buffers are not as many as the shader declares, if one that it writes is bound twice, if
    /// the grid is larger than WebGPU allows, or if the params are larger than [`MAX_PARAMS`]: mistakes
    /// of the caller, not of data.
    pub fn push<P: bytemuck::Pod>(
        &mut self,
        kernel: &'static Kernel,
        buffers: &[Buffer],
        params: P,
        grid: Grid,
        work: impl Into<Work>,
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
        for (i, binding) in reflection.storage.iter().enumerate() {
            let shared = buffers.iter().filter(|b| b.id == buffers[i].id).count() > 1;
            assert!(
                !(binding.written && shared),
                "{name}: `{}` is written and bound twice",
                binding.name
            );
        }
        let Work { flops, words } = work.into();
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
