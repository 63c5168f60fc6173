//! What a device must do for the model code: hold buffers, run recordings, give numbers back, and tell
//! how long it took.

mod tap;

use std::fmt;
use std::time::Instant;

use crate::buffer::Buffer;
use crate::distance::Distance;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::recording::{Recording, Step};

pub use tap::Tap;

/// A device: a GPU through wgpu, or the CPU with the kernels' twins.
///
/// Calls take effect in the order in which they are made. Buffers hold 32-bit words.
///
/// # Errors
/// Every call that can fail does so with `Error::Device`. A GPU may report a failure at a later call
/// than the one that caused it.
///
/// # Panics
/// Calls may panic on a buffer that was released or is of another engine, and beyond a buffer's end:
/// mistakes of the caller, not of data.
pub trait Engine {
    /// The device's name, for people.
    fn name(&self) -> String;

    /// What its results may depend on, as far as it tells: name, driver, their versions.
    fn identity(&self) -> String {
        self.name()
    }

    /// What the results of a recording may depend on: [`Engine::identity`] and which variants of kernels
    /// run for it. It may be run for that, to measure them.
    fn identity_for(&mut self, _recording: &Recording) -> Result<String> {
        Ok(self.identity())
    }

    /// What there is to tell the user since the last call: what was measured, what is not used and why.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// True if [`Engine::run`] returns before the work is done, so that a caller does well to have the
    /// next recording ready.
    fn is_asynchronous(&self) -> bool;

    /// The largest buffer that a kernel can bind, in bytes.
    fn max_binding_bytes(&self) -> usize;

    /// The memory that buffers lie in, where the device tells: GPU drivers do not through this API.
    fn memory(&self) -> Option<Memory> {
        None
    }

    /// Makes a buffer of zeros; messages name it by `label`.
    ///
    /// # Errors
    /// `Error::Device` if it is larger than the device can bind or hold.
    fn create(&mut self, label: &str, words: usize) -> Result<Buffer>;

    /// Frees a buffer. Its number is not used again.
    fn release(&mut self, buffer: Buffer);

    /// Writes words at an offset in words.
    fn write(&mut self, buffer: Buffer, offset: usize, data: &[u32]) -> Result<()>;

    /// An empty recording, of steps as long as the device takes them.
    fn recording(&self) -> Recording {
        Recording::new()
    }

    /// Runs a recording. A GPU may still be at work when this returns.
    fn run(&mut self, recording: &Recording) -> Result<()>;

    /// Waits for everything before and copies the first `words` words of a buffer.
    fn read(&mut self, buffer: Buffer, words: usize) -> Result<Vec<u32>> {
        let ticket = self.fetch(buffer, words)?;
        self.collect(ticket)
    }

    /// Asks for a copy of a buffer's first `words` words as they are after everything before this
    /// call, without waiting.
    fn fetch(&mut self, buffer: Buffer, words: usize) -> Result<Ticket>;

    /// Waits for what was asked for with [`Engine::fetch`].
    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>>;

    /// Waits until the device is idle.
    fn wait(&mut self) -> Result<()>;

    /// The variant of the step's kernel that runs here; empty where there is but one.
    fn variant(&self, _step: &Step) -> &'static str {
        ""
    }

    /// Holds each variant that can run for a step to the CPU twin, on the buffers as they are, which are left
    /// so: how far each came out, `None` where neither it nor the twin changed anything. Empty on the CPU.
    fn compare(&mut self, _step: &Step) -> Result<Vec<Compared>> {
        Ok(Vec::new())
    }

    /// What [`Engine::run_timed`] reads the time from.
    fn clock(&self) -> Clock {
        Clock::Host
    }

    /// Runs a recording with the results of [`Engine::run`], each step alone and timed, and waits for
    /// it: a time for each step, in order. Slower as a whole than [`Engine::run`].
    fn run_timed(&mut self, recording: &Recording) -> Result<Vec<Timing>> {
        run_timed_by_host(self, recording)
    }

    /// Begins to note what [`Engine::usage`] tells. It costs next to nothing.
    fn watch(&mut self) {}

    /// Waits for everything before, and ends what [`Engine::watch`] began.
    fn usage(&mut self) -> Result<Usage> {
        Ok(Usage::default())
    }
}

/// A variant, and how far from the twin it came out: see [`Engine::compare`]. `Error::Device` where the
/// driver could not run it.
pub type Compared = (&'static Kernel, Result<Option<Distance>>);

/// What a time was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The device's own, around the kernel alone.
    Device,
    /// The host's, around handing the kernel over and waiting for it.
    Host,
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Clock::Device => "the device's timestamps",
            Clock::Host => "the host's clock around each kernel",
        })
    }
}

/// When something ran on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// Seconds since the measuring began.
    pub start: f64,
    /// How long it took.
    pub seconds: f64,
}

impl Timing {
    /// When it was done, in seconds since the measuring began.
    pub fn end(&self) -> f64 {
        self.start + self.seconds
    }
}

/// What a device did between [`Engine::watch`] and [`Engine::usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Most bytes of buffers that there were at a time; `None` if not counted.
    pub peak_bytes: Option<usize>,
    /// Share of the time between the first step and the last in which none ran; `None` if the device
    /// cannot tell, or nothing ran.
    pub idle: Option<f64>,
}

/// [`Engine::run_timed`] by the host's clock.
pub(crate) fn run_timed_by_host<E: Engine + ?Sized>(
    engine: &mut E,
    recording: &Recording,
) -> Result<Vec<Timing>> {
    engine.wait()?;
    let clock = Instant::now();
    let seconds = || clock.elapsed().as_secs_f64();
    let mut timings = Vec::with_capacity(recording.steps.len());
    for &step in &recording.steps {
        let alone = Recording::from(vec![step]);
        let start = seconds();
        engine.run(&alone)?;
        engine.wait()?;
        timings.push(Timing {
            start,
            seconds: seconds() - start,
        });
    }
    Ok(timings)
}

/// [`Usage::idle`] from the times at which a device was at work, in order.
pub(crate) fn idle(work: &[Timing]) -> Option<f64> {
    let span = work.last()?.end() - work.first()?.start;
    let busy: f64 = work.iter().map(|w| w.seconds).sum();
    (span > 0.0).then(|| (1.0 - busy / span).max(0.0))
}

/// Bytes of an engine's buffers.
#[derive(Debug, Default)]
pub(crate) struct Held {
    now: usize,
    peak: usize,
}

impl Held {
    /// A buffer of so many words was made.
    pub fn add(&mut self, words: usize) {
        self.now += size_of::<u32>() * words;
        self.peak = self.peak.max(self.now);
    }

    /// A buffer of so many words was freed.
    pub fn sub(&mut self, words: usize) {
        self.now -= size_of::<u32>() * words;
    }

    /// What there is.
    pub fn now(&self) -> usize {
        self.now
    }

    /// Forgets what there was at a time before now.
    pub fn restart(&mut self) {
        self.peak = self.now;
    }

    /// The most since then.
    pub fn peak(&self) -> usize {
        self.peak
    }
}

/// How much memory there is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In all.
    pub total: usize,
    /// Of it not in use when it was asked for.
    pub free: usize,
}

/// A claim on a copy under way, from [`Engine::fetch`]. Good for one [`Engine::collect`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub(crate) u64);

/// Shorthands over words for the code above the engines.
impl dyn Engine + '_ {
    /// [`Engine::create`] and [`Engine::write`] in one.
    pub fn upload<T: bytemuck::Pod>(&mut self, label: &str, data: &[T]) -> Result<Buffer> {
        let words: &[u32] = bytemuck::cast_slice(data);
        let buffer = self.create(label, words.len().max(1))?;
        self.write(buffer, 0, words)?;
        Ok(buffer)
    }

    /// [`Engine::read`] of a whole buffer as `f32`.
    pub fn read_f32(&mut self, buffer: Buffer) -> Result<Vec<f32>> {
        Ok(bytemuck::cast_vec(self.read(buffer, buffer.words)?))
    }
}
