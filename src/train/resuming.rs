//! A run that goes on: what has to be as it was, and the state that it begins with.

use super::{Event, Run};
use crate::checkpoint::{self, Checkpoint, Facts, Position};
use crate::error::{Error, Result, Setting};
use crate::model::write;
use crate::ops::step_control::StepControl;
use crate::state::State;

impl Run<'_> {
    /// Refuses to go on if the checkpoint of the best evaluation is damaged, or forgets it if `anyway`.
    pub(super) fn hold_best(&mut self, anyway: bool) -> Result<()> {
        // The checkpoint that the run goes on from was verified when it was opened.
        let best = self.position.best_step();
        let Some(best) = best.filter(|&best| best != self.position.step) else {
            return Ok(());
        };
        let folder = checkpoint::folder(&self.out, best);
        match Checkpoint::open(&folder) {
            Ok(_) => Ok(()),
            Err(e) if anyway => {
                self.position.best = None;
                let note = format!(
                    "the best evaluation so far, of step {best}, is forgotten: {}",
                    e.brief()
                );
                (self.observe)(Event::Note(note));
                Ok(())
            }
            Err(e) => Err(Error::File {
                path: folder,
                what: format!(
                    "the best evaluation so far is that of step {best}: {}",
                    e.brief()
                ),
                help: "go on from a checkpoint before it, or give `.resume_anyway` to forget it"
                    .into(),
            }),
        }
    }

    /// Makes the file of the metrics, and brings the folder of checkpoints to the place that the run goes on from.
    pub(super) fn begin_files(&mut self) -> Result<()> {
        let storage = self.host.storage.as_ref();
        checkpoint::tidy(storage, &self.out)?;
        if let Some(resume) = &self.resume {
            let step = resume.position().step;
            for later in checkpoint::list(&self.out)? {
                if later.step > step {
                    checkpoint::remove(storage, &later.path)?;
                    let note = format!("{}, which comes later, is removed", later.path.display());
                    (self.observe)(Event::Note(note));
                }
            }
            let (keep, best) = (self.config.save_total_limit, self.position.best_step());
            if let Err(e) = checkpoint::prune(storage, &self.out, keep, best) {
                let note = format!("an old checkpoint stays: {}", e.brief());
                (self.observe)(Event::Note(note));
            }
        }
        let earlier = self.resume.as_ref().map(Checkpoint::metrics);
        self.metrics.begin(earlier.as_deref())
    }

    /// Puts the state on the device from which training begins: the weights at the start, or those of a checkpoint.
    pub(super) fn put_start(&mut self) -> Result<()> {
        if let Some(weights) = self.weights.take() {
            write(self.engine, self.bare.iter(), weights.tensors)?;
        }
        let mut step = None;
        if let Some(checkpoint) = self.resume.take() {
            let state = self.state();
            checkpoint.restore(self.engine, &state)?;
            self.learner.set_steps(self.position.step as u64);
            let then = &checkpoint.position().facts.precision;
            if *then != self.position.facts.precision {
                self.put_control_of_this_precision(&state)?;
            }
            step = Some(checkpoint.position().step);
        }
        self.saver.begin(step);
        Ok(())
    }

    /// Gives the step control the loss scale of this run's precision. Steps of the other precision count as taken.
    pub(super) fn put_control_of_this_precision(&mut self, state: &State) -> Result<()> {
        let taken = self.position.step - self.position.skipped;
        let scaling = self.config.optimizer().scaling;
        let control = StepControl {
            taken: taken as f32,
            ..StepControl::new(scaling.map_or(1.0, |scaling| scaling.initial))
        };
        let words = control.floats().map(f32::to_bits);
        self.learner.set_steps(taken as u64);
        self.engine.write(state.control, &words)
    }
}

/// Compares a run with the one that it goes on from: notes on what changes only the rounding, or on everything if
/// `anyway`.
///
/// # Errors
/// `Error::Option` for other pairs, other weights at the start or another reference, unless `anyway`.
pub(super) fn differences(
    then: &Position,
    now: &Facts,
    total: usize,
    anyway: bool,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let begun = &then.facts;
    let decisive = [
        (
            "data",
            "the pairs are not those of the run",
            begun.data != now.data,
        ),
        (
            "sample_prompts",
            "the prompts are not those that the run answers",
            begun.samples != now.samples,
        ),
        (
            "model",
            "the weights are not those that the run began with",
            begun.start != now.start,
        ),
        (
            "ref_model",
            "the reference is not that of the run",
            begun.reference != now.reference,
        ),
        (
            "epochs",
            "the run has another number of steps",
            then.total != total,
        ),
    ];
    for (option, what, differs) in decisive {
        if differs && !anyway {
            return Err(Error::Option {
                option: Setting::Field(option),
                what: what.to_owned(),
                help: "give what the run was begun with, or `.resume_anyway`".to_owned(),
            });
        }
        if differs {
            notes.push(format!("`.{option}`: {what}"));
        }
    }
    let rounding = [
        ("device", &begun.device, &now.device),
        ("precision", &begun.precision, &now.precision),
        ("version", &begun.version, &now.version),
    ];
    for (what, then, now) in rounding {
        if then != now {
            notes.push(format!(
                "the {what} was {then}, and is {now} now: the numbers are not to the bit those of one run"
            ));
        }
    }
    if begun.version == now.version && begun.kernels != now.kernels {
        notes.push(
            "the kernels are others: the numbers are not to the bit those of one run".to_owned(),
        );
    }
    if begun.micro_batch != now.micro_batch {
        notes.push(format!(
            "a micro-batch had {} pairs, and has {} now: the same but for rounding",
            begun.micro_batch, now.micro_batch
        ));
    }
    Ok(notes)
}
