//! A kernel: one entry point of one WGSL file, and its CPU twin.

use std::sync::OnceLock;

use crate::reflect::{Reflection, reflect};

/// A field of a `Params` struct: name, offset in bytes, type.
pub type Field = (&'static str, usize, &'static str);

/// One entry point of a shader together with the plain Rust that computes the same numbers.
pub struct Kernel {
    /// The stem of the shader file, of the op file, of the test and of the bench.
    pub op: &'static str,
    /// The entry point's name in the shader.
    pub entry: &'static str,
    /// The whole WGSL file.
    pub source: &'static str,
    /// Computes on the CPU what the entry point computes on the GPU.
    pub twin: fn(&[u8], Bindings<'_>),
    /// The Rust struct that mirrors the WGSL `Params`: its size and fields.
    pub params: fn() -> (usize, Vec<Field>),
    /// Filled by [`Kernel::reflection`] at its first call.
    pub reflection: OnceLock<Reflection>,
    /// The same computation without workgroup memory, for devices on which that is plain memory.
    pub direct: Option<&'static Kernel>,
}

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
            reflect(self.source, self.entry).unwrap_or_else(|e| panic!("{}: {e}", self.name()))
        })
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

/// Declares a [`Kernel`]: its Rust name, the op, the entry point, the type of its params and its twin.
macro_rules! kernel {
    ($name:ident, $op:literal, $entry:literal, $params:ty, $twin:path) => {
        kernel!($name, $op, $op, $entry, $params, $twin, None);
    };
    // With a variant in a file of its own.
    ($name:ident, $op:literal, $file:literal, $entry:literal, $params:ty, $twin:path, $direct:expr) => {
        #[doc = concat!("`", $entry, "` of `shaders/", $file, ".wgsl`.")]
        pub static $name: $crate::kernel::Kernel = $crate::kernel::Kernel {
            op: $op,
            entry: $entry,
            direct: $direct,
            source: include_str!(concat!("../../shaders/", $file, ".wgsl")),
            twin: |bytes, bindings| {
                let params: $params = bytemuck::pod_read_unaligned(bytes);
                $twin(&params, bindings)
            },
            params: || (std::mem::size_of::<$params>(), <$params>::fields()),
            reflection: std::sync::OnceLock::new(),
        };
    };
}
pub(crate) use kernel;

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
