//! A progress bar on stderr; nothing if stderr is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

use super::tell;

/// One bar at a time; each phase has its own bar.
#[derive(Default)]
pub struct Progress {
    bar: Option<(String, ProgressBar)>,
}

impl Progress {
    /// Shows `done` of `total` in a phase; a `total` of 0 is unknown.
    pub fn at(&mut self, phase: &'static str, done: usize, total: usize, message: String) {
        if self.bar.as_ref().is_none_or(|(name, _)| name != phase) {
            self.clear();
            let template = match total {
                0 => "{prefix:10} {pos}  {msg}",
                _ => "{prefix:10} [{bar:24}] {pos}/{len}  {msg}  {eta} left",
            };
            let bar = ProgressBar::new(total as u64).with_prefix(phase);
            self.show(phase, bar, template);
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_message(message);
            bar.set_position(done as u64);
        }
    }

    /// Shows `done` of `total` bytes of a file; a `total` of 0 is unknown.
    pub fn bytes(&mut self, file: &str, done: u64, total: u64) {
        if self.bar.as_ref().is_none_or(|(name, _)| name != file) {
            self.clear();
            let bar = ProgressBar::new(total).with_prefix(file.to_owned());
            let template = match total {
                0 => "{prefix} {bytes}  {bytes_per_sec}",
                _ => "{prefix} [{bar:24}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
            };
            self.show(file, bar, template);
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_position(done);
        }
    }

    fn show(&mut self, phase: &str, bar: ProgressBar, template: &str) {
        // The templates are constants. If one were wrong, the plain bar would appear.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        self.bar = Some((phase.to_owned(), bar));
    }

    /// Prints a line on stderr, above the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some((_, bar)) => bar.suspend(|| tell!("{line}")),
            None => tell!("{line}"),
        }
    }

    /// Removes the bar.
    pub fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
