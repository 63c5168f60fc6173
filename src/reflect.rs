//! What a shader declares, read from its WGSL by naga: bindings, workgroup size, constants, the
//! layout of its uniform. Nothing of it is typed a second time in Rust.

use std::collections::BTreeMap;

use naga::valid::{Capabilities, GlobalUse, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Handle, Literal, Module, StorageAccess, TypeInner};

use crate::target::Precision;

/// One storage buffer that an entry point touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageBinding {
    /// The number in `@binding`; group 0 is the only one.
    pub binding: u32,
    /// The variable's, for messages.
    pub name: String,
    /// The entry point reads it.
    pub read: bool,
    /// Declared `read_write`: the kernel may write it.
    pub written: bool,
}

/// One member of the uniform `Params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As in WGSL and in the Rust mirror.
    pub name: String,
    /// In bytes from the start of the struct.
    pub offset: u32,
    /// `"u32"`, `"f32"`, …
    pub scalar: String,
}

/// What one entry point declares.
#[derive(Clone, Debug)]
pub struct Reflection {
    /// Invocations of a workgroup in x, y, z.
    pub workgroup_size: [u32; 3],
    /// In the order of the binding numbers, which is the order of a step's buffers.
    pub storage: Vec<StorageBinding>,
    /// Members of the uniform in order; empty if the entry point uses none.
    pub params: Vec<Member>,
    /// Bytes of the uniform, with WGSL's padding.
    pub params_size: u32,
    /// The module's `const NAME: u32`.
    pub constants: BTreeMap<String, u32>,
}

/// Parses and validates `source`, which may use nothing beyond WebGPU's core but what its precision
/// needs, and reflects `entry`.
///
/// # Errors
/// What is wrong, in words: the WGSL is not valid (naga's message), has no such entry point, or its
/// uniform is not a struct.
pub fn reflect(source: &str, entry: &str, precision: Precision) -> Result<Reflection, String> {
    let capabilities = match precision {
        Precision::F32 => Capabilities::empty(),
        Precision::Mixed => {
            Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP
        }
    };
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(source))?;
    let index = module
        .entry_points
        .iter()
        .position(|p| p.name == entry)
        .ok_or_else(|| format!("no entry point `{entry}`"))?;
    let usage = info.get_entry_point(index);

    let mut storage = Vec::new();
    let mut params = Vec::new();
    let mut params_size = 0;
    for (handle, var) in module.global_variables.iter() {
        if usage[handle].is_empty() {
            continue;
        }
        let name = var.name.clone().unwrap_or_default();
        match var.space {
            AddressSpace::Storage { access } => storage.push(StorageBinding {
                binding: var.binding.map_or(0, |b| b.binding),
                name,
                read: usage[handle].contains(GlobalUse::READ),
                written: access.contains(StorageAccess::STORE),
            }),
            AddressSpace::Uniform => (params, params_size) = members(&module, var.ty)?,
            _ => {}
        }
    }
    storage.sort_by_key(|b| b.binding);
    Ok(Reflection {
        workgroup_size: module.entry_points[index].workgroup_size,
        storage,
        params,
        params_size,
        constants: constants(&module),
    })
}

fn members(module: &Module, ty: Handle<naga::Type>) -> Result<(Vec<Member>, u32), String> {
    let TypeInner::Struct { members, span } = &module.types[ty].inner else {
        return Err("the uniform is not a struct".into());
    };
    let members = members
        .iter()
        .map(|m| Member {
            name: m.name.clone().unwrap_or_default(),
            offset: m.offset,
            scalar: scalar_name(&module.types[m.ty].inner),
        })
        .collect();
    Ok((members, *span))
}

fn scalar_name(inner: &TypeInner) -> String {
    match inner {
        TypeInner::Scalar(s) => match s.kind {
            naga::ScalarKind::Uint => format!("u{}", 8 * s.width),
            naga::ScalarKind::Sint => format!("i{}", 8 * s.width),
            naga::ScalarKind::Float => format!("f{}", 8 * s.width),
            other => format!("{other:?}"),
        },
        other => format!("{other:?}"),
    }
}

fn constants(module: &Module) -> BTreeMap<String, u32> {
    module
        .constants
        .iter()
        .filter_map(|(_, c)| {
            let name = c.name.clone()?;
            match module.global_expressions[c.init] {
                Expression::Literal(Literal::U32(v)) => Some((name, v)),
                _ => None,
            }
        })
        .collect()
}
