//! What a measurement will cost: records × duchies → processor seconds, bytes, memory, money.
//!
//! ```text
//! cargo run --release --example cost_planner -- PROTOCOL [NAME=VALUE]...
//! cargo run --release --example cost_planner -- llv2 providers=3 registers=100000 distinct=200000 frequency=10
//! ```
//!
//! PROTOCOL is `llv2`, `ro-llv2` or `hmss`. What may be given, with what it is otherwise:
//!
//! | | | |
//! |---|---|---|
//! | `duchies` | 3 | |
//! | `providers` | 3 | data providers |
//! | `registers` | 100000 | registers of one sketch that somebody fell into; for `hmss` people in the sample |
//! | `distinct` | all | such registers of all sketches together |
//! | `frequency` | 10 | the maximum frequency |
//! | `epsilon`, `delta` | 1, 1e-5 | of every noise; `epsilon=0` for none |
//! | `backend` | ifma | or `avx2` |
//! | `threads` | 1 | of each duchy |
//! | `prices` | `examples/prices.csv`, made-up examples | a table of yours, with the same columns |
//!
//! What does not fit a message would be refused: then there is a line for each such stage on the standard error, no price, and a
//! failure in the end.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::str::FromStr;

use halo_examples::cost_plan::{AVX2, IFMA, Measurement, Party, StageCost};

type Error = Box<dyn std::error::Error>;

/// The share of a second thread's time that is gained, as measured.
const EFFICIENCY: f64 = 0.95;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match plan(&arguments) {
        Ok(Plan { text, refused }) => {
            print!("{text}");
            refused.iter().for_each(|refusal| eprintln!("cost_planner: {refusal}"));
            if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("cost_planner: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be said of a measurement.
struct Plan {
    text: String,
    /// Why it cannot be computed.
    refused: Vec<String>,
}

fn plan(arguments: &[String]) -> Result<Plan, Error> {
    let (protocol, given) = arguments.split_first().ok_or("usage: cost_planner PROTOCOL [NAME=VALUE]...")?;
    let mut given = given
        .iter()
        .map(|argument| argument.split_once('=').ok_or_else(|| format!("`{argument}` is no NAME=VALUE")))
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    let providers = take_in(&mut given, "providers", 3, 1..=1000)?;
    let registers = take_in(&mut given, "registers", 100_000, 1..=1 << 32)?;
    let epsilon = take(&mut given, "epsilon", 1.0)?;
    let delta = take(&mut given, "delta", 1e-5)?;
    let measurement = Measurement {
        duchies: take_in(&mut given, "duchies", 3, 2..=100)?,
        providers,
        registers,
        distinct: take_in(&mut given, "distinct", u64::from(providers) * registers, 1..=1 << 42)?,
        maximum_frequency: take_in(&mut given, "frequency", 10, 1..=1000)?,
        privacy: (epsilon > 0.0).then_some((epsilon, delta)),
    };
    let costs = match given.remove("backend").unwrap_or(IFMA.backend) {
        backend if backend == IFMA.backend => IFMA,
        backend if backend == AVX2.backend => AVX2,
        other => return Err(format!("backend `{other}` has not been measured").into()),
    };
    let threads: u32 = take_in(&mut given, "threads", 1, 1..=1024)?;
    let prices = given.remove("prices").map_or_else(
        || Ok(include_str!("../prices.csv").to_owned()),
        |file| std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}")),
    )?;
    if let Some(name) = given.keys().next() {
        return Err(format!("nothing is called `{name}`").into());
    }
    let stages = match protocol.as_str() {
        "llv2" => measurement.llv2(&costs)?,
        "ro-llv2" => measurement.ro_llv2(&costs)?,
        "hmss" => measurement.hmss()?,
        other => return Err(format!("no protocol is called `{other}`").into()),
    };
    let speedup = if threads > 1 { EFFICIENCY * f64::from(threads) } else { 1.0 };
    let money = money(&stages, &prices)?;
    let refused: Vec<_> = stages.iter().filter(|stage| stage.is_refused()).map(refusal).collect();
    let mut text = table(&stages) + &totals(&stages, speedup);
    if refused.is_empty() {
        text += &money;
    }
    Ok(Plan { text, refused })
}

/// Why a stage would be refused.
fn refusal(stage: &StageCost) -> String {
    let limit = match stage.party {
        Party::DataProvider => "a duchy takes (--max-requisition-bytes, by default)",
        Party::Worker | Party::Aggregator => "fit a message",
    };
    let StageCost { stage: what, sent, .. } = stage;
    format!(
        "{what} would be refused at the {}: up to {sent} bytes, of which {} {limit}",
        name(stage.party),
        stage.limit()
    )
}

/// The value of `name`, or what it is otherwise.
fn take<T: FromStr>(given: &mut BTreeMap<&str, &str>, name: &str, otherwise: T) -> Result<T, String> {
    given.remove(name).map_or(Ok(otherwise), |value| {
        value.parse().map_err(|_| format!("{name}: `{value}` is not a number that it can be"))
    })
}

/// The same, of numbers of a range.
fn take_in<T: FromStr + PartialOrd>(
    given: &mut BTreeMap<&str, &str>,
    name: &str,
    otherwise: T,
    range: RangeInclusive<T>,
) -> Result<T, String> {
    let text = given.get(name).copied().unwrap_or_default();
    let value = take(given, name, otherwise)?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("{name}: `{text}` is not a number that it can be"))
    }
}

fn name(party: Party) -> &'static str {
    match party {
        Party::DataProvider => "data provider",
        Party::Worker => "worker",
        Party::Aggregator => "aggregator",
    }
}

fn table(stages: &[StageCost]) -> String {
    let mut text = format!(
        "{:<15}{:<24}{:>11}{:>12}{:>12}{:>12}\n",
        "each", "stage", "records", "CPU s", "MB sent", "MiB held"
    );
    for stage in stages {
        text += &format!(
            "{:<15}{:<24}{:>11}{:>12.2}{:>12.1}{:>12.0}\n",
            name(stage.party),
            stage.stage,
            stage.records,
            stage.seconds,
            stage.sent as f64 / 1e6,
            stage.memory as f64 / f64::from(1 << 20),
        );
    }
    text
}

/// What one party's stages come to.
struct Total {
    seconds: f64,
    /// In MB.
    sent: f64,
    /// The most that one stage holds, in GiB.
    memory: f64,
}

fn total(stages: &[StageCost], party: Party) -> Total {
    let own = || stages.iter().filter(move |stage| stage.party == party);
    Total {
        seconds: own().map(|stage| stage.seconds).sum(),
        sent: own().map(|stage| stage.sent).sum::<u64>() as f64 / 1e6,
        memory: own().map(|stage| stage.memory).max().unwrap_or(0) as f64 / f64::from(1 << 30),
    }
}

const DUCHIES: [Party; 2] = [Party::Worker, Party::Aggregator];

fn totals(stages: &[StageCost], speedup: f64) -> String {
    let mut text = String::from("\n");
    for party in DUCHIES {
        let Total { seconds, sent, memory } = total(stages, party);
        text += &format!(
            "{}: {seconds:.1} s of a core, {:.1} s by the clock; {sent:.3} MB sent; {memory:.2} GiB\n",
            name(party),
            seconds / speedup,
        );
    }
    text
}

/// The first line of a table of prices.
const COLUMNS: &str = "name,core-hour,GiB-hour,GB sent,source,date";

/// What a measurement costs each kind of duchy, for every line of the table of prices.
fn money(stages: &[StageCost], prices: &str) -> Result<String, Error> {
    let mut text = format!("\n{:<28}{:>14}{:>14}\n", "a thousand of them", "worker", "aggregator");
    let mut lines = prices.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    if lines.next() != Some(COLUMNS) {
        return Err(format!("prices: the first line is not `{COLUMNS}`").into());
    }
    for line in lines {
        let wrong = || format!("prices: `{line}` is not: {COLUMNS}");
        let [name, figures @ .., source, date] = &line.split(',').collect::<Vec<_>>()[..] else {
            return Err(wrong().into());
        };
        let figures: Vec<f64> = figures
            .iter()
            .map(|figure| figure.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_| wrong())?;
        let [core, memory, sent] = figures[..] else { return Err(wrong().into()) };
        let [worker, aggregator] = DUCHIES.map(|party| {
            let total = total(stages, party);
            let hours = total.seconds / 3600.0;
            1000.0 * (hours * (core + memory * total.memory) + sent * total.sent / 1e3)
        });
        text += &format!("{name:<28}{worker:>14.2}{aggregator:>14.2}  ({source}, {date})\n");
    }
    Ok(text)
}
