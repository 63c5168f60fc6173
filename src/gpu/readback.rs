//! Copies from the device to the host that are under way.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;

use crate::engine::Ticket;

/// The most bytes of idle staging buffers: enough for what each step reads back, and not for weights.
pub(super) const MOST_IDLE: u64 = 1 << 20;

/// A copy under way to a staging buffer, which the host can map.
pub(super) struct Readback {
    pub staging: wgpu::Buffer,
    pub bytes: u64,
    pub submission: wgpu::SubmissionIndex,
    pub mapped: Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl Readback {
    /// The words of a copy whose submission is finished; `None` if mapping failed.
    pub fn words(&self) -> Option<Vec<u32>> {
        let Ok(Ok(())) = self.mapped.recv() else {
            return None;
        };
        let view = self.staging.get_mapped_range(..).ok()?;
        Some(bytemuck::pod_collect_to_vec(&view[..self.bytes as usize]))
    }
}

/// The copies under way, and idle staging buffers for later copies.
#[derive(Default)]
pub(super) struct Readbacks {
    pending: HashMap<u64, Readback>,
    idle: Vec<wgpu::Buffer>,
    next: u64,
}

impl Readbacks {
    /// A staging buffer of `bytes` bytes: an idle buffer of that size, or else a new buffer.
    pub fn staging(&mut self, device: &wgpu::Device, bytes: u64) -> wgpu::Buffer {
        match self.idle.iter().position(|b| b.size() == bytes) {
            Some(i) => self.idle.swap_remove(i),
            None => device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }),
        }
    }

    pub fn add(&mut self, readback: Readback) -> Ticket {
        let id = self.next;
        self.next += 1;
        self.pending.insert(id, readback);
        Ticket(id)
    }

    pub fn take(&mut self, ticket: &Ticket) -> Option<Readback> {
        self.pending.remove(&ticket.0)
    }

    /// Keeps the staging buffer of a finished copy for later copies, or frees it if those kept would have more than
    /// [`MOST_IDLE`] bytes.
    pub fn reuse(&mut self, readback: Readback) {
        readback.staging.unmap();
        if self.idle_bytes() + readback.staging.size() <= MOST_IDLE {
            self.idle.push(readback.staging);
        }
    }

    /// Frees the idle staging buffers.
    pub fn free_idle(&mut self) {
        self.idle.clear();
    }

    /// The bytes of all staging buffers: those of copies under way, and idle ones.
    pub fn bytes(&self) -> u64 {
        let pending = self.pending.values().map(|copy| copy.staging.size());
        pending.sum::<u64>() + self.idle_bytes()
    }

    fn idle_bytes(&self) -> u64 {
        self.idle.iter().map(wgpu::Buffer::size).sum()
    }
}
