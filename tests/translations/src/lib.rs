//! The kernels of gpt2-dpo as its test `kernels::are_listed_for_translation` wrote them down.

use std::path::Path;

use serde::Deserialize;

/// An entry point that can be dispatched.
#[derive(Deserialize)]
pub struct Kernel {
    /// The op that it belongs to.
    pub op: String,
    /// Empty where there is no variant.
    pub variant: String,
    /// Its name in the op.
    pub entry: String,
    /// The name of the entry point in the shader.
    pub entry_point: String,
    /// The whole WGSL text.
    pub source: String,
    /// It needs matrix units.
    pub mixed: bool,
    /// Invocations a workgroup.
    pub workgroup: [u32; 3],
    /// The storage buffers, in the order of their bindings.
    pub storage: Vec<Storage>,
}

/// A storage buffer of a kernel.
#[derive(Deserialize)]
pub struct Storage {
    /// In group 0.
    pub binding: u32,
    /// It is read_write.
    pub written: bool,
}

impl Kernel {
    /// `OP.VARIANT.ENTRY`.
    pub fn label(&self) -> String {
        let words = [&*self.op, &*self.variant, &*self.entry];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join(".")
    }
}

/// The list, out of the folder of the translations.
///
/// # Panics
/// If the list has not been written, or is no such list.
pub fn kernels(folder: &Path) -> Vec<Kernel> {
    let path = folder.join("kernels.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| {
        panic!(
            "{}: {e}: run `cargo test --test library kernels::` first",
            path.display()
        )
    });
    serde_json::from_slice(&text).expect("a list of kernels")
}
