//! Kernel times: the rows of a table, one for each kernel, and a trace of every step of real recordings.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use crate::ceilings::{Ceilings, Nearer};
use crate::engine::{Device, Ticket, TimedRun, Timing, Tuned};
use crate::error::Result;
use crate::ops::case::Distance;
use crate::recording::{Recording, Step};
use crate::target::Precision;

/// The steps that share a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Label {
    /// `op/entry`.
    pub kernel: String,
    /// The variant that runs; empty if the kernel has only one.
    pub variant: &'static str,
    /// The sizes among the params; empty for all shapes together.
    pub shape: Vec<u32>,
}

impl Label {
    /// A step's, its shape included.
    pub fn of(engine: &(impl Tuned + ?Sized), step: &Step) -> Label {
        Label {
            kernel: step.kernel.name(),
            variant: engine.variant(step),
            shape: step.sizes(),
        }
    }

    /// The shape in the usual form: `888×768`.
    pub fn shape(&self) -> String {
        let sizes: Vec<String> = self.shape.iter().map(u32::to_string).collect();
        sizes.join("×")
    }
}

/// Writes the kernel and, in brackets, its variant, if it has several; not the shape.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variant {
            "" => write!(f, "{}", self.kernel),
            variant => write!(f, "{} [{variant}]", self.kernel),
        }
    }
}

/// The sums over the calls of a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// The number of calls.
    pub count: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and bytes written.
    pub bytes: u64,
    /// The time of all calls, in seconds.
    pub seconds: f64,
    /// The precision in which the variant multiplies.
    pub precision: Precision,
    /// The distance between device and twin, and its bound; `None` if they were not compared.
    pub distance: Option<Deviation>,
}

impl Calls {
    /// Counts one more call, except for its time.
    pub fn add(&mut self, step: &Step) {
        self.count += 1;
        self.flops += step.flops;
        self.bytes += step.bytes;
    }

    /// True if the distance from the twin exceeds its bound.
    pub fn is_wrong(&self) -> bool {
        self.distance
            .is_some_and(|found| !found.distance.within(&found.bound))
    }
}

/// A kernel's calls and their label.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// The kernel, its variant, its shape.
    pub label: Label,
    /// The sums over its calls.
    pub calls: Calls,
}

/// How far a kernel's results are from its twin's.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    /// How far they are.
    pub distance: Distance,
    /// How far they may be.
    pub bound: Distance,
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The kernel.
    #[serde(flatten)]
    pub label: Label,
    /// The number of calls.
    pub calls: u64,
    /// Floating-point operations per call, on average.
    pub flops: f64,
    /// Bytes read and bytes written per call, on average.
    pub bytes: f64,
    /// The distance between device and twin; `None` if they were not compared.
    pub distance: Option<Distance>,
    /// `None` if the kernel's results are wrong.
    pub speed: Option<Speed>,
}

/// The speed of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// The time of one call, in seconds.
    pub seconds: f64,
    /// 10⁹ floating-point operations a second.
    pub gflops: f64,
    /// 10⁹ bytes a second.
    pub gbytes: f64,
    /// The ceiling of which the kernel reaches the larger share.
    pub nearer: Nearer,
    /// The share of that ceiling that the kernel reaches.
    pub of_ceiling: f64,
    /// The kernel's share of the time of all rows.
    pub share: f64,
}

/// The rows of a table: first the wrong kernels, then the others by their share of the time, largest first.
pub fn rows(all: impl IntoIterator<Item = Labelled>, ceilings: &Ceilings) -> Vec<Row> {
    let all: Vec<Labelled> = all.into_iter().collect();
    let right = all.iter().filter(|row| !row.calls.is_wrong());
    let total: f64 = right.map(|row| row.calls.seconds).sum();
    let row = |Labelled { label, calls }: Labelled| {
        let count = calls.count as f64;
        let flops_per_second = calls.flops as f64 / calls.seconds;
        let bytes_per_second = calls.bytes as f64 / calls.seconds;
        let nearest = ceilings.nearer(calls.precision, flops_per_second, bytes_per_second);
        let speed = Speed {
            seconds: calls.seconds / count,
            gflops: 1e-9 * flops_per_second,
            gbytes: 1e-9 * bytes_per_second,
            nearer: nearest.ceiling,
            of_ceiling: nearest.share,
            share: calls.seconds / total,
        };
        Row {
            label,
            calls: calls.count,
            flops: calls.flops as f64 / count,
            bytes: calls.bytes as f64 / count,
            distance: calls.distance.map(|found| found.distance),
            speed: (!calls.is_wrong()).then_some(speed),
        }
    };
    let mut rows: Vec<Row> = all.into_iter().map(row).collect();
    let share = |row: &Row| row.speed.as_ref().map_or(f64::INFINITY, |s| s.share);
    rows.sort_by(|a, b| {
        let by_share = share(b).total_cmp(&share(a));
        by_share.then_with(|| a.label.cmp(&b.label))
    });
    rows
}

/// The most steps in a trace; later steps count only in the table.
pub const MAX_TRACED: usize = 200_000;

/// Times every step that runs through it, for a table and a trace.
pub struct Profile {
    began: Instant,
    device: String,
    clock: String,
    calls: HashMap<Label, Calls>,
    trace: Vec<Traced>,
}

/// A step in the trace. Its time counts from the beginning of the profile.
struct Traced {
    label: Label,
    flops: u64,
    bytes: u64,
    time: Timing,
}

impl Profile {
    /// Nothing timed yet; time is counted from here.
    pub fn new(engine: &dyn Device) -> Profile {
        Profile {
            began: Instant::now(),
            device: engine.name(),
            clock: engine.clock().to_string(),
            calls: HashMap::new(),
            trace: Vec::new(),
        }
    }

    /// Runs a recording in place of [`Engine::run`](crate::engine::Engine::run), timing each step: for a [`crate::engine::Tap`].
    ///
    /// # Errors
    /// An error of the device.
    pub fn run(&mut self, engine: &mut dyn Device, recording: &Recording) -> Result<Vec<Ticket>> {
        engine.wait()?;
        let start = self.began.elapsed().as_secs_f64();
        let TimedRun { times, tickets } = engine.run_timed(recording)?;
        for (step, time) in recording.steps.iter().zip(times) {
            let label = Label::of(engine, step);
            let every_shape = Label {
                shape: Vec::new(),
                ..label.clone()
            };
            let calls = self.calls.entry(every_shape).or_default();
            calls.add(step);
            calls.precision = step.variant(engine.variant(step)).precision;
            calls.seconds += time.seconds;
            if self.trace.len() < MAX_TRACED {
                self.trace.push(Traced {
                    label,
                    flops: step.flops,
                    bytes: step.bytes,
                    time: Timing {
                        start: start + time.start,
                        ..time
                    },
                });
            }
        }
        Ok(tickets)
    }

    /// True if more steps ran than the trace holds.
    pub fn is_cut(&self) -> bool {
        self.calls.values().map(|c| c.count).sum::<u64>() > self.trace.len() as u64
    }

    /// A row for each kernel, with the mean time of its calls.
    pub fn rows(&self, ceilings: &Ceilings) -> Vec<Row> {
        let calls = self.calls.iter();
        let labelled = calls.map(|(label, &calls)| Labelled {
            label: label.clone(),
            calls,
        });
        rows(labelled, ceilings)
    }

    /// Writes the first [`MAX_TRACED`] steps as a Chrome trace, which is JSON for Perfetto and
    /// chrome://tracing.
    ///
    /// # Errors
    /// The errors of writing to `file`.
    pub fn write_trace(&self, file: &mut dyn Write) -> io::Result<()> {
        let process = json!({
            "name": "process_name", "ph": "M", "pid": 1, "args": { "name": self.device },
        });
        let thread = json!({
            "name": "thread_name", "ph": "M", "pid": 1, "tid": 1,
            "args": { "name": format!("kernels, by {}", self.clock) },
        });
        write!(file, "{{\"traceEvents\":[\n{process},\n{thread}")?;
        for step in &self.trace {
            let event = json!({
                "name": step.label.to_string(),
                "ph": "X",
                "pid": 1,
                "tid": 1,
                "ts": 1e6 * step.time.start,
                "dur": 1e6 * step.time.seconds,
                "args": {
                    "shape": step.label.shape(),
                    "flops": step.flops,
                    "bytes": step.bytes,
                },
            });
            write!(file, ",\n{event}")?;
        }
        writeln!(file, "\n],\"displayTimeUnit\":\"ms\"}}")
    }
}
