//! Noise of a stage whose mill died: the next attempt puts out the same bytes, and draws from the same seed.

use std::collections::BTreeSet;
use std::path::Path;

use halo_duchy_shell::audit::{Expected, verify};
use serde_json::Value;

use crate::fleet::{Extras, Fleet, Outcome, Part, part_name};
use crate::restores::outputs;
use crate::settings::Settings;
use crate::system::{System, mill};

/// What the mill `name` has recorded of the noise of `stage`.
fn noise(system: &System, name: &str, stage: &str) -> Vec<Value> {
    let mut records = system.fleet.audit(name);
    records.retain(|record| record["event"] == "noise.added" && record["details"]["stage"] == stage);
    records
}

/// How many blobs are below a folder.
fn count(folder: &Path) -> usize {
    let entries = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
}

/// A mill of `duchy` that dies in `stage`, which adds noise and is left by `commit`.
fn noise_after_a_crash(settings: Settings, duchy: &str, stage: &str, commit: &str) {
    let before_commit = format!("before-{commit}");
    // Where it dies, the attempts whose output is there in the end, and how often noise was accounted for.
    let deaths = [
        ("before-blob.write", 1, 2),
        ("after-blob.write", 2, 2),
        ("after-database.record", 1, 1),
        (before_commit.as_str(), 1, 1),
    ];
    let flags = settings.kingdom_flags().into_iter().filter(|flag| !flag.starts_with("--noise="));
    let extras = Extras {
        kingdom: Some(flags.chain(["--noise=geometric".to_owned()]).collect()),
        audit: true,
        // What stages computed stays, to be compared.
        flags: vec![(Part::InternalApi, "--intermediate-ttl=1h".to_owned())],
        ..Extras::default()
    };
    let mut system = System::start_requiring_noise(settings, &[Part::Herald, mill(settings)], extras);
    let name = part_name(duchy, mill(settings));
    let mut seeds = BTreeSet::new();
    for (point, written, accounts) in deaths {
        let what = format!("{duchy} {point}@{stage}");
        let (before, known) =
            (noise(&system, &name, stage).len(), outputs(&system.fleet.blobs(duchy), duchy));
        system.fleet.restart(&name, &[("HALO_FAIL_POINT", &format!("{point}@{stage}"))]);
        let measurement = system.create();
        let mut died = Vec::new();
        let mut look = |fleet: &mut Fleet| died.extend(fleet.revive());
        let outcome = system.fleet.see_through(&measurement, &mut look);
        assert!(matches!(outcome, Outcome::Result(_)), "{what}: {outcome:?}");
        assert!(system.settle(look), "{what}");
        assert_eq!(died, [name.as_str()], "{what}");

        let mut all = outputs(&system.fleet.blobs(duchy), duchy);
        all.retain(|folder, _| folder.ends_with(stage) && !known.contains_key(folder));
        assert_eq!(all.len(), 1, "{what}: one computation");
        let (folder, outputs) = all.first_key_value().expect("one");
        assert_eq!(outputs.len(), 1, "{what}: attempts put out different bytes");
        assert!(outputs.iter().all(|output| !output.is_empty()), "{what}");
        assert_eq!(count(folder), written, "{what}: attempts that put something out");
        let accounted = noise(&system, &name, stage).split_off(before);
        assert_eq!(accounted.len(), accounts, "{what}: {accounted:?}");
        let drawn: BTreeSet<_> = accounted
            .iter()
            .map(|record| record["details"]["seed"].as_str().expect("a seed").to_owned())
            .collect();
        assert_eq!(drawn.len(), 1, "{what}: {accounted:?}");
        seeds.extend(drawn);
    }
    assert_eq!(seeds.len(), deaths.len(), "every measurement has its own noise");
    // It also finds a seed that two stages have in common.
    verify(&[system.fleet.audit_file(&name)], &Expected::default()).expect("sound");
    system.end();
}

#[test]
fn a_sketch_has_its_noise_once_whatever_dies() {
    noise_after_a_crash(Settings::Llv2, "worker1", "SETUP_PHASE", "database.advance");
}

#[test]
fn a_share_has_its_noise_once_whatever_dies() {
    noise_after_a_crash(Settings::ShareShuffle, "worker1", "SHUFFLE_PHASE", "database.finish");
}
