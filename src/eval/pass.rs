//! One pass of a model over held-out pairs.

use super::judged::{Asked, Judged, Responses};
use crate::batch::{Rivals, Stream};
use crate::data::Example;
use crate::dpo::PairMetrics;
use crate::engine::{Engine, Ticket};
use crate::error::{Error, Result};
use crate::objective::Objective;
use crate::recording::Recording;
use crate::scorer::{Reference, Scorer, Share, Whole};

/// A pass of a policy over held-out pairs, one micro-batch after another. The scorer needs a slot of its metrics for
/// each pair.
pub struct Pass<'a> {
    scorer: &'a Scorer,
    end: Option<u32>,
    of: Whole,
    /// Of each pair, if the loss ranks them; else empty.
    rivals: Vec<Rivals>,
    /// Pairs recorded so far.
    recorded: usize,
    responses: Vec<Responses>,
    /// The micro-batch whose log-probs are under way while the device works on the next.
    under_way: Option<UnderWay>,
}

/// A micro-batch of a pass, recorded.
pub struct Micro {
    recording: Recording,
    asked: Asked,
}

struct UnderWay {
    asked: Asked,
    logps: Ticket,
    /// `None` for an objective without a reference.
    references: Option<Ticket>,
}

/// The numbers of these pairs from `judge`, which makes a pass with their rivals, or without any. A loss that ranks
/// pairs takes two: the rivals follow from the first.
///
/// # Errors
/// Those of `judge`.
pub fn judge_all(
    objective: Objective,
    examples: &[Example],
    mut judge: impl FnMut(Vec<Rivals>) -> Result<Vec<Judged>>,
) -> Result<Vec<Judged>> {
    let judged = judge(Vec::new())?;
    if !objective.ranks() {
        return Ok(judged);
    }
    let metrics: Vec<PairMetrics> = judged.iter().map(|pair| pair.metrics).collect();
    judge(objective.rivals(&metrics, examples))
}

impl<'a> Pass<'a> {
    /// Begins a pass over `of`; `end` is the token that ends a whole response.
    pub fn new(scorer: &'a Scorer, of: Whole, end: Option<u32>) -> Pass<'a> {
        Pass {
            scorer,
            end,
            of,
            rivals: Vec::new(),
            recorded: 0,
            responses: Vec::with_capacity(of.pairs),
            under_way: None,
        }
    }

    /// Compares each pair with its rivals, for a loss that ranks them; they come from an earlier pass.
    pub fn against(self, rivals: Vec<Rivals>) -> Pass<'a> {
        Pass { rivals, ..self }
    }

    /// Records the next pairs, beside the reference.
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have.
    pub fn record(
        &mut self,
        engine: &dyn Engine,
        pairs: &[Example],
        reference: Reference,
    ) -> Result<Micro> {
        let scorer = self.scorer;
        let mut stream = Stream::new(pairs, scorer.objective.sides());
        if !self.rivals.is_empty() {
            let next = self.recorded..self.recorded + pairs.len();
            stream.set_rivals(&self.rivals[next]);
        }
        let share = Share {
            first_slot: self.recorded,
            of: self.of,
        };
        let mut recording = scorer.record_score(engine, &stream, reference, share)?;
        let (head, heads) = (&scorer.ws.head, stream.targets.len());
        recording.fetch(head.logps.first(heads));
        if scorer.objective.needs_reference() {
            recording.fetch(head.references.first(heads));
        }
        self.recorded += pairs.len();
        let asked = Asked::of(&stream, self.end);
        Ok(Micro { recording, asked })
    }

    /// Runs a micro-batch.
    ///
    /// # Errors
    /// Every error of the device.
    pub fn run(&mut self, engine: &mut dyn Engine, micro: Micro) -> Result<()> {
        let mut tickets = engine.run(&micro.recording)?.into_iter();
        let Some(logps) = tickets.next() else {
            return Err(Error::Refused {
                what: format!("{}: a copy was not made", engine.name()),
            });
        };
        let earlier = self.under_way.replace(UnderWay {
            asked: micro.asked,
            logps,
            references: tickets.next(),
        });
        earlier.map_or(Ok(()), |earlier| self.collect(engine, earlier))
    }

    /// Waits for a micro-batch's log-probs.
    fn collect(&mut self, engine: &mut dyn Engine, done: UnderWay) -> Result<()> {
        let mut read =
            |ticket| Ok::<_, Error>(bytemuck::cast_vec::<u32, f32>(engine.collect(ticket)?));
        let logps = read(done.logps)?;
        let references = done.references.map(read).transpose()?;
        let responses = done.asked.responses(&logps, references.as_deref());
        self.responses.extend(responses);
        Ok(())
    }

    /// Waits for the numbers of all pairs, in their order.
    ///
    /// # Errors
    /// Every error of the device.
    pub fn finish(mut self, engine: &mut dyn Engine) -> Result<Vec<Judged>> {
        if let Some(last) = self.under_way.take() {
            self.collect(engine, last)?;
        }
        let metrics = self.scorer.metrics(engine, self.recorded)?;
        let judged = metrics.into_iter().zip(self.responses);
        let judged = judged.map(|(metrics, responses)| Judged {
            metrics,
            chosen: responses.chosen,
            rejected: responses.rejected,
        });
        Ok(judged.collect())
    }
}
