//! Takes in a file's records in their order: keeps a pair, counts it, or leaves it out.

use std::path::{Path, PathBuf};

use super::audit::{Audit, Auditor};
use super::encode::{Encoder, Looked, Outcome};
use super::encoded::Encoded;
use super::selection::{Reason, Seen, Selector, Waiting};
use super::{Dataset, Example};
use crate::error::{Error, Result};
use crate::words::counted;

/// The most errors that a message lists for a file without a usable pair.
const NAMED: usize = 3;

/// The pairs and counts of the records so far.
pub(super) struct Intake<'a> {
    encoder: &'a Encoder<'a>,
    selector: Selector<'a>,
    auditor: Auditor,
    waiting: Waiting,
    examples: Vec<Example>,
}

impl<'a> Intake<'a> {
    pub fn new(encoder: &'a Encoder<'a>, name: &str, seen: &'a mut Seen) -> Self {
        Intake {
            encoder,
            selector: Selector::new(&encoder.options.selection, seen),
            auditor: Auditor::new(name.to_owned(), encoder.options),
            waiting: Waiting::default(),
            examples: Vec::new(),
        }
    }

    /// True if no further pair can be taken.
    pub fn is_full(&self) -> bool {
        self.selector.is_full()
    }

    /// # Errors
    /// The error of a record that cannot be used, unless such records are skipped.
    pub fn take(&mut self, looked: Looked) -> Result<()> {
        self.auditor.audit.records += 1;
        match looked.outcome {
            Ok(Outcome::Side(side)) => match self.waiting.partner(*side) {
                None => Ok(()),
                Some(sides) => self.settle(self.encoder.sides(sides)),
            },
            _ => self.settle(looked),
        }
    }

    fn settle(&mut self, looked: Looked) -> Result<()> {
        match looked.outcome {
            Ok(Outcome::Pair(encoded)) => self.pair(*encoded),
            Ok(Outcome::Dropped(reason)) => self.auditor.drop(reason, &looked.place),
            // Encoder::sides returns a pair, never a single side.
            Ok(Outcome::Side(_)) => {}
            Err(error) if self.encoder.options.skip_bad_records && is_the_records(&error) => {
                self.auditor.drop(Reason::BadRecord, error);
            }
            Err(error) => return Err(or_skip(error)),
        }
        Ok(())
    }

    fn pair(&mut self, encoded: Encoded) {
        match self.selector.takes(&encoded) {
            Err(reason) => self.auditor.drop(reason, &encoded.example.place),
            Ok(false) => self.auditor.audit.outside_limits += 1,
            Ok(true) => {
                self.auditor.keep(&encoded);
                self.examples.push(encoded.example);
            }
        }
    }

    /// # Errors
    /// `Error::File` if no pair was taken; `Error::Option` for an option that applied to no record.
    pub fn finish(mut self, files: &[PathBuf]) -> Result<Dataset> {
        // A full intake stops reading early, so unread records may still hold the missing sides.
        if !self.is_full() {
            self.auditor
                .drop_all(Reason::Unpaired, &self.waiting.left());
        }
        let mut audit = self.auditor.audit;
        audit.unscored = self.selector.unscored;
        audit.files = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        if !self.examples.is_empty() {
            self.selector.check()?;
        } else {
            return Err(nothing_left(&audit));
        }
        self.examples.shrink_to_fit();
        Ok(Dataset {
            name: audit.data.clone(),
            examples: self.examples,
            audit,
        })
    }
}

/// True if the record is at fault; false if an option or the tokenizer is.
fn is_the_records(error: &Error) -> bool {
    matches!(error, Error::Data { .. })
}

/// Adds to a record's error the option that leaves such records out.
fn or_skip(error: Error) -> Error {
    match error {
        Error::Data {
            path,
            line,
            what,
            help,
        } => Error::Data {
            path,
            line,
            what,
            help: format!("{help}; `.skip_bad_records` leaves such records out and counts them"),
        },
        other => other,
    }
}

/// The error of a file without a usable pair.
fn nothing_left(audit: &Audit) -> Error {
    let file = Path::new(&audit.data);
    if audit.records == 0 {
        let help =
            "give a file of preference pairs: one JSON object a line, a JSON array, or parquet";
        return Error::file(file, "no record in it", help);
    }
    let mut reasons: Vec<String> = Vec::new();
    for (reason, drops) in &audit.dropped {
        reasons.push(reason.words(drops.count));
        reasons.extend(
            drops
                .first
                .iter()
                .take(NAMED)
                .map(|first| format!("  {first}")),
        );
    }
    if audit.outside_limits > 0 {
        reasons.push(format!(
            "{} passed over (`.skip`)",
            counted(audit.outside_limits, "pair")
        ));
    }
    let what = format!(
        "no usable preference pair: of {}\n  {}",
        counted(audit.records, "record"),
        reasons.join("\n  ")
    );
    let help = match audit.dropped.keys().next_back() {
        Some(Reason::BadRecord) => "mend the records, or say with `.columns` where the texts stand",
        _ if reasons.iter().any(|reason| reason.contains("--")) => {
            "loosen the options named above, or give other data"
        }
        _ => "give other data",
    };
    Error::file(file, what, help)
}
