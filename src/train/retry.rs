//! Goes on with a run after its device was lost.

use std::path::Path;

use crate::checkpoint::{self, Checkpoint};
use crate::engine::Device;
use crate::error::{Error, Result};
use crate::storage::Disk;

/// What a run does when its device is lost.
pub struct Retry<'a> {
    /// Open a device so many times.
    pub retries: usize,
    /// The run's output folder.
    pub out: &'a Path,
    /// Opens a device.
    pub open: &'a mut dyn FnMut() -> Result<Box<dyn Device>>,
    /// Tells the user what happened, in a line.
    pub tell: &'a mut dyn FnMut(String),
}

/// A result, and the device on which it was reached.
pub struct OnDevice<T> {
    /// The device.
    pub engine: Box<dyn Device>,
    /// The result.
    pub result: T,
}

impl Retry<'_> {
    /// Calls `train` with a device and the checkpoint to go on from; `None` = the start. If the device is lost, calls
    /// it again with a new device and the newest checkpoint.
    ///
    /// # Errors
    /// The first error that is not `Error::Lost`, and `Error::Lost` after the last retry; every error of `open`, and of
    /// [`checkpoint::find`].
    pub fn run<T>(
        self,
        mut engine: Box<dyn Device>,
        mut from: Option<Checkpoint>,
        mut train: impl FnMut(&mut dyn Device, Option<Checkpoint>) -> Result<T>,
    ) -> Result<OnDevice<T>> {
        let mut left = self.retries;
        loop {
            match train(engine.as_mut(), from) {
                Ok(result) => return Ok(OnDevice { engine, result }),
                Err(error @ Error::Lost { .. }) if left > 0 => {
                    left -= 1;
                    (self.tell)(error.to_string());
                    drop(engine);
                    engine = (self.open)()?;
                    checkpoint::tidy(&Disk, self.out)?;
                    from = checkpoint::find(self.out)?;
                    let place = match &from {
                        Some(checkpoint) => format!("step {}", checkpoint.position().step),
                        None => "the start".to_owned(),
                    };
                    (self.tell)(format!(
                        "the device is opened anew, and the run goes on from {place}; retries left: {left}"
                    ));
                }
                Err(error) => return Err(error),
            }
        }
    }
}
