//! A GPU as a [`Device`](crate::engine::Device).

use std::time::Instant;

use super::driver::{Chosen, Driver, OWN_BYTES, submission};
use super::measure::{self, Expected};
use super::timer::Timer;
use super::tuner::Tuner;
use super::variants::Choices;
use crate::buffer::Buffer;
use crate::engine::{
    self, Clock, Compared, Engine, EngineExt, Memory, Ticket, Timed, TimedRun, Tuned, Usage,
};
use crate::error::Result;
use crate::recording::{Recording, Step};

/// A GPU opened through wgpu.
pub struct GpuEngine {
    driver: Driver,
    identity: String,
    choices: Choices,
    room_to_grow: usize,
    /// Messages for the user; see [`Tuned::notes`].
    notes: Vec<String>,
    /// The times of the passes since [`Timed::watch`]; `None` if the device has no timestamps or nobody watches.
    watch: Option<Timer>,
}

impl GpuEngine {
    pub(super) fn new(
        driver: Driver,
        identity: String,
        choices: Choices,
        room_to_grow: usize,
    ) -> GpuEngine {
        GpuEngine {
            driver,
            identity,
            choices,
            room_to_grow,
            notes: Vec::new(),
            watch: None,
        }
    }

    /// A function that destroys the device, so that it is lost to this engine as after a reset of the driver. Tests
    /// see what follows.
    pub fn destroyer(&self) -> impl Fn() + use<> {
        let device = self.driver.device.clone();
        move || device.destroy()
    }

    /// The most bytes that an engine holds beside the buffers that it was asked for: params, copies that are done, and
    /// partial sums. Copies under way come on top, each as large as what is read.
    pub const OWN_BYTES: usize = OWN_BYTES;

    /// The bytes of all buffers on the device, the engine's own among them.
    pub fn held_bytes(&self) -> usize {
        self.driver.held_bytes()
    }

    /// The bytes a second that the device reads and writes while it copies, for tests.
    #[doc(hidden)]
    pub fn copy_rate(&mut self) -> Result<Option<f64>> {
        self.driver.copy_rate()
    }

    /// The most operations of a submission, as measured so far.
    #[doc(hidden)]
    pub fn pace(&self) -> f64 {
        self.driver.pace_limit()
    }

    /// The name of every kernel with several variants, and the variant chosen, for all choices so far.
    pub fn chosen(&self) -> impl Iterator<Item = (String, &'static str)> {
        let chosen = self.choices.all();
        chosen.map(|kernel| (kernel.name(), kernel.variant))
    }

    /// Runs a recording, with each step in an own pass if `alone`. `timer` gets the times of the passes. If a
    /// step's variant is not chosen yet, the engine runs the steps before it, and then measures the variants on
    /// the data in the step's buffers.
    fn run_recording(
        &mut self,
        recording: &Recording,
        alone: bool,
        mut timer: Option<&mut Timer>,
    ) -> Result<Vec<Ticket>> {
        self.send_uploads(recording)?;
        let steps = &recording.steps;
        let mut done = 0;
        for (i, step) in steps.iter().enumerate() {
            if self.choices.choose(step).is_none() {
                self.run_chosen(&steps[done..i], alone, timer.as_deref_mut())?;
                measure::tune(&mut self.driver, &mut self.choices, &mut self.notes, step)?;
                done = i;
            }
        }
        self.run_chosen(&steps[done..], alone, timer)?;
        let stored = self.choices.tuner.as_mut().and_then(Tuner::store);
        self.notes.extend(stored);
        self.ask_fetches(recording)
    }

    /// Runs steps whose variants are chosen, in submissions of the device's pace.
    fn run_chosen(
        &mut self,
        steps: &[Step],
        alone: bool,
        mut timer: Option<&mut Timer>,
    ) -> Result<()> {
        let chosen = |&step: &Step| Chosen {
            step,
            kernel: self.choices.get_or_usual(&step),
        };
        let chosen: Vec<Chosen> = steps.iter().map(chosen).collect();
        let passes = chosen.iter().flat_map(|chosen| chosen.kernel.passes());
        self.driver.compiled.expect(passes);
        let mut begun = 0;
        while begun < steps.len() {
            self.driver.note_finished();
            let most = submission(&steps[begun..], self.driver.pace_limit());
            let count = self.driver.ready(&chosen[begun..][..most]);
            let next = &chosen[begun..][..count];
            let pass_steps = if alone { 1 } else { next.len() };
            let began = Instant::now();
            self.driver.submit(next, pass_steps, timer.as_deref_mut())?;
            self.driver.rest(began)?;
            begun += count;
        }
        Ok(())
    }
}

impl Drop for GpuEngine {
    fn drop(&mut self) {
        if let (Some(tuner), Some(limit)) = (&mut self.choices.tuner, self.driver.measured_pace()) {
            tuner.keep_pace(limit);
        }
    }
}

impl Engine for GpuEngine {
    fn name(&self) -> String {
        self.driver.name.clone()
    }

    fn is_asynchronous(&self) -> bool {
        true
    }

    fn room_to_grow(&self) -> usize {
        self.room_to_grow
    }

    fn max_binding_bytes(&self) -> usize {
        self.driver.max_binding_bytes
    }

    fn memory(&self) -> Option<Memory> {
        None
    }

    fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        self.driver.create(label, words)
    }

    fn release(&mut self, buffer: Buffer) {
        self.driver.release(buffer);
    }

    fn write(&mut self, buffer: Buffer, words: &[u32]) -> Result<()> {
        self.driver.write(buffer.first(words.len()), words)
    }

    /// A step is at most as much work as a submission, which follows the device's speed.
    fn recording(&self) -> Recording {
        Recording::for_device(self.driver.pace_limit() as u64)
    }

    fn run(&mut self, recording: &Recording) -> Result<Vec<Ticket>> {
        let mut watch = self.watch.take();
        let run = self.run_recording(recording, false, watch.as_mut());
        self.watch = watch;
        run
    }

    fn fetch(&mut self, buffer: Buffer) -> Result<Ticket> {
        self.driver.fetch(buffer)
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>> {
        self.driver.collect(ticket)
    }

    fn wait(&mut self) -> Result<()> {
        self.driver.wait()
    }
}

impl Tuned for GpuEngine {
    fn identity(&self) -> String {
        format!("{}\n{}", self.identity, self.choices.measured())
    }

    fn identity_for(&mut self, recording: &Recording) -> Result<String> {
        let chosen = |step: &Step| self.choices.choose(step).is_some();
        if !recording.steps.iter().all(chosen) {
            for ticket in self.run(recording)? {
                self.collect(ticket)?;
            }
        }
        Ok(self.identity())
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn variant(&self, step: &Step) -> &'static str {
        self.choices.get(step).map_or("", |kernel| kernel.variant)
    }

    fn compare(&mut self, step: &Step) -> Result<Vec<Compared>> {
        let candidates = self.choices.candidates(step);
        let Some(first) = candidates.first() else {
            return Ok(Vec::new());
        };
        let expected = Expected::of(&mut self.driver, step, first)?;
        let mut found = Vec::new();
        for kernel in candidates {
            found.push(Compared {
                kernel,
                distance: expected.distance_of(&mut self.driver, kernel),
            });
        }
        expected.restore(&mut self.driver)?;
        Ok(found)
    }
}

impl Timed for GpuEngine {
    fn clock(&self) -> Clock {
        match self.driver.has_timestamps() {
            true => Clock::Device,
            false => Clock::Host,
        }
    }

    fn run_timed(&mut self, recording: &Recording) -> Result<TimedRun> {
        if !self.driver.has_timestamps() {
            return engine::run_timed_by_host(self, recording);
        }
        let mut timer = Timer::default();
        let tickets = self.run_recording(recording, true, Some(&mut timer))?;
        let times = self.driver.read_timer(&timer)?;
        Ok(TimedRun { times, tickets })
    }

    fn watch(&mut self) {
        self.driver.tally.restart();
        self.watch = self.driver.has_timestamps().then(Timer::default);
    }

    fn usage(&mut self) -> Result<Usage> {
        let passes = match self.watch.take() {
            Some(timer) => self.driver.read_timer(&timer)?,
            None => Vec::new(),
        };
        Ok(Usage {
            peak_bytes: Some(self.driver.tally.peak()),
            idle: engine::idle(&passes),
        })
    }
}
