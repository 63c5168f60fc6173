//! A kernel: one entry point of one WGSL file, and its CPU twin; and its variants, which compute the
//! same from the same buffers in another way.

use std::sync::OnceLock;

use crate::buffer::Buffer;
use crate::distance::Distance;
use crate::reflect::{Reflection, reflect};
use crate::target::{Precision, Target};

/// A field of a `Params` struct: name, offset in bytes, type.
pub type Field = (&'static str, usize, &'static str);

/// One entry point of a shader together with the plain Rust that computes the same numbers.
pub struct Kernel {
    /// The stem of the shader file, of the op file, of the test and of the bench.
    pub op: &'static str,
    /// The entry point's name in the shader.
    pub entry: &'static str,
    /// The whole WGSL text: of one file, or of one and another that goes on with it.
    pub source: &'static str,
    /// Computes on the CPU what the entry point computes on the GPU.
    pub twin: fn(&[u8], Bindings<'_>),
    /// The Rust struct that mirrors the WGSL `Params`: its size and fields.
    pub params: fn() -> (usize, Vec<Field>),
    /// Filled by [`Kernel::reflection`] at its first call.
    pub reflection: OnceLock<Reflection>,
    /// How it goes about its work, if there are several ways: `tiled`, `direct`, ….
    pub variant: &'static str,
    /// The other ways, in files of their own, `shaders/OP_*.wgsl`. Empty for a variant.
    pub variants: &'static [&'static Kernel],
    /// How well it suits a step and a device: the highest is taken where nothing was measured; 0 = so ill
    /// that it is not worth measuring; `None` = it cannot run there. Does not depend on how many rows a micro-batch has: see [`Kernel::class`].
    pub rate: fn(&[u8], &[Buffer], &Target) -> Option<u32>,
    /// Steps of one class run the same variant. The class says nothing of how many rows a micro-batch
    /// has, so that a row's numbers do not depend on the rows beside it.
    pub class: fn(&[u8], &[Buffer]) -> Class,
    /// The second pass of a variant that needs one: it turns what the first left in the buffer named
    /// [`PARTIALS`] into the result.
    pub finish: Option<&'static Kernel>,
    /// A variant that rounds what it multiplies runs where that was asked for, and then no other does
    /// that does not.
    pub precision: Precision,
}

/// See [`Kernel::class`].
pub type Class = [u32; 3];

/// Name of the storage buffer that a variant in two passes leaves its partial results in, as many
/// copies of the result as its constant `SPLITS` says. The engine owns it.
pub const PARTIALS: &str = "split_sums";

impl Kernel {
    /// `op/entry`, as it stands in tables and messages.
    pub fn name(&self) -> String {
        format!("{}/{}", self.op, self.entry)
    }

    /// What the shader declares; parsed at first use.
    ///
    /// # Panics
    /// If the WGSL compiled into this program is not valid: a test parses every kernel.
    pub fn reflection(&self) -> &Reflection {
        self.reflection.get_or_init(|| {
            reflect(self.source, self.entry, self.precision)
                .unwrap_or_else(|e| panic!("{}: {e}", self.name()))
        })
    }

    /// What it is held to.
    pub fn bound(&self) -> Distance {
        match self.precision {
            Precision::F32 => Distance::BOUND,
            Precision::Mixed => Distance::MATRIX_UNITS,
        }
    }

    /// All ways to run it: itself first.
    pub fn ways(&'static self) -> impl Iterator<Item = &'static Kernel> {
        std::iter::once(self).chain(self.variants.iter().copied())
    }

    /// What is dispatched for a step, in order: itself, and its second pass if it has one.
    pub fn passes(&'static self) -> impl Iterator<Item = &'static Kernel> {
        std::iter::once(self).chain(self.finish)
    }

    /// Into how many parts it cuts the sums: 1 unless it leaves [`PARTIALS`].
    pub fn splits(&self) -> u32 {
        self.finish.map_or(1, |_| self.constant("SPLITS"))
    }

    /// A `const NAME: u32` of the shader, for example a tile's side.
    ///
    /// # Panics
    /// If the shader has no such constant; recording any step of the kernel shows it.
    pub fn constant(&self, name: &str) -> u32 {
        self.reflection().constants[name]
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

/// Declares a [`Kernel`]: its Rust name, the op, the entry point, the type of its params and its twin;
/// and, where there are variants, its own way, theirs, and what tells their steps apart.
macro_rules! kernel {
    ($name:ident, $op:literal, $entry:literal, $params:ty, $twin:path) => {
        kernel!($name, $op, $entry, $params, $twin, "", &[], |_, _| [0; 3]);
    };
    ($name:ident, $op:literal, $entry:literal, $params:ty, $twin:path,
     $way:literal, $variants:expr, $class:expr) => {
        kernel!(@ $name, $op, [$op], $entry, $params, $twin, $way, $variants, $class,
            |_, _, _| Some(1), None, $crate::target::Precision::F32);
    };
    (@ $name:ident, $op:literal, [$($file:expr),+], $entry:literal, $params:ty, $twin:path,
     $way:literal, $variants:expr, $class:expr, $rate:expr, $finish:expr, $precision:expr) => {
        #[doc = concat!("`", $entry, "` of", $(" `shaders/", $file, ".wgsl`",)+ ".")]
        pub static $name: $crate::kernel::Kernel = $crate::kernel::Kernel {
            op: $op,
            entry: $entry,
            source: concat!($(include_str!(concat!("../../shaders/", $file, ".wgsl"))),+),
            twin: |bytes, bindings| {
                let params: $params = bytemuck::pod_read_unaligned(bytes);
                $twin(&params, bindings)
            },
            params: || (std::mem::size_of::<$params>(), <$params>::fields()),
            reflection: std::sync::OnceLock::new(),
            variant: $way,
            variants: $variants,
            rate: |bytes, buffers, target| {
                let rate: fn(&$params, &[$crate::buffer::Buffer], &$crate::target::Target)
                    -> Option<u32> = $rate;
                rate(&bytemuck::pod_read_unaligned(bytes), buffers, target)
            },
            class: |bytes, buffers| {
                let class: fn(&$params, &[$crate::buffer::Buffer]) -> $crate::kernel::Class =
                    $class;
                class(&bytemuck::pod_read_unaligned(bytes), buffers)
            },
            finish: $finish,
            precision: $precision,
        };
    };
}
pub(crate) use kernel;

/// Declares a variant of a kernel, in `shaders/OP_VARIANT.wgsl`: its Rust name, the op, the variant, the
/// entry point, the type of its params, its twin, how it rates; and, if it multiplies in another
/// precision than f32, which, and the file that goes on where its own ends.
macro_rules! variant {
    ($name:ident, $op:literal, $way:literal, $entry:literal, $params:ty, $twin:path, $rate:expr) => {
        $crate::kernel::kernel!(@ $name, $op, [concat!($op, "_", $way)], $entry, $params, $twin,
            $way, &[], |_, _| [0; 3], $rate, None, $crate::target::Precision::F32);
    };
    ($name:ident, $op:literal, $way:literal, $entry:literal, $params:ty, $twin:path, $rate:expr,
     $precision:expr, $rest:literal) => {
        $crate::kernel::kernel!(@ $name, $op, [concat!($op, "_", $way), $rest], $entry, $params, $twin,
            $way, &[], |_, _| [0; 3], $rate, None, $precision);
    };
}
pub(crate) use variant;

/// Declares the struct that mirrors a shader's `Params`; a test compares the two, field by field.
macro_rules! params {
    ($(#[$doc:meta])* struct $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ident),* $(,)? }) => {
        #[doc = "Mirrors `Params` of the shader, which says what the fields mean."]
        $(#[$doc])*
        #[allow(missing_docs)]
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }

        impl $name {
            fn fields() -> Vec<$crate::kernel::Field> {
                vec![$((stringify!($field), std::mem::offset_of!($name, $field), stringify!($ty))),*]
            }
        }
    };
}
pub(crate) use params;

/// The buffers of one step as a CPU twin sees them, in the order of the shader's binding numbers.
///
/// A written buffer is handed out mutably and only once: the engine holds it apart from the others.
pub struct Bindings<'a> {
    slots: Vec<Slot<'a>>,
}

pub(crate) enum Slot<'a> {
    Read(&'a [u32]),
    Write(&'a mut [u32]),
    Taken,
}

impl<'a> Bindings<'a> {
    pub(crate) fn new(slots: Vec<Slot<'a>>) -> Self {
        Bindings { slots }
    }

    /// Buffer `index` of the step, which the shader only reads.
    ///
    /// # Panics
    /// If the shader declares it `read_write`.
    pub fn read<T: bytemuck::Pod>(&self, index: usize) -> &'a [T] {
        match self.slots[index] {
            Slot::Read(words) => bytemuck::cast_slice(&words[..whole::<T>(words.len())]),
            _ => panic!("binding {index} is read_write in the shader"),
        }
    }

    /// Buffer `index` of the step, which the shader writes.
    ///
    /// # Panics
    /// If the shader declares it `read`, or at a second call for the same buffer.
    pub fn write<T: bytemuck::Pod>(&mut self, index: usize) -> &'a mut [T] {
        match std::mem::replace(&mut self.slots[index], Slot::Taken) {
            Slot::Write(words) => {
                let end = whole::<T>(words.len());
                bytemuck::cast_slice_mut(&mut words[..end])
            }
            _ => panic!("binding {index} is not read_write in the shader, or was taken before"),
        }
    }
}

/// How many of `words` words hold whole `T`s.
fn whole<T>(words: usize) -> usize {
    let each = size_of::<T>() / size_of::<u32>();
    words / each * each
}
