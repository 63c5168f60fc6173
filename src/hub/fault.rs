//! An error of the hub about the repository that it is about.

use super::place::Reference;
use crate::error::{Error, Fault};

impl Reference {
    pub(super) fn fault(
        &self,
        fault: Fault,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Error {
        Error::Hub {
            name: self.text.clone(),
            fault,
            what: what.into(),
            help: help.into(),
        }
    }
}
