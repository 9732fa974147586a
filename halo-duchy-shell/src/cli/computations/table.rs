//! Computations as text in columns. What comes from others has no control characters: a terminal obeys them.

use std::fmt::{self, Write};

use halo_protocols::llv2::StageKind;

use super::age;
use crate::clock::Timestamp;
use crate::console::{
    Diagnosis, State, attempts, bar, between, brief, bytes, described_progress, end_reason, progress, size,
    use_of, utc,
};
use crate::protocol_stages::{participants, role_name};
use crate::store::{Record, StageRecord};

/// Characters of an error in a list.
const ERROR_WIDTH: usize = 80;

/// Rows under their headings, in columns as wide as need be.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| cell.replace(char::is_control, " ")).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max()
        };
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                write!(line, "{cell:<width$}  ", width = width(column).unwrap_or_default())?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A list of computations.
pub(super) fn list(records: &[Record], now: Timestamp) -> String {
    let mut table = Table::new(&[
        "ID",
        "PROTOCOL",
        "STAGE",
        "STATE",
        "PROGRESS",
        "AGE",
        "ATTEMPTS",
        "LEASE",
        "LEASE ENDS",
        "LAST ERROR",
    ]);
    for record in records {
        let owner = record.lock_owner.clone();
        let end = record.lock_expiration.filter(|_| owner.is_some());
        let error = record.last_error().map(|(_, _, error)| error).unwrap_or_default();
        table.row([
            record.global_id.clone(),
            record.stage.protocol().type_name().to_owned(),
            record.stage.name().to_owned(),
            State::of(record, now).name().to_owned(),
            progress(record, now).map(bar).unwrap_or_default(),
            age(record, now),
            attempts(record).to_string(),
            owner.unwrap_or_default(),
            end.map(utc).unwrap_or_default(),
            error.chars().take(ERROR_WIDTH).collect(),
        ]);
    }
    table.to_string()
}

/// All about a computation.
pub(super) fn show(record: &Record, duchy: Option<&str>, now: Timestamp) -> String {
    let Diagnosis { waits_for, next } = Diagnosis::of(record, duchy, now);
    let lease = record.lock_owner.as_deref().map_or_else(
        || "nobody's".to_owned(),
        |owner| format!("{owner}, until {}", record.lock_expiration.map(utc).unwrap_or_default()),
    );
    let error = record
        .last_error()
        .map(|(stage, attempt, error)| format!("{error} (attempt {attempt} of {})", stage.name()));
    let mut facts = Table { rows: Vec::new() };
    for (name, value) in [
        ("Computation", record.global_id.clone()),
        ("Local id", record.local_id.to_string()),
        ("Protocol", record.stage.protocol().type_name().to_owned()),
        ("Role", role_name(&record.details).unwrap_or("unknown").to_owned()),
        ("Participants", participants(&record.details).join(", ")),
        ("Stage", record.stage.name().to_owned()),
        ("State", State::of(record, now).name().to_owned()),
        ("Progress", progress(record, now).map_or_else(|| "none recorded".to_owned(), described_progress)),
        ("Created", format!("{} ({} ago)", utc(record.created), age(record, now))),
        ("Last changed", format!("{} ({} ago)", utc(record.updated), brief(between(record.updated, now)))),
        ("Lease", lease),
        ("Last error", error.unwrap_or_else(|| "none".to_owned())),
        ("Waits for", waits_for),
        ("What to do", next),
    ] {
        facts.row([name.to_owned(), value]);
    }
    let (requisitions, stages) = (requisitions(record), stages(&record.stages, now));
    let (attempts, blobs) = (attempts_of(&record.stages, now), blobs(&record.stages));
    format!("{facts}\n{requisitions}\n{stages}\n{attempts}\n{blobs}")
}

fn requisitions(record: &Record) -> Table {
    let mut table = Table::new(&["REQUISITION", "STATE", "GOES TO", "LAST CHANGED", "BYTES"]);
    for requisition in &record.requisitions {
        table.row([
            requisition.id.clone(),
            if requisition.path.is_some() { "fulfilled" } else { "not here" }.to_owned(),
            requisition.fulfilling_duchy.clone().unwrap_or_default(),
            utc(requisition.updated),
            requisition.path.as_deref().and_then(size).map(bytes).unwrap_or_default(),
        ]);
    }
    table
}

fn stages(stages: &[StageRecord], now: Timestamp) -> Table {
    let mut table = Table::new(&["STAGE", "ENTERED", "LASTED", "ATTEMPTS"]);
    for stage in stages {
        table.row([
            stage.stage.name().to_owned(),
            utc(stage.entered),
            brief(between(stage.entered, stage.left.unwrap_or(now))),
            stage.attempts.len().to_string(),
        ]);
    }
    table
}

fn attempts_of(stages: &[StageRecord], now: Timestamp) -> Table {
    let mut table = Table::new(&["STAGE", "ATTEMPT", "BEGUN", "LASTED", "OUTCOME", "ERROR", "MEASURED"]);
    // Nobody attempts the end.
    let stages = stages.iter().filter(|record| record.stage.kind() != StageKind::Terminal);
    for (stage, attempt) in stages.flat_map(|stage| stage.attempts.iter().map(move |one| (stage, one))) {
        let measured: Vec<_> = attempt.stats.iter().map(|(name, value)| format!("{name}={value}")).collect();
        table.row([
            stage.stage.name().to_owned(),
            attempt.number.to_string(),
            utc(attempt.begun),
            brief(between(attempt.begun, attempt.ended.unwrap_or(now))),
            end_reason(attempt.reason, attempt.ended.is_some()).to_owned(),
            attempt.error.clone(),
            measured.join(" "),
        ]);
    }
    table
}

fn blobs(stages: &[StageRecord]) -> Table {
    let mut table = Table::new(&["STAGE", "BLOB", "USE", "BYTES", "PATH"]);
    for (stage, blob) in stages.iter().flat_map(|stage| stage.blobs.iter().map(move |one| (stage, one))) {
        table.row([
            stage.stage.name().to_owned(),
            blob.id.to_string(),
            use_of(blob.dependency).to_owned(),
            blob.path.as_deref().and_then(size).map(bytes).unwrap_or_default(),
            blob.path.clone().unwrap_or_else(|| "not there yet".to_owned()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["long".to_owned(), "\u{1b}[31mred\n".to_owned()]);
        table.row(["é".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "A     B\nlong   [31mred\né\n");
    }
}
