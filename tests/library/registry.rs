//! The registry is complete: every op has its files, and every kernel has mirrored params and a case that runs
//! it. And the comparison of devices with twins lets no wrong result pass.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::{Device, Tap};
use gpt2_dpo::kernel::{Kernel, Layout, PARTIALS};
use gpt2_dpo::ops::case::{Case, Distance, distance};
use gpt2_dpo::ops::{self, OPS, linear};
use gpt2_dpo::recording::{MAX_PARAMS, Recording};
use gpt2_dpo::reflect::StorageBinding;
use gpt2_dpo::wgsl;

fn kernels() -> impl Iterator<Item = &'static Kernel> {
    OPS.iter().flat_map(|op| op.kernels.iter().copied())
}

#[test]
fn params_match_the_shaders() {
    for kernel in kernels() {
        let name = kernel.name();
        let Layout { size, fields } = kernel.params();
        let shader = kernel.reflection();
        let members = shader.params.iter();
        let members = members.map(|m| (&m.name[..], m.offset as usize, &m.scalar[..]));
        let fields = fields.iter().map(|f| (f.name, f.offset, f.scalar));
        assert!(fields.eq(members), "{name}");
        // WGSL may round the whole up.
        let span = shader.params_size as usize;
        assert!(
            (size..size + 16).contains(&span),
            "{name}: {size} bytes in Rust, {span} in WGSL"
        );
        assert!(span <= MAX_PARAMS, "{name}");
    }
}

/// The stems of the files in a folder, all of this extension; folders in it are left out.
fn stems(folder: &str, extension: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(folder).unwrap();
    let files = paths.map(|entry| entry.unwrap().path());
    let stem = |path: PathBuf| {
        assert_eq!(path.extension().unwrap(), extension, "{}", path.display());
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    files.filter(|path| path.is_file()).map(stem).collect()
}

#[test]
fn files_are_the_registry() {
    let ops: BTreeSet<String> = OPS.iter().map(|op| op.name.to_owned()).collect();
    assert_eq!(ops.len(), OPS.len(), "an op is listed twice");
    for (folder, helpers) in [
        ("src/ops", &["mod", "case"][..]),
        ("tests/library/gradients", &["mod"]),
    ] {
        let mut files = stems(folder, "rs");
        assert!(
            helpers.iter().all(|&helper| files.remove(helper)),
            "{folder}: {helpers:?}"
        );
        assert_eq!(files, ops, "{folder}");
    }
    for op in OPS {
        let own = format!("shaders/{}.wgsl", op.name);
        let mut parts = op.kernels.iter().flat_map(|kernel| kernel.parts());
        assert!(parts.any(|part| part.file == own), "{own}");
    }
}

/// The parts of the kernels are the files of the folder, none left over; and a kernel's text is its parts.
#[test]
fn parts_are_all_shaders() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stems = stems("shaders", "wgsl").into_iter();
    let written: BTreeSet<String> = stems.map(|stem| format!("shaders/{stem}.wgsl")).collect();
    let mut used = BTreeSet::new();
    for kernel in ops::passes() {
        let source = kernel.source();
        for part in kernel.parts() {
            let file = std::fs::read_to_string(root.join(part.file)).unwrap();
            assert_eq!(part.text, file, "{}", part.file);
            assert!(source.contains(part.text), "{kernel:?}: {}", part.file);
            used.insert(part.file.to_owned());
        }
    }
    assert_eq!(used, written);
    let sources: BTreeSet<&str> = ops::passes().map(Kernel::source).collect();
    assert_eq!(sources, ops::sources().collect());
}

/// A line of a kernel's text is found again in the file that it comes from.
#[test]
fn lines_of_a_text_have_places() {
    let kernel = &linear::NN;
    for (i, line) in kernel.source().lines().enumerate() {
        let place = wgsl::place(kernel.source(), i + 1).unwrap();
        let part = kernel.parts().iter().find(|part| part.file == place.file);
        match place.line {
            0 => assert_eq!(line, format!("{}{}", wgsl::MARK, place.file)),
            n => assert_eq!(part.unwrap().text.lines().nth(n - 1), Some(line)),
        }
    }
}

#[test]
fn variants_take_what_their_kernels_take() {
    for kernel in kernels() {
        let names: BTreeSet<&str> = kernel.variants().map(|variant| variant.variant()).collect();
        assert_eq!(names.len(), kernel.variants().count(), "{}", kernel.name());
        let theirs = kernel.reflection();
        for variant in kernel.variants().skip(1) {
            let name = format!("{} [{}]", variant.name(), variant.variant());
            assert_eq!(variant.op(), kernel.op());
            assert_ne!(variant.source(), kernel.source(), "{name}");
            let mut written = 0;
            for pass in variant.passes() {
                assert_eq!(pass.source(), variant.source(), "{name}: a text a variant");
                let ours = pass.reflection();
                assert_eq!(ours.params, theirs.params, "{name}");
                // Found by name, read or written as there; partial sums are the engine's.
                for binding in ours.storage.iter().filter(|b| b.name != PARTIALS) {
                    let same = |b: &&StorageBinding| b.name == binding.name;
                    let base = theirs.storage.iter().find(same);
                    let base = base.unwrap_or_else(|| panic!("{name}: `{}`", binding.name));
                    assert_eq!(base.written, binding.written, "{name}: `{}`", binding.name);
                    written += usize::from(binding.written);
                }
            }
            let all = theirs.storage.iter().filter(|b| b.written).count();
            assert_eq!(written, all, "{name} writes not all that it should");
        }
    }
}

/// No entry point is in the files and in no kernel.
#[test]
fn entry_points_are_the_kernels() {
    for op in OPS {
        let ours = op.kernels.iter().all(|k| k.op() == op.name);
        assert!(ours, "{}: another op's kernel", op.name);
        let variants = op.kernels.iter().flat_map(|kernel| kernel.variants());
        let passes: Vec<&Kernel> = variants.flat_map(|variant| variant.passes()).collect();
        let declared: BTreeSet<&str> = passes.iter().map(|k| k.entry_point()).collect();
        let mut written = BTreeSet::new();
        for kernel in &passes {
            let module = naga::front::wgsl::parse_str(kernel.source()).unwrap();
            written.extend(module.entry_points.into_iter().map(|entry| entry.name));
        }
        assert!(written.iter().eq(declared), "{}: {written:?}", op.name);
    }
}

/// Only this crate's own kernels may run without checks.
#[test]
fn kernels_of_the_registry_are_trusted() {
    assert!(ops::passes().all(Kernel::is_trusted));
}

#[test]
fn cases_run_every_kernel_and_compare_what_it_wrote() {
    let poison = poison();
    for op in OPS {
        let (mut cpu, mut seen) = (CpuEngine::new(), BTreeSet::new());
        let mut note = |cpu: &mut dyn Device, recording: &Recording| {
            seen.extend(recording.steps.iter().map(|step| step.kernel.name()));
            cpu.run(recording)
        };
        let mut spy = Tap::new(&mut cpu, &mut note);
        for case in (op.cases)() {
            let name = format!("{}: {}", op.name, case.label);
            let outcome = case.run(&mut spy).unwrap();
            assert!(outcome.broken.is_empty(), "{name}: {:?}", outcome.broken);
            assert!(!outcome.outputs.is_empty(), "{name} compares nothing");
            for (i, output) in outcome.outputs.iter().enumerate() {
                // Two outputs of nothing but poison would compare as equal.
                let written = |v: &&f32| v.to_bits() != poison;
                assert!(
                    output.iter().any(|v| written(&v)),
                    "{name}: output {i} is unwritten"
                );
                let finite = output.iter().filter(written).all(|v| v.is_finite());
                assert!(finite, "{name}: output {i} is not finite");
            }
        }
        for kernel in op.kernels {
            let name = kernel.name();
            assert!(seen.contains(&name), "no case runs {name}");
        }
    }
}

/// The bits of an output before a kernel writes it.
fn poison() -> u32 {
    let unwritten = Case::new("unwritten".into())
        .output(1)
        .run(&mut CpuEngine::new())
        .unwrap();
    unwritten.outputs[0][0].to_bits()
}

/// Two outputs of a case.
fn outputs() -> Vec<Vec<f32>> {
    vec![vec![1.0, -2.0, 0.0, 3.0, 0.5], vec![1e-3, 2e-3]]
}

fn passes(ours: &[Vec<f32>], reference: &[Vec<f32>]) -> bool {
    distance(ours, reference).within(&Distance::BOUND)
}

/// The outputs with one element changed, for each element in turn.
fn each_changed(change: impl Fn(f32) -> f32) -> impl Iterator<Item = Vec<Vec<f32>>> {
    [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1)]
        .into_iter()
        .map(move |(o, i)| {
            let mut changed = outputs();
            changed[o][i] = change(changed[o][i]);
            changed
        })
}

#[test]
fn comparator_passes_equal_and_rounded_outcomes() {
    assert!(passes(&outputs(), &outputs()));
    assert!(each_changed(|v| v.next_up()).all(|rounded| passes(&rounded, &outputs())));
    assert!(passes(&[vec![0.0; 3]], &[vec![0.0; 3]]));
    let poison = f32::from_bits(poison());
    assert!(passes(&[vec![1.0, poison]], &[vec![1.0, poison]]));
}

#[test]
fn comparator_sees_one_wrong_element() {
    for wrong in each_changed(|v| v + 1e-4) {
        assert!(!passes(&wrong, &outputs()), "{wrong:?}");
        assert!(!passes(&outputs(), &wrong), "{wrong:?} as the reference");
    }
    // Among many right elements the L2 norm alone would miss a wrong one.
    let right = vec![1.0_f32; 1 << 20];
    let mut wrong = right.clone();
    wrong[12345] += 1e-4;
    let d = distance(&[wrong], &[right]);
    assert!(
        d.relative_l2 < Distance::BOUND.relative_l2 && !d.within(&Distance::BOUND),
        "{d:?}"
    );
}

#[test]
fn comparator_sees_an_error_spread_thinly() {
    let right = vec![1.0_f32; 1000];
    let wrong = vec![1.0_f32 + 1e-5; 1000];
    let d = distance(&[wrong], &[right]);
    assert!(
        d.relative_max < Distance::BOUND.relative_max && !d.within(&Distance::BOUND),
        "{d:?}"
    );
}

#[test]
fn comparator_sees_what_is_not_a_number() {
    let poison = f32::from_bits(poison());
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, poison] {
        for wrong in each_changed(|_| bad) {
            assert!(!passes(&wrong, &outputs()), "{bad} in ours");
            assert!(!passes(&outputs(), &wrong), "{bad} in the reference");
            if bad.to_bits() != poison.to_bits() {
                assert!(!passes(&wrong, &wrong), "{bad} in both");
            }
        }
    }
    assert!(
        !passes(&[vec![f32::NAN]], &[vec![poison]]),
        "written as NaN, and not written"
    );
    let nan = Distance {
        relative_l2: f64::NAN,
        relative_max: 0.0,
    };
    assert!(!nan.within(&Distance::BOUND));
}

#[test]
fn comparator_sees_a_changed_length_and_a_missing_output() {
    let mut shorter = outputs();
    shorter[1].pop();
    let mut longer = outputs();
    longer[0].push(0.0);
    let mut missing = outputs();
    missing.pop();
    for wrong in [shorter, longer, missing, Vec::new()] {
        assert!(!passes(&wrong, &outputs()), "{wrong:?}");
        assert!(!passes(&outputs(), &wrong), "{wrong:?} as the reference");
    }
}

#[test]
fn comparator_sees_zeros_on_either_side() {
    assert!(!passes(&[vec![0.0, 1e-30]], &[vec![0.0, 0.0]]));
    assert!(!passes(&[vec![0.0, 0.0]], &[vec![0.0, 1e-30]]));
    // An output of zeros fails, whatever the other outputs are.
    let mut zeros = outputs();
    zeros[1] = vec![0.0; 2];
    assert!(!passes(&zeros, &outputs()));
}

/// The report of a case of y `[1, count]` = x `[1, 1]` · w `[1, count]` on what it broke; w and y have 3 elements.
fn broken(case: Case, count: usize) -> Vec<String> {
    let case = case.record(move |rec, b| {
        let op = linear::Nn {
            x: b[0],
            weight: b[1],
            bias: None,
            residual: None,
            y: b[2],
            first_row: 0,
        };
        linear::nn(
            rec,
            &op,
            linear::Shape::whole(1, 1, count),
            linear::Sum::SET,
        );
    });
    case.run(&mut CpuEngine::new()).unwrap().broken
}

#[test]
fn a_case_sees_writes_where_there_should_be_none() {
    let case = || Case::new("y = x · w".into()).input(1, 1.0).input(3, 1.0);
    assert!(broken(case().inout(3, 1.0), 3).is_empty());
    assert_eq!(broken(case().inout(3, 1.0), 4), ["wrote beyond buffer 2"]);
    assert_eq!(broken(case().input(3, 1.0), 3), ["changed input 2"]);
}

/// Kernels of the same parts share their text, so that it is parsed once for all of them.
#[test]
fn each_text_is_one() {
    let (mut texts, mut passes) = (std::collections::BTreeMap::new(), 0);
    for kernel in ops::passes() {
        passes += 1;
        let first = texts.entry(kernel.source()).or_insert(kernel.source());
        let name = kernel.name();
        assert_eq!(first.as_ptr(), kernel.source().as_ptr(), "{name}");
    }
    assert!(texts.len() < passes, "{} of {passes}", texts.len());
}
