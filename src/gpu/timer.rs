//! The GPU's own clock: one timestamp at the begin of a compute pass, and one at its end.

use crate::engine::Timing;

/// The number of passes of one query set, the most that WebGPU allows.
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
    /// The place for the timestamps of one more pass.
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
    pub fn resolve(&self, device: &wgpu::Device) -> (wgpu::Buffer, wgpu::CommandBuffer) {
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

    /// True if no pass was timed.
    pub fn is_empty(&self) -> bool {
        self.passes == 0
    }
}

/// When passes ran, counted from the first one's begin: from the words of the buffer that
/// [`Timer::resolve`] fills.
pub(super) fn timings(words: &[u32], seconds_a_tick: f64) -> Vec<Timing> {
    let ticks: Vec<[u64; 2]> = bytemuck::pod_collect_to_vec(words);
    let origin = ticks.first().map_or(0, |&[begin, _]| begin);
    let between = |a: u64, b: u64| b.saturating_sub(a) as f64 * seconds_a_tick;
    let timing = |&[begin, end]: &[u64; 2]| Timing {
        start: between(origin, begin),
        seconds: between(begin, end),
    };
    ticks.iter().map(timing).collect()
}
