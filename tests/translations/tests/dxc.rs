//! Microsoft's DXC, the compiler of shaders on DX12, over the HLSL that `tests/naga.rs` wrote.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hassle_rs::{Dxc, DxcCompiler, DxcLibrary};

/// The arguments that wgpu-hal passes.
const ARGUMENTS: [&str; 4] = ["-HV", "2018", "-no-warnings", "-Ges"];

#[test]
#[ignore = "needs DXC: scripts/check_shaders brings it"]
fn compiles_every_file() {
    let path = std::env::var_os("DXC").expect("DXC = where libdxcompiler.so is");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("translations/hlsl");
    let (mut shaders, mut same) = (BTreeMap::new(), 0);
    for version in entries(&folder) {
        // DXC's oldest model is 6.0; it also compiles the files written for 5.1.
        let model = version.file_name().unwrap().to_str().unwrap();
        let profile = format!("cs_{}", if model == "5_1" { "6_0" } else { model });
        for file in entries(&version) {
            let text = std::fs::read_to_string(&file).unwrap();
            match shaders.entry((text, profile.clone())) {
                Entry::Occupied(_) => same += 1,
                Entry::Vacant(entry) => drop(entry.insert(file)),
            }
        }
    }
    let (next, compiled) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let shaders: Vec<_> = shaders.into_iter().collect();
    let failures = Mutex::new(Vec::new());
    let work = || {
        // A compiler is for one thread alone.
        let dxc = Dxc::new(Some(PathBuf::from(&path))).unwrap();
        let compiler = dxc.create_compiler().unwrap();
        let library = dxc.create_library().unwrap();
        while let Some(((text, profile), file)) = shaders.get(next.fetch_add(1, Relaxed)) {
            match compile(&compiler, &library, text, profile) {
                Ok(()) => drop(compiled.fetch_add(1, Relaxed)),
                Err(message) => {
                    let failure = format!("{}: {message}", file.display());
                    failures.lock().unwrap().push(failure);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(work);
        }
    });
    let (compiled, mut failures) = (compiled.into_inner(), failures.into_inner().unwrap());
    failures.sort();
    println!(
        "compiled {compiled} of {} files; {same} more are the same as one of them",
        compiled + failures.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compiled > 0, "run tests/naga.rs first");
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("run tests/naga.rs first");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn compile(
    compiler: &DxcCompiler,
    library: &DxcLibrary,
    text: &str,
    profile: &str,
) -> Result<(), String> {
    let after = text
        .rsplit_once(")]\nvoid ")
        .expect("[numthreads(…)] void ENTRY(…")
        .1;
    let entry = after.split('(').next().unwrap();
    let blob = library.create_blob_with_encoding_from_str(text).unwrap();
    match compiler.compile(&blob, "", entry, profile, &ARGUMENTS, None, &[]) {
        Ok(result) => {
            let code = result.get_result().map_err(|e| e.to_string())?;
            let code: &[u8] = code.as_slice();
            match code.starts_with(b"DXBC") {
                true => Ok(()),
                false => Err(format!("{} bytes that are no shader", code.len())),
            }
        }
        Err((result, code)) => {
            let message = result
                .get_error_buffer()
                .map_err(|e| format!("{code:?}: {e}"))?;
            let message = library.get_blob_as_string(&message.into());
            Err(message.map_err(|e| e.to_string())?)
        }
    }
}
