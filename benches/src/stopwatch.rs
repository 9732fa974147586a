//! Timing of work that takes seconds: as few repetitions as tell something, and a table at the end.
//!
//! A pass over ten thousand registers is itself an average over ten thousand equal operations, so repeating it as
//! often as a statistical harness does would cost hours and say no more.

use std::time::{Duration, Instant};

/// Units timed before every measurement.
const UNITS: u32 = 100;

/// Runs and remembers.
pub struct Stopwatch<'a> {
    enough: Duration,
    filters: Vec<String>,
    unit: Box<dyn FnMut() + 'a>,
    /// How many units were timed, and how long they took together.
    units: (u32, Duration),
    rows: Vec<Row>,
}

struct Row {
    name: String,
    records: usize,
    passes: u32,
    elapsed: Duration,
}

impl<'a> Stopwatch<'a> {
    /// Takes `--quick` (one pass over what is slow) and filters from the command line.
    ///
    /// Times are also given as multiples of what `unit` does once. It is timed again before every measurement, so that
    /// whatever else the machine does weighs on both alike.
    pub fn from_arguments(unit: impl FnMut() + 'a) -> Self {
        let (options, filters): (Vec<_>, Vec<_>) =
            std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
        let quick = options.iter().any(|option| option == "--quick");
        let enough = if quick { Duration::from_millis(20) } else { Duration::from_secs(1) };
        Self { enough, filters, unit: Box::new(unit), units: (0, Duration::ZERO), rows: Vec::new() }
    }

    /// Calls `work`, which handles `records` records, at least once and until enough time has passed; the result is
    /// that of the last call. Work that a filter leaves out is done once, because later work builds on it.
    pub fn measure<T>(&mut self, name: &str, records: usize, mut work: impl FnMut() -> T) -> T {
        let wanted = self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter));
        self.time_units();
        let started = Instant::now();
        let mut result = work();
        let mut passes = 1;
        if wanted {
            while started.elapsed() < self.enough {
                result = work();
                passes += 1;
            }
            let row = Row { name: name.to_owned(), records, passes, elapsed: started.elapsed() };
            println!("{}", self.line(&row));
            self.rows.push(row);
        }
        result
    }

    fn time_units(&mut self) {
        let started = Instant::now();
        for _ in 0..UNITS {
            (self.unit)();
        }
        self.units = (self.units.0 + UNITS, self.units.1 + started.elapsed());
    }

    fn unit_seconds(&self) -> f64 {
        self.units.1.as_secs_f64() / f64::from(self.units.0)
    }

    /// Prints the heading of what [`Stopwatch::measure`] prints.
    pub fn print_heading(&self) {
        println!(
            "{:<58}{:>8}{:>7}{:>12}{:>13}{:>13}",
            "work", "records", "passes", "µs/record", "records/s", "× multiply"
        );
    }

    /// Prints everything once more, below whatever came in between.
    pub fn print_summary(&self) {
        println!(
            "\n1 × multiply, by OpenSSL (P-256, any point), over the whole run: {:.1} µs",
            self.unit_seconds() * 1e6
        );
        self.print_heading();
        for row in &self.rows {
            println!("{}", self.line(row));
        }
    }

    fn line(&self, row: &Row) -> String {
        let seconds = row.elapsed.as_secs_f64() / f64::from(row.passes) / row.records as f64;
        format!(
            "{:<58}{:>8}{:>7}{:>12.2}{:>13.0}{:>13.2}",
            row.name,
            row.records,
            row.passes,
            seconds * 1e6,
            seconds.recip(),
            seconds / self.unit_seconds()
        )
    }
}
