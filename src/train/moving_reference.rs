//! TR-DPO: a reference that follows the policy (Gorbatovski et al. 2024, "Learn Your Reference Model for Real Good
//! Alignment").

use super::Run;
use crate::error::Result;
use crate::model::Tensors;
use crate::ops::blend;
use crate::state::State;

impl Run<'_> {
    /// The state on which the rest of the run depends: the learner's, and the reference's weights if they move.
    pub(super) fn state(&self) -> State {
        self.learner.state_beside(self.moving())
    }

    /// The reference's weights, if they move.
    fn moving(&self) -> Option<&Tensors> {
        let moves = self.config.sync_ref_steps > 0;
        self.frozen.as_ref().filter(|_| moves)
    }

    /// Moves the reference towards the policy, if that is due after this step.
    pub(super) fn move_reference(&mut self, step: usize) -> Result<()> {
        let Some(reference) = self.moving() else {
            return Ok(());
        };
        if !step.is_multiple_of(self.config.sync_ref_steps) {
            return Ok(());
        }
        let mut rec = self.engine.recording();
        let policy = &self.learner.policy.weights.arenas;
        for (&x, &y) in policy.iter().zip(&reference.arenas) {
            blend::forward(&mut rec, x, y, self.config.sync_ref_alpha);
        }
        self.engine.run(&rec)?;
        Ok(())
    }
}
