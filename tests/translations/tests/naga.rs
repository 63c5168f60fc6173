//! Writes every shader of the registry in every language that wgpu hands to a driver, with wgpu-hal's options,
//! into `target/translations`, where `scripts/check_shaders` compiles the files. A file is named
//! `OP.VARIANT.ENTRY.MODE.EXTENSION`; the two modes are those in which the engine opens devices.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use naga::back::{glsl, hlsl, msl, pipeline_constants, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{
    Block, CooperativeSize, Expression, Handle, Module, ResourceBinding, ShaderStage, Statement,
    TypeInner,
};
use translations::Kernel;

/// The capabilities of a device opened for matrix units: `MATRIX_UNITS` of src/gpu/device.rs.
const MATRIX_UNITS: Capabilities = Capabilities::COOPERATIVE_MATRIX
    .union(Capabilities::SHADER_FLOAT16)
    .union(Capabilities::SUBGROUP);

/// A graphics API and what its devices offer.
struct Api {
    name: &'static str,
    /// The part of [`MATRIX_UNITS`] that wgpu 30 offers.
    offers: Capabilities,
    /// The matrix sizes of the API's shading language.
    sides: &'static [CooperativeSize],
}

const VULKAN: Api = Api {
    name: "Vulkan",
    offers: MATRIX_UNITS,
    sides: &[CooperativeSize::Eight, CooperativeSize::Sixteen],
};
const METAL: Api = Api {
    name: "Metal",
    offers: MATRIX_UNITS,
    sides: &[CooperativeSize::Eight],
};
const DX12: Api = Api {
    name: "DX12",
    offers: Capabilities::SHADER_FLOAT16.union(Capabilities::SUBGROUP),
    sides: &[],
};
const GLES: Api = Api {
    name: "GLES",
    offers: Capabilities::empty(),
    sides: &[],
};

/// What wgpu 30 lets a shader use there, on a device opened for its precision: in f32 nothing beyond
/// WebGPU's core.
fn capabilities(api: &Api, kernel: &Kernel) -> Capabilities {
    match kernel.mixed {
        false => Capabilities::empty(),
        true => api.offers,
    }
}

/// `target/translations/NAME`.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .with_file_name("translations")
        .join(name)
}

fn kernels() -> Vec<Kernel> {
    translations::kernels(&folder(""))
}

fn parse(kernel: &Kernel) -> Module {
    naga::front::wgsl::parse_str(&kernel.source)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string(&kernel.source)))
}

fn validate(module: &Module, capabilities: Capabilities) -> Result<ModuleInfo, String> {
    Validator::new(ValidationFlags::all(), capabilities)
        .validate(module)
        .map_err(|e| format!("{:?}", e.into_inner()))
}

/// The sizes of the matrices that a module gives to matrix units.
fn sides(module: &Module) -> BTreeSet<CooperativeSize> {
    let sides = module.types.iter().filter_map(|(_, ty)| match ty.inner {
        TypeInner::CooperativeMatrix { columns, rows, .. } => Some([columns, rows]),
        _ => None,
    });
    sides.flatten().collect()
}

/// True if a kernel is meant for an API: f32 kernels for all, the others where their matrix sizes exist.
fn is_for(api: &Api, kernel: &Kernel, module: &Module) -> bool {
    !kernel.mixed || sides(module).iter().all(|side| api.sides.contains(side))
}

/// Every shader is valid with the capabilities of each API that it is meant for, and needs no others. A shader
/// that an API cannot run for want of matrix units is not valid there.
#[test]
fn valid_where_they_run() {
    for kernel in &kernels() {
        let (module, name) = (parse(kernel), kernel.label());
        let matrices = !sides(&module).is_empty();
        assert_eq!(matrices, kernel.mixed, "{name}");
        for api in [VULKAN, METAL, DX12, GLES] {
            let valid = validate(&module, capabilities(&api, kernel));
            if is_for(&api, kernel, &module) {
                valid.unwrap_or_else(|e| panic!("{name} on {}: {e}", api.name));
            } else if api.sides.is_empty() {
                assert!(valid.is_err(), "{name} can run on {}", api.name);
            }
        }
    }
}

/// FXC compiles for DX12 where there is no DXC. It unrolls every loop around a write to a vector component with a
/// variable index, and gives up. No compiler in these tests does that, so this test holds the rule.
#[test]
fn no_component_is_written_by_a_variable_index() {
    for kernel in &kernels() {
        let module = parse(kernel);
        let info = validate(&module, capabilities(&VULKAN, kernel)).unwrap();
        let functions = module.functions.iter();
        let functions = functions.map(|(handle, function)| (function, &info[handle]));
        let entries = module.entry_points.iter().enumerate();
        let entries = entries.map(|(i, entry)| (&entry.function, info.get_entry_point(i)));
        for (function, info) in functions.chain(entries) {
            let mut stores = Vec::new();
            stores_of(&function.body, &mut stores);
            for pointer in stores {
                let Expression::Access { base, .. } = function.expressions[pointer] else {
                    continue;
                };
                let written = info[base].ty.inner_with(&module.types);
                let is_vector = match *written {
                    TypeInner::Pointer { base, .. } => {
                        matches!(module.types[base].inner, TypeInner::Vector { .. })
                    }
                    TypeInner::ValuePointer { size, .. } => size.is_some(),
                    _ => false,
                };
                let name = function.name.as_deref().unwrap_or(&kernel.entry_point);
                assert!(!is_vector, "{}: in {name}", kernel.label());
            }
        }
    }
}

/// The pointers of all stores in a block.
fn stores_of(block: &Block, found: &mut Vec<Handle<Expression>>) {
    for statement in block {
        match statement {
            Statement::Store { pointer, .. } => found.push(*pointer),
            Statement::Block(inner) => stores_of(inner, found),
            Statement::If { accept, reject, .. } => {
                stores_of(accept, found);
                stores_of(reject, found);
            }
            Statement::Loop {
                body, continuing, ..
            } => {
                stores_of(body, found);
                stores_of(continuing, found);
            }
            Statement::Switch { cases, .. } => {
                cases.iter().for_each(|case| stores_of(&case.body, found));
            }
            _ => {}
        }
    }
}

/// One entry point, ready for a writer.
struct Shader<'a> {
    kernel: &'a Kernel,
    module: Cow<'a, Module>,
    info: Cow<'a, ModuleInfo>,
    /// True: with runtime checks and zeroed workgroup memory. False: without either.
    checked: bool,
}

impl Shader<'_> {
    fn entry(&self) -> String {
        self.kernel.entry_point.clone()
    }

    fn workgroup(&self) -> [u32; 3] {
        self.kernel.workgroup
    }

    /// The engine's bindings: the uniform (`None`), then the storage buffers (true if written).
    fn bindings(&self) -> Vec<(ResourceBinding, Option<bool>)> {
        let at = |binding| ResourceBinding { group: 0, binding };
        let storage = self.kernel.storage.iter();
        let storage = storage.map(|b| (at(b.binding), Some(b.written)));
        std::iter::once((at(0), None)).chain(storage).collect()
    }

    fn bounds(&self) -> BoundsCheckPolicies {
        let policy = match self.checked {
            true => BoundsCheckPolicy::Restrict,
            false => BoundsCheckPolicy::Unchecked,
        };
        BoundsCheckPolicies {
            index: policy,
            buffer: policy,
            image_load: policy,
            binding_array: BoundsCheckPolicy::Unchecked,
        }
    }
}

/// Writes what is for `api` once a version and mode, into `LANGUAGE/VERSION`, and holds the number of
/// files to the registry's.
fn translate<V>(
    api: &Api,
    language: &str,
    extension: &str,
    versions: impl Fn(&Kernel) -> Vec<(&'static str, V)>,
    write: impl Fn(&Shader, &V) -> Vec<u8>,
) {
    let _ = std::fs::remove_dir_all(folder(language));
    let (mut expected, mut left_out) = (BTreeMap::<&str, usize>::new(), BTreeSet::new());
    for kernel in &kernels() {
        let module = parse(kernel);
        if !is_for(api, kernel, &module) {
            left_out.insert(kernel.label());
            continue;
        }
        let info = validate(&module, capabilities(api, kernel)).unwrap();
        for (version, settings) in versions(kernel) {
            let folder = folder(language).join(version);
            std::fs::create_dir_all(&folder).unwrap();
            for checked in [true, false] {
                let entry = Some((ShaderStage::Compute, &*kernel.entry_point));
                let (module, info) = pipeline_constants::process_overrides(
                    &module,
                    &info,
                    entry,
                    &Default::default(),
                )
                .unwrap();
                let shader = Shader {
                    kernel,
                    module,
                    info,
                    checked,
                };
                let mode = if checked { "checked" } else { "unchecked" };
                let file = format!("{}.{mode}.{extension}", kernel.label());
                std::fs::write(folder.join(file), write(&shader, &settings)).unwrap();
                *expected.entry(version).or_default() += 1;
            }
        }
    }
    for (version, expected) in expected {
        let written = std::fs::read_dir(folder(language).join(version)).unwrap();
        assert_eq!(written.count(), expected, "{language}/{version}");
        println!("{language}/{version}: {expected} files");
    }
    println!("{language}: {} entry points left out", left_out.len());
}

/// The versions of Vulkan, each with the SPIR-V version that wgpu-hal writes for it.
const SPIRV: [(&str, (u8, u8)); 4] = [
    ("vulkan1.0", (1, 0)),
    ("vulkan1.1", (1, 3)),
    ("vulkan1.2", (1, 5)),
    ("vulkan1.3", (1, 6)),
];

/// Matrix units need Vulkan 1.1 or later and its extensions. Their files have folders of their own, because some
/// validators do not know them.
const SPIRV_MATRIX: [(&str, (u8, u8)); 3] = [
    ("matrix-vulkan1.1", (1, 3)),
    ("matrix-vulkan1.2", (1, 5)),
    ("matrix-vulkan1.3", (1, 6)),
];

#[test]
fn spirv() {
    let versions = |kernel: &Kernel| match kernel.mixed {
        false => SPIRV.to_vec(),
        true => SPIRV_MATRIX.to_vec(),
    };
    translate(&VULKAN, "spirv", "spv", versions, |shader, &version| {
        use spv::Capability::*;
        use spv::ZeroInitializeWorkgroupMemoryMode as Zeroed;
        let mut capabilities = vec![Shader, Matrix];
        if shader.kernel.mixed {
            capabilities.extend([GroupNonUniform, GroupNonUniformVote, GroupNonUniformBallot]);
            capabilities.extend([GroupNonUniformArithmetic, GroupNonUniformShuffle]);
            capabilities.extend([GroupNonUniformShuffleRelative, GroupNonUniformQuad]);
            capabilities.extend([Float16, CooperativeMatrixKHR, VulkanMemoryModel]);
        }
        let binding_map = shader.bindings().into_iter().zip(0..);
        let options = spv::Options {
            lang_version: version,
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            fake_missing_bindings: false,
            binding_map: binding_map
                .map(|((at, _), binding)| {
                    let info = spv::BindingInfo {
                        descriptor_set: 0,
                        binding,
                        binding_array_size: None,
                    };
                    (at, info)
                })
                .collect(),
            capabilities: Some(capabilities.into_iter().collect()),
            bounds_check_policies: shader.bounds(),
            zero_initialize_workgroup_memory: match (shader.checked, version) {
                (false, _) => Zeroed::None,
                (true, (1, 6)) => Zeroed::Native,
                (true, _) => Zeroed::Polyfill,
            },
            force_loop_bounding: shader.checked,
            emit_int_div_checks: shader.checked,
            ..Default::default()
        };
        let pipeline = spv::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: shader.entry(),
        };
        let words = spv::write_vec(&shader.module, &shader.info, &options, Some(&pipeline))
            .unwrap_or_else(|e| panic!("{}: {e}", shader.kernel.label()));
        assert_eq!(words[0], 0x0723_0203, "SPIR-V's magic number");
        let (major, minor) = version;
        assert_eq!(words[1], u32::from_be_bytes([0, major, minor, 0]));
        let (entry, workgroup) = declared(&words);
        assert_eq!((entry, workgroup), (shader.entry(), shader.workgroup()));
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    });
}

/// The name and the workgroup size of a SPIR-V module's only compute entry point.
fn declared(words: &[u32]) -> (String, [u32; 3]) {
    const ENTRY_POINT: u32 = 15;
    const GL_COMPUTE: u32 = 5;
    const EXECUTION_MODE: u32 = 16;
    const LOCAL_SIZE: u32 = 17;
    let (mut entries, mut sizes) = (Vec::new(), Vec::new());
    let mut rest = &words[5..];
    while let [first, ..] = rest {
        let (instruction, next) = rest.split_at((first >> 16) as usize);
        match (first & 0xffff, instruction) {
            (ENTRY_POINT, [_, GL_COMPUTE, _, name @ ..]) => {
                let bytes = name.iter().flat_map(|word| word.to_le_bytes());
                let name = bytes.take_while(|&byte| byte != 0).collect();
                entries.push(String::from_utf8(name).unwrap());
            }
            (EXECUTION_MODE, &[_, _, LOCAL_SIZE, x, y, z]) => sizes.push([x, y, z]),
            _ => {}
        }
        rest = next;
    }
    assert_eq!((entries.len(), sizes.len()), (1, 1));
    (entries.remove(0), sizes[0])
}

/// The name of the entry point in the output: naga appends `_` to keywords and to names that end in a digit.
fn renamed<E: std::fmt::Debug>(shader: &Shader, names: &[Result<String, E>]) -> String {
    let [Ok(name)] = names else {
        panic!("{names:?}");
    };
    assert_eq!(name.trim_end_matches('_'), shader.kernel.entry_point);
    name.clone()
}

/// wgpu writes model 5.1 for FXC, and for DXC the newest model that compiler and driver share.
#[test]
fn hlsl() {
    use hlsl::ShaderModel::{V5_1, V6_0, V6_6};
    let versions = |_: &Kernel| [V5_1, V6_0, V6_6].map(|v| (v.to_str(), v)).to_vec();
    translate(&DX12, "hlsl", "hlsl", versions, |shader, &shader_model| {
        // Registers count up for each kind: the uniform is b0, read buffers are t0, t1, …, written ones u0, …
        let mut next = BTreeMap::new();
        let mut binding_map = hlsl::BindingMap::default();
        for (at, kind) in shader.bindings() {
            let register = next.entry(kind).or_insert(0);
            let target = hlsl::BindTarget {
                register: *register,
                restrict_indexing: kind.is_none(),
                ..Default::default()
            };
            binding_map.insert(at, target);
            *register += 1;
        }
        let options = hlsl::Options {
            shader_model,
            binding_map,
            fake_missing_bindings: false,
            special_constants_binding: Some(hlsl::BindTarget {
                register: 1,
                ..Default::default()
            }),
            zero_initialize_workgroup_memory: shader.checked,
            restrict_indexing: shader.checked,
            force_loop_bounding: shader.checked,
            ..Default::default()
        };
        let pipeline = hlsl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, shader.entry())),
        };
        let mut text = String::new();
        let written = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&shader.module, &shader.info, None)
            .unwrap_or_else(|e| panic!("{}: {e}", shader.kernel.label()));
        let entry = renamed(shader, &written.entry_point_names);
        let [x, y, z] = shader.workgroup();
        let name = format!("[numthreads({x}, {y}, {z})]\nvoid {entry}(");
        assert!(text.contains(&name), "{name}\n{text}");
        text.into_bytes()
    });
}

/// The oldest Metal language version with matrix units, and the newest that wgpu requests.
#[test]
fn msl() {
    let versions = |_: &Kernel| vec![("2.3", (2, 3)), ("4.0", (4, 0))];
    translate(&METAL, "msl", "metal", versions, |shader, &lang_version| {
        let mut resources = msl::BindingMap::default();
        for ((at, kind), slot) in shader.bindings().into_iter().zip(0..) {
            let target = msl::BindTarget {
                buffer: Some(slot),
                mutable: kind == Some(true),
                ..Default::default()
            };
            resources.insert(at, target);
        }
        let resources = msl::EntryPointResources {
            sizes_buffer: Some(resources.len() as msl::Slot),
            resources,
            ..Default::default()
        };
        let options = msl::Options {
            lang_version,
            per_entry_point_map: [(shader.entry(), resources)].into(),
            spirv_cross_compatibility: false,
            fake_missing_bindings: false,
            bounds_check_policies: shader.bounds(),
            zero_initialize_workgroup_memory: shader.checked,
            force_loop_bounding: shader.checked,
            emit_int_div_checks: shader.checked,
            ..Default::default()
        };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, shader.entry())),
            vertex_pulling_transform: true,
            ..Default::default()
        };
        let (text, written) = msl::write_string(&shader.module, &shader.info, &options, &pipeline)
            .unwrap_or_else(|e| panic!("{}: {e}", shader.kernel.label()));
        let entry = renamed(shader, &written.entry_point_names);
        let name = format!("kernel void {entry}(");
        assert!(text.contains(&name), "{name}\n{text}");
        text.into_bytes()
    });
}

/// The program does not use wgpu's GL backend. Shaders that GL can run as well are simple ones, which this test
/// keeps them.
#[test]
fn glsl() {
    let versions = |_: &Kernel| vec![("310es", glsl::Version::new_gles(310))];
    translate(&GLES, "glsl", "comp", versions, |shader, &version| {
        let mut next = BTreeMap::new();
        let mut binding_map = glsl::BindingMap::default();
        for (at, kind) in shader.bindings() {
            let slot = next.entry(kind.is_some()).or_insert(0);
            binding_map.insert(at, *slot);
            *slot += 1;
        }
        let options = glsl::Options {
            version,
            writer_flags: glsl::WriterFlags::ADJUST_COORDINATE_SPACE
                | glsl::WriterFlags::FORCE_POINT_SIZE,
            binding_map,
            zero_initialize_workgroup_memory: shader.checked,
        };
        let pipeline = glsl::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: shader.entry(),
            multiview: None,
        };
        // wgpu leaves bounds checks to GL.
        let bounds = BoundsCheckPolicies::default();
        let mut text = String::new();
        let (module, info) = (&shader.module, &shader.info);
        glsl::Writer::new(&mut text, module, info, &options, &pipeline, bounds)
            .and_then(|mut writer| writer.write())
            .unwrap_or_else(|e| panic!("{}: {e}", shader.kernel.label()));
        let [x, y, z] = shader.workgroup();
        let size = format!("local_size_x = {x}, local_size_y = {y}, local_size_z = {z}");
        for part in ["#version 310 es\n", &size, "void main()"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        text.into_bytes()
    });
}

/// The joined WGSL texts as a device gets them, for the browser's compiler. Texts for matrix units use naga's own
/// extension and have a folder of their own.
#[test]
fn wgsl() {
    let _ = std::fs::remove_dir_all(folder("wgsl"));
    let (mut sources, kernels) = (BTreeMap::new(), kernels());
    for kernel in &kernels {
        let precision = match kernel.mixed {
            false => "f32",
            true => "matrix",
        };
        let name = format!("{}.wgsl", kernel.label());
        sources.insert(&*kernel.source, folder("wgsl").join(precision).join(name));
    }
    for (source, path) in &sources {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(!path.exists(), "{}: two sources", path.display());
        std::fs::write(path, source).unwrap();
    }
}
