//! The interfaces of a device: [`Engine`] runs recordings, [`Tuned`] tells of its choices among the variants of
//! kernels, and [`Timed`] measures times. A [`Device`] has all three.

mod tap;

use std::fmt;
use std::time::Instant;

use crate::buffer::Buffer;
use crate::distance::Distance;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::recording::{Recording, Step};

pub use tap::{OnRun, Tap};

/// An engine holds buffers, runs recordings and returns results. One engine is a GPU through wgpu. The other is the
/// CPU, which runs the kernels' twins.
///
/// Calls take effect in the order in which they are made. Buffers hold 32-bit words.
///
/// # Errors
/// `Error::OutOfMemory`, `Error::Lost`, `Error::Refused` from every call that can fail. A GPU may report a
/// failure at a later call than the one that caused it.
///
/// # Panics
/// Calls may panic if a buffer was released or belongs to another engine, or if a range goes beyond a buffer's
/// end. These are mistakes of the caller, not of data.
pub trait Engine {
    /// The device's name, for people.
    fn name(&self) -> String;

    /// True if [`Engine::run`] returns before the device finishes, so that a caller gains time by preparing the
    /// next recording meanwhile.
    fn is_asynchronous(&self) -> bool;

    /// The bytes that all buffers may take for a micro-batch of more pairs than was asked for; 0 where a larger one does
    /// not pay.
    fn room_to_grow(&self) -> usize;

    /// The largest buffer that a kernel can bind, in bytes.
    fn max_binding_bytes(&self) -> usize;

    /// The memory for buffers; `None` if the device does not tell. GPU drivers do not tell it through wgpu.
    fn memory(&self) -> Option<Memory>;

    /// Makes a buffer of zeros; messages name the buffer by `label`.
    ///
    /// # Errors
    /// `Error::OutOfMemory` if the buffer is larger than the device can bind or hold.
    fn create(&mut self, label: &str, words: usize) -> Result<Buffer>;

    /// Frees a buffer; if `buffer` is a range, the whole buffer. The engine does not use its number again.
    fn release(&mut self, buffer: Buffer);

    /// Writes words at the begin of a buffer or range.
    fn write(&mut self, buffer: Buffer, words: &[u32]) -> Result<()>;

    /// An empty recording, with the device's limit of operations a step.
    fn recording(&self) -> Recording;

    /// Runs a recording and returns a ticket for each of its fetches, in order. A GPU may still be at work when
    /// this returns.
    fn run(&mut self, recording: &Recording) -> Result<Vec<Ticket>>;

    /// Asks for a copy of a buffer or range, without waiting. The copy shows the effect of all earlier calls.
    fn fetch(&mut self, buffer: Buffer) -> Result<Ticket>;

    /// Waits for a copy and returns its words.
    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>>;

    /// Waits until the device is idle.
    fn wait(&mut self) -> Result<()>;
}

/// An engine that may choose among the variants of a kernel.
pub trait Tuned {
    /// The identity of the engine: the facts on which its results may depend, as far as it can tell them. These
    /// are its name, its driver and version, and the variants chosen so far.
    fn identity(&self) -> String;

    /// Chooses the variants for this recording and returns the identity. To measure the variants, the engine may
    /// run the recording.
    fn identity_for(&mut self, recording: &Recording) -> Result<String>;

    /// Messages for the user since the last call: the measurements, and each variant that is not used, with the
    /// reason.
    fn notes(&mut self) -> Vec<String>;

    /// The name of the variant that runs for this step; empty if the kernel has no variants.
    fn variant(&self, step: &Step) -> &'static str;

    /// Compares each variant that can run for a step with its CPU twin, on the present contents of the buffers,
    /// and restores the contents. Empty on the CPU.
    fn compare(&mut self, step: &Step) -> Result<Vec<Compared>>;
}

/// An engine that measures the time of its work.
pub trait Timed {
    /// The clock of [`Timed::run_timed`].
    fn clock(&self) -> Clock;

    /// Runs a recording, times each step alone, and waits for the last step. The results are those of
    /// [`Engine::run`]; the whole run is slower.
    fn run_timed(&mut self, recording: &Recording) -> Result<TimedRun>;

    /// Begins to measure the [`Usage`]. The measurement costs almost no time.
    fn watch(&mut self);

    /// Waits for all earlier calls, and returns the usage since [`Timed::watch`].
    fn usage(&mut self) -> Result<Usage>;
}

/// A device with all three interfaces.
pub trait Device: Engine + Tuned + Timed {}

impl<E: Engine + Tuned + Timed + ?Sized> Device for E {}

/// Helper methods for every engine.
pub trait EngineExt: Engine {
    /// Makes a buffer with this content. An empty content gives a buffer of one word.
    ///
    /// # Errors
    /// As [`Engine::create`] and [`Engine::write`].
    fn upload<T: bytemuck::Pod>(&mut self, label: &str, data: &[T]) -> Result<Buffer> {
        let words: &[u32] = bytemuck::cast_slice(data);
        let buffer = self.create(label, words.len().max(1))?;
        self.write(buffer, words)?;
        Ok(buffer)
    }

    /// Waits for all earlier calls and returns the words of a buffer or range.
    ///
    /// # Errors
    /// As [`Engine::fetch`] and [`Engine::collect`].
    fn read(&mut self, buffer: Buffer) -> Result<Vec<u32>> {
        let ticket = self.fetch(buffer)?;
        self.collect(ticket)
    }

    /// [`EngineExt::read`] as `f32`.
    ///
    /// # Errors
    /// As [`EngineExt::read`].
    fn read_f32(&mut self, buffer: Buffer) -> Result<Vec<f32>> {
        Ok(bytemuck::cast_vec(self.read(buffer)?))
    }

    /// Writes words over ranges, one range after another.
    ///
    /// # Errors
    /// As [`Engine::write`].
    ///
    /// # Panics
    /// If there are fewer words than the ranges have.
    fn write_pieces(
        &mut self,
        pieces: impl IntoIterator<Item = Buffer>,
        mut words: &[u32],
    ) -> Result<()> {
        for piece in pieces {
            let (own, later) = words.split_at(piece.words);
            self.write(piece, own)?;
            words = later;
        }
        Ok(())
    }

    /// The words of ranges, one range after another.
    ///
    /// # Errors
    /// As [`EngineExt::read`].
    fn read_pieces(&mut self, pieces: impl IntoIterator<Item = Buffer>) -> Result<Vec<u32>> {
        let mut words = Vec::new();
        for piece in pieces {
            words.extend(self.read(piece)?);
        }
        Ok(words)
    }

    /// Runs a recording as [`Engine::run`] does, but calls `on_step` for each step; `on_step` has to run the step.
    ///
    /// # Errors
    /// As [`Engine::run`], and every error of `on_step`.
    fn run_each(
        &mut self,
        recording: &Recording,
        mut on_step: impl FnMut(&mut Self, &Step) -> Result<()>,
    ) -> Result<Vec<Ticket>> {
        self.send_uploads(recording)?;
        for step in &recording.steps {
            on_step(self, step)?;
        }
        self.ask_fetches(recording)
    }

    /// Sends a recording's uploads: the first part of a run step by step.
    ///
    /// # Errors
    /// As [`Engine::write`].
    fn send_uploads(&mut self, recording: &Recording) -> Result<()> {
        let mut uploads = recording.uploads().iter();
        uploads.try_for_each(|upload| self.write(upload.buffer, &upload.words))
    }

    /// Asks for a recording's fetches: the last part of a run step by step.
    ///
    /// # Errors
    /// As [`Engine::fetch`].
    fn ask_fetches(&mut self, recording: &Recording) -> Result<Vec<Ticket>> {
        recording.fetches().iter().map(|&b| self.fetch(b)).collect()
    }
}

impl<E: Engine + ?Sized> EngineExt for E {}

/// Buffers that belong together.
pub trait Release: Sized {
    /// Frees them.
    fn release(self, engine: &mut dyn Engine);

    /// Makes more buffers, and frees these if that fails: nothing is left on the device then.
    ///
    /// # Errors
    /// Every error of `make`.
    fn beside<T>(
        self,
        engine: &mut dyn Engine,
        make: impl FnOnce(&mut dyn Engine) -> Result<T>,
    ) -> Result<(Self, T)> {
        match make(engine) {
            Ok(made) => Ok((self, made)),
            Err(e) => {
                self.release(engine);
                Err(e)
            }
        }
    }
}

impl<A: Release, B: Release> Release for (A, B) {
    fn release(self, engine: &mut dyn Engine) {
        self.0.release(engine);
        self.1.release(engine);
    }
}

impl<A: Release> Release for Option<A> {
    fn release(self, engine: &mut dyn Engine) {
        if let Some(buffers) = self {
            buffers.release(engine);
        }
    }
}

impl Release for Vec<Buffer> {
    fn release(self, engine: &mut dyn Engine) {
        for buffer in self {
            engine.release(buffer);
        }
    }
}

/// A variant, and the distance of its results from its twin's.
pub struct Compared {
    /// The variant.
    pub kernel: &'static Kernel,
    /// `None` if neither the variant nor the twin changed a buffer; an error if the driver could not run the
    /// variant.
    pub distance: Result<Option<Distance>>,
}

/// The result of [`Timed::run_timed`].
pub struct TimedRun {
    /// The time of each step, in order.
    pub times: Vec<Timing>,
    /// The tickets of the recording's fetches, as from [`Engine::run`].
    pub tickets: Vec<Ticket>,
}

/// The seconds for which a kernel runs before its time counts: a GPU that was idle while the host ran a twin needs
/// that long to raise its clock.
pub(crate) const WARM_UP: f64 = 0.2;

/// The source of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The device's own clock, around the kernel alone.
    Device,
    /// The host's clock, around submitting the kernel and waiting for it.
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

/// The time at which a piece of work ran on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// The start, in seconds since the measurement began.
    pub start: f64,
    /// The duration in seconds.
    pub seconds: f64,
}

impl Timing {
    /// The end, in seconds since the measurement began.
    pub fn end(&self) -> f64 {
        self.start + self.seconds
    }
}

/// The use of a device between [`Timed::watch`] and [`Timed::usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// The peak of the bytes of all buffers; `None` if the engine does not count them.
    pub peak_bytes: Option<usize>,
    /// The share of the time, between the begin of the first step and the end of the last, in which no step ran;
    /// `None` if the device cannot tell, or if no step ran.
    pub idle: Option<f64>,
}

/// [`Timed::run_timed`] by the host's clock.
pub(crate) fn run_timed_by_host<E: Engine + ?Sized>(
    engine: &mut E,
    recording: &Recording,
) -> Result<TimedRun> {
    engine.wait()?;
    let clock = Instant::now();
    let seconds = || clock.elapsed().as_secs_f64();
    let mut times = Vec::with_capacity(recording.steps.len());
    let tickets = engine.run_each(recording, |engine, &step| {
        let alone = Recording::of(vec![step]);
        let start = seconds();
        engine.run(&alone)?;
        engine.wait()?;
        times.push(Timing {
            start,
            seconds: seconds() - start,
        });
        Ok(())
    })?;
    Ok(TimedRun { times, tickets })
}

/// [`Usage::idle`] from the times at which a device was at work, in order.
pub(crate) fn idle(work: &[Timing]) -> Option<f64> {
    let span = work.last()?.end() - work.first()?.start;
    let busy: f64 = work.iter().map(|w| w.seconds).sum();
    (span > 0.0).then(|| (1.0 - busy / span).max(0.0))
}

/// Counts the bytes of an engine's buffers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    now: usize,
    peak: usize,
}

impl Tally {
    /// Counts a new buffer of `words` words.
    pub fn add(&mut self, words: usize) {
        self.now += size_of::<u32>() * words;
        self.peak = self.peak.max(self.now);
    }

    /// Counts a freed buffer of `words` words.
    pub fn sub(&mut self, words: usize) {
        self.now -= size_of::<u32>() * words;
    }

    /// The bytes of all present buffers.
    pub fn now(&self) -> usize {
        self.now
    }

    /// Begins a new peak at the present bytes.
    pub fn restart(&mut self) {
        self.peak = self.now;
    }

    /// The most bytes since the last [`Tally::restart`].
    pub fn peak(&self) -> usize {
        self.peak
    }
}

/// The memory of a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All memory.
    pub total: usize,
    /// Memory that was free when the device was asked.
    pub free: usize,
}

/// A claim on a copy under way, from [`Engine::fetch`] or [`Engine::run`]. It is valid for one
/// [`Engine::collect`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub(crate) u64);
