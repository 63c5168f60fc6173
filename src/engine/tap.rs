//! An engine with a listener in between.

use super::{Clock, Compared, Engine, Memory, Ticket, Timing, Usage};
use crate::buffer::Buffer;
use crate::error::Result;
use crate::recording::{Recording, Step};

/// What a [`Tap`] does with a recording: it is to run it on the engine, in whatever way.
pub type OnRun<'a> = dyn FnMut(&mut dyn Engine, &Recording) -> Result<()> + 'a;

/// Another engine, but for its recordings, which go through a function: to look at them, or to time
/// them.
pub struct Tap<'a> {
    engine: &'a mut dyn Engine,
    on_run: &'a mut OnRun<'a>,
}

impl<'a> Tap<'a> {
    /// `engine`, with `on_run` in place of its [`Engine::run`].
    pub fn new(engine: &'a mut dyn Engine, on_run: &'a mut OnRun<'a>) -> Self {
        Tap { engine, on_run }
    }
}

impl Engine for Tap<'_> {
    fn name(&self) -> String {
        self.engine.name()
    }

    fn identity(&self) -> String {
        self.engine.identity()
    }

    fn identity_for(&mut self, recording: &Recording) -> Result<String> {
        self.engine.identity_for(recording)
    }

    fn notes(&mut self) -> Vec<String> {
        self.engine.notes()
    }

    fn is_asynchronous(&self) -> bool {
        self.engine.is_asynchronous()
    }

    fn max_binding_bytes(&self) -> usize {
        self.engine.max_binding_bytes()
    }

    fn memory(&self) -> Option<Memory> {
        self.engine.memory()
    }

    fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        self.engine.create(label, words)
    }

    fn release(&mut self, buffer: Buffer) {
        self.engine.release(buffer);
    }

    fn write(&mut self, buffer: Buffer, offset: usize, data: &[u32]) -> Result<()> {
        self.engine.write(buffer, offset, data)
    }

    fn recording(&self) -> Recording {
        self.engine.recording()
    }

    fn run(&mut self, recording: &Recording) -> Result<()> {
        (self.on_run)(self.engine, recording)
    }

    fn fetch(&mut self, buffer: Buffer, words: usize) -> Result<Ticket> {
        self.engine.fetch(buffer, words)
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>> {
        self.engine.collect(ticket)
    }

    fn wait(&mut self) -> Result<()> {
        self.engine.wait()
    }

    fn variant(&self, step: &Step) -> &'static str {
        self.engine.variant(step)
    }

    fn compare(&mut self, step: &Step) -> Result<Vec<Compared>> {
        self.engine.compare(step)
    }

    fn clock(&self) -> Clock {
        self.engine.clock()
    }

    fn run_timed(&mut self, recording: &Recording) -> Result<Vec<Timing>> {
        self.engine.run_timed(recording)
    }

    fn watch(&mut self) {
        self.engine.watch();
    }

    fn usage(&mut self) -> Result<Usage> {
        self.engine.usage()
    }
}
