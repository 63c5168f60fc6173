//! Which adapters there are, and opening one.

use std::fmt;
use std::path::PathBuf;

use super::{GpuEngine, Variant};
use crate::error::{Error, Result};
use crate::target::{MatrixUnits, Precision, Target};

/// Which graphics APIs to look for adapters in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backends {
    /// Every one of the others that the platform has.
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
    pub checked: bool,
    /// What to ask of the adapter.
    pub ask: Ask,
    /// Refuse buffers above this, so that weights split earlier.
    pub max_binding_bytes: Option<usize>,
    /// Which variant of a kernel runs where there are several.
    pub variant: Variant,
    /// In what matrix products are multiplied.
    pub precision: Precision,
    /// What was found out about variants, kept in a file that is for one device, driver and set of kernels:
    /// those that were wrong are not taken.
    pub tuning: Option<PathBuf>,
    /// Measure variants at first use, for that file, instead of taking those that rate highest.
    pub measure: bool,
}

/// What to ask of an adapter when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ask {
    /// Larger bindings mean fewer shards, timestamps tell times.
    #[default]
    Useful,
    /// WebGPU's default limits and no optional feature, whatever the adapter has.
    Defaults,
    /// Every limit and every feature that it has, experimental ones left out: nothing may change.
    Everything,
}

/// The adapters of this machine, best first: discrete, integrated, virtual, other, software. Their
/// place in this order is their index.
pub struct Adapters {
    all: Vec<wgpu::Adapter>,
}

/// What `devices` prints of one adapter.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AdapterReport {
    /// The GPU's, from its driver.
    pub name: String,
    /// The graphics API: `vulkan`, `metal`, `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `other` or `software`.
    pub kind: &'static str,
    /// The driver's name and version, as far as it tells them.
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
    /// The GPU tells when a kernel began and ended: `bench` and `train `profile`` use it.
    pub timestamps: bool,
    /// Matrix units, as `16x16x16 f16 to f32`: rows, columns and terms of a product, the type of its
    /// operands and of its sums.
    pub cooperative_matrix: Vec<String>,
    /// Those for [`Precision::Mixed`].
    pub matrix_units: MatrixUnits,
    /// What keeps the program from running there, if anything.
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
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        descriptor.backends = flags;
        let instance = wgpu::Instance::new(descriptor);
        let mut all = pollster::block_on(instance.enumerate_adapters(flags));
        all.sort_by_key(|a| rank(a.get_info().device_type)); // stable: the drivers' order within a kind
        Adapters { all }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True if no driver offers any.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The adapter that `auto` takes: the first discrete or integrated GPU that can be used.
    pub fn best_gpu(&self) -> Option<usize> {
        let is_gpu = |a: &wgpu::Adapter| {
            rank(a.get_info().device_type) <= 1 && missing_limits(&a.limits()).is_none()
        };
        self.all.iter().position(is_gpu)
    }

    /// The adapters whose name or driver contains `name`, whatever its case.
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

    /// Everything worth knowing of one adapter.
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
            unusable: missing_limits(&limits),
        }
    }

    /// Opens an adapter as an engine.
    ///
    /// # Errors
    /// `Error::Device` if the driver refuses, if the adapter is below WebGPU's default limits, or for
    /// [`Precision::Mixed`] if it has no matrix units for that.
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
            // SAFETY: wgpu holds its matrix units back for the errors that its own checks do not catch:
            // loads and stores beyond a buffer, and in divergent control flow. The kernels' are in
            // workgroup memory, at places that do not depend on data, and whole subgroups reach them.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        // What an adapter has less of than the defaults, textures and the like, no compute shader meets.
        let mut limits = wgpu::Limits::default().or_worse_values_from(&adapter.limits());
        let has = adapter.limits();
        match options.ask {
            Ask::Defaults => {}
            Ask::Useful => {
                features |= adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
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
        let target = Target {
            software: adapter.get_info().device_type == wgpu::DeviceType::Cpu,
            precision: options.precision,
            matrix_units: report.matrix_units,
        };
        Ok(GpuEngine::new(&report, (device, queue), options, target))
    }
}

/// What the kernels for matrix units ask for.
const MATRIX_UNITS: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP);

/// Those that the kernels can use.
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

/// All of them, in words.
fn matrix_shapes(adapter: &wgpu::Adapter) -> Vec<String> {
    let shapes = adapter.cooperative_matrix_properties();
    let words = shapes.iter().map(|s| {
        let types = format!("{:?} to {:?}", s.ab_type, s.cr_type).to_lowercase();
        format!("{}x{}x{} {types}", s.m_size, s.n_size, s.k_size)
    });
    let mut words: Vec<String> = words.collect();
    words.sort();
    words.dedup(); // they differ in what happens to integers that overflow
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

/// What an adapter lacks of WebGPU's default limits, of those that a compute shader meets.
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
