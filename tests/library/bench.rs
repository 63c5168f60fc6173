//! The bench recognizes a device that computes wrong results and reports no time for them.

use crate::common;
use gpt2_dpo::bench::{self, Options};
use gpt2_dpo::engine::{Device, EngineExt, Tap};
use gpt2_dpo::gpu::OpenOptions;
use gpt2_dpo::recording::Recording;

const CONFIG: &str = r#"{ "model_type": "gpt2", "vocab_size": 256, "n_positions": 32, "n_embd": 32,
    "n_layer": 1, "n_head": 2, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5 }"#;

#[test]
fn a_wrong_kernel_gets_no_time() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    let options = Options {
        model: dir.path().to_str().unwrap().to_owned(),
        batch_size: 1,
        gradient_accumulation_steps: 2,
        max_prompt_tokens: 5,
        max_response_tokens: 3,
        steps: 1,
        seconds_per_kernel: 0.0,
    };
    let mut gpu = common::gpu_with(OpenOptions::default());
    // One element of one layernorm's output, and by little.
    let mut spoil = |gpu: &mut dyn Device, rec: &Recording| {
        let tickets = gpu.run(rec)?;
        for step in &rec.steps {
            if step.kernel.name() == "layernorm/forward" {
                let y = step.buffers()[3].first(1);
                let first = gpu.read_f32(y)?[0];
                gpu.write(y, &[(first + 1e-3).to_bits()])?;
            }
        }
        Ok(tickets)
    };
    let report = bench::run(&mut Tap::new(&mut gpu, &mut spoil), &options, &mut |_| {}).unwrap();
    let wrong: Vec<&str> = report.wrong().map(|row| &row.label.kernel[..]).collect();
    assert_eq!(
        wrong, ["layernorm/forward"; 2],
        "of the layers and of the head"
    );
    // The wrong kernels come first, and the others share the time.
    assert!(report.kernels[..2].iter().all(|row| row.speed.is_none()));
    let speeds = report.kernels.iter().filter_map(|row| row.speed.as_ref());
    let shares: f64 = speeds.map(|speed| speed.share).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
}
