//! A file system that fails: at each write, flush, rename and removal of a run.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gpt2_dpo::checkpoint;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::storage::{Disk, Storage, StoredFile};
use gpt2_dpo::train::{Event, Host};
use gpt2_dpo::{Error, Result};

use super::{Attempt, World, assert_same};

/// A file system whose calls fail from number `from`, counted from 1, up to number `until`.
#[derive(Clone)]
struct Faulty {
    calls: Arc<AtomicUsize>,
    from: usize,
    until: usize,
    kind: ErrorKind,
    free: u64,
}

impl Faulty {
    fn new(from: usize, until: usize, kind: ErrorKind) -> Faulty {
        Faulty {
            calls: Arc::default(),
            from,
            until,
            kind,
            free: u64::MAX,
        }
    }

    fn sound() -> Faulty {
        Faulty::new(usize::MAX, usize::MAX, ErrorKind::Other)
    }

    fn host(&self) -> Host {
        Host {
            storage: Arc::new(self.clone()),
            ..Host::default()
        }
    }

    fn call(&self) -> io::Result<()> {
        let number = 1 + self.calls.fetch_add(1, Ordering::SeqCst);
        match (self.from..self.until).contains(&number) {
            true => Err(self.kind.into()),
            false => Ok(()),
        }
    }
}

impl Storage for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.call()?;
        let file = Disk.create(path)?;
        let storage = self.clone();
        Ok(Box::new(FaultyFile { file, storage }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.call()?;
        let file = Disk.append(path)?;
        let storage = self.clone();
        Ok(Box::new(FaultyFile { file, storage }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        Disk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?;
        Disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        Disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        Disk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        Disk.sync_dir(path)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free)
    }
}

struct FaultyFile {
    file: Box<dyn StoredFile>,
    storage: Faulty,
}

impl Write for FaultyFile {
    /// Half of the bytes reach the disk before a failure, and before a success that is short.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let failed = self.storage.call();
        let half = &bytes[..bytes.len().div_ceil(2)];
        if failed.is_err() || bytes.len() > 1 << 12 {
            let written = self.file.write(half)?;
            failed?;
            return Ok(written);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl StoredFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.storage.call()?;
        self.file.sync()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.storage.call()?;
        self.file.cut(bytes)
    }
}

/// Trains on a faulty disk; the notes are added to `notes`. Metrics that could not be written are an error.
fn train(world: &World, out: &str, disk: &Faulty, notes: &mut Vec<String>) -> Result<()> {
    let attempt = Attempt {
        config: &world.config,
        host: disk.host(),
        from: None,
        anyway: false,
        observe: &mut |event| {
            if let Event::Note(note) = event {
                notes.push(note.clone());
            }
        },
    };
    let ended = world.attempt(&mut CpuEngine::new(), out, attempt)?;
    match ended.finished()?.unwritten {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The storage calls of a run.
fn calls(world: &World) -> usize {
    let disk = Faulty::sound();
    train(world, "counted", &disk, &mut Vec::new()).unwrap();
    disk.calls.load(Ordering::SeqCst)
}

/// One call fails: the run says so, goes on, and ends with everything but perhaps one checkpoint.
#[test]
fn one_failed_call_costs_a_checkpoint_at_most() {
    let world = World::new();
    let whole = world.finish(&mut CpuEngine::new(), "whole");
    let calls = calls(&world);
    assert!(calls > 100, "{calls}");
    let kinds = [
        ErrorKind::StorageFull,
        ErrorKind::Other, // EIO has no kind of its own
        ErrorKind::ReadOnlyFilesystem,
    ];
    let mut told = 0;
    for (at, kind) in (1..=calls).zip(kinds.into_iter().cycle()) {
        let out = format!("out-{at}");
        let mut notes = Vec::new();
        match train(&world, &out, &Faulty::new(at, at + 1, kind), &mut notes) {
            // The very first calls make the file of the metrics.
            Err(error) => {
                assert!(at < 8, "call {at}: {error}");
                assert!(matches!(error, Error::Io { .. }), "{error:?}");
                continue;
            }
            Ok(()) => told += usize::from(!notes.is_empty()),
        }
        assert_eq!(
            super::metrics(&world.out(&out)),
            whole.metrics,
            "call {at}: {notes:?}"
        );
        // Each checkpoint that has its name is whole.
        let entries = checkpoint::list(&world.out(&out)).unwrap();
        assert!(entries.len() >= 2, "call {at}: {entries:?}");
        for entry in entries {
            checkpoint::Checkpoint::open(&entry.path).unwrap();
        }
        // And the run ends the same from where it stands, with the rest in order.
        let resumed = world.finish(&mut CpuEngine::new(), &out);
        assert!(resumed.weights == whole.weights, "call {at}");
        assert_eq!(resumed.metrics, whole.metrics, "call {at}");
    }
    assert!(told > calls / 2, "{told} of {calls}");
}

/// The disk is full from some moment on, and has room again later.
#[test]
fn a_disk_that_stays_full_ends_in_an_error_and_loses_nothing() {
    let world = World::new();
    let whole = world.finish(&mut CpuEngine::new(), "whole");
    let calls = calls(&world);
    for at in (9..calls).step_by(7) {
        let out = format!("full-{at}");
        let mut notes = Vec::new();
        let disk = Faulty::new(at, usize::MAX, ErrorKind::StorageFull);
        let ended = train(&world, &out, &disk, &mut notes);
        // A run whose last row was written before the disk was full has everything.
        let text = std::fs::read_to_string(world.out(&out).join("metrics.jsonl")).unwrap();
        let all_rows = text.matches('\n').count() == whole.metrics.len();
        assert_eq!(ended.is_ok(), all_rows, "call {at}: {ended:?}");
        assert!(!notes.is_empty(), "call {at}");
        let resumed = world.finish(&mut CpuEngine::new(), &out);
        assert_same(&resumed, &whole, &out);
    }
}

#[test]
fn a_disk_without_room_is_refused_before_the_first_step() {
    let world = World::new();
    let disk = Faulty {
        free: 1 << 10,
        ..Faulty::sound()
    };
    let mut notes = Vec::new();
    let text = train(&world, "out", &disk, &mut notes)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("MiB free") && text.contains("`.save_total_limit`"),
        "{text}"
    );
    assert!(!world.out("out").join("metrics.jsonl").exists());
}

/// The checkpoints that a stopped run left need no further room.
#[test]
fn a_disk_that_held_a_run_holds_it_when_it_goes_on() {
    let world = World::new();
    world.finish(&mut CpuEngine::new(), "out");
    let there = checkpoint::list(&world.out("out")).unwrap();
    let [newest, earlier] = &there[..] else {
        panic!("{there:?}");
    };
    // The run needs room for three checkpoints and a model, which is a third of one.
    let disk = Faulty {
        free: 2 * newest.bytes(),
        ..Faulty::sound()
    };
    let goes_on = |out: &str, from| {
        let attempt = Attempt {
            config: &world.config,
            host: disk.host(),
            from,
            anyway: false,
            observe: &mut |_| {},
        };
        world.attempt(&mut CpuEngine::new(), out, attempt)
    };
    let fresh = goes_on("fresh", None).err().unwrap().to_string();
    assert!(fresh.contains("MiB free"), "{fresh}");
    let from = checkpoint::Checkpoint::open(&earlier.path).unwrap();
    goes_on("out", Some(from)).unwrap().finished().unwrap();
}
