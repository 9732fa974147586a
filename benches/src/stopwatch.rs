//! Timing of work that takes seconds: as few repetitions as tell something, and a table at the end.
//!
//! A pass over ten thousand registers is itself an average over ten thousand equal operations, so repeating it as
//! often as a statistical harness does would cost hours and say no more. What else the machine does only ever makes a
//! pass longer, so the shortest pass counts.

use std::fmt::Write;
use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use halo_protocols::kernel::KernelContext;
use openssl::error::ErrorStack;
use peak_alloc::PeakAlloc;

use crate::openssl_p256::OpenSsl;
use crate::report::significant;
use crate::results::{Measurement, Recorder};

/// Multiplications by OpenSSL timed together before every pass.
const MULTIPLICATIONS: u32 = 50;

/// A stage whose first pass took longer is not passed over again merely for a second opinion.
const LONG: Duration = Duration::from_secs(4);

/// Runs and remembers.
pub struct Stopwatch {
    enough: Duration,
    filters: Vec<String>,
    unit: Unit,
    /// The shortest time of the work of `unit`.
    fastest_unit: Duration,
    rows: Vec<Row>,
}

/// What times are given as multiples of.
pub struct Unit {
    /// What it is called in results: who does it, a colon, what is done.
    pub name: &'static str,
    /// How many units `work` is. Enough of them that their time can be told.
    pub count: u32,
    /// The work.
    pub work: Box<dyn FnMut()>,
}

impl Unit {
    /// A multiplication of a point of P-256 by OpenSSL.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn multiplication() -> Result<Self, ErrorStack> {
        let mut openssl = OpenSsl::new()?;
        let work = Box::new(move || {
            for _ in 0..MULTIPLICATIONS {
                openssl.multiply().expect("OpenSSL multiplies valid points");
            }
        });
        Ok(Self { name: "OpenSSL: one P-256 multiplication", count: MULTIPLICATIONS, work })
    }
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

impl Memory {
    /// What `work` answers, and the bytes that are held at once while it does, its input among them. They are only counted
    /// where the global allocator is [`PeakAlloc`].
    pub fn peak<I, T>(input: impl FnOnce() -> I, work: impl FnOnce(I) -> T) -> (T, usize) {
        let before = PeakAlloc.current_usage();
        let input = input();
        PeakAlloc.reset_peak_usage();
        let result = work(input);
        (result, PeakAlloc.peak_usage() - before)
    }
}

impl Stopwatch {
    /// Takes `--quick` (two passes over what is slow, one if it takes many seconds) and filters from the command line.
    ///
    /// `unit` is timed before every pass, so that whatever else the machine does weighs on both alike.
    pub fn from_arguments(unit: Unit) -> Self {
        let (options, filters): (Vec<_>, Vec<_>) =
            std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
        let quick = options.iter().any(|option| option == "--quick");
        let enough = if quick { Duration::from_millis(20) } else { Duration::from_secs(2) };
        Self { enough, filters, unit, fastest_unit: Duration::MAX, rows: Vec::new() }
    }

    /// Whether the filters ask for `name`.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    /// Calls `work`, which handles `records` records, at least once and until enough time has passed; the result is
    /// that of the last call. Work that a filter leaves out is done once, because later work builds on it.
    pub fn measure<T>(&mut self, name: &str, records: usize, mut work: impl FnMut() -> T) -> T {
        self.measure_on(name, records, || (), |()| work())
    }

    /// As [`Stopwatch::measure`], on an input that is made for each call before the clock starts.
    pub fn measure_on<I, T>(
        &mut self,
        name: &str,
        records: usize,
        mut input: impl FnMut() -> I,
        mut work: impl FnMut(I) -> T,
    ) -> T {
        if !self.wants(name) {
            return work(input());
        }
        let started = Instant::now();
        let (mut fastest, mut passes) = (Duration::MAX, 0);
        loop {
            let (result, elapsed) = self.pass(input(), &mut work);
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

    /// As [`Stopwatch::measure_on`], for a stage, which is left out where the filters do: the work is done in contexts of one
    /// and of two threads, which take turns; `memory` is what the stage held.
    pub fn measure_stage<I, T>(
        &mut self,
        name: &str,
        records: usize,
        memory: Memory,
        [one, two]: [&KernelContext; 2],
        mut input: impl FnMut() -> I,
        mut work: impl FnMut(I, &KernelContext) -> T,
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
            let (_, alone) = self.pass(input(), |input| work(input, one));
            let (_, together) = self.pass(input(), |input| work(input, two));
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

    /// Times the unit and then `work`.
    fn pass<I, T>(&mut self, input: I, work: impl FnOnce(I) -> T) -> (T, Duration) {
        let started = Instant::now();
        (self.unit.work)();
        self.fastest_unit = self.fastest_unit.min(started.elapsed());
        let started = Instant::now();
        let result = black_box(work(input));
        (result, started.elapsed())
    }

    fn add(&mut self, row: Row) {
        println!("{}", self.line(&row));
        self.rows.push(row);
    }

    fn unit_seconds(&self) -> f64 {
        self.fastest_unit.as_secs_f64() / f64::from(self.unit.count)
    }

    /// The seconds that `name` took for a record, if it was measured on `records` records.
    pub fn seconds(&self, name: &str, records: usize) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name && row.records == records).map(Row::seconds)
    }

    /// Prints the heading of what [`Stopwatch::measure`] prints.
    pub fn print_heading(&self) {
        println!(
            "{:<58}{:>9}{:>7}{:>13}{:>12}{:>11}{:>11}{:>16}",
            "work", "records", "passes", "ns/record", "records/s", "× unit", "2 threads", "peak/(in + out)"
        );
    }

    /// Prints everything once more, below whatever came in between.
    pub fn print_summary(&self) {
        println!("\n1 × unit, {}: {} ns at best", self.unit.name, significant(self.unit_seconds() * 1e9));
        self.print_heading();
        for row in &self.rows {
            println!("{}", self.line(row));
        }
    }

    /// Prints, for each work that was measured at several sizes, what a record costs at each in relation to the least.
    pub fn print_growth(&self) {
        println!("\n{:<58}{:>9}{:>20}", "work", "records", "cost of a record");
        for row in &self.rows {
            let same = || self.rows.iter().filter(|other| other.name == row.name);
            let least = same().min_by_key(|other| other.records).unwrap_or(row);
            println!("{:<58}{:>9}{:>19.2}×", row.name, row.records, row.seconds() / least.seconds());
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
                peer: self.unit.name.to_owned(),
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
            "{:<58}{:>9}{:>7}{:>13.2}{:>12.0}{:>11.3}",
            row.name,
            row.records,
            row.passes,
            seconds * 1e9,
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
