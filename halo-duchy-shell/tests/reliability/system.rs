//! A fleet whose processes are short of patience, and its measurements.

use std::time::Instant;

use serde_json::Value;

use crate::fleet::{DUCHIES, Extras, Fleet, GLANCE, Outcome, PATIENCE, Part};
use crate::rows;
use crate::settings::Settings;

pub const PUBLISHERS: [&str; 3] = ["news", "video", "radio"];

/// The lease of a mill: what a crash costs.
pub const LOCK: &str = "1s";

/// Seven processes of each duchy but for the mill that has nothing to do, and everybody else.
pub struct System {
    pub fleet: Fleet,
    pub settings: Settings,
    measurements: usize,
    /// What the Kingdom does wrong in every measurement: the flags of `kingdom inject`.
    faults: &'static [&'static [&'static str]],
}

/// The flag of whoever takes part in computations without noise.
const ALLOW_NO_NOISE: &str = "--insecure-dev-allow-no-noise";

/// People 0..20 saw `news` once, 15..40 `video` twice, 35..50 `radio` once.
pub fn events() -> String {
    let mut log = String::from("event_time,publisher,id\n");
    for (publisher, people, times) in [("news", 0..20, 1), ("video", 15..40, 2), ("radio", 35..50, 1)] {
        for person in people {
            log.extend(std::iter::repeat_n(format!("2026-11-01,{publisher},person-{person}\n"), times));
        }
    }
    log
}

/// The mill of a protocol.
pub fn mill(settings: Settings) -> Part {
    match settings {
        Settings::Llv2 | Settings::ReachOnlyLlv2 => Part::Llv2Mill,
        Settings::ShareShuffle => Part::HmssMill,
    }
}

impl System {
    pub fn start(settings: Settings) -> Self {
        Self::start_with(settings, Extras::default())
    }

    /// With more flags and the like.
    pub fn start_with(settings: Settings, extras: Extras) -> Self {
        Self::start_requiring_noise(settings, &[], extras)
    }

    /// As [`Self::start_with`], where no part in `strict` takes part in computations without noise.
    pub fn start_requiring_noise(settings: Settings, strict: &[Part], extras: Extras) -> Self {
        let (at_work, idle) = match mill(settings) {
            Part::HmssMill => (Part::HmssMill, Part::Llv2Mill),
            other => (other, Part::HmssMill),
        };
        let mut flags = vec![(at_work, "--max-polling-delay=200ms".to_owned())];
        let lax = [Part::Herald, at_work].into_iter().filter(|part| !strict.contains(part));
        flags.extend(lax.map(|part| (part, ALLOW_NO_NOISE.to_owned())));
        if !extras.flags.iter().any(|(_, flag)| flag.starts_with("--work-lock-duration=")) {
            flags.push((at_work, format!("--work-lock-duration={LOCK}")));
        }
        flags.extend(extras.flags);
        let extras = Extras { flags, without: vec![idle], points: true, ..extras };
        let fleet = Fleet::start_with(extras, settings, &events(), &PUBLISHERS, None);
        Self { fleet, settings, measurements: 0, faults: &[] }
    }

    /// Has the Kingdom do this wrong in every measurement from now on.
    pub fn misbehave(&mut self, faults: &'static [&'static [&'static str]]) {
        self.faults = faults;
    }

    /// Asks for a measurement; its name.
    pub fn create(&mut self) -> String {
        if !self.faults.is_empty() {
            // What did not happen in the last measurement.
            self.fleet.kingdom("clear", &[]);
        }
        for fault in self.faults {
            self.fleet.kingdom("inject", &fault.iter().map(|flag| String::from(*flag)).collect::<Vec<_>>());
        }
        self.measurements += 1;
        self.fleet.create(self.measurements, self.settings.metric())
    }

    /// Makes a measurement while whoever dies is started again, and waits until every duchy is done with it.
    pub fn measure(&mut self) -> Outcome {
        let name = self.create();
        let outcome = self.fleet.see_through(&name, |fleet| drop(fleet.revive()));
        if self.settle(|fleet| drop(fleet.revive())) { outcome } else { Outcome::Hang }
    }

    /// What is measured when nobody interferes.
    pub fn undisturbed(&mut self) -> Value {
        match self.measure() {
            Outcome::Result(result) => {
                let reach = result["reach"].as_f64().expect("a reach");
                // A sketch of 200 registers has some people in one.
                assert!((reach - 50.0).abs() <= 10.0, "{result}");
                result
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits until no duchy works on anything any more; whether that came.
    pub fn settle(&mut self, mut look: impl FnMut(&mut Fleet)) -> bool {
        let begun = Instant::now();
        while DUCHIES.iter().any(|duchy| rows::unfinished(&self.fleet.database(duchy)) > 0) {
            if begun.elapsed() > PATIENCE {
                return false;
            }
            look(&mut self.fleet);
            std::thread::sleep(GLANCE);
        }
        true
    }

    /// Sees that the Kingdom found nothing wrong, and stops everybody.
    pub fn end(mut self) {
        assert!(self.fleet.kingdom("violations", &[]).is_empty());
        self.fleet.revive();
        self.fleet.stop();
    }
}
