//! The adapters of this machine, and how to open one.

use std::fmt;
use std::path::PathBuf;

use super::cards::{self, CardMemory, PassedOver};
use super::driver::Driver;
use super::engine::GpuEngine;
use super::pace::Pace;
use super::pipelines::Pipelines;
use super::tuner::Tuner;
use super::variants::{Choices, Variant};
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::target::{MatrixUnits, Precision, Target};

/// The graphics APIs in which to look for adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backends {
    /// Every API below that the platform has.
    #[default]
    All,
    /// Linux, Windows, Android.
    Vulkan,
    /// Apple's.
    Metal,
    /// Direct3D 12, on Windows.
    Dx12,
}

impl Backends {
    fn flags(self) -> wgpu::Backends {
        match self {
            Backends::All => wgpu::Backends::PRIMARY,
            Backends::Vulkan => wgpu::Backends::VULKAN,
            Backends::Metal => wgpu::Backends::METAL,
            Backends::Dx12 => wgpu::Backends::DX12,
        }
    }
}

/// How to open an adapter.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Compile shaders with bounds checks, bounded loops and zeroed workgroup memory.
    ///
    /// Set it if you record kernels of this crate with params of your own, or write ids, spans or tiles
    /// of your own into their buffers: without the checks such a kernel may read and write outside its
    /// buffers. Kernels that are not this crate's own are always checked.
    pub checked: bool,
    /// The limits and features to ask of the adapter.
    pub ask: Ask,
    /// Refuse buffers larger than this, so that weights are cut into smaller shards.
    pub max_binding_bytes: Option<usize>,
    /// The choice among the variants of a kernel.
    pub variant: Variant,
    /// The precision of the factors of matrix products.
    pub precision: Precision,
    /// The file that keeps the measurements of variants on one device, with one driver and one set of kernels. A
    /// variant that the file lists as wrong does not run.
    pub tuning: Option<PathBuf>,
    /// The bytes that all buffers may take for a micro-batch of more pairs than was asked for: see
    /// [`Engine::room_to_grow`](crate::engine::Engine::room_to_grow).
    pub room_to_grow: usize,
    /// Measure variants at first use and keep the result in that file, instead of running the variant of the
    /// highest rank.
    pub measure: bool,
    /// Leave the GPU to others half of the time, after submissions of at most some milliseconds each. Results are the
    /// same.
    pub gentle: bool,
    /// The file that keeps what this adapter compiled: the kernels, by name, are compiled at once when the device is
    /// opened, and the driver need not compile what it finds there. The file's name has to be a key of all on which
    /// that depends: adapter, driver, checks, precision, and the text of the kernels.
    pub compiled: Option<PathBuf>,
    /// The kernels that the file may name.
    pub kernels: Vec<&'static Kernel>,
}

/// The limits and features to ask of an adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ask {
    /// The limits and features that help: large bindings, for fewer shards, and timestamps, for times.
    #[default]
    Useful,
    /// WebGPU's default limits and no optional features, whatever the adapter has.
    Defaults,
    /// Every limit and feature of the adapter except experimental ones. Results must not depend on it.
    Everything,
}

/// The adapters of this machine, best first: discrete, integrated, virtual, other, software. An adapter's
/// index is its position in this order.
pub struct Adapters {
    all: Vec<wgpu::Adapter>,
    flags: wgpu::Backends,
}

/// The environment variable with which wgpu also shows adapters whose drivers are not conformant.
const NONCONFORMANT: &str = "WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER";

/// The facts about one adapter that `devices` prints.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AdapterReport {
    /// The GPU's name, from its driver.
    pub name: String,
    /// The graphics API: `vulkan`, `metal`, `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `other` or `software`.
    pub kind: &'static str,
    /// The driver's name and version, as far as the driver tells them.
    pub driver: String,
    /// Largest storage buffer that a kernel can bind.
    pub max_binding_bytes: u64,
    /// Largest buffer that can be made.
    pub max_buffer_bytes: u64,
    /// `var<workgroup>` memory of one workgroup.
    pub max_workgroup_memory_bytes: u32,
    /// Most invocations in one workgroup.
    pub max_workgroup_invocations: u32,
    /// Most storage buffers that one kernel can bind.
    pub max_storage_buffers: u32,
    /// Fewest and most invocations of a subgroup.
    pub subgroup_sizes: [u32; 2],
    /// Shaders can compute in `f16`.
    pub f16: bool,
    /// Shaders can use subgroups.
    pub subgroups: bool,
    /// The GPU can tell the times at which a kernel begins and ends, which `bench` and profiles of a training use.
    pub timestamps: bool,
    /// Matrix units, as `16x16x16 f16 to f32`: rows, columns and terms of a product, the type of its
    /// operands and of its sums.
    pub cooperative_matrix: Vec<String>,
    /// The matrix units that [`Precision::Mixed`] can use.
    pub matrix_units: MatrixUnits,
    /// The memory of its card, as far as the kernel tells it.
    pub memory: Option<CardMemory>,
    /// The limits that are too low for the program; `None` if the program can run there.
    pub unusable: Option<String>,
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.kind)
    }
}

impl Adapters {
    /// Asks the drivers. `WGPU_BACKEND` narrows [`Backends::All`].
    pub fn enumerate(backends: Backends) -> Adapters {
        let mut flags = backends.flags();
        if let (Backends::All, Some(named)) = (backends, wgpu::Backends::from_env()) {
            flags = named;
        }
        let mut all = enumerate(flags, wgpu::InstanceFlags::empty());
        all.sort_by_key(|a| rank(a.get_info().device_type)); // stable: the drivers' order within a kind
        Adapters { all, flags }
    }

    /// Everything that could compute and that `auto` does not take, if it finds no GPU: adapters that are no usable GPU,
    /// adapters that wgpu hides because their drivers are not conformant, and cards that no driver offers.
    pub fn passed_over(&self) -> Vec<PassedOver> {
        let mut all: Vec<PassedOver> = (0..self.all.len())
            .filter_map(|index| passed_over(index, &self.report(index)))
            .collect();
        let hidden = enumerate(
            self.flags,
            wgpu::InstanceFlags::ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER,
        );
        let is_known = |adapter: &wgpu::Adapter| {
            let info = adapter.get_info();
            let same = |known: &wgpu::AdapterInfo| {
                (&known.name, known.backend) == (&info.name, info.backend)
            };
            self.all.iter().any(|known| same(&known.get_info()))
        };
        let hidden: Vec<_> = hidden.into_iter().filter(|a| !is_known(a)).collect();
        all.extend(hidden.iter().map(|adapter| {
            let info = adapter.get_info();
            PassedOver {
                what: format!("{} ({}, {})", info.name, info.backend, kind(info.device_type)),
                why: "its driver is not conformant, as those under WSL2, and may compute wrong".into(),
                way: format!(
                    "{NONCONFORMANT}=1 shows it, and `gpt2-dpo selftest` with its name as `.device` tells whether it \
                     computes right"
                ),
            }
        }));
        let vendors: Vec<u32> = self
            .all
            .iter()
            .chain(&hidden)
            .map(|a| a.get_info().vendor)
            .collect();
        let cards = cards::all().into_iter();
        all.extend(cards.filter_map(|card| card.without_driver(&vendors)));
        all
    }

    /// The number of adapters.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True if no driver offers an adapter.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The adapter that `auto` selects: the first discrete or integrated GPU that can run the program.
    pub fn best_gpu(&self) -> Option<usize> {
        let is_gpu = |a: &wgpu::Adapter| {
            rank(a.get_info().device_type) <= 1 && missing_limits(&a.limits()).is_none()
        };
        self.all.iter().position(is_gpu)
    }

    /// The indices of adapters whose name or driver contains `name`, without regard to case.
    pub fn matching(&self, name: &str) -> Vec<usize> {
        let name = name.to_lowercase();
        let matches = |a: &wgpu::Adapter| {
            let info = a.get_info();
            [info.name, info.driver, info.driver_info]
                .iter()
                .any(|text| text.to_lowercase().contains(&name))
        };
        (0..self.all.len())
            .filter(|&i| matches(&self.all[i]))
            .collect()
    }

    /// The facts about one adapter.
    ///
    /// # Panics
    /// If `index` is not below [`Adapters::len`].
    pub fn report(&self, index: usize) -> AdapterReport {
        let adapter = &self.all[index];
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        AdapterReport {
            name: info.name,
            backend: info.backend.to_string(),
            kind: kind(info.device_type),
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .to_owned(),
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            max_workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            cooperative_matrix: matrix_shapes(adapter),
            matrix_units: matrix_units(adapter),
            memory: cards::memory(&info.device_pci_bus_id),
            unusable: missing_limits(&limits),
        }
    }

    /// Opens an adapter as an engine.
    ///
    /// # Errors
    /// `Error::Device` if the driver refuses, if the adapter is below WebGPU's default limits, or if
    /// [`Precision::Mixed`] is asked for and the adapter has no matrix units for it.
    ///
    /// # Panics
    /// If `index` is not below [`Adapters::len`].
    pub fn open(&self, index: usize, options: OpenOptions) -> Result<GpuEngine> {
        let adapter = &self.all[index];
        let report = self.report(index);
        if let Some(missing) = &report.unusable {
            return Err(Error::device(
                format!("{report} is below WebGPU's default limits: {missing}"),
                "choose another with `.device` (see `gpt2-dpo devices`), or `.device` cpu",
            ));
        }
        let mut features = wgpu::Features::empty();
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if options.precision == Precision::Mixed {
            if !report.matrix_units.any() {
                return Err(Error::device(
                    format!("{report} has no matrix units that multiply f16 and sum in f32"),
                    "use `.precision` f32, or another `.device`: `gpt2-dpo devices` tells which can",
                ));
            }
            features = MATRIX_UNITS;
            // SAFETY: wgpu calls matrix units experimental because its checks miss two errors: a load or
            // store beyond a buffer, and one in divergent control flow. The kernels load and store matrices
            // in workgroup memory only, at places that do not depend on data, and whole subgroups reach
            // every load and store.
            #[allow(unsafe_code)]
            let enabled = unsafe { wgpu::ExperimentalFeatures::enabled() };
            experimental_features = enabled;
        }
        // An adapter may have less than the defaults of textures and the like, which no compute shader uses.
        let mut limits = wgpu::Limits::default().or_worse_values_from(&adapter.limits());
        let has = adapter.limits();
        match options.ask {
            Ask::Defaults => {}
            Ask::Useful => {
                features |= adapter.features() & USEFUL;
                limits.max_storage_buffer_binding_size = has.max_storage_buffer_binding_size;
                limits.max_buffer_size = has.max_buffer_size;
            }
            Ask::Everything => {
                features |= adapter.features() - wgpu::Features::all_experimental_mask();
                limits = has;
            }
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("gpt2-dpo"),
            required_features: features,
            required_limits: limits,
            experimental_features,
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| {
                Error::device(
                    format!("cannot open {report}: {e}"),
                    "update its driver, choose another with `.device`, or use `.device` cpu",
                )
            })?;
        let kind = adapter.get_info().device_type;
        let target = Target {
            software: kind == wgpu::DeviceType::Cpu,
            precision: options.precision,
            matrix_units: report.matrix_units,
        };
        let identity = format!(
            "{report}, {}, {:?}, {:?}",
            report.driver, options.variant, options.precision
        );
        let compiled = Pipelines::new(
            &device,
            options.checked,
            options.compiled.as_deref(),
            &options.kernels,
        );
        let tuner = options.tuning.as_deref().map(Tuner::open);
        let mut driver = Driver::new(
            report.to_string(),
            device,
            queue,
            compiled,
            options.max_binding_bytes,
            Pace::of(kind).with_kept(tuner.as_ref().and_then(Tuner::pace)),
        );
        // A device that computes on the CPU copies fast and multiplies slowly.
        if kind != wgpu::DeviceType::Cpu && driver.pace_limit() == Pace::of(kind).limit() {
            driver.learn_from_copies(kind);
        }
        if options.gentle {
            driver.be_gentle();
        }
        let max_words = driver.max_binding_bytes / 4;
        let choices = Choices::new(options.variant, target, max_words, (tuner, options.measure));
        Ok(GpuEngine::new(
            driver,
            identity,
            choices,
            options.room_to_grow,
        ))
    }
}

/// How much of its memory budget a process may take, where the driver tells one: a screen needs some.
const BUDGET_PERCENT: u8 = 95;

fn enumerate(backends: wgpu::Backends, flags: wgpu::InstanceFlags) -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    descriptor.backends = backends;
    descriptor.flags |= flags;
    // Beyond its budget a driver moves buffers to the machine's memory, where a GPU reads them many times slower.
    descriptor.memory_budget_thresholds.for_resource_creation = Some(BUDGET_PERCENT);
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(instance.enumerate_adapters(backends))
}

/// Why `auto` does not take this adapter; `None` for a GPU that it could take.
fn passed_over(index: usize, report: &AdapterReport) -> Option<PassedOver> {
    let takes_it = format!("`.device` {index} takes it");
    let (why, way) = match (&report.unusable, report.kind) {
        (Some(missing), _) => (
            format!("it is below WebGPU's default limits: {missing}"),
            "a newer driver may have more".to_owned(),
        ),
        (None, "discrete" | "integrated") => return None,
        (None, "software") => (
            "it computes on the processor, and the CPU engine is faster there".to_owned(),
            takes_it,
        ),
        (None, "virtual") => (
            "it is a virtual GPU, behind which may be any device or a processor".to_owned(),
            takes_it,
        ),
        (None, _) => ("its driver does not say what it is".to_owned(), takes_it),
    };
    Some(PassedOver {
        what: report.to_string(),
        why,
        way,
    })
}

/// The features that help on every device that has them.
const USEFUL: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::PIPELINE_CACHE);

/// The features that the kernels for matrix units need.
const MATRIX_UNITS: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP);

/// The matrix units of an adapter that the kernels can use.
fn matrix_units(adapter: &wgpu::Adapter) -> MatrixUnits {
    use wgpu::CooperativeScalarType::{F16, F32};
    if !adapter.features().contains(MATRIX_UNITS) {
        return MatrixUnits::default();
    }
    let shapes = adapter.cooperative_matrix_properties();
    let has = |side: u32| {
        shapes.iter().any(|s| {
            [s.m_size, s.n_size, s.k_size] == [side; 3] && (s.ab_type, s.cr_type) == (F16, F32)
        })
    };
    MatrixUnits {
        eight: has(8),
        sixteen: has(16),
    }
}

/// All matrix units of an adapter, as text.
fn matrix_shapes(adapter: &wgpu::Adapter) -> Vec<String> {
    let shapes = adapter.cooperative_matrix_properties();
    let words = shapes.iter().map(|s| {
        let types = format!("{:?} to {:?}", s.ab_type, s.cr_type).to_lowercase();
        format!("{}x{}x{} {types}", s.m_size, s.n_size, s.k_size)
    });
    let mut words: Vec<String> = words.collect();
    words.sort();
    words.dedup(); // entries of one text differ in the overflow of integers
    words
}

fn rank(kind: wgpu::DeviceType) -> u32 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn kind(kind: wgpu::DeviceType) -> &'static str {
    match kind {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Other => "other",
        wgpu::DeviceType::Cpu => "software",
    }
}

/// The limits of compute shaders in which an adapter is below WebGPU's defaults, as text; `None` if there are none.
fn missing_limits(has: &wgpu::Limits) -> Option<String> {
    let needs = wgpu::Limits::default();
    let pairs = [
        (
            "binding bytes",
            has.max_storage_buffer_binding_size,
            needs.max_storage_buffer_binding_size,
        ),
        (
            "storage buffers a stage",
            has.max_storage_buffers_per_shader_stage.into(),
            needs.max_storage_buffers_per_shader_stage.into(),
        ),
        (
            "workgroup memory bytes",
            has.max_compute_workgroup_storage_size.into(),
            needs.max_compute_workgroup_storage_size.into(),
        ),
        (
            "invocations a workgroup",
            has.max_compute_invocations_per_workgroup.into(),
            needs.max_compute_invocations_per_workgroup.into(),
        ),
        (
            "workgroups a dimension",
            has.max_compute_workgroups_per_dimension.into(),
            needs.max_compute_workgroups_per_dimension.into(),
        ),
    ];
    let missing: Vec<String> = pairs
        .iter()
        .filter(|(_, has, needs)| has < needs)
        .map(|(what, has, needs)| format!("{has} {what}, needs {needs}"))
        .collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: &'static str, unusable: Option<String>) -> AdapterReport {
        AdapterReport {
            name: "One".into(),
            backend: "vulkan".into(),
            kind,
            driver: String::new(),
            max_binding_bytes: 0,
            max_buffer_bytes: 0,
            max_workgroup_memory_bytes: 0,
            max_workgroup_invocations: 0,
            max_storage_buffers: 0,
            subgroup_sizes: [1, 1],
            f16: false,
            subgroups: false,
            timestamps: false,
            cooperative_matrix: Vec::new(),
            matrix_units: MatrixUnits::default(),
            memory: None,
            unusable,
        }
    }

    #[test]
    fn whatever_auto_passes_over_has_a_reason_and_a_way() {
        for kind in ["discrete", "integrated"] {
            assert_eq!(passed_over(3, &report(kind, None)), None);
            let small = report(kind, Some("4 storage buffers a stage, needs 8".into()));
            let text = passed_over(3, &small).unwrap().to_string();
            assert!(text.contains("needs 8; a newer driver"), "{text}");
        }
        for (kind, why) in [
            ("virtual", "a virtual GPU"),
            ("software", "the CPU engine is faster"),
            ("other", "does not say"),
        ] {
            let text = passed_over(3, &report(kind, None)).unwrap().to_string();
            let begin = format!("`auto` passes over One (vulkan, {kind}): ");
            assert!(text.starts_with(&begin), "{text}");
            assert!(text.contains(why), "{text}");
            assert!(text.ends_with("`.device` 3 takes it"), "{text}");
        }
    }
}
