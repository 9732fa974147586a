//! A version before this one beside it, on one store and among the duchies (docs/operating.md). By hand, with a program that
//! was built from an older commit and has fail points or not:
//!
//! `HALO_OLDER_PROGRAM=/tmp/older/halo-duchy cargo test --test reliability older_version -- --ignored --nocapture`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::fleet::{DUCHIES, Outcome, Part};
use crate::settings::{PROTOCOLS, Settings};
use crate::system::System;

/// The program of the older version.
const OLDER: &str = "HALO_OLDER_PROGRAM";

impl System {
    /// Has the processes for which `is_older` is true run the older program, all others ours.
    fn mix(&mut self, older: &PathBuf, is_older: impl Fn(&str) -> bool) {
        for name in self.fleet.duchy_processes() {
            self.fleet.run_by(&name, is_older(&name).then_some(older));
        }
    }
}

fn beside(settings: Settings, older: &PathBuf) {
    let mut system = System::start(settings);
    let undisturbed = Outcome::Result(system.undisturbed());
    let check = |system: &mut System, what: &str| {
        let begun = Instant::now();
        let outcome = system.measure();
        println!("{}: {what}: {outcome:?} {:.1} s", settings.name(), begun.elapsed().as_secs_f32());
        assert_eq!(outcome, undisturbed, "{}: {what}", settings.name());
    };
    for part in Part::ALL {
        system.mix(older, |name| name.ends_with(part.subcommand()));
        check(&mut system, &format!("every {} is older", part.subcommand()));
    }
    for duchy in DUCHIES {
        system.mix(older, |name| name.starts_with(duchy));
        check(&mut system, &format!("{duchy} is older"));
    }
    // In the middle of measurements, one process after the other.
    for (from, to) in [("older", "newer"), ("newer", "older")] {
        system.mix(older, |_| from == "older");
        let mut order = system.fleet.duchy_processes();
        // Internal API servers first on the way up, last on the way down.
        order.sort_by_key(|name| name.ends_with(Part::InternalApi.subcommand()) == (to == "older"));
        let mut next = Instant::now();
        while !order.is_empty() {
            let name = system.create();
            let outcome = system.fleet.see_through(&name, |fleet| {
                if next <= Instant::now() && !order.is_empty() {
                    fleet.run_by(&order.remove(0), (to == "older").then_some(older));
                    next = Instant::now() + Duration::from_millis(300);
                }
            });
            println!("{}: from {from} to {to}: {outcome:?}", settings.name());
            assert_eq!(outcome, undisturbed, "{}: from {from} to {to}", settings.name());
        }
        assert!(system.settle(|_| ()), "{}: a computation does not end", settings.name());
    }
    system.end();
}

#[test]
#[ignore = "by hand: HALO_OLDER_PROGRAM names a program of an older version"]
fn an_older_version_works_beside_this_one() {
    let older = PathBuf::from(std::env::var(OLDER).unwrap_or_else(|_| panic!("{OLDER} is not set")));
    for settings in PROTOCOLS {
        beside(settings, &older);
    }
}
