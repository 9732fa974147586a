//! Timing of work that takes seconds: as few repetitions as tell something, and a table at the end.
//!
//! A pass over ten thousand registers is itself an average over ten thousand equal operations, so repeating it as
//! often as a statistical harness does would cost hours and say no more. What else the machine does only ever makes a
//! pass longer, so the shortest pass counts.

use std::fmt::Write;
use std::io;
use std::time::{Duration, Instant};

use crate::results::{Measurement, Recorder};

/// Units timed together before every pass.
const UNITS: u32 = 50;

/// What the unit is called in results.
const UNIT: &str = "OpenSSL: one P-256 multiplication";

/// A stage whose first pass took longer is not passed over again merely for a second opinion.
const LONG: Duration = Duration::from_secs(4);

/// Runs and remembers.
pub struct Stopwatch<'a> {
    enough: Duration,
    filters: Vec<String>,
    unit: Box<dyn FnMut() + 'a>,
    /// The shortest time of [`UNITS`] units.
    units: Duration,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    records: usize,
    passes: u32,
    fastest: Duration,
    /// What the same work gains from a second thread.
    speedup: Option<f64>,
    /// Bytes at the most, and bytes in and out.
    memory: Option<Memory>,
}

impl Row {
    /// For one record.
    fn seconds(&self) -> f64 {
        self.fastest.as_secs_f64() / self.records as f64
    }
}

/// What a stage held in memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes held at once, at the most, request and response among them.
    pub peak: usize,
    /// Bytes of request and response.
    pub messages: usize,
}

impl<'a> Stopwatch<'a> {
    /// Takes `--quick` (two passes over what is slow, one if it takes many seconds) and filters from the command line.
    ///
    /// Times are also given as multiples of what `unit` does once. It is timed before every pass, so that whatever else
    /// the machine does weighs on both alike.
    pub fn from_arguments(unit: impl FnMut() + 'a) -> Self {
        let (options, filters): (Vec<_>, Vec<_>) =
            std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
        let quick = options.iter().any(|option| option == "--quick");
        let enough = if quick { Duration::from_millis(20) } else { Duration::from_secs(2) };
        Self { enough, filters, unit: Box::new(unit), units: Duration::MAX, rows: Vec::new() }
    }

    /// Whether the filters ask for `name`.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    /// Calls `work`, which handles `records` records, at least once and until enough time has passed; the result is
    /// that of the last call. Work that a filter leaves out is done once, because later work builds on it.
    pub fn measure<T>(&mut self, name: &str, records: usize, mut work: impl FnMut() -> T) -> T {
        if !self.wants(name) {
            return work();
        }
        let started = Instant::now();
        let (mut fastest, mut passes) = (Duration::MAX, 0);
        loop {
            let (result, elapsed) = self.pass(&mut work);
            fastest = fastest.min(elapsed);
            passes += 1;
            if started.elapsed() >= self.enough && passes > 1 {
                self.add(Row {
                    name: name.to_owned(),
                    records,
                    passes,
                    fastest,
                    speedup: None,
                    memory: None,
                });
                return result;
            }
        }
    }

    /// As [`Stopwatch::measure`], for a stage: `one` and `two` do the work on one and on two threads, and take turns;
    /// `memory` is what the stage held.
    pub fn measure_stage(
        &mut self,
        name: &str,
        records: usize,
        memory: Memory,
        mut one: impl FnMut(),
        mut two: impl FnMut(),
    ) {
        if !self.wants(name) {
            return;
        }
        let started = Instant::now();
        let (mut fastest, mut ratios) = (Duration::MAX, Vec::new());
        // The first pass finds cold caches, and pages that the system has yet to hand out.
        while ratios.is_empty()
            || started.elapsed() < 2 * self.enough
            || (ratios.len() < 2 && started.elapsed() < LONG)
        {
            let ((), alone) = self.pass(&mut one);
            let ((), together) = self.pass(&mut two);
            fastest = fastest.min(alone);
            ratios.push(alone.as_secs_f64() / together.as_secs_f64());
        }
        ratios.sort_by(f64::total_cmp);
        self.add(Row {
            name: name.to_owned(),
            records,
            passes: ratios.len() as u32,
            fastest,
            speedup: Some(ratios[ratios.len() / 2]),
            memory: Some(memory),
        });
    }

    /// Times the units and then `work`.
    fn pass<T>(&mut self, work: &mut impl FnMut() -> T) -> (T, Duration) {
        let started = Instant::now();
        for _ in 0..UNITS {
            (self.unit)();
        }
        self.units = self.units.min(started.elapsed());
        let started = Instant::now();
        let result = work();
        (result, started.elapsed())
    }

    fn add(&mut self, row: Row) {
        println!("{}", self.line(&row));
        self.rows.push(row);
    }

    fn unit_seconds(&self) -> f64 {
        self.units.as_secs_f64() / f64::from(UNITS)
    }

    /// Prints the heading of what [`Stopwatch::measure`] prints.
    pub fn print_heading(&self) {
        println!(
            "{:<58}{:>8}{:>7}{:>12}{:>12}{:>13}{:>11}{:>16}",
            "work",
            "records",
            "passes",
            "µs/record",
            "records/s",
            "× multiply",
            "2 threads",
            "peak/(in + out)"
        );
    }

    /// Prints everything once more, below whatever came in between.
    pub fn print_summary(&self) {
        println!(
            "\n1 × multiply, by OpenSSL (P-256, any point): {:.1} µs at best",
            self.unit_seconds() * 1e6
        );
        self.print_heading();
        for row in &self.rows {
            println!("{}", self.line(row));
        }
    }

    /// Prints, for each work that was measured at several sizes, what a record costs at each in relation to the least.
    pub fn print_growth(&self) {
        println!("\n{:<58}{:>8}{:>20}", "work", "records", "cost of a record");
        for row in &self.rows {
            let same = || self.rows.iter().filter(|other| other.name == row.name);
            let least = same().min_by_key(|other| other.records).unwrap_or(row);
            println!("{:<58}{:>8}{:>19.2}×", row.name, row.records, row.seconds() / least.seconds());
        }
    }

    /// Records everything for `bench-report`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn record(&self, recorder: &mut Recorder) -> io::Result<()> {
        for row in &self.rows {
            recorder.add(&Measurement {
                work: row.name.clone(),
                records: row.records,
                nanoseconds: row.seconds() * 1e9,
                peer: UNIT.to_owned(),
                peer_nanoseconds: self.unit_seconds() * 1e9,
                two_threads: row.speedup,
                memory: row.memory.map(|memory| memory.peak as f64 / memory.messages as f64),
                ..recorder.measurement()
            })?;
        }
        Ok(())
    }

    fn line(&self, row: &Row) -> String {
        let seconds = row.seconds();
        let mut line = format!(
            "{:<58}{:>8}{:>7}{:>12.2}{:>12.0}{:>13.3}",
            row.name,
            row.records,
            row.passes,
            seconds * 1e6,
            seconds.recip(),
            seconds / self.unit_seconds()
        );
        // Writing to a string cannot fail.
        if let Some(speedup) = row.speedup {
            let _ = write!(line, "{speedup:>10.2}×");
        }
        if let Some(Memory { peak, messages }) = row.memory {
            let _ = write!(line, "{:>16.2}", peak as f64 / messages as f64);
        }
        line
    }
}
