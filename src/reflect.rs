//! The declarations of a shader, which naga reads from its WGSL: bindings, workgroup size, constants, and the
//! layout of its uniform. Rust does not repeat them.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Handle, Literal, Module, StorageAccess, TypeInner};

use crate::target::Precision;
use crate::wgsl::{Part, join, locate};

/// One storage buffer that an entry point uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageBinding {
    /// The number in `@binding`; group 0 is the only one.
    pub binding: u32,
    /// The variable's name.
    pub name: String,
    /// True if the entry point reads the buffer.
    pub read: bool,
    /// True if the buffer is declared `read_write`, so that the kernel may write it.
    pub written: bool,
    /// The members in order, if the buffer is a struct or an array of structs; otherwise empty.
    pub members: Vec<Member>,
}

/// One member of a struct in WGSL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member's name, in WGSL and in the Rust mirror.
    pub name: String,
    /// Bytes from the start of the struct.
    pub offset: u32,
    /// `"u32"`, `"f32"`, …
    pub scalar: String,
}

/// The declarations of one entry point.
#[derive(Clone, Debug)]
pub struct Reflection {
    /// Invocations of a workgroup in x, y, z.
    pub workgroup_size: [u32; 3],
    /// The storage buffers, in the order of the binding numbers, which is the order of a step's buffers.
    pub storage: Vec<StorageBinding>,
    /// The members of the uniform in order; empty if the entry point uses no uniform.
    pub params: Vec<Member>,
    /// Bytes of the uniform, including WGSL's padding.
    pub params_size: u32,
    /// The module's `const NAME: u32`.
    pub constants: BTreeMap<String, u32>,
}

/// The text of one or more kernels. Those with the same parts share it, so that it is joined and parsed once.
pub(crate) struct Text {
    parts: &'static [Part],
    precision: Precision,
    /// The whole WGSL text.
    pub source: String,
    parsed: OnceLock<Result<Parsed, String>>,
}

impl Text {
    /// The text of these parts, which may use the core of WGSL and the features that its precision needs.
    ///
    /// A text is kept for as long as the program runs, as the kernels are: they are statics.
    pub fn of(parts: &'static [Part], precision: Precision) -> &'static Text {
        static TEXTS: Mutex<Vec<&'static Text>> = Mutex::new(Vec::new());
        // A panic while the list was held left it whole.
        let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |text: &&&Text| (text.parts, text.precision) == (parts, precision);
        if let Some(text) = texts.iter().find(same) {
            return text;
        }
        let text = Box::leak(Box::new(Text {
            parts,
            precision,
            source: join(parts),
            parsed: OnceLock::new(),
        }));
        texts.push(text);
        text
    }

    /// The parsed text; parsed at first use.
    ///
    /// # Errors
    /// As [`reflect`].
    pub fn parsed(&self) -> Result<&Parsed, String> {
        let parse = || Parsed::new(&self.source, self.precision);
        self.parsed
            .get_or_init(parse)
            .as_ref()
            .map_err(Clone::clone)
    }
}

/// A parsed and valid text.
pub(crate) struct Parsed {
    /// The text as naga's intermediate representation, which wgpu takes in place of the text.
    pub module: Module,
    info: ModuleInfo,
}

impl Parsed {
    fn new(source: &str, precision: Precision) -> Result<Parsed, String> {
        let capabilities = match precision {
            Precision::F32 => Capabilities::empty(),
            Precision::Mixed => {
                Capabilities::COOPERATIVE_MATRIX
                    | Capabilities::SHADER_FLOAT16
                    | Capabilities::SUBGROUP
            }
        };
        let at = |message: String| locate(source, &message);
        let module =
            naga::front::wgsl::parse_str(source).map_err(|e| at(e.emit_to_string(source)))?;
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .map_err(|e| at(e.emit_to_string(source)))?;
        Ok(Parsed { module, info })
    }

    /// Reflects the entry point `entry`.
    ///
    /// # Errors
    /// A message if there is no such entry point, or if its uniform is not a struct.
    pub fn reflect(&self, entry: &str) -> Result<Reflection, String> {
        let Parsed { module, info } = self;
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
                    members: members_of(module, var.ty),
                }),
                AddressSpace::Uniform => (params, params_size) = members(module, var.ty)?,
                _ => {}
            }
        }
        storage.sort_by_key(|b| b.binding);
        Ok(Reflection {
            workgroup_size: module.entry_points[index].workgroup_size,
            storage,
            params,
            params_size,
            constants: constants(module),
        })
    }
}

/// Parses and validates `source`, a text of [`crate::wgsl::join`], and reflects the entry point `entry`. The text
/// may use the core of WGSL, and the features that its precision needs.
///
/// # Errors
/// A message if the WGSL is not valid (naga's message, which names the part and its line), if it has no such
/// entry point, or if its uniform is not a struct.
pub fn reflect(source: &str, entry: &str, precision: Precision) -> Result<Reflection, String> {
    Parsed::new(source, precision)?.reflect(entry)
}

/// The members of a struct, or of the struct in an array; empty for every other type.
fn members_of(module: &Module, ty: Handle<naga::Type>) -> Vec<Member> {
    let ty = match module.types[ty].inner {
        TypeInner::Array { base, .. } => base,
        _ => ty,
    };
    members(module, ty).map_or(Vec::new(), |(members, _)| members)
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
