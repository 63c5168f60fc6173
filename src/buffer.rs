//! A buffer on a device, as everyone but its engine knows it.

/// A device buffer of 32-bit words, by number. Only the engine that made it knows what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// Counted by the engine, from 0.
    pub id: u32,
    /// Length in 32-bit words.
    pub words: usize,
}
