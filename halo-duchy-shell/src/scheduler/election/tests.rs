use proptest::prelude::*;

use super::*;

const NAME: &str = "scheduler";
const DURATION: Duration = Duration::from_secs(15);

fn stamp(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).expect("a time")
}

fn versioned(mut lease: Lease, version: u32) -> Lease {
    lease.metadata.resource_version = Some(version.to_string());
    lease
}

fn spec(step: &Step) -> LeaseSpec {
    match step {
        Step::Create(lease) | Step::Replace(lease) => lease.spec.clone().expect("a spec"),
        Step::Wait => panic!("a Lease is to be written"),
    }
}

#[test]
fn a_lease_is_taken_kept_and_given_up() {
    let start = Instant::now();
    let (mut one, mut other) =
        (Election::new("one".into(), DURATION), Election::new("other".into(), DURATION));
    let Step::Create(lease) = one.step(NAME, None, start, stamp(0)) else { panic!("there is none") };
    assert_eq!(lease.metadata.name.as_deref(), Some(NAME));
    let created = lease.spec.clone().expect("a spec");
    assert_eq!((created.lease_duration_seconds, created.lease_transitions), (Some(15), Some(0)));

    let lease = versioned(lease, 1);
    let renewed = spec(&one.step(NAME, Some(&lease), start, stamp(5)));
    assert_eq!(renewed.acquire_time, created.acquire_time);
    assert_eq!((renewed.renew_time, renewed.lease_transitions), (Some(MicroTime(stamp(5))), Some(0)));

    // Whatever the times in it say, it is the one's until the other has seen it not change for as long as it lasts.
    assert_eq!(other.step(NAME, Some(&lease), start, stamp(1_000_000)), Step::Wait);
    let just_before = start + DURATION - Duration::from_millis(1);
    assert_eq!(other.step(NAME, Some(&lease), just_before, stamp(0)), Step::Wait);
    let changed = versioned(lease.clone(), 2);
    assert_eq!(other.step(NAME, Some(&changed), start + DURATION, stamp(0)), Step::Wait);
    let taken = spec(&other.step(NAME, Some(&changed), start + 2 * DURATION, stamp(31)));
    assert_eq!(taken.holder_identity.as_deref(), Some("other"));
    assert_eq!((taken.acquire_time, taken.lease_transitions), (Some(MicroTime(stamp(31))), Some(1)));

    let given_up = one.release(&lease).expect("it is the one's");
    assert_eq!(other.release(&lease), None);
    assert!(matches!(other.step(NAME, Some(&versioned(given_up, 3)), start, stamp(0)), Step::Replace(_)));
}

/// A candidate in a simulation: what it read and has not yet acted upon, and until when it leads.
struct Candidate {
    election: Election,
    read: Option<(Option<Lease>, Instant)>,
    held: Option<Instant>,
}

proptest! {
    /// Whatever the delays between candidates' reads and writes, and whichever of them stop, no two lead at once.
    #[test]
    fn at_most_one_leads(moves in prop::collection::vec((0..3_usize, 0..6_000_u64), 1..400)) {
        let mut now = Instant::now();
        let mut stored: Option<Lease> = None;
        let mut version = 0;
        let mut candidates: Vec<_> = (0..3)
            .map(|n| Candidate { election: Election::new(format!("c{n}"), DURATION), read: None, held: None })
            .collect();
        for (who, millis) in moves {
            now += Duration::from_millis(millis);
            let candidate = &mut candidates[who];
            match candidate.read.take() {
                None => candidate.read = Some((stored.clone(), now)),
                Some((found, begun)) => {
                    let step = candidate.election.step(NAME, found.as_ref(), begun, stamp(0));
                    let of = |lease: &Option<Lease>| lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
                    // The API server refuses what is based on another version than its own.
                    let current = of(&found) == of(&stored);
                    candidate.held = match step {
                        Step::Create(lease) | Step::Replace(lease) if current => {
                            version += 1;
                            stored = Some(versioned(lease, version));
                            Some(begun + candidate.election.held())
                        }
                        _ => None,
                    };
                }
            }
            let leaders = candidates.iter().filter(|candidate| candidate.held.is_some_and(|until| until > now));
            prop_assert!(leaders.count() <= 1);
        }
    }
}
