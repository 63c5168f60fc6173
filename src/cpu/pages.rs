//! The memory behind the CPU engine's buffers.

use memmap2::MmapMut;

/// 32-bit words straight from the operating system, zero at first. Pages that are never touched take no memory.
/// The default has no words.
#[derive(Default)]
pub struct Pages(Option<MmapMut>);

impl Pages {
    /// Maps `words` zeros.
    ///
    /// # Errors
    /// The operating system's error if it lacks the memory.
    pub fn zeros(words: usize) -> std::io::Result<Pages> {
        let map = MmapMut::map_anon(size_of::<u32>() * words)?;
        // Pages of 2 MiB cause 1/500 of the page faults, and weights are read in long strides. A system that
        // refuses keeps its usual page size.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Pages(Some(map)))
    }

    pub fn words(&self) -> &[u32] {
        self.0.as_deref().map_or(&[], bytemuck::cast_slice)
    }

    pub fn words_mut(&mut self) -> &mut [u32] {
        let bytes = self.0.as_deref_mut();
        bytes.map_or(&mut [], bytemuck::cast_slice_mut)
    }
}
