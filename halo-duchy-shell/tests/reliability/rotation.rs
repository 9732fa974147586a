//! Keys and certificates that are replaced in the files, while measurements go on: no process is started again, no
//! computation fails, and the results are those of any other day.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use halo_duchy_shell::config::DuchyDirectory;
use serde_json::Value;

use crate::authority::{Authority, replace};
use crate::fleet::{DUCHIES, Extras, Fleet, Outcome, Part, part_name};
use crate::rows;
use crate::settings::{PROTOCOLS, Settings, number};
use crate::system::{PUBLISHERS, events};

/// The duchy whose keys are replaced.
const DUCHY: &str = "worker1";
const NAMES: [&str; 2] = ["duchies/worker1/certificates/1", "duchies/worker1/certificates/2"];
/// How often processes look at their files.
const POLL: &str = "--config-poll-interval=100ms";
/// Long enough for all of them to have looked; data providers do so every second.
const SETTLED: Duration = Duration::from_millis(2500);
const DAY: Duration = Duration::from_secs(86_400);

/// A fleet with all mills, whose Kingdom knows a certificate that [`DUCHY`] will have.
struct World {
    fleet: Fleet,
    measurements: usize,
    /// The results of each protocol.
    results: BTreeMap<Settings, Vec<Value>>,
    /// What is not among the keys.
    _folder: tempfile::TempDir,
}

/// Replaces something.
type Step = Box<dyn Fn(&Fleet)>;

impl World {
    /// `prepare` is given the folder of the keys.
    fn start(prepare: impl FnOnce(&std::path::Path) + 'static) -> Self {
        let mut flags: Vec<_> = Part::ALL.map(|part| (part, POLL.to_owned())).into();
        for part in [Part::Herald, Part::Llv2Mill, Part::HmssMill] {
            flags.push((part, "--insecure-dev-allow-no-noise".to_owned()));
        }
        for mill in [Part::Llv2Mill, Part::HmssMill] {
            flags.push((mill, "--max-polling-delay=200ms".to_owned()));
        }
        let kept = tempfile::tempdir().expect("a folder");
        let folder = kept.path();
        // The name of the certificate is in a file, and the duchy's roots are known to its internal API server.
        let name = folder.join("name");
        fs::write(&name, NAMES[0]).expect("a file");
        let kingdom = folder.join("kingdom.textproto");
        let duchies = folder.join("duchies.textproto");
        flags.push((Part::InternalApi, format!("--duchy-info-config={}", duchies.display())));
        let name_flag = "--consent-signaling-certificate-resource-name";
        let extras = Extras {
            flags,
            audit: true,
            swaps: vec![(
                format!("{name_flag}={}", NAMES[0]),
                format!("{name_flag}-file={}", name.display()),
            )],
            kingdom: Some(vec![format!("--config={}", kingdom.display()), POLL.to_owned()]),
            prepare: Some(Box::new(move |pki| {
                std::os::unix::fs::symlink(pki.join("duchy_cert_config.textproto"), duchies).expect("a link");
                std::os::unix::fs::symlink(name, pki.join("name")).expect("a link");
                let next = pki.join("next_cs_cert.der");
                let config =
                    format!("certificates {{ name: \"{}\" file: \"{}\" }}", NAMES[1], next.display());
                fs::write(kingdom, config).expect("a file");
                prepare(pki);
            })),
            ..Extras::default()
        };
        let fleet = Fleet::start_with(extras, Settings::Llv2, &events(), &PUBLISHERS, None);
        Self { fleet, measurements: 0, results: BTreeMap::new(), _folder: kept }
    }

    /// Makes a measurement. Meanwhile `look` is called again and again, and told whether [`DUCHY`] has work of it.
    fn measure(&mut self, settings: Settings, mut look: impl FnMut(&Fleet, bool)) {
        self.measurements += 1;
        self.fleet.plan(self.measurements, settings);
        let name = self.fleet.create(self.measurements, settings.metric());
        let database = self.fleet.database(DUCHY);
        match self.fleet.see_through(&name, |fleet| look(fleet, rows::unfinished(&database) > 0)) {
            Outcome::Result(result) => self.results.entry(settings).or_default().push(result),
            other => panic!("{settings:?}: {other:?}\n{}", self.fleet.whole_logs()),
        }
    }

    /// Sees that every protocol has measured `times` times and always the same, and that nobody was started again or did
    /// anything wrong.
    fn end(mut self, times: usize) {
        for (settings, results) in &self.results {
            assert_eq!(results.len(), times, "{settings:?}");
            let reach = results[0]["reach"].as_f64().expect("a reach");
            assert!((reach - 50.0).abs() <= 10.0, "{settings:?}: {reach}");
            assert!(results.iter().all(|result| *result == results[0]), "{settings:?}: {results:?}");
        }
        assert_eq!(self.results.len(), PROTOCOLS.len());
        for name in self.fleet.duchy_processes() {
            assert!(!self.fleet.has_ended(&name), "{name}");
        }
        assert!(self.fleet.kingdom("violations", &[]).is_empty());
        self.fleet.stop();
    }
}

/// What to do while measurements go on, a step at a time.
struct Plan {
    steps: VecDeque<Step>,
    pause: Duration,
    last: Instant,
}

impl Plan {
    /// Takes the next step, if it is time and a measurement is under way that meets it.
    fn take(&mut self, fleet: &Fleet, measures: bool) {
        if measures
            && self.last.elapsed() >= self.pause
            && let Some(step) = self.steps.pop_front()
        {
            step(fleet);
            self.last = Instant::now();
        }
    }
}

/// The files of a fleet.
fn files(fleet: &Fleet) -> PathBuf {
    fleet.pki("")
}

fn old_root(fleet: &Fleet) -> Authority {
    Authority::of(DUCHY, &files(fleet))
}

/// The collection with the new root, or with that alone.
fn trust(fleet: &Fleet, new: &Authority, old_too: bool) {
    let (collection, duchies) = (fleet.pki("all_root_certs.pem"), fleet.pki("duchy_cert_config.textproto"));
    let old = old_root(fleet);
    let roots =
        fs::read_to_string(&collection).expect("the roots").replace(new.pem(), "").replace(old.pem(), "");
    let known = DuchyDirectory::load(&duchies).expect("the duchies");
    let entry = |id: &str, root: &[u8]| {
        let root: String = root.iter().map(|byte| format!("\\{byte:03o}")).collect();
        format!(
            "duchies {{ duchy_id: \"{id}\" root_certificate_skid: \"{root}\" \
             computation_control_service_cert_host: \"localhost\" }}\n"
        )
    };
    let others = known.iter().filter(|(id, _)| *id != DUCHY);
    let others: String = others.map(|(id, other)| entry(id, &other.root_skids[0])).collect();
    let (mut roots, mut known) = (roots + new.pem(), others + &entry(DUCHY, &new.key_identifier()));
    if old_too {
        roots.push_str(old.pem());
        known.push_str(&entry(DUCHY, &old.key_identifier()));
    }
    replace(&collection, roots);
    replace(&duchies, known);
}

/// The keyset with a new primary key and the old one, or with the new one alone.
fn key_encryption(fleet: &Fleet, old_too: bool) {
    let current = fleet.pki(&format!("{DUCHY}_kek.tink"));
    let next = fleet.pki("next_kek.tink");
    if old_too {
        let other = tempfile::tempdir().expect("a folder");
        let spec = halo_duchy_shell::pki::PkiSpec::default();
        let other = halo_duchy_shell::pki::Pki::create(&spec, other.path()).expect("keys");
        fs::copy(other.key_encryption_key(DUCHY), &next).expect("a keyset");
        // Of two protobuf messages together, repeated fields are those of both, and others the last one's.
        let both = [&current, &next].map(|file| fs::read(file).expect("a keyset")).concat();
        replace(&current, both);
    } else {
        replace(&current, fs::read(next).expect("a keyset"));
    }
}

/// That a process of [`DUCHY`] has recorded that it read files again and put in force what they say.
#[track_caller]
fn assert_recorded(fleet: &Fleet, part: Part, event: &str, what: &str) {
    let recorded = fleet.audit(&part_name(DUCHY, part));
    let is_so = |record: &Value| {
        record["event"] == event && record["details"]["what"] == what && record["outcome"] == "done"
    };
    assert!(recorded.iter().any(is_so), "{part:?}: {event} of {what}: {recorded:#?}");
}

#[test]
fn everything_is_replaced_under_load() {
    let rounds = number("HALO_ROTATIONS", 1);
    let new = std::rc::Rc::new(Authority::new("worker1, the next root"));
    let (certificate, key) = new.consent();
    let mut world =
        World::start(move |pki| fs::write(pki.join("next_cs_cert.der"), certificate).expect("a file"));
    let renew_by_old = || -> Step { Box::new(|fleet| old_root(fleet).renew_tls(DUCHY, &files(fleet), DAY)) };
    let renew_by_new = || -> Step {
        let new = new.clone();
        Box::new(move |fleet| new.renew_tls(DUCHY, &files(fleet), DAY))
    };
    let trust_both: Step = {
        let new = new.clone();
        Box::new(move |fleet| trust(fleet, &new, true))
    };
    let replace_consent: Step = Box::new(move |fleet| {
        // File by file: what lies between is used by nobody.
        replace(&fleet.pki(&format!("{DUCHY}_cs_private.der")), &key);
        replace(
            &fleet.pki(&format!("{DUCHY}_cs_cert.der")),
            fs::read(fleet.pki("next_cs_cert.der")).expect("a file"),
        );
        fs::write(fleet.pki("name"), NAMES[1]).expect("a file");
    });
    let mut plan = Plan {
        steps: VecDeque::from([
            renew_by_old(),
            Box::new(|fleet: &Fleet| key_encryption(fleet, true)),
            trust_both,
            renew_by_old(),
        ]),
        pause: SETTLED,
        last: Instant::now(),
    };
    plan.steps.extend([renew_by_new(), replace_consent, renew_by_new()]);
    let mut times = 0;
    while !plan.steps.is_empty() {
        times += 1;
        for settings in PROTOCOLS {
            world.measure(settings, |fleet, measures| plan.take(fleet, measures));
        }
    }
    sleep(SETTLED);
    // Nothing is under way that was signed or encrypted by what goes now.
    trust(&world.fleet, &new, false);
    key_encryption(&world.fleet, false);
    for _ in 0..rounds {
        for settings in PROTOCOLS {
            plan.pause = Duration::from_millis(500);
            plan.steps.extend([renew_by_new(), renew_by_new(), renew_by_new()]);
            let planned = plan.steps.len();
            world.measure(settings, |fleet, measures| plan.take(fleet, measures));
            assert!(plan.steps.len() < planned, "{settings:?} met no step");
        }
    }
    // It was in force: each process tells what it has read again.
    for part in Part::ALL {
        let log = world.fleet.log(&part_name(DUCHY, part));
        let mut expected = vec!["TLS"];
        if matches!(part, Part::Llv2Mill | Part::HmssMill) {
            expected.push("the consent-signaling key");
        }
        if matches!(part, Part::Herald | Part::HmssMill) {
            expected.push("the key encryption key");
        }
        for what in expected {
            let told = format!("what=\"{what}\"");
            let is_told =
                |line: &str| line.contains("configuration files were read again") && line.contains(&told);
            assert!(log.lines().any(is_told), "{part:?}: {what}\n{log}");
            assert_recorded(&world.fleet, part, "key.reloaded", what);
        }
        // Which duchies there are, in the form that the process needs.
        let what = match part {
            Part::InternalApi | Part::AsyncControl | Part::Control => "the principals",
            Part::Herald => "the protocols' setup",
            Part::Llv2Mill | Part::HmssMill => "the duchies",
            // It knows data providers alone.
            Part::Fulfillment => continue,
        };
        assert_recorded(&world.fleet, part, "configuration.reloaded", what);
    }
    world.end(times + rounds);
}

#[test]
fn certificates_that_last_seconds_are_renewed_in_time() {
    const LASTS: Duration = Duration::from_secs(20);
    let renew = |pki: &std::path::Path| {
        for party in DUCHIES {
            Authority::of(party, pki).renew_tls(party, pki, LASTS);
        }
    };
    let mut world = World::start(move |pki| {
        fs::copy(pki.join("worker1_cs_cert.der"), pki.join("next_cs_cert.der")).expect("a copy");
        renew(pki);
    });
    let begun = Instant::now();
    let renewed = Cell::new(Instant::now());
    let mut times = 0;
    // Until the first certificates, and those after them, have expired.
    while begun.elapsed() < LASTS + LASTS / 4 {
        times += 1;
        for settings in PROTOCOLS {
            world.measure(settings, |fleet, _| {
                if renewed.get().elapsed() > LASTS / 3 {
                    renew(&files(fleet));
                    renewed.set(Instant::now());
                }
            });
        }
    }
    world.end(times);
}
