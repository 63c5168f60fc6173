//! A kernel: one entry point of a WGSL text, and its CPU twin. A kernel may have variants, which compute the same
//! results from the same buffers by another algorithm.

use std::sync::OnceLock;

use crate::buffer::Buffer;
use crate::distance::Distance;
use crate::reflect::{Reflection, Text};
use crate::target::{Precision, Target};
use crate::wgsl::Part;

/// A field of a `Params` struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name, in Rust and in WGSL.
    pub name: &'static str,
    /// Bytes from the start of the struct.
    pub offset: usize,
    /// `"u32"`, `"f32"`, …
    pub scalar: &'static str,
}

/// The Rust struct that mirrors a shader's `Params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the struct.
    pub size: usize,
    /// The fields, in the struct's order.
    pub fields: Vec<Field>,
}

/// The CPU twin of an entry point: plain Rust that computes the same results. `twin!` makes it.
#[derive(Clone, Copy)]
pub struct Twin {
    run: fn(&[u8], Bindings<'_>),
    params: fn() -> Layout,
}

impl Twin {
    /// Makes a twin. `run` takes the bytes of the params and the buffers; `params` returns the layout of the
    /// params.
    pub const fn new(run: fn(&[u8], Bindings<'_>), params: fn() -> Layout) -> Twin {
        Twin { run, params }
    }
}

/// Rates a variant for a step's params and buffers on a device: its rank among the kernel's variants, or `None`
/// if it cannot run the step there.
pub type Rate = fn(&[u8], &[Buffer], &Target) -> Option<u32>;

/// The class of a step. Steps of different classes may run different variants of a kernel.
pub type Class = [u32; 3];

/// One entry point of a shader, and its CPU twin.
///
/// Only this crate makes kernels that are compiled without run-time checks.
pub struct Kernel {
    pub(crate) op: &'static str,
    pub(crate) entry: &'static str,
    entry_point: &'static str,
    parts: &'static [Part],
    twin: Twin,
    pub(crate) variant: &'static str,
    others: &'static [&'static Kernel],
    rate: Rate,
    class: fn(&[u8], &[Buffer]) -> Class,
    pub(crate) finish: Option<&'static Kernel>,
    pub(crate) precision: Precision,
    trusted: bool,
    text: OnceLock<&'static Text>,
    reflection: OnceLock<Reflection>,
}

/// The name of the storage buffer for the partial sums of a split-K variant. It has as many copies of the result
/// as the variant's constant `SPLITS` says. The engine owns the buffer.
pub const PARTIALS: &str = "split_sums";

impl Kernel {
    /// A kernel without variants that every device can run. `op` is the stem of the op's file, test and bench.
    /// `entry` is the kernel's name, and the name of its entry point unless [`Kernel::with_entry_point`] sets
    /// another.
    pub(crate) const fn new(
        op: &'static str,
        entry: &'static str,
        parts: &'static [Part],
        twin: Twin,
    ) -> Kernel {
        let mut kernel = Kernel::foreign(op, entry, parts, twin);
        kernel.trusted = true;
        kernel
    }

    /// A kernel whose shader is not part of this crate, for tests. Engines always compile it with run-time
    /// checks.
    #[doc(hidden)]
    pub const fn foreign(
        op: &'static str,
        entry: &'static str,
        parts: &'static [Part],
        twin: Twin,
    ) -> Kernel {
        Kernel {
            op,
            entry,
            entry_point: entry,
            parts,
            twin,
            variant: "",
            others: &[],
            rate: |_, _, _| Some(1),
            class: |_, _| [0; 3],
            finish: None,
            precision: Precision::F32,
            trusted: false,
            text: OnceLock::new(),
            reflection: OnceLock::new(),
        }
    }

    /// Sets the entry point's name in WGSL, if it differs from the kernel's name.
    pub(crate) const fn with_entry_point(mut self, name: &'static str) -> Kernel {
        self.entry_point = name;
        self
    }

    /// Names the algorithm of a variant: `tiled`, `direct`, ….
    #[doc(hidden)]
    pub const fn with_variant(mut self, name: &'static str) -> Kernel {
        self.variant = name;
        self
    }

    /// Adds the variants, each of which takes the kernel's params and, by name, its buffers.
    #[doc(hidden)]
    pub const fn with_others(mut self, others: &'static [&'static Kernel]) -> Kernel {
        self.others = others;
        self
    }

    /// Sets the rate of a variant. An engine that does not measure runs the variant of the highest rank. An engine
    /// that measures leaves out the variants of rank 0, unless all are of rank 0. The rank must not depend on the
    /// number of rows of a micro-batch: see [`Kernel::class`].
    #[doc(hidden)]
    pub const fn with_rate(mut self, rate: Rate) -> Kernel {
        self.rate = rate;
        self
    }

    /// Sets the function that gives the class of a step: see [`Kernel::class`].
    pub(crate) const fn with_class(mut self, class: fn(&[u8], &[Buffer]) -> Class) -> Kernel {
        self.class = class;
        self
    }

    /// Makes this kernel the first pass of a split-K variant. The first pass writes partial sums to the buffer
    /// named [`PARTIALS`]; the second pass, `finish`, adds them up.
    pub(crate) const fn with_finish(mut self, finish: &'static Kernel) -> Kernel {
        self.finish = Some(finish);
        self
    }

    /// Sets the precision in which the kernel multiplies. Variants of mixed precision round their operands. They
    /// run only if the user asks for mixed precision, and then they replace the f32 variants.
    pub(crate) const fn with_precision(mut self, precision: Precision) -> Kernel {
        self.precision = precision;
        self
    }

    /// The stem of the op's file, test and bench.
    pub fn op(&self) -> &'static str {
        self.op
    }

    /// The kernel's name in its op, for tables and profiles.
    pub fn entry(&self) -> &'static str {
        self.entry
    }

    /// The entry point's name in WGSL.
    pub fn entry_point(&self) -> &'static str {
        self.entry_point
    }

    /// The name of the algorithm; empty if the kernel has no variants.
    pub fn variant(&self) -> &'static str {
        self.variant
    }

    /// The precision in which the kernel multiplies.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The parts of the WGSL text, in order.
    pub fn parts(&self) -> &'static [Part] {
        self.parts
    }

    /// True if the WGSL text is part of this crate, so that engines may compile it without run-time checks.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// `op/entry`, the kernel's name in tables and messages.
    pub fn name(&self) -> String {
        format!("{}/{}", self.op, self.entry)
    }

    /// The kernel's name and its variant, by which files name it.
    pub(crate) fn full_name(&self) -> String {
        format!("{} {}", self.name(), self.variant)
    }

    /// The text that the kernel shares with all kernels of the same parts.
    pub(crate) fn text(&self) -> &'static Text {
        self.text
            .get_or_init(|| Text::of(self.parts, self.precision))
    }

    /// The whole WGSL text.
    pub fn source(&self) -> &str {
        &self.text().source
    }

    /// The declarations of the shader; parsed at first use.
    ///
    /// # Panics
    /// If the WGSL in this program is not valid; a test parses every kernel.
    pub fn reflection(&self) -> &Reflection {
        self.reflection.get_or_init(|| {
            let parsed = self.text().parsed();
            let reflected = parsed.and_then(|parsed| parsed.reflect(self.entry_point));
            reflected.unwrap_or_else(|e| panic!("{}: {e}", self.name()))
        })
    }

    /// The layout of the Rust struct that mirrors the WGSL `Params`.
    pub fn params(&self) -> Layout {
        (self.twin.params)()
    }

    /// Runs the CPU twin on the bytes of the params and the buffers.
    pub(crate) fn run_twin(&self, params: &[u8], bindings: Bindings<'_>) {
        (self.twin.run)(params, bindings);
    }

    /// The rank for a step of these params and buffers on a device; `None` = the kernel cannot run it there.
    pub(crate) fn rate(&self, params: &[u8], buffers: &[Buffer], target: &Target) -> Option<u32> {
        (self.rate)(params, buffers, target)
    }

    /// The class of a step of these params and buffers. Steps of one class run the same variant. The class does
    /// not depend on the number of rows of a micro-batch, so that the results of a row do not depend on the rows
    /// beside it.
    pub(crate) fn class(&self, params: &[u8], buffers: &[Buffer]) -> Class {
        (self.class)(params, buffers)
    }

    /// The largest distance of the kernel's results from its twin's.
    pub fn bound(&self) -> Distance {
        match self.precision {
            Precision::F32 => Distance::BOUND,
            Precision::Mixed => Distance::MATRIX_UNITS,
        }
    }

    /// The kernel itself, then its other variants.
    pub fn variants(&'static self) -> impl Iterator<Item = &'static Kernel> {
        std::iter::once(self).chain(self.others.iter().copied())
    }

    /// The dispatches of a step, in order: the kernel itself, then its second pass if it has one.
    pub fn passes(&'static self) -> impl Iterator<Item = &'static Kernel> {
        std::iter::once(self).chain(self.finish)
    }

    /// The number of parts into which a split-K variant cuts the sums; 1 for every other kernel.
    pub fn splits(&self) -> u32 {
        self.finish.map_or(1, |_| self.constant("SPLITS"))
    }

    /// A `const NAME: u32` of the shader, for example a tile's side.
    ///
    /// # Panics
    /// If the shader has no such constant. Every recording of a step of the kernel would panic then.
    pub fn constant(&self, name: &str) -> u32 {
        self.reflection().constants[name]
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

/// A [`Twin`] of a function over the params struct and the [`Bindings`].
macro_rules! twin {
    ($params:ty, $twin:path) => {
        $crate::kernel::Twin::new(
            |bytes, bindings| $twin(&<$params>::of(bytes), bindings),
            <$params>::layout,
        )
    };
}
pub(crate) use twin;

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
            fn of(bytes: &[u8]) -> Self {
                bytemuck::pod_read_unaligned(bytes)
            }

            fn layout() -> $crate::kernel::Layout {
                $crate::kernel::Layout {
                    size: std::mem::size_of::<$name>(),
                    fields: vec![$($crate::kernel::Field {
                        name: stringify!($field),
                        offset: std::mem::offset_of!($name, $field),
                        scalar: stringify!($ty),
                    }),*],
                }
            }
        }
    };
}
pub(crate) use params;

/// The buffers of one step for a CPU twin, in the order of the shader's binding numbers.
///
/// A buffer that the shader writes is borrowed mutably, and only once.
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

/// The number of words, at most `words`, that hold whole `T`s.
fn whole<T>(words: usize) -> usize {
    let each = size_of::<T>() / size_of::<u32>();
    words / each * each
}
