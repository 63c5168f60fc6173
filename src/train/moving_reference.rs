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
        let moves = self.config.moves_reference();
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
        // Tensor by tensor: the arenas of a policy that is trained in part are not those of the reference.
        let policy = self.learner.policy.weights.gpt2.iter();
        for (policy, reference) in policy.zip(reference.gpt2.iter()) {
            for (x, y) in policy.pieces().zip(reference.pieces()) {
                blend::forward(&mut rec, x, y, self.config.sync_ref_alpha);
            }
        }
        self.engine.run(&rec)?;
        Ok(())
    }
}
