//! Where the time goes: rows of a table, a kernel each; and, for real recordings, a trace of every step.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use crate::ceilings::{Ceilings, Nearer};
use crate::engine::{Engine, Timing};
use crate::error::Result;
use crate::ops::case::Distance;
use crate::recording::{Recording, Step};
use crate::target::Precision;

/// Which steps share a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Label {
    /// `op/entry`.
    pub kernel: String,
    /// Which variant runs; empty where there is but one.
    pub variant: &'static str,
    /// The sizes among the params; empty for all shapes together.
    pub shape: Vec<u32>,
}

impl Label {
    /// A step's, its shape included.
    pub fn of(engine: &dyn Engine, step: &Step) -> Label {
        Label {
            kernel: step.kernel.name(),
            variant: engine.variant(step),
            shape: step.sizes(),
        }
    }

    /// The shape as people write it: `888×768`.
    pub fn shape(&self) -> String {
        let sizes: Vec<String> = self.shape.iter().map(u32::to_string).collect();
        sizes.join("×")
    }
}

/// The kernel, with its variant in brackets where there are several; not the shape.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variant {
            "" => write!(f, "{}", self.kernel),
            variant => write!(f, "{} [{variant}]", self.kernel),
        }
    }
}

/// What the calls of a row add up to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// How many.
    pub count: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written, each once.
    pub bytes: u64,
    /// How long they take.
    pub seconds: f64,
    /// What the variant multiplies in.
    pub precision: Precision,
    /// How far the device is from the twin, and how far it may be; `None` if nobody looked.
    pub distance: Option<(Distance, Distance)>,
}

impl Calls {
    /// Counts one more call, but not its time.
    pub fn add(&mut self, step: &Step) {
        self.count += 1;
        self.flops += step.flops;
        self.bytes += step.bytes;
    }

    /// True if the device computes something else than the twin.
    pub fn is_wrong(&self) -> bool {
        self.distance
            .is_some_and(|(distance, bound)| !distance.within(&bound))
    }
}

/// A line of a table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is about.
    #[serde(flatten)]
    pub label: Label,
    /// How often it runs.
    pub calls: u64,
    /// Floating-point operations of a call, on average.
    pub flops: f64,
    /// Bytes of a call, on average, each read and written once.
    pub bytes: f64,
    /// How far the device is from the twin; `None` if nobody looked.
    pub distance: Option<Distance>,
    /// `None` if the kernel computes something wrong.
    pub speed: Option<Speed>,
}

/// How fast a kernel is.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// Of a call.
    pub seconds: f64,
    /// 10⁹ floating-point operations a second.
    pub gflops: f64,
    /// 10⁹ bytes a second.
    pub gbytes: f64,
    /// The ceiling that this is nearer to.
    pub nearer: Nearer,
    /// The share of that ceiling.
    pub of_ceiling: f64,
    /// Share of the time of all rows.
    pub share: f64,
}

/// The rows of a table, the largest share of the time first, what is wrong before all.
pub fn rows(all: impl IntoIterator<Item = (Label, Calls)>, ceilings: &Ceilings) -> Vec<Row> {
    let all: Vec<(Label, Calls)> = all.into_iter().collect();
    let right = all.iter().filter(|(_, calls)| !calls.is_wrong());
    let total: f64 = right.map(|(_, calls)| calls.seconds).sum();
    let row = |(label, calls): (Label, Calls)| {
        let count = calls.count as f64;
        let flops_per_second = calls.flops as f64 / calls.seconds;
        let bytes_per_second = calls.bytes as f64 / calls.seconds;
        let (nearer, of_ceiling) =
            ceilings.nearer(calls.precision, flops_per_second, bytes_per_second);
        let speed = Speed {
            seconds: calls.seconds / count,
            gflops: 1e-9 * flops_per_second,
            gbytes: 1e-9 * bytes_per_second,
            nearer,
            of_ceiling,
            share: calls.seconds / total,
        };
        Row {
            label,
            calls: calls.count,
            flops: calls.flops as f64 / count,
            bytes: calls.bytes as f64 / count,
            distance: calls.distance.map(|(distance, _)| distance),
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

/// Steps that a trace holds at most; later ones are in the table alone.
pub const MAX_TRACED: usize = 200_000;

/// Times every step that runs through it, for a table and a trace.
pub struct Profile {
    began: Instant,
    device: String,
    clock: String,
    calls: HashMap<Label, Calls>,
    trace: Vec<Traced>,
}

/// A step of a trace; its time is counted from the profile's begin.
struct Traced {
    label: Label,
    flops: u64,
    bytes: u64,
    time: Timing,
}

impl Profile {
    /// Nothing timed yet; time is counted from here.
    pub fn new(engine: &dyn Engine) -> Profile {
        Profile {
            began: Instant::now(),
            device: engine.name(),
            clock: engine.clock().to_string(),
            calls: HashMap::new(),
            trace: Vec::new(),
        }
    }

    /// Runs a recording in place of [`Engine::run`], timing each step: for a [`crate::engine::Tap`].
    ///
    /// # Errors
    /// `Error::Device`.
    pub fn run(&mut self, engine: &mut dyn Engine, recording: &Recording) -> Result<()> {
        engine.wait()?;
        let start = self.began.elapsed().as_secs_f64();
        let times = engine.run_timed(recording)?;
        for (step, time) in recording.steps.iter().zip(times) {
            let label = Label::of(engine, step);
            let every_shape = Label {
                shape: Vec::new(),
                ..label.clone()
            };
            let calls = self.calls.entry(every_shape).or_default();
            calls.add(step);
            calls.precision = step.way(engine.variant(step)).precision;
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
        Ok(())
    }

    /// True if more steps ran than the trace holds.
    pub fn is_cut(&self) -> bool {
        self.calls.values().map(|c| c.count).sum::<u64>() > self.trace.len() as u64
    }

    /// A row for each kernel, its time the mean of all calls.
    pub fn rows(&self, ceilings: &Ceilings) -> Vec<Row> {
        let calls = self.calls.iter();
        rows(
            calls.map(|(label, &calls)| (label.clone(), calls)),
            ceilings,
        )
    }

    /// Writes the first [`MAX_TRACED`] steps as a Chrome trace: JSON that Perfetto and chrome://tracing
    /// open.
    ///
    /// # Errors
    /// What writing says.
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
