//! Timed runs compute the results of ordinary runs, and their times are plausible.

use std::time::Instant;

use crate::common;
use gpt2_dpo::buffer::Buffer;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::{Clock, Device, EngineExt, Tap, Timed, TimedRun, Timing};
use gpt2_dpo::gpu::OpenOptions;
use gpt2_dpo::ops::linear::{self, Shape};
use gpt2_dpo::recording::Recording;

const SIDE: usize = 256;
const COUNT: usize = SIDE * SIDE;

/// y = x · x, then y += the product of x's first row with itself, a few times. Each step depends on the one
/// before.
fn steps(engine: &mut dyn Device) -> (Recording, Buffer) {
    let x: Vec<f32> = (0..COUNT).map(|i| (i % 97) as f32 / 97.0 - 0.5).collect();
    let x = engine.upload("x", &x).unwrap();
    let y = engine.create("y", COUNT).unwrap();
    let mut rec = engine.recording();
    let shape = Shape::whole(SIDE, SIDE, SIDE);
    let op = linear::Nn {
        x,
        weight: x,
        bias: None,
        residual: None,
        y,
        first_row: 0,
    };
    linear::nn(&mut rec, &op, shape, linear::Sum::SET);
    for _ in 0..3 {
        let op = linear::Tn { x, dy: x, dw: y };
        linear::tn(&mut rec, &op, Shape::whole(1, SIDE, SIDE), linear::Sum::ADD);
    }
    (rec, y)
}

fn timed_runs_compute_the_same(engine: &mut dyn Device) {
    let (rec, y) = steps(engine);
    engine.run(&rec).unwrap();
    let untimed = engine.read(y).unwrap();
    let mut fastest = [f64::INFINITY; 4];
    for _ in 0..3 {
        engine.write(y, &vec![0; COUNT]).unwrap();
        let clock = Instant::now();
        let TimedRun { times, tickets } = engine.run_timed(&rec).unwrap();
        assert_eq!(tickets.len(), 0);
        let seconds = clock.elapsed().as_secs_f64();
        assert_eq!(times.len(), rec.steps.len());
        assert!(times.iter().all(|t| t.seconds > 0.0), "{times:?}");
        let apart = |t: &[Timing]| t[0].end() <= t[1].start;
        assert!(times.windows(2).all(apart), "{times:?}");
        assert!(times[3].end() <= seconds, "{times:?} in {seconds}");
        for (fastest, time) in fastest.iter_mut().zip(&times) {
            *fastest = time.seconds.min(*fastest);
        }
        assert_eq!(engine.read(y).unwrap(), untimed);
    }
    let [product, sums @ ..] = fastest;
    assert!(sums.iter().all(|&sum| sum < product), "{fastest:?}");
    let nothing = engine.recording();
    assert_eq!(engine.run_timed(&nothing).unwrap().times, []);
}

#[test]
fn timed_runs_compute_the_same_on_the_cpu() {
    timed_runs_compute_the_same(&mut CpuEngine::new());
}

#[test]
fn timed_runs_compute_the_same_on_a_gpu() {
    let mut gpu = common::gpu_with(OpenOptions::default());
    assert_eq!(gpu.clock(), Clock::Device, "software Vulkan has timestamps");
    timed_runs_compute_the_same(&mut gpu);
}

#[test]
fn timed_runs_compute_the_same_on_a_gpu_without_timestamps() {
    let mut gpu = common::gpu_with(common::CHECKED);
    assert_eq!(gpu.clock(), Clock::Host);
    timed_runs_compute_the_same(&mut gpu);
}

/// More passes than fit into one query set.
#[test]
fn a_gpu_times_thousands_of_steps() {
    let mut gpu = common::gpu_with(OpenOptions::default());
    let engine: &mut dyn Device = &mut gpu;
    let buffers = [1.0_f32, 0.0].map(|v| engine.upload("one", &[v]).unwrap());
    let mut rec = engine.recording();
    let count = 5000;
    for _ in 0..count {
        let [x, dw] = buffers;
        let op = linear::Tn { x, dy: x, dw };
        linear::tn(&mut rec, &op, Shape::whole(1, 1, 1), linear::Sum::ADD);
    }
    let TimedRun { times, tickets } = engine.run_timed(&rec).unwrap();
    assert_eq!(tickets.len(), 0);
    assert_eq!(times.len(), count);
    assert!(times.windows(2).all(|t| t[0].end() <= t[1].start));
    assert_eq!(engine.read_f32(buffers[1]).unwrap(), [count as f32]);
}

fn usage_tells_memory_and_idleness(engine: &mut dyn Device, tells_idle: bool) {
    let gone = engine.create("gone before", 1 << 20).unwrap();
    engine.release(gone);
    let (rec, _) = steps(engine);
    engine.watch();
    let more = engine.create("most", 1000).unwrap();
    engine.run(&rec).unwrap();
    engine.wait().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    engine.run(&rec).unwrap();
    engine.release(more);
    let usage = engine.usage().unwrap();
    assert_eq!(usage.peak_bytes, Some(4 * (2 * COUNT + 1000)));
    assert_eq!(usage.idle.is_some(), tells_idle);
    if let Some(idle) = usage.idle {
        assert!(idle > 0.2 && idle < 1.0, "asleep most of the time: {idle}");
    }

    engine.watch();
    let usage = engine.usage().unwrap();
    assert_eq!(usage.peak_bytes, Some(4 * 2 * COUNT));
    assert_eq!(usage.idle, None, "nothing ran");
}

#[test]
fn usage_tells_memory_and_idleness_on_the_cpu() {
    usage_tells_memory_and_idleness(&mut CpuEngine::new(), true);
}

#[test]
fn usage_tells_memory_and_idleness_on_a_gpu() {
    let mut gpu = common::gpu_with(OpenOptions::default());
    usage_tells_memory_and_idleness(&mut gpu, true);
    usage_tells_memory_and_idleness(&mut common::gpu_with(common::CHECKED), false);
}

#[test]
fn a_tap_is_the_engine_but_for_its_recordings() {
    let mut cpu = CpuEngine::new();
    let mut seen = 0;
    let mut count = |cpu: &mut dyn Device, rec: &Recording| {
        seen += rec.steps.len();
        cpu.run(rec)
    };
    usage_tells_memory_and_idleness(&mut Tap::new(&mut cpu, &mut count), true);
    assert_eq!(seen, 2 * 4);
}
