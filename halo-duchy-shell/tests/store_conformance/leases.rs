//! Claims on work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use halo_duchy_shell::clock::Clock;
use halo_duchy_shell::proto::internal::computation_details::CompletedReason;
use halo_duchy_shell::protocol_stages::Protocol;
use halo_duchy_shell::store::{Claim, Computation, GivenBack, Lease, StoreError};
use halo_protocols::llv2::{Stage, StageKind};
use halo_protocols::proto::duchy::config::RoleInComputation;

use crate::Harness;
use crate::fixture::{LOCK, PARTS, claim_by, stage, step, version_mismatch};

const NON_AGGREGATOR: RoleInComputation = RoleInComputation::NonAggregator;
const SECOND: Duration = Duration::from_secs(1);

fn lease(computation: &Computation) -> Lease {
    Lease {
        local_id: computation.local_id,
        stage: computation.stage,
        attempt: computation.attempt,
        owner: computation.lock_owner.clone().expect("a claimed computation"),
    }
}

pub async fn the_oldest_work_comes_first_but_for_prioritized_stages(h: Harness) {
    // The first computation goes on to its setup phase; two newer ones are in their initial stage.
    h.computation_in(Stage::SetupPhase, NON_AGGREGATOR).await;
    for id in ["c2", "c3"] {
        h.clock.advance(SECOND);
        h.create(id, NON_AGGREGATOR).await;
    }
    let prioritized = vec![stage(Stage::InitializationPhase)];
    let claim = Claim { prioritized, ..claim_by("mill") };
    let urgent = h.store.claim(claim).await.expect("claim").expect("work");
    assert_eq!(urgent.global_id, "c2");
    assert_eq!(h.claim("mill").await.expect("work").global_id, "c1");
    assert_eq!(h.claim("mill").await.expect("work").global_id, "c3");
    assert_eq!(h.claim("mill").await, None);
}

pub async fn work_is_claimed_once(h: Harness) {
    assert_eq!(h.claim("mill").await, None);
    let created = h.create("c1", NON_AGGREGATOR).await;
    let claimed = h.claim("mill").await.expect("work");
    assert_eq!(claimed.lock_owner.as_deref(), Some("mill"));
    assert_eq!(claimed.lock_expiration, Some(h.clock.now() + LOCK));
    assert_eq!(claimed.attempt, 1);
    assert!(claimed.version > created.version);
    h.assert_unchanged(&claimed).await;
    h.clock.advance(LOCK - Duration::from_millis(1));
    assert_eq!(h.other.claim(claim_by("another")).await.expect("claim"), None);
    version_mismatch(h.store.finish(&created.guard(), CompletedReason::Failed, "").await);
}

pub async fn work_is_claimed_by_protocol(h: Harness) {
    for protocol in Protocol::ALL {
        h.create_of(protocol, &format!("{protocol:?}"), RoleInComputation::Aggregator).await;
    }
    for protocol in Protocol::ALL.into_iter().rev() {
        let claimed = h.claim_of(protocol, "mill").await.expect("work");
        assert_eq!(claimed.stage, protocol.initial_stage());
        assert_eq!(h.claim_of(protocol, "mill").await, None, "{protocol:?}: only one of them is claimable");
    }
}

pub async fn a_lease_that_ran_out_is_taken_over(h: Harness) {
    h.create("c1", NON_AGGREGATOR).await;
    let first = h.claim("mill-1").await.expect("work");
    h.clock.advance(LOCK);
    let second = h.other.claim(claim_by("mill-2")).await.expect("claim").expect("work");
    assert_eq!(second.attempt, first.attempt + 1);
    assert_eq!(second.lock_owner.as_deref(), Some("mill-2"));
    // The first mill was only slow: whatever it still does is refused.
    let next = stage(Stage::WaitRequisitionsAndKeySet);
    version_mismatch(h.store.advance(&first.guard(), step(&first, next)).await);
    let enqueued = h.store.enqueue(&first.guard(), "mill-1", Duration::ZERO, GivenBack::Failed("")).await;
    assert!(matches!(enqueued, Err(StoreError::LockOwnerMismatch { .. })), "{enqueued:?}");
    h.assert_unchanged(&second).await;
    h.store.advance(&second.guard(), step(&second, next)).await.expect("the second mill advances");
}

pub async fn a_lease_is_extended_beside_the_work(h: Harness) {
    h.computation_in(Stage::SetupPhase, NON_AGGREGATOR).await;
    let claimed = h.claim("mill").await.expect("work");
    for _ in 0..5 {
        h.clock.advance(LOCK / 2);
        let extended = h.other.extend(&lease(&claimed), LOCK).await.expect("extend");
        assert_eq!(extended.lock_expiration, Some(h.clock.now() + LOCK));
        assert_eq!(extended.version, claimed.version, "the mill's token stays good");
        assert_eq!(h.claim("another").await, None);
    }
    let slot = claimed.blobs.last().expect("an output").id;
    let recorded = h.store.record_output(&claimed.guard(), slot, "p").await.expect("record");
    h.other.extend(&lease(&claimed), LOCK).await.expect("a write of the mill does not end its lease");
    // One that ran out, but that nobody has taken, can still be kept.
    h.clock.advance(LOCK * 2);
    h.other.extend(&lease(&recorded), LOCK).await.expect("extend");
}

pub async fn a_lost_lease_is_not_extended(h: Harness) {
    h.create("c1", NON_AGGREGATOR).await;
    let first = lease(&h.claim("mill").await.expect("work"));
    h.clock.advance(LOCK);
    let second = h.claim("mill").await.expect("the same mill, restarted");
    let refused = |result: Result<Computation, StoreError>| {
        assert!(matches!(result, Err(StoreError::LeaseLost { .. })), "{result:?}");
    };
    refused(h.store.extend(&first, LOCK).await);
    refused(h.store.extend(&Lease { owner: "another".into(), ..lease(&second) }, LOCK).await);
    let next = stage(Stage::WaitRequisitionsAndKeySet);
    h.store.advance(&second.guard(), step(&second, next)).await.expect("advance");
    refused(h.store.extend(&lease(&second), LOCK).await);
    let unknown = h.store.extend(&Lease { local_id: 42, ..first }, LOCK).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })), "{unknown:?}");
}

pub async fn work_given_back_waits_for_its_delay(h: Harness) {
    h.create("c1", NON_AGGREGATOR).await;
    let claimed = h.claim("mill").await.expect("work");
    h.store.enqueue(&claimed.guard(), "mill", 2 * SECOND, GivenBack::Failed("")).await.expect("enqueue");
    let queued = h.store.get("c1").await.expect("get");
    assert_eq!(
        (queued.lock_owner.as_deref(), queued.lock_expiration),
        (None, Some(h.clock.now() + 2 * SECOND))
    );
    assert!(queued.version > claimed.version);
    assert_eq!(queued.attempt, 1, "the attempt counts");
    h.clock.advance(SECOND);
    assert_eq!(h.claim("mill").await, None);
    h.clock.advance(SECOND);
    assert_eq!(h.claim("another").await.expect("work").attempt, 2);
}

pub async fn interrupted_attempts_are_counted_by_themselves(h: Harness) {
    let created = h.create("c1", NON_AGGREGATOR).await;
    let interrupted = GivenBack::Interrupted("stopped");
    for (attempt, given_back, count) in
        [(1, interrupted, 1), (2, GivenBack::Failed(""), 1), (3, interrupted, 2), (4, interrupted, 3)]
    {
        let claimed = h.claim("mill").await.expect("work");
        assert_eq!(claimed.attempt, attempt, "every attempt has a number of its own");
        h.store.enqueue(&claimed.guard(), "mill", Duration::ZERO, given_back).await.expect("enqueue");
        let queued = h.store.get("c1").await.expect("get");
        assert_eq!(queued.stage_details.interrupted_attempts, count);
        // There is no attempt any more that this could end.
        h.store.enqueue(&queued.guard(), "", Duration::ZERO, interrupted).await.expect("nobody holds it");
        assert_eq!(h.store.get("c1").await.expect("get").stage_details.interrupted_attempts, count);
    }
    let entered = h.next_stage(h.store.get("c1").await.expect("get")).await;
    assert_ne!(entered.stage, created.stage);
    assert_eq!(entered.stage_details.interrupted_attempts, 0, "it is the stage's");
}

pub async fn only_the_owner_gives_work_back(h: Harness) {
    h.create("c1", NON_AGGREGATOR).await;
    let claimed = h.claim("mill").await.expect("work");
    let refused = h.store.enqueue(&claimed.guard(), "another", Duration::ZERO, GivenBack::Failed("")).await;
    assert!(
        matches!(&refused, Err(StoreError::LockOwnerMismatch { actual: Some(owner), .. }) if owner == "mill"),
        "{refused:?}"
    );
    h.assert_unchanged(&claimed).await;
    h.store.enqueue(&claimed.guard(), "mill", Duration::ZERO, GivenBack::Failed("")).await.expect("enqueue");
    let queued = h.store.get("c1").await.expect("get");
    h.store
        .enqueue(&queued.guard(), "anybody", SECOND, GivenBack::Failed(""))
        .await
        .expect("nobody holds it");
}

pub async fn waiting_is_not_work(h: Harness) {
    for (protocol, role) in PARTS {
        let mut computation = h.create_of(protocol, &format!("{protocol:?}{role:?}"), role).await;
        while computation.stage.next(&computation.details).expect("matching details").is_some() {
            computation = h.next_stage(computation).await;
            if computation.stage.kind() == StageKind::Wait {
                h.clock.advance(Duration::from_secs(3600));
                assert_eq!(h.claim_of(protocol, "mill").await, None, "{}", computation.stage.name());
                let refused = h
                    .store
                    .enqueue(&computation.guard(), "mill", Duration::ZERO, GivenBack::Failed(""))
                    .await;
                assert!(matches!(refused, Err(StoreError::NotWork { .. })), "{refused:?}");
            }
        }
        h.store.finish(&computation.guard(), CompletedReason::Succeeded, "").await.expect("finish");
    }
}

pub async fn racing_claimers_never_get_the_same_work(h: Harness) {
    const COMPUTATIONS: usize = 30;
    for n in 0..COMPUTATIONS {
        h.create(&format!("c{n}"), NON_AGGREGATOR).await;
    }
    let claimers: Vec<_> = (0..6)
        .map(|n| {
            let store = Arc::clone(if n % 2 == 0 { &h.store } else { &h.other });
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                while let Some(work) = store.claim(claim_by(&format!("mill-{n}"))).await.expect("claim") {
                    claimed.push(work.global_id);
                }
                claimed
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for claimer in claimers {
        claimed.extend(claimer.await.expect("a claimer"));
    }
    assert_eq!(claimed.len(), COMPUTATIONS);
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), COMPUTATIONS);
}

pub async fn of_two_claimers_one_gets_the_work(h: Harness) {
    const ATTEMPTS: i32 = 20;
    let computations = if h.faulty { 5 } else { 50 };
    for n in 0..computations {
        let id = h.create(&format!("c{n}"), NON_AGGREGATOR).await.local_id;
        for attempt in 1..=ATTEMPTS {
            let (one, another) = (claim_by("one"), claim_by("another"));
            let results = tokio::join!(h.store.claim(one), h.other.claim(another));
            let claimed = match results {
                (Ok(Some(claimed)), Ok(None)) | (Ok(None), Ok(Some(claimed))) => claimed,
                other => panic!("attempt {attempt} of c{n}: {other:?}"),
            };
            assert_eq!((claimed.local_id, claimed.attempt), (id, attempt));
            // The lease runs out: the next race is for the same work.
            h.clock.advance(LOCK);
        }
        assert!(h.store.delete(id).await.expect("delete"));
    }
}
