//! The pages: HTML that fetches nothing but its style sheet, and has no scripts. Every text is escaped.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use halo_crypto::parallel::Progress;
use halo_protocols::llv2::StageKind;

use super::text::{between, brief, bytes, end_reason, utc};
use super::throughput::Tally;
use super::{Diagnosis, Selected, State, attempts, percent, progress, size, timeline, use_of};
use crate::clock::Timestamp;
use crate::html::Escaped;
use crate::protocol_stages::{ProtocolStage, participants, role_name};
use crate::store::{Record, StageRecord};

/// Seconds after which a page is loaded again on which something is moving. As often as mills record their progress.
const RELOADED_AFTER: u32 = 5;
/// The attempts at a stage that are listed, the last ones.
const MOST_ATTEMPTS: usize = 100;

/// What a page is shown with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// The duchy.
    pub(super) duchy: &'a str,
    /// The time.
    pub(super) now: Timestamp,
}

/// What the first page tells.
#[derive(Debug)]
pub(super) struct Overview {
    /// The computations of the table.
    pub(super) selected: Selected,
    /// The only state shown.
    pub(super) state: Option<State>,
    /// How many are before those of the table.
    pub(super) skip: usize,
    /// How many a table has.
    pub(super) limit: usize,
    /// Computations that a mill has claimed.
    pub(super) claimed: Selected,
    /// What has been done within the last hour.
    pub(super) done: Vec<(ProtocolStage, Tally)>,
    /// Whether that is all.
    pub(super) all: bool,
}

impl Frame<'_> {
    /// A page with this title and content, which a browser loads again by itself while something `is_moving`.
    fn page(
        self,
        title: &str,
        is_moving: bool,
        content: impl FnOnce(&mut String) -> fmt::Result,
    ) -> Result<String, fmt::Error> {
        let mut page = String::new();
        let (title, duchy) = (Escaped(title), Escaped(self.duchy));
        writeln!(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
        writeln!(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
        if is_moving {
            writeln!(page, "<meta http-equiv=\"refresh\" content=\"{RELOADED_AFTER}\">")?;
        }
        writeln!(
            page,
            "<title>{title} – {duchy}</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>"
        )?;
        writeln!(page, "<body>\n<main>\n<h1><a href=\"/\">{duchy}</a>: {title}</h1>")?;
        let how = match is_moving {
            true => format!("Loaded again every {RELOADED_AFTER} s while mills are at work."),
            false => "To see what is new, load it again.".to_owned(),
        };
        writeln!(page, "<p>As of {}. {how}</p>", utc(self.now))?;
        content(&mut page)?;
        writeln!(page, "</main>\n</body>\n</html>")?;
        Ok(page)
    }

    fn is_moving(self, record: &Record) -> bool {
        State::of(record, self.now) == State::Running
    }

    /// A page that says that something is not there.
    pub(super) fn message(self, title: &str, text: &str) -> Result<String, fmt::Error> {
        self.page(title, false, |f| writeln!(f, "<section><p>{}</p></section>", Escaped(text)))
    }

    /// The first page.
    pub(super) fn overview(self, overview: &Overview) -> Result<String, fmt::Error> {
        let is_moving = overview.claimed.records.iter().any(|record| self.is_moving(record));
        self.page("computations", is_moving, |f| {
            states(f, overview.state)?;
            self.table(f, overview)?;
            self.leases(f, &overview.claimed.records)?;
            throughput(f, overview)
        })
    }

    fn table(self, f: &mut String, overview: &Overview) -> fmt::Result {
        writeln!(
            f,
            "<section>\n<table>\n<tr><th>Computation<th>Protocol<th>Stage<th>State<th>Age<th>Unchanged for"
        )?;
        writeln!(f, "<th>Attempts<th>Lease<th class=\"wide\">Last error</tr>")?;
        for record in &overview.selected.records {
            let id = Escaped(&record.global_id);
            let state = State::of(record, self.now).name();
            let age = brief(between(record.created, self.now));
            let unchanged = brief(between(record.updated, self.now));
            let (protocol, stage) = (record.stage.protocol().name(), record.stage.name());
            let owner = Escaped(record.lock_owner.as_deref().unwrap_or_default());
            let error = Escaped(record.last_error().map(|(_, _, error)| error).unwrap_or_default());
            writeln!(
                f,
                "<tr><td><a href=\"/computations/{id}\">{id}</a><td>{protocol}<td>{stage}<td class=\"{state}\">{state}<td>{age}\
                 <td>{unchanged}<td>{}<td>{owner}<td class=\"wide\">{error}</tr>",
                attempts(record)
            )?;
        }
        writeln!(f, "</table>")?;
        if overview.selected.records.is_empty() {
            writeln!(f, "<p>There are none.</p>")?;
        }
        let link = |skip: usize| match overview.state {
            Some(state) => format!("/?state={}&amp;skip={skip}", state.name()),
            None => format!("/?skip={skip}"),
        };
        if overview.skip > 0 {
            writeln!(
                f,
                "<p><a href=\"{}\">Before</a></p>",
                link(overview.skip.saturating_sub(overview.limit))
            )?;
        }
        if overview.selected.more {
            writeln!(f, "<p><a href=\"{}\">More</a></p>", link(overview.skip + overview.limit))?;
        }
        writeln!(f, "</section>")
    }

    /// How far the mill is.
    fn progress(self, f: &mut String, record: &Record) -> fmt::Result {
        let Some(progress) = progress(record, self.now) else { return Ok(()) };
        let Progress { step, total, .. } = progress;
        let percent = percent(progress);
        write!(
            f,
            "<progress max=\"100\" value=\"{percent}\"></progress> step {step}, {percent} % of {total} records"
        )
    }

    fn leases(self, f: &mut String, claimed: &[Record]) -> fmt::Result {
        writeln!(f, "<section>\n<h2>Lease holders</h2>\n<table>")?;
        writeln!(f, "<tr><th>Mill<th>Computation<th>Stage<th>Attempt<th>Lease ends<th>Progress</tr>")?;
        let mut owners: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        for record in claimed {
            owners.entry(record.lock_owner.as_deref().unwrap_or_default()).or_default().push(record);
        }
        for (owner, records) in &owners {
            for record in records {
                let (owner, id) = (Escaped(owner), Escaped(&record.global_id));
                let end = record.lock_expiration.unwrap_or_default();
                let left = match end > self.now {
                    true => format!("in {}", brief(between(self.now, end))),
                    false => format!("{} ago", brief(between(end, self.now))),
                };
                let (stage, attempt) = (record.stage.name(), attempts(record));
                writeln!(
                    f,
                    "<tr><td>{owner}<td><a href=\"/computations/{id}\">{id}</a><td>{stage}<td>{attempt}<td>{left}<td>"
                )?;
                self.progress(f, record)?;
                writeln!(f, "</tr>")?;
            }
        }
        writeln!(f, "</table>")?;
        if owners.is_empty() {
            writeln!(f, "<p>No mill holds any.</p>")?;
        }
        writeln!(f, "</section>")
    }

    /// The page of one computation.
    pub(super) fn computation(self, record: &Record) -> Result<String, fmt::Error> {
        self.page(&format!("computation {}", record.global_id), self.is_moving(record), |f| {
            let Diagnosis { waits_for, next } = Diagnosis::of(record, Some(self.duchy), self.now);
            let state = State::of(record, self.now).name();
            let lease = record.lock_owner.as_deref().map(|owner| {
                format!("{owner}, until {}", record.lock_expiration.map(utc).unwrap_or_default())
            });
            let error = record
                .last_error()
                .map(|(stage, attempt, error)| format!("{error} (attempt {attempt} of {})", stage.name()));
            writeln!(f, "<section>\n<table class=\"facts\">")?;
            for (name, value) in [
                ("State", state.to_owned()),
                ("Stage", record.stage.name().to_owned()),
                ("Protocol", record.stage.protocol().type_name().to_owned()),
                ("Role", role_name(&record.details).unwrap_or("unknown").to_owned()),
                ("Participants", participants(&record.details).join(", ")),
                ("Created", utc(record.created)),
                ("Last changed", utc(record.updated)),
                ("Lease", lease.unwrap_or_else(|| "nobody's".to_owned())),
                ("Last error", error.unwrap_or_else(|| "none".to_owned())),
                ("Waits for", waits_for),
                ("What to do", next),
            ] {
                writeln!(f, "<tr><th>{name}<td class=\"wide\">{}</tr>", Escaped(value))?;
            }
            write!(f, "<tr><th>Progress<td class=\"wide\">")?;
            self.progress(f, record)?;
            writeln!(f, "</tr>\n</table>\n</section>\n<section>\n<h2>Stages</h2>")?;
            timeline::draw(f, record, self.now)?;
            writeln!(
                f,
                "<p>Pale: in the stage. Green, red, grey: attempts that succeeded, failed, were cancelled. "
            )?;
            writeln!(f, "Blue: under way.</p>\n</section>")?;
            self.attempts(f, &record.stages)?;
            requisitions(f, record)?;
            blobs(f, &record.stages)
        })
    }

    fn attempts(self, f: &mut String, stages: &[StageRecord]) -> fmt::Result {
        writeln!(f, "<section>\n<h2>Attempts</h2>\n<table>")?;
        writeln!(
            f,
            "<tr><th>Stage<th>Attempt<th>Begun<th>Lasted<th>Outcome<th class=\"wide\">Error<th class=\"wide\">Measured</tr>"
        )?;
        // Nobody attempts the end.
        for stage in stages.iter().filter(|record| record.stage.kind() != StageKind::Terminal) {
            let skipped = stage.attempts.len().saturating_sub(MOST_ATTEMPTS);
            for attempt in stage.attempts.iter().skip(skipped) {
                let lasted = brief(between(attempt.begun, attempt.ended.unwrap_or(self.now)));
                let outcome = end_reason(attempt.reason, attempt.ended.is_some());
                let measured: Vec<_> =
                    attempt.stats.iter().map(|(name, value)| format!("{name} {value}")).collect();
                let (error, measured) = (Escaped(&attempt.error), Escaped(measured.join(", ")));
                writeln!(
                    f,
                    "<tr><td>{}<td>{}<td>{}<td>{lasted}<td>{outcome}<td class=\"wide\">{error}<td class=\"wide\">{measured}</tr>",
                    stage.stage.name(),
                    attempt.number,
                    utc(attempt.begun),
                )?;
            }
        }
        writeln!(f, "</table>\n</section>")
    }
}

fn states(f: &mut String, shown: Option<State>) -> fmt::Result {
    let class = |is_shown: bool| if is_shown { " class=\"shown\"" } else { "" };
    write!(f, "<nav><a href=\"/\"{}>all</a>", class(shown.is_none()))?;
    for state in State::ALL {
        let name = state.name();
        write!(f, " <a href=\"/?state={name}\"{}>{name}</a>", class(shown == Some(state)))?;
    }
    writeln!(f, "</nav>")
}

fn throughput(f: &mut String, overview: &Overview) -> fmt::Result {
    writeln!(f, "<section>\n<h2>Attempts that ended within the last hour</h2>\n<table>")?;
    writeln!(f, "<tr><th>Protocol<th>Stage<th>Succeeded<th>Failed<th>Mean time</tr>")?;
    for (stage, tally) in &overview.done {
        let Tally { succeeded, failed, .. } = tally;
        let (protocol, name, mean) = (stage.protocol().name(), stage.name(), brief(tally.mean()));
        writeln!(f, "<tr><td>{protocol}<td>{name}<td>{succeeded}<td>{failed}<td>{mean}</tr>")?;
    }
    writeln!(f, "</table>")?;
    if overview.done.is_empty() {
        writeln!(f, "<p>There are none.</p>")?;
    }
    if !overview.all {
        writeln!(f, "<p>Only of the computations that changed last; there are more.</p>")?;
    }
    writeln!(f, "</section>")
}

fn requisitions(f: &mut String, record: &Record) -> fmt::Result {
    writeln!(f, "<section>\n<h2>Requisitions</h2>\n<table>")?;
    writeln!(f, "<tr><th>Requisition<th>State<th>Goes to<th>Last changed<th>Bytes</tr>")?;
    for requisition in &record.requisitions {
        let state = if requisition.path.is_some() { "fulfilled" } else { "not here" };
        let duchy = Escaped(requisition.fulfilling_duchy.as_deref().unwrap_or_default());
        let (id, updated) = (Escaped(&requisition.id), utc(requisition.updated));
        let size = length(requisition.path.as_deref());
        writeln!(f, "<tr><td>{id}<td>{state}<td>{duchy}<td>{updated}<td>{size}</tr>")?;
    }
    writeln!(f, "</table>\n</section>")
}

fn blobs(f: &mut String, stages: &[StageRecord]) -> fmt::Result {
    writeln!(f, "<section>\n<h2>Blobs</h2>\n<table>")?;
    writeln!(f, "<tr><th>Stage<th>Blob<th>Use<th>Bytes<th class=\"wide\">Path</tr>")?;
    for stage in stages {
        for blob in &stage.blobs {
            let path = Escaped(blob.path.as_deref().unwrap_or("not there yet"));
            let (name, id, used) = (stage.stage.name(), blob.id, use_of(blob.dependency));
            let size = length(blob.path.as_deref());
            writeln!(f, "<tr><td>{name}<td>{id}<td>{used}<td>{size}<td class=\"wide\">{path}</tr>")?;
        }
    }
    writeln!(f, "</table>\n</section>")
}

/// The size of a blob, if it is known.
fn length(path: Option<&str>) -> impl Display {
    path.and_then(size).map(bytes).unwrap_or_default()
}
