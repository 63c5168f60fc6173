//! The GPU's own clock: a timestamp where a compute pass begins and one where it ends.

use super::GpuEngine;
use crate::engine::{Engine, Timing};
use crate::error::Result;
use crate::recording::Recording;

/// Passes of one query set: as many as WebGPU allows.
const SET_PASSES: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

/// Bytes of the two timestamps of a pass.
const PASS_BYTES: usize = 2 * wgpu::QUERY_SIZE as usize;

/// The timestamps of passes, in the order of their submission.
#[derive(Default)]
pub(super) struct Timer {
    sets: Vec<wgpu::QuerySet>,
    passes: usize,
}

impl Timer {
    /// Where one more pass is to write its timestamps.
    pub fn next_pass(&mut self, device: &wgpu::Device) -> wgpu::ComputePassTimestampWrites<'_> {
        let (set, slot) = (self.passes / SET_PASSES, self.passes % SET_PASSES);
        if set == self.sets.len() {
            self.sets
                .push(device.create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("pass times"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2 * SET_PASSES as u32,
                }));
        }
        self.passes += 1;
        wgpu::ComputePassTimestampWrites {
            query_set: &self.sets[set],
            beginning_of_pass_write_index: Some(2 * slot as u32),
            end_of_pass_write_index: Some(2 * slot as u32 + 1),
        }
    }

    /// Copies all timestamps into a new buffer.
    fn resolve(&self, device: &wgpu::Device) -> (wgpu::Buffer, wgpu::CommandBuffer) {
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("pass times"),
            size: (self.passes * PASS_BYTES) as u64,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        for (s, set) in self.sets.iter().enumerate() {
            let first = s * SET_PASSES;
            let queries = 2 * (self.passes - first).min(SET_PASSES) as u32;
            let offset = (first * PASS_BYTES) as u64;
            encoder.resolve_query_set(set, 0..queries, &resolved, offset);
        }
        (resolved, encoder.finish())
    }
}

impl GpuEngine {
    /// [`Engine::run_timed`] by timestamps: a pass a step.
    pub(super) fn time_steps(&mut self, recording: &Recording) -> Result<Vec<Timing>> {
        let mut timer = Timer::default();
        self.run_steps(recording, true, Some(&mut timer))?;
        self.read_timer(&timer)
    }

    /// Waits for the passes and reads when they ran, counted from the first one's begin.
    pub(super) fn read_timer(&mut self, timer: &Timer) -> Result<Vec<Timing>> {
        if timer.passes == 0 {
            return Ok(Vec::new());
        }
        let (resolved, commands) = timer.resolve(&self.device);
        self.hand_over(Some(commands));
        let ticket = self.copy_out(&resolved, timer.passes * PASS_BYTES)?;
        let words = self.collect(ticket)?;
        let ticks: Vec<[u64; 2]> = bytemuck::pod_collect_to_vec(&words);
        let seconds_a_tick = f64::from(self.queue.get_timestamp_period()) * 1e-9;
        let between = |a: u64, b: u64| b.saturating_sub(a) as f64 * seconds_a_tick;
        let [origin, _] = ticks[0];
        let timing = |&[begin, end]: &[u64; 2]| Timing {
            start: between(origin, begin),
            seconds: between(begin, end),
        };
        Ok(ticks.iter().map(timing).collect())
    }
}
