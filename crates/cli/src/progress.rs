//! A progress bar on standard error, only where people see it.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Work shorter than this shows no bar: it would only flicker.
const QUIET: Duration = Duration::from_millis(250);

/// The bar of one call.
pub(crate) struct Bar {
    wanted: bool,
    since: Instant,
    bar: Option<ProgressBar>,
    title: String,
}

impl Bar {
    /// A bar that shows itself once work takes long, on a terminal, when `wanted`.
    pub(crate) fn new(wanted: bool) -> Self {
        let wanted = wanted && std::io::stderr().is_terminal();
        Self { wanted, since: Instant::now(), bar: None, title: String::new() }
    }

    /// Shows how far a stage is. `total` is 0 when unknown.
    pub(crate) fn show(&mut self, title: &str, done: u64, total: u64) {
        if !self.wanted || self.since.elapsed() < QUIET {
            return;
        }
        let bar = self.bar.get_or_insert_with(ProgressBar::no_length);
        if self.title != title {
            self.title = crate::words::harmless(title);
            bar.set_style(style(total));
            bar.set_message(self.title.clone());
        }
        bar.set_length(total);
        bar.set_position(done);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn style(total: u64) -> ProgressStyle {
    let template = if total == 0 {
        "{spinner} {msg} {human_pos}"
    } else {
        "{msg} {wide_bar:.cyan/dim} {human_pos}/{human_len} {eta}"
    };
    ProgressStyle::with_template(template).expect("the template is written here").progress_chars("━╸─")
}
