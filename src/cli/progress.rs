//! How far a study is: one bar on a terminal, a few plain lines elsewhere, nothing when asked to be quiet.

use std::io::IsTerminal as _;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::study::{Observer, Progress, TrialRecord};

use super::output::{clock, score};

/// Draws the progress of a study on stderr.
pub(super) struct Bar {
    bar: ProgressBar,
    total: u64,
    plain: bool,
    began: Instant,
    /// Trials finished before this run, which say nothing about its speed.
    before: u64,
    printed: u64,
}

impl Bar {
    /// A bar up to `total` trials of which `before` are finished already.
    pub(super) fn new(total: u64, before: u64, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if quiet || !terminal {
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden())
        } else {
            ProgressBar::new(total)
        };
        if let Ok(style) = ProgressStyle::with_template("[{bar:20}] {pos}/{len}  {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_position(before);
        Bar {
            bar,
            total,
            plain: !quiet && !terminal,
            began: Instant::now(),
            before,
            printed: before,
        }
    }

    /// The bar itself, to print around it and to end it.
    pub(super) fn handle(&self) -> ProgressBar {
        self.bar.clone()
    }
}

impl Observer for Bar {
    fn trial_finished(&mut self, trial: &TrialRecord, progress: &Progress) {
        let _ = trial;
        let finished = progress.finished();
        let mut text = match &progress.best {
            Some(best) => {
                let learner = best.user_attrs.get("learner").and_then(|l| l.as_str());
                let learner = learner.map_or(String::new(), |l| format!(" {l}"));
                format!("best {} (#{}{learner})", score(best.values[0]), best.number)
            }
            // Several directions have no single best, and a trial that breaks its constraints is none.
            None if progress.complete > 0 => format!("{} complete", progress.complete),
            None => "no complete trial yet".to_owned(),
        };
        if progress.failed > 0 {
            text.push_str(&format!("  {} failed", progress.failed));
        }
        let done = finished.saturating_sub(self.before);
        if done > 0 && finished < self.total {
            let each = self.began.elapsed().as_secs_f64() / done as f64;
            text.push_str(&format!(
                "  {} left",
                clock(each * (self.total - finished) as f64)
            ));
        }
        // About ten lines in a log are enough to see that it moves.
        if self.plain
            && (finished == self.total || finished >= self.printed + self.total.div_ceil(10))
        {
            self.printed = finished;
            eprintln!("{finished}/{}  {text}", self.total);
        }
        self.bar.set_position(finished);
        self.bar.set_message(text);
    }
}
