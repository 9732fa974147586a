//! Who is doing what, as it happens: a live line for each duchy on a terminal, a line for each stage elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::GLANCE;
use super::report::StageTime;
use crate::console::described_progress;
use crate::mill::{StageEvent, StageObserver, StageReport};

/// Watches the mills of all duchies.
pub(super) struct Progress {
    lines: MultiProgress,
    duchies: BTreeMap<String, ProgressBar>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    stages: Vec<StageTime>,
    bytes_sent: BTreeMap<String, u64>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

impl Progress {
    pub(super) fn new(duchies: &[String]) -> Self {
        let lines = MultiProgress::new();
        let width = duchies.iter().map(String::len).max().unwrap_or(0);
        let duchies = duchies
            .iter()
            .map(|duchy| {
                let style = ProgressStyle::with_template("{spinner} {prefix} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                let line = lines.add(ProgressBar::new_spinner().with_style(style));
                line.set_prefix(format!("{duchy:<width$}"));
                line.set_message("starting");
                (duchy.clone(), line)
            })
            .collect();
        Self { lines, duchies, seen: Mutex::default() }
    }

    /// Waits until every duchy has ended one of the `last` stages. The result may be known before the duchies that do
    /// not report it have closed their books; if one takes longer than `patience`, its last stage is not shown.
    pub(super) async fn wait_for(&self, last: &[&str], patience: Duration) {
        let ended = || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = seen.stages.iter().filter(|time| last.contains(&time.stage.as_str()));
            ended.count() >= self.duchies.len()
        };
        let waiting = async {
            while !ended() {
                tokio::time::sleep(GLANCE).await;
            }
        };
        // Nothing depends on it.
        let _ = tokio::time::timeout(patience, waiting).await;
    }

    /// Clears the lines; what was seen: the stages in the order of their ends, and what each duchy sent.
    pub(super) fn finish(&self) -> (Vec<StageTime>, BTreeMap<String, u64>) {
        for line in self.duchies.values() {
            line.finish();
        }
        let Seen { stages, bytes_sent } =
            std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        (stages, bytes_sent)
    }

    fn finished(&self, stage: StageTime) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.bytes_sent.entry(stage.duchy.clone()).or_default() += stage.bytes_sent;
        seen.stages.push(stage);
    }
}

impl StageObserver for Progress {
    fn observe(&self, report: StageReport) {
        let stage = report.stage;
        let text = match &report.event {
            StageEvent::Started => format!("{stage:<22} at work"),
            StageEvent::Progressed { progress, elapsed } => {
                format!("{stage:<22} {} {:>6.1} s", described_progress(*progress), elapsed.as_secs_f64())
            }
            StageEvent::Waiting { peer } => format!("{stage:<22} waits for {peer}"),
            StageEvent::Finished { registers, sent_bytes, computing, elapsed } => {
                let seconds = elapsed.as_secs_f64();
                self.finished(StageTime {
                    duchy: report.duchy.clone(),
                    stage: stage.to_owned(),
                    seconds,
                    computing_seconds: computing.as_secs_f64(),
                    registers: *registers,
                    bytes_sent: *sent_bytes,
                });
                format!("{stage:<22} {registers:>9} registers {seconds:>6.1} s, done")
            }
            StageEvent::Interrupted { reason } => format!("{stage:<22} tries again: {reason}"),
            StageEvent::Failed { reason } => format!("{stage:<22} failed: {reason}"),
        };
        let quiet = matches!(report.event, StageEvent::Started | StageEvent::Progressed { .. });
        if self.lines.is_hidden() {
            // No terminal: one line for each thing worth keeping.
            if !quiet {
                eprintln!("{:<12} {text}", report.duchy);
            }
        } else if let Some(line) = self.duchies.get(&report.duchy) {
            line.set_message(text);
            line.tick();
        }
    }
}
