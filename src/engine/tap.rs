//! A device whose runs go through a listener.

use super::{Clock, Compared, Device, Engine, Memory, Ticket, Timed, TimedRun, Tuned, Usage};
use crate::buffer::Buffer;
use crate::error::Result;
use crate::recording::{Recording, Step};

/// The listener. It has to run the recording on the device in some way, and to return the tickets of
/// [`Engine::run`].
pub type OnRun<'a> = dyn FnMut(&mut dyn Device, &Recording) -> Result<Vec<Ticket>> + 'a;

/// A device whose recordings go through a function, which may inspect or time them.
pub struct Tap<'a> {
    device: &'a mut dyn Device,
    on_run: &'a mut OnRun<'a>,
}

impl<'a> Tap<'a> {
    /// `device`, with `on_run` in place of its [`Engine::run`].
    pub fn new(device: &'a mut dyn Device, on_run: &'a mut OnRun<'a>) -> Self {
        Tap { device, on_run }
    }
}

impl Engine for Tap<'_> {
    fn name(&self) -> String {
        self.device.name()
    }

    fn is_asynchronous(&self) -> bool {
        self.device.is_asynchronous()
    }

    fn room_to_grow(&self) -> usize {
        self.device.room_to_grow()
    }

    fn max_binding_bytes(&self) -> usize {
        self.device.max_binding_bytes()
    }

    fn memory(&self) -> Option<Memory> {
        self.device.memory()
    }

    fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        self.device.create(label, words)
    }

    fn release(&mut self, buffer: Buffer) {
        self.device.release(buffer);
    }

    fn write(&mut self, buffer: Buffer, words: &[u32]) -> Result<()> {
        self.device.write(buffer, words)
    }

    fn recording(&self) -> Recording {
        self.device.recording()
    }

    fn run(&mut self, recording: &Recording) -> Result<Vec<Ticket>> {
        (self.on_run)(self.device, recording)
    }

    fn fetch(&mut self, buffer: Buffer) -> Result<Ticket> {
        self.device.fetch(buffer)
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>> {
        self.device.collect(ticket)
    }

    fn wait(&mut self) -> Result<()> {
        self.device.wait()
    }
}

impl Tuned for Tap<'_> {
    fn identity(&self) -> String {
        self.device.identity()
    }

    fn identity_for(&mut self, recording: &Recording) -> Result<String> {
        self.device.identity_for(recording)
    }

    fn notes(&mut self) -> Vec<String> {
        self.device.notes()
    }

    fn variant(&self, step: &Step) -> &'static str {
        self.device.variant(step)
    }

    fn compare(&mut self, step: &Step) -> Result<Vec<Compared>> {
        self.device.compare(step)
    }
}

impl Timed for Tap<'_> {
    fn clock(&self) -> Clock {
        self.device.clock()
    }

    fn run_timed(&mut self, recording: &Recording) -> Result<TimedRun> {
        self.device.run_timed(recording)
    }

    fn watch(&mut self) {
        self.device.watch();
    }

    fn usage(&mut self) -> Result<Usage> {
        self.device.usage()
    }
}
