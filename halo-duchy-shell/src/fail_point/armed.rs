//! What the environment of a test says about points.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::Side;
use crate::config::parse_positive_duration;

/// What happens where: `NAME[:NTH][=ACTION]`, several with commas between them.
const PLAN: &str = "HALO_FAIL_POINT";
/// The file to which the name of each point passed is added, a line each.
const LOG: &str = "HALO_FAIL_POINT_LOG";

/// What a process does at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Dies without warning, as by `kill -9`.
    Kill,
    /// Stops until it is told to continue, as by `kill -STOP`.
    Stop,
    /// Holds up the thread.
    Delay(Duration),
}

/// What happens when a point is passed for the `nth` time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arming {
    point: String,
    nth: u64,
    action: Action,
}

#[derive(Debug, Default)]
struct Plan {
    armings: Vec<Arming>,
    log: Option<File>,
    passed: Mutex<BTreeMap<String, u64>>,
}

/// Why the environment's plan is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum PlanError {
    #[error("`{0}` is no count of 1 or more")]
    Nth(String),
    #[error("`{0}` is none of kill, stop and delay:DURATION")]
    Action(String),
}

static ENVIRONMENT: LazyLock<Plan> = LazyLock::new(|| match Plan::of_environment() {
    Ok(plan) => plan,
    Err(why) => {
        // A test that arms nothing would pass whatever it looks for.
        tracing::error!("{PLAN}, {LOG}: {why}");
        std::process::exit(2)
    }
});

/// Does what the environment says of this point.
pub(super) fn pass(side: Side, effect: &str, stage: &str) {
    let plan = &*ENVIRONMENT;
    if plan.armings.is_empty() && plan.log.is_none() {
        return;
    }
    let side = match side {
        Side::Before => "before",
        Side::After => "after",
    };
    let point = match stage {
        "" => format!("{side}-{effect}"),
        stage => format!("{side}-{effect}@{stage}"),
    };
    if let Some(action) = plan.pass(&point) {
        tracing::warn!(point, ?action, "a fail point");
        let sent = match action {
            Action::Kill => kill_process(getpid(), Signal::KILL),
            Action::Stop => kill_process(getpid(), Signal::STOP),
            Action::Delay(duration) => {
                std::thread::sleep(duration);
                Ok(())
            }
        };
        if let Err(error) = sent {
            tracing::error!(point, %error, "the signal could not be sent");
        }
    }
}

impl Plan {
    fn of_environment() -> Result<Self, Box<dyn std::error::Error>> {
        let armings = match std::env::var(PLAN) {
            Ok(text) => text.split(',').map(Arming::parse).collect::<Result<_, _>>()?,
            Err(_) => Vec::new(),
        };
        let log = match std::env::var_os(LOG) {
            Some(path) => Some(OpenOptions::new().create(true).append(true).open(path)?),
            None => None,
        };
        Ok(Self { armings, log, passed: Mutex::default() })
    }

    /// Counts and writes down a point, and tells what is to be done there.
    fn pass(&self, point: &str) -> Option<Action> {
        if let Some(mut log) = self.log.as_ref() {
            // One write: lines of threads and processes do not mix. A log that cannot be written misses its lines.
            let _ = log.write_all(format!("{point}\n").as_bytes());
        }
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(point.to_owned()).or_default();
        *count += 1;
        let armed = self.armings.iter().find(|arming| arming.point == point && arming.nth == *count);
        armed.map(|arming| arming.action)
    }
}

impl Arming {
    fn parse(text: &str) -> Result<Self, PlanError> {
        let (point, action) = text.split_once('=').unwrap_or((text, "kill"));
        let (point, nth) = point.split_once(':').unwrap_or((point, "1"));
        let refused = || PlanError::Action(action.to_owned());
        let action = match action.split_once(':') {
            None if action == "kill" => Action::Kill,
            None if action == "stop" => Action::Stop,
            Some(("delay", duration)) => {
                Action::Delay(parse_positive_duration(duration).map_err(|_| refused())?)
            }
            _ => return Err(refused()),
        };
        let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(|| PlanError::Nth(nth.to_owned()))?;
        Ok(Self { point: point.to_owned(), nth, action })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armings_name_a_point_a_count_and_an_action() {
        let parsed = |text: &str| Arming::parse(text).map(|found| (found.point, found.nth, found.action));
        let point = || "before-blob.write@SETUP_PHASE".to_owned();
        assert_eq!(parsed("before-blob.write@SETUP_PHASE"), Ok((point(), 1, Action::Kill)));
        assert_eq!(parsed("before-blob.write@SETUP_PHASE:3=stop"), Ok((point(), 3, Action::Stop)));
        let delay = Action::Delay(Duration::from_millis(1500));
        assert_eq!(parsed("before-blob.write@SETUP_PHASE=delay:1500ms"), Ok((point(), 1, delay)));
        assert_eq!(parsed("a:0"), Err(PlanError::Nth("0".into())));
        assert_eq!(parsed("a:b"), Err(PlanError::Nth("b".into())));
        for action in ["", "die", "delay", "delay:x", "kill:1"] {
            assert_eq!(parsed(&format!("a={action}")), Err(PlanError::Action(action.into())));
        }
    }

    #[test]
    fn a_point_acts_the_time_that_it_is_armed_for() {
        let armings = vec![Arming::parse("a:2=stop").expect("an arming")];
        let plan = Plan { armings, ..Plan::default() };
        let acted = ["a", "b", "a", "a"].map(|point| plan.pass(point));
        assert_eq!(acted, [None, None, Some(Action::Stop), None]);
    }
}
