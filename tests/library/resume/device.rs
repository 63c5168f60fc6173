//! A run is asked to stop, or its device is lost or out of memory, at each moment.

use gpt2_dpo::checkpoint;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::Device;
use gpt2_dpo::gpu::OpenOptions;
use gpt2_dpo::target::Precision;
use gpt2_dpo::train::{Ending, Host, OnDevice, Retry};
use gpt2_dpo::{Error, Result};

use super::{Attempt, World, assert_same, lost, tapped};
use crate::common;

/// What happens at a run of the device.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// The user asks the run to stop.
    Stop,
    /// The process or the device is gone.
    Loss,
    /// The device is asked for a buffer beyond the plan, which it does not have.
    Full,
}

/// Lets one blow fall at a run of the device; true if the training ended before.
fn strike(world: &World, engine: &mut dyn Device, out: &str, blow: Blow, at: usize) -> bool {
    let host = Host::default();
    let stop = host.stop.clone();
    let (ended, runs) = tapped(
        engine,
        at,
        &mut |engine, recording| match blow {
            Blow::Loss => Err(lost()),
            Blow::Full => engine
                .create("a buffer beyond the plan", usize::MAX >> 4)
                .map(|_| Vec::new()),
            Blow::Stop => {
                stop.request();
                engine.run(recording)
            }
        },
        |engine| world.train(engine, out, host),
    );
    match (ended, blow) {
        (Ok(Ending::Finished(_)), _) => {
            // A stop that comes with the last work comes too late.
            assert!(runs <= at, "{blow:?} at {at}: nobody noticed");
            true
        }
        (Ok(Ending::Interrupted { .. }), Blow::Stop) => false,
        (Err(Error::Interrupted), Blow::Stop) => false,
        (Err(Error::Lost { .. }), Blow::Loss) => false,
        (Err(Error::OutOfMemory { what, .. }), Blow::Full) => {
            assert!(what.contains("a buffer beyond the plan"), "{what}");
            false
        }
        (ended, _) => panic!("{blow:?} at {at}: {:?}", ended.err()),
    }
}

fn goes_on_from_everywhere(make: &dyn Fn() -> Box<dyn Device>, every: usize) {
    let world = World::new();
    let whole = world.finish(make().as_mut(), "whole");
    assert_eq!(whole.metrics.len(), 4 + 5, "steps and evaluations");
    assert_eq!(whole.checkpoints.len(), 2);
    let mut struck = 0;
    for blow in [Blow::Stop, Blow::Loss, Blow::Full] {
        for at in (1..).step_by(every) {
            let out = format!("{blow:?}-{at}");
            // Without the cache the pass of the reference is struck too.
            let mut world = World::new();
            world.config.cache_dir = Some(world.dir.path().join(&out));
            let mut engine = make();
            if strike(&world, engine.as_mut(), &out, blow, at) {
                break;
            }
            // And once more, soon after.
            strike(&world, make().as_mut(), &out, blow, 1 + at % 5);
            let resumed = world.finish(make().as_mut(), &out);
            assert_same(&resumed, &whole, &out);
            struck += 1;
        }
    }
    assert!(struck * every >= 90, "{struck}");
}

#[test]
fn goes_on_from_everywhere_on_the_cpu() {
    goes_on_from_everywhere(&|| Box::new(CpuEngine::new()), 1);
}

#[test]
fn goes_on_from_everywhere_in_mixed_precision() {
    let make = || Box::new(CpuEngine::new().with_precision(Precision::Mixed)) as Box<dyn Device>;
    let mut world = World::new();
    world.config.precision = Precision::Mixed;
    let whole = world.finish(make().as_mut(), "whole");
    for at in [20, 33] {
        let out = format!("at-{at}");
        strike(&world, make().as_mut(), &out, Blow::Loss, at);
        assert_same(&world.finish(make().as_mut(), &out), &whole, &out);
    }
}

#[test]
fn goes_on_from_everywhere_on_a_gpu() {
    goes_on_from_everywhere(&|| Box::new(common::gpu_with(OpenOptions::default())), 9);
}

/// One loss, for drivers that take long to compile.
#[test]
fn goes_on_after_a_loss_on_a_gpu() {
    let world = World::new();
    let whole = world.finish(&mut common::gpu(), "whole");
    strike(&world, &mut common::gpu(), "lost", Blow::Loss, 20);
    let resumed = world.finish(&mut common::gpu(), "lost");
    assert_same(&resumed, &whole, "lost");
}

/// The driver destroys the device while training goes on. The retry opens another.
#[test]
fn a_destroyed_gpu_is_lost_and_a_retry_ends_with_the_same_bytes() {
    let world = World::new();
    let open = || common::gpu_with(OpenOptions::default());
    let whole = world.finish(&mut open(), "whole");
    for at in [3, 17, 30] {
        let out = format!("destroyed-{at}");
        let engine = open();
        let destroy = engine.destroyer();
        let mut attempts = 0;
        let mut told = Vec::new();
        let retry = Retry {
            retries: 1,
            out: &world.out(&out),
            open: &mut || Ok(Box::new(open())),
            tell: &mut |note| told.push(note),
        };
        let ended: Result<OnDevice<Ending>> = retry.run(Box::new(engine), None, |engine, from| {
            attempts += 1;
            let first = attempts == 1;
            let attempt = Attempt {
                config: &world.config,
                host: Host::default(),
                from,
                anyway: false,
                observe: &mut |_| {},
            };
            let on_run = &mut |engine: &mut dyn Device, recording: &_| {
                if first {
                    destroy();
                }
                engine.run(recording)
            };
            tapped(engine, at, on_run, |engine| {
                world.attempt(engine, &out, attempt)
            })
            .0
        });
        let outcome = ended.unwrap().result.finished().unwrap();
        assert_eq!(attempts, 2, "{told:?}");
        assert!(told[1].contains("the run goes on from"), "{told:?}");
        assert_same(&world.result(&out, outcome), &whole, &out);
    }
}

#[test]
fn without_retries_a_lost_device_is_an_error_and_the_metrics_stay() {
    let world = World::new();
    let mut engine = CpuEngine::new();
    let retry = Retry {
        retries: 0,
        out: &world.out("out"),
        open: &mut || Ok(Box::new(CpuEngine::new())),
        tell: &mut |_| panic!("nothing to tell"),
    };
    let train = |engine: &mut dyn Device| {
        tapped(engine, 36, &mut |_, _| Err(lost()), |engine| {
            world.train(engine, "out", Host::default())
        })
    };
    let ended = retry.run(Box::new(CpuEngine::new()), None, |engine, _| {
        train(engine).0
    });
    assert!(matches!(ended, Err(Error::Lost { .. })));
    let rows = super::metrics(&world.out("out"));
    let newest = checkpoint::find(&world.out("out")).unwrap().unwrap();
    assert!(rows.len() >= newest.position().step, "{}", rows.len());
    world.finish(&mut engine, "out");
}

/// A run may go on with another precision, and says so.
#[test]
fn another_precision_is_allowed_and_said() {
    let mut world = World::new();
    let out = world.out("out");
    strike(&world, &mut CpuEngine::new(), "out", Blow::Loss, 30);
    world.config.precision = Precision::Mixed;
    let from = checkpoint::find(&out).unwrap();
    let step = from.as_ref().unwrap().position().step;
    let mut notes = Vec::new();
    let attempt = Attempt {
        config: &world.config,
        host: Host::default(),
        from,
        anyway: false,
        observe: &mut |event| {
            if let gpt2_dpo::train::Event::Note(note) = event {
                notes.push(note.clone());
            }
        },
    };
    let mut engine = CpuEngine::new().with_precision(Precision::Mixed);
    let outcome = world.attempt(&mut engine, "out", attempt).unwrap();
    assert_eq!(outcome.finished().unwrap().steps, 4);
    assert!(
        notes
            .iter()
            .any(|note| note.contains("precision was f32, and is mixed now")),
        "{notes:?}"
    );
    let scales = super::metrics(&out)
        .into_iter()
        .filter(|row| row.get("loss").is_some());
    let scales: Vec<bool> = scales.map(|row| row.get("loss_scale").is_some()).collect();
    let expected: Vec<bool> = (1..=4).map(|at| at > step).collect();
    assert_eq!(scales, expected);
}

#[test]
fn other_pairs_are_refused_unless_the_user_wants_that() {
    let mut world = World::new();
    strike(&world, &mut CpuEngine::new(), "out", Blow::Loss, 30);
    world.pairs.examples.pop();
    for anyway in [false, true] {
        let attempt = Attempt {
            config: &world.config,
            host: Host::default(),
            from: checkpoint::find(&world.out("out")).unwrap(),
            anyway,
            observe: &mut |_| {},
        };
        let ended = world.attempt(&mut CpuEngine::new(), "out", attempt);
        match ended {
            Err(error) if !anyway => assert!(error.to_string().contains("`.data`"), "{error}"),
            ended => assert!(anyway && ended.is_ok(), "{:?}", ended.err()),
        }
    }
}

/// Where memory for copies is short, a checkpoint is written straight from the device, with the same bytes.
#[test]
fn a_checkpoint_without_copies_is_the_same() {
    let world = World::new();
    let whole = world.finish(&mut CpuEngine::new(), "copies");
    let host = Host {
        free_memory: || Some(0),
        ..Host::default()
    };
    let ending = world
        .train(&mut CpuEngine::new(), "straight", host)
        .unwrap();
    let straight = world.result("straight", ending.finished().unwrap());
    assert_same(&straight, &whole, "straight");
}
