//! A shadow of a device: the CPU engine with copies of the device's buffers, which runs the same recordings.

use std::collections::HashMap;

use crate::buffer::Buffer;
use crate::cpu::CpuEngine;
use crate::distance::{Distance, distance_of_changes};
use crate::engine::{Engine, EngineExt};
use crate::error::Result;
use crate::recording::{Recording, Step};
use crate::target::Precision;

/// Copies of a device's buffers, on the CPU.
pub struct Shadow {
    cpu: CpuEngine,
    /// The copies, by the numbers of the device's buffers.
    copies: HashMap<u32, Buffer>,
}

impl Shadow {
    /// Copies every buffer of a recording, as far as the recording uses it.
    ///
    /// # Errors
    /// Every error of the device; `Error::OutOfMemory` if the host has no room for the copies.
    pub fn of(
        device: &mut dyn Engine,
        recording: &Recording,
        precision: Precision,
    ) -> Result<Shadow> {
        let uploads = recording.uploads().iter().map(|upload| upload.buffer);
        let bound = recording.steps.iter().flat_map(|step| step.buffers());
        let mut ends: HashMap<u32, usize> = HashMap::new();
        for range in bound.copied().chain(uploads) {
            let end = ends.entry(range.id).or_default();
            *end = range.range().end.max(*end);
        }
        let mut cpu = CpuEngine::new().with_precision(precision);
        let mut copies = HashMap::new();
        for (id, words) in ends {
            let contents = device.read(Buffer::whole(id, words))?;
            copies.insert(id, cpu.upload("a copy", &contents)?);
        }
        Ok(Shadow { cpu, copies })
    }

    /// Runs the uploads and steps of a recording on the copies.
    ///
    /// # Errors
    /// Every error of the CPU engine.
    pub fn run(&mut self, recording: &Recording) -> Result<()> {
        for upload in recording.uploads() {
            self.cpu.write(self.copy(upload.buffer), &upload.words)?;
        }
        let steps = recording.steps.iter();
        let steps = steps.map(|step| step.over(|range| self.copy(range)));
        let copied = Recording::of(steps.collect());
        self.cpu.run(&copied).map(drop)
    }

    /// The words of the copy of a range.
    ///
    /// # Errors
    /// Every error of the CPU engine.
    pub fn read(&mut self, range: Buffer) -> Result<Vec<u32>> {
        self.cpu.read(self.copy(range))
    }

    /// Runs a step on the device, and on copies of what the device's buffers hold at present. Returns the distance of
    /// the results; `None` if the step changes nothing.
    ///
    /// # Errors
    /// Every error of the device.
    pub fn compare(&mut self, device: &mut dyn Engine, step: &Step) -> Result<Option<Distance>> {
        for &range in step.buffers() {
            let words = device.read(range)?;
            self.cpu.write(self.copy(range), &words)?;
        }
        let bindings = step.kernel.reflection().storage.iter().zip(step.buffers());
        let written: Vec<Buffer> = bindings
            .filter(|(binding, _)| binding.written)
            .map(|(_, &range)| range)
            .collect();
        let copies: Vec<Buffer> = written.iter().map(|&range| self.copy(range)).collect();
        let read = |engine: &mut dyn Engine, ranges: &[Buffer]| -> Result<Vec<Vec<u32>>> {
            ranges.iter().map(|&range| engine.read(range)).collect()
        };
        let before = read(&mut self.cpu, &copies)?;
        let alone = Recording::of(vec![*step]);
        device.run(&alone)?;
        self.run(&alone)?;
        let after = read(device, &written)?;
        let twin = read(&mut self.cpu, &copies)?;
        Ok(distance_of_changes(
            before.iter().map(Vec::as_slice),
            after.iter().map(Vec::as_slice),
            twin.iter().map(Vec::as_slice),
        ))
    }

    /// The copy of a range of a buffer that the recording uses.
    fn copy(&self, range: Buffer) -> Buffer {
        self.copies[&range.id].slice(range.range())
    }
}
