//! Runs recordings on the CPU.

use std::collections::HashMap;
use std::time::Instant;

use super::pages::Pages;
use crate::buffer::Buffer;
use crate::engine::{
    self, Clock, Compared, Engine, EngineExt, Memory, Tally, Ticket, Timed, TimedRun, Timing,
    Tuned, Usage,
};
use crate::error::{Error, Result};
use crate::kernel::{Bindings, Kernel, Slot};
use crate::recording::{Recording, Step};
use crate::target::{MatrixUnits, Precision, Target};

/// The CPU as an [`Engine`]: it runs the kernels' twins.
pub struct CpuEngine {
    /// The buffers; one is empty after its release, and while a step writes it.
    buffers: Vec<Pages>,
    tally: Tally,
    /// When [`Timed::watch`] was called, and the runs since.
    watch: Option<(Instant, Vec<Timing>)>,
    fetched: HashMap<u64, Vec<u32>>,
    next_ticket: u64,
    max_binding_bytes: usize,
    memory: Option<Memory>,
    target: Target,
}

impl Default for CpuEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuEngine {
    /// A CPU device whose only limits are allocation and the kernels' 32-bit indices.
    pub fn new() -> Self {
        Self::with_max_binding(u32::MAX as usize)
    }

    /// A CPU device that refuses buffers above `bytes`, like a GPU with that limit. It makes the model split
    /// its weights.
    pub fn with_max_binding(bytes: usize) -> Self {
        CpuEngine {
            buffers: Vec::new(),
            tally: Tally::default(),
            watch: None,
            fetched: HashMap::new(),
            next_ticket: 0,
            max_binding_bytes: bytes,
            memory: None,
            target: Target {
                software: true,
                precision: Precision::F32,
                matrix_units: MatrixUnits {
                    eight: true,
                    sixteen: true,
                },
            },
        }
    }

    /// The same on a machine with this memory. The engine refuses a buffer with which all buffers exceed the memory,
    /// because an operating system that overcommits would end the process later.
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = Some(memory);
        self
    }

    /// The same with this precision: the engine rounds operands as a GPU's matrix units do.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.target.precision = precision;
        self
    }

    /// The kernel whose twin runs a step.
    fn kernel(&self, step: &Step) -> &'static Kernel {
        let rounds = |variant: &&Kernel| {
            variant.precision == Precision::Mixed && step.rate(variant, &self.target).is_some()
        };
        step.kernel.variants().find(rounds).unwrap_or(step.kernel)
    }

    /// Makes the memory of a buffer, unless all buffers would exceed the machine's memory, as far as it is known.
    fn reserve(&self, label: &str, words: usize) -> Result<Pages> {
        let total = self.memory.map_or(usize::MAX, |memory| memory.total);
        let fits = self.tally.now() + 4 * words <= total;
        let pages = fits.then(|| Pages::zeros(words).ok()).flatten();
        pages.ok_or_else(|| {
            let what = format!(
                "out of memory: {label} needs {} MiB beside {} MiB in use",
                (4 * words) >> 20,
                self.tally.now() >> 20
            );
            Error::out_of_memory(what, words)
        })
    }

    fn run_step(&mut self, step: &Step) {
        let kernel = self.kernel(step);
        let bindings = &step.kernel.reflection().storage;
        // A buffer that the step writes is taken out for the call, so that its ranges can be borrowed
        // mutably beside the buffers that are read. No buffer is both: `Recording::push` sees to it.
        let mut taken: Vec<(u32, Pages)> = Vec::new();
        for (buffer, binding) in step.buffers().iter().zip(bindings) {
            if binding.written && taken.iter().all(|(id, _)| *id != buffer.id) {
                let pages = std::mem::take(&mut self.buffers[buffer.id as usize]);
                taken.push((buffer.id, pages));
            }
        }
        let mut slots: Vec<Slot> = Vec::with_capacity(bindings.len());
        for (buffer, binding) in step.buffers().iter().zip(bindings) {
            slots.push(match binding.written {
                true => Slot::Taken,
                false => Slot::Read(&self.buffers[buffer.id as usize].words()[buffer.range()]),
            });
        }
        for (id, pages) in &mut taken {
            let mut places: Vec<usize> = (0..slots.len())
                .filter(|&i| bindings[i].written && step.buffers()[i].id == *id)
                .collect();
            places.sort_by_key(|&i| step.buffers()[i].offset);
            let (mut rest, mut done) = (pages.words_mut(), 0);
            for i in places {
                let range = step.buffers()[i].range();
                let (_, from) = rest.split_at_mut(range.start - done);
                let (own, after) = from.split_at_mut(range.len());
                slots[i] = Slot::Write(own);
                (rest, done) = (after, range.end);
            }
        }
        kernel.run_twin(step.params(), Bindings::new(slots));
        for (id, pages) in taken {
            self.buffers[id as usize] = pages;
        }
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> String {
        format!("CPU ({} threads)", rayon::current_num_threads())
    }

    fn is_asynchronous(&self) -> bool {
        false
    }

    fn room_to_grow(&self) -> usize {
        0 // a few hundred rows keep all cores busy, and the memory is everybody's
    }

    fn max_binding_bytes(&self) -> usize {
        self.max_binding_bytes
    }

    fn memory(&self) -> Option<Memory> {
        self.memory
    }

    fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        if 4 * words > self.max_binding_bytes {
            return Err(Error::too_large(label, words, self.max_binding_bytes));
        }
        let pages = self.reserve(label, words)?;
        self.buffers.push(pages);
        self.tally.add(words);
        Ok(Buffer::whole((self.buffers.len() - 1) as u32, words))
    }

    fn release(&mut self, buffer: Buffer) {
        let freed = std::mem::take(&mut self.buffers[buffer.id as usize]);
        self.tally.sub(freed.words().len());
    }

    fn write(&mut self, buffer: Buffer, words: &[u32]) -> Result<()> {
        let to = buffer.first(words.len());
        self.buffers[to.id as usize].words_mut()[to.range()].copy_from_slice(words);
        Ok(())
    }

    fn recording(&self) -> Recording {
        // Nothing takes the CPU for hung, and products in one piece are faster.
        Recording::for_device(u64::MAX)
    }

    fn run(&mut self, recording: &Recording) -> Result<Vec<Ticket>> {
        self.send_uploads(recording)?;
        let begin = Instant::now();
        // The steps run inside the thread pool, so that no step pays for entering it.
        rayon::scope(|_| {
            for step in &recording.steps {
                self.run_step(step);
            }
        });
        if let Some((since, runs)) = &mut self.watch {
            runs.push(Timing {
                start: (begin - *since).as_secs_f64(),
                seconds: begin.elapsed().as_secs_f64(),
            });
        }
        self.ask_fetches(recording)
    }

    fn fetch(&mut self, buffer: Buffer) -> Result<Ticket> {
        let copy = self.buffers[buffer.id as usize].words()[buffer.range()].to_vec();
        self.next_ticket += 1;
        self.fetched.insert(self.next_ticket, copy);
        Ok(Ticket(self.next_ticket))
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>> {
        self.fetched
            .remove(&ticket.0)
            .ok_or_else(|| Error::Refused {
                what: "no such copy was asked for".into(),
            })
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Tuned for CpuEngine {
    fn identity(&self) -> String {
        format!("{}, {:?}", self.name(), self.target.precision)
    }

    fn identity_for(&mut self, _recording: &Recording) -> Result<String> {
        Ok(self.identity())
    }

    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn variant(&self, _step: &Step) -> &'static str {
        ""
    }

    fn compare(&mut self, _step: &Step) -> Result<Vec<Compared>> {
        Ok(Vec::new())
    }
}

impl Timed for CpuEngine {
    fn clock(&self) -> Clock {
        Clock::Host
    }

    fn run_timed(&mut self, recording: &Recording) -> Result<TimedRun> {
        engine::run_timed_by_host(self, recording)
    }

    fn watch(&mut self) {
        self.tally.restart();
        self.watch = Some((Instant::now(), Vec::new()));
    }

    fn usage(&mut self) -> Result<Usage> {
        let runs = self.watch.take().map(|(_, runs)| runs);
        Ok(Usage {
            peak_bytes: Some(self.tally.peak()),
            idle: runs.and_then(|runs| engine::idle(&runs)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_machine_has() {
        let mut engine = CpuEngine::new().with_memory(Memory {
            total: 1000,
            free: 0,
        });
        let first = engine.create("first", 200).unwrap();
        let error = engine.create("second", 51).err().unwrap().to_string();
        assert!(error.contains("out of memory: second"), "{error}");
        engine.release(first);
        engine.create("second", 51).unwrap();
    }
}
