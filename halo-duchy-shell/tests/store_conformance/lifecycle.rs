//! Creation, steps and end of a computation.

use std::sync::Arc;
use std::time::Duration;

use halo_duchy_shell::clock::{Clock, Timestamp};
use halo_duchy_shell::proto::internal::ComputationDetails;
use halo_duchy_shell::proto::internal::computation_details::{CompletedReason, Protocol as Details};
use halo_duchy_shell::protocol_stages::{Protocol, ProtocolStage};
use halo_duchy_shell::store::{
    BlobDependency, Computation, GivenBack, Guard, NewComputation, StageBlob, StoreError,
};
use halo_protocols::hmss;
use halo_protocols::llv2::{Stage, StageKind};
use halo_protocols::proto::duchy::config::RoleInComputation;
use halo_protocols::proto::duchy::{ElGamalKeyPair, ElGamalPublicKey};

use crate::Harness;
use crate::fixture::{
    PARTS, PROTOCOL, details, details_of, key, new_computation, new_computation_of, requisition, stage, step,
    version_mismatch,
};

const NON_AGGREGATOR: RoleInComputation = RoleInComputation::NonAggregator;

pub async fn a_new_computation_is_queued_in_its_initial_stage(h: Harness) {
    let created = h.create("c1", NON_AGGREGATOR).await;
    assert_eq!(created.global_id, "c1");
    assert!(created.local_id > 0);
    assert_eq!(created.stage, stage(Stage::InitializationPhase));
    assert_eq!(created.attempt, 0);
    assert_eq!(created.version, h.clock.now().millis());
    assert_eq!(created.details, details(NON_AGGREGATOR));
    assert_eq!(created.blobs, []);
    assert_eq!((created.lock_owner.as_deref(), created.lock_expiration), (None, Some(h.clock.now())));
    let ids: Vec<_> = created.requisitions.iter().map(|r| r.external_key.clone().expect("a key")).collect();
    assert_eq!(ids, [key("c1/1"), key("c1/2")], "requisitions are sorted");
    assert_eq!(h.other.get("c1").await.expect("get"), created);
    assert_eq!(h.other.get_by_requisition(&key("c1/2")).await.expect("get"), created);
}

pub async fn a_computation_is_created_once(h: Harness) {
    let first = h.create("c1", NON_AGGREGATOR).await;
    let again =
        NewComputation { requisitions: vec![], ..new_computation("c1", RoleInComputation::Aggregator) };
    let refused = h.other.create(again).await.expect_err("it exists");
    assert!(matches!(refused, StoreError::AlreadyExists(id) if id == "c1"));
    h.assert_unchanged(&first).await;
}

pub async fn a_requisition_belongs_to_one_computation(h: Harness) {
    h.create("c1", NON_AGGREGATOR).await;
    for requisitions in
        [vec![requisition("r"), requisition("r")], vec![requisition("r"), requisition("c1/1")]]
    {
        let new = NewComputation { requisitions, ..new_computation("c2", NON_AGGREGATOR) };
        let refused = h.store.create(new).await.expect_err("a key comes twice");
        assert!(matches!(refused, StoreError::DuplicateRequisition(_)));
    }
    assert!(matches!(h.store.get("c2").await, Err(StoreError::NotFound { .. })), "nothing was created");
    assert!(matches!(h.store.get_by_requisition(&key("r")).await, Err(StoreError::RequisitionNotFound(_))));
}

pub async fn details_are_of_the_protocol(h: Harness) {
    let new =
        NewComputation { details: ComputationDetails::default(), ..new_computation("c1", NON_AGGREGATOR) };
    assert!(matches!(h.store.create(new).await, Err(StoreError::Protocol(_))));
    let created = h.create("c1", NON_AGGREGATOR).await;
    let of_another = details_of(Protocol::ReachOnlyLiquidLegionsV2, NON_AGGREGATOR);
    for other in [ComputationDetails::default(), of_another] {
        let update = h.store.update_details(&created.guard(), other, vec![]).await;
        assert!(matches!(update, Err(StoreError::Protocol(_))));
    }
    h.assert_unchanged(&created).await;
}

pub async fn unknown_computations_are_not_found(h: Harness) {
    let guard = Guard { local_id: 42, version: 1, owner: None };
    assert!(matches!(h.store.get("nowhere").await, Err(StoreError::NotFound { kind: "global", .. })));
    let known = h.create("c1", NON_AGGREGATOR).await;
    let results = [
        h.store.update_details(&guard, details(NON_AGGREGATOR), vec![]).await.map(drop),
        h.store.record_output(&guard, 0, "p").await.map(drop),
        h.store.advance(&guard, step(&known, stage(Stage::WaitRequisitionsAndKeySet))).await.map(drop),
        h.store.finish(&guard, CompletedReason::Failed, "").await.map(drop),
        h.store.enqueue(&guard, "", Duration::ZERO, GivenBack::Failed("")).await,
    ];
    for result in results {
        assert!(matches!(result, Err(StoreError::NotFound { kind: "local", .. })), "{result:?}");
    }
    assert_eq!(h.store.blob_paths(42).await.expect("paths"), [""; 0]);
    assert!(!h.store.delete(42).await.expect("delete"));
}

pub async fn every_role_of_every_protocol_walks_to_its_last_stage(h: Harness) {
    for (protocol, role) in PARTS {
        let mut computation = h.create_of(protocol, &format!("{protocol:?}{role:?}"), role).await;
        while let Some(next) = computation.stage.next(&computation.details).expect("matching details") {
            let left = h.complete_stage(computation).await;
            let advance = step(&left, next);
            let inputs = advance.inputs.clone();
            computation = h.store.advance(&left.guard(), advance).await.expect("advance");

            assert_eq!(computation.stage, next);
            assert!(computation.version > left.version, "the clock stands, versions go on");
            assert_eq!(computation.lock_owner, None);
            let work = next.kind() == StageKind::Compute;
            assert_eq!(computation.lock_expiration, work.then(|| h.clock.now()));
            assert_eq!(computation.attempt, if work { 0 } else { 1 });
            let outputs = next.output_slots(&computation.details).expect("matching details");
            let blob = |(id, (dependency, path))| StageBlob { id, dependency, path };
            let expected = inputs.into_iter().map(|path| (BlobDependency::Input, Some(path)));
            let expected = expected.chain((0..outputs).map(|_| (BlobDependency::Output, None)));
            assert_eq!(computation.blobs, (0..).zip(expected).map(blob).collect::<Vec<_>>());
        }
        let claimed = h.claim_of(protocol, "mill").await.expect("the last stage is work");
        h.store.finish(&claimed.guard(), CompletedReason::Succeeded, "").await.expect("finish");
    }
}

pub async fn no_other_step_is_allowed(h: Harness) {
    for (protocol, role) in PARTS {
        let mut computation = h.create_of(protocol, &format!("{protocol:?}{role:?}"), role).await;
        loop {
            computation = h.complete_stage(computation).await;
            let allowed = computation.stage.next(&computation.details).expect("matching details");
            for to in protocol.stages().filter(|&to| Some(to) != allowed) {
                let refused = h.store.advance(&computation.guard(), step(&computation, to)).await;
                assert!(
                    matches!(&refused, Err(StoreError::IllegalTransition { from, to: t })
                        if *from == computation.stage && *t == to),
                    "{} to {}: {refused:?}",
                    computation.stage.name(),
                    to.name()
                );
            }
            for other in Protocol::ALL.into_iter().filter(|other| *other != protocol) {
                let mut foreign = step(&computation, computation.stage);
                foreign.next = other.terminal_stage();
                let refused = h.store.advance(&computation.guard(), foreign).await;
                assert!(matches!(refused, Err(StoreError::IllegalTransition { .. })), "{refused:?}");
            }
            h.assert_unchanged(&computation).await;
            let Some(next) = allowed else { break };
            let advanced = h.store.advance(&computation.guard(), step(&computation, next)).await;
            computation = advanced.expect("the allowed step");
        }
        h.store.finish(&computation.guard(), CompletedReason::Succeeded, "").await.expect("finish");
    }
}

pub async fn outputs_come_before_the_step(h: Harness) {
    let waiting = h.computation_in(Stage::WaitSetupPhaseInputs, RoleInComputation::Aggregator).await;
    let next = stage(Stage::SetupPhase);
    let refused = h.store.advance(&waiting.guard(), step(&waiting, next)).await;
    assert!(matches!(refused, Err(StoreError::OutputsMissing { blob_id: 0, .. })), "{refused:?}");
    let one = h.store.record_output(&waiting.guard(), 0, "first").await.expect("record");
    let refused = h.store.advance(&one.guard(), step(&one, next)).await;
    assert!(matches!(refused, Err(StoreError::OutputsMissing { blob_id: 1, .. })), "{refused:?}");
    let both = h.store.record_output(&one.guard(), 1, "second").await.expect("record");

    let mut miscounted = step(&both, next);
    miscounted.outputs = 2;
    let refused = h.store.advance(&both.guard(), miscounted).await;
    assert!(matches!(refused, Err(StoreError::WrongOutputs { expected: 1, found: 2, .. })), "{refused:?}");
    let mut strange = step(&both, next);
    strange.stage_details = waiting.stage_details.clone();
    let refused = h.store.advance(&both.guard(), strange).await;
    assert!(matches!(refused, Err(StoreError::WrongStageDetails { .. })), "{refused:?}");

    let advanced = h.store.advance(&both.guard(), step(&both, next)).await.expect("all is there");
    let paths: Vec<_> = advanced.blobs.iter().map(|blob| blob.path.as_deref()).collect();
    assert_eq!(paths, [Some("first"), Some("second"), None]);
}

pub async fn an_output_is_recorded_once(h: Harness) {
    let waiting = h.computation_in(Stage::WaitExecutionPhaseOneInputs, NON_AGGREGATOR).await;
    let missing = h.store.record_output(&waiting.guard(), 9, "p").await;
    assert!(matches!(missing, Err(StoreError::NoSuchSlot { blob_id: 9, .. })), "{missing:?}");
    let input = h.store.record_output(&waiting.guard(), 0, "p").await;
    assert!(matches!(input, Err(StoreError::NotAnOutput { blob_id: 0, .. })), "{input:?}");
    let recorded = h.store.record_output(&waiting.guard(), 1, "p").await.expect("record");
    assert!(recorded.version > waiting.version);
    let again = h.store.record_output(&recorded.guard(), 1, "p").await.expect("the same path");
    assert_eq!(again, recorded);
    let other = h.store.record_output(&recorded.guard(), 1, "q").await;
    assert!(
        matches!(other, Err(StoreError::SlotTaken { blob_id: 1, ref path, .. }) if path == "p"),
        "{other:?}"
    );
    h.assert_unchanged(&recorded).await;
}

async fn every_guarded_write(h: &Harness, seen: &Computation, guard: &Guard) -> Vec<Result<(), StoreError>> {
    let next = seen.stage.next(&seen.details).expect("matching details").expect("not the last stage");
    vec![
        h.store.update_details(guard, seen.details.clone(), vec![]).await.map(drop),
        h.store.record_output(guard, 1, "p").await.map(drop),
        h.store.advance(guard, step(seen, next)).await.map(drop),
        h.store.finish(guard, CompletedReason::Failed, "").await.map(drop),
        h.store
            .enqueue(guard, guard.owner.as_deref().unwrap_or_default(), Duration::ZERO, GivenBack::Failed(""))
            .await,
    ]
}

pub async fn a_stale_token_changes_nothing(h: Harness) {
    h.computation_in(Stage::SetupPhase, NON_AGGREGATOR).await;
    let seen = h.claim("mill").await.expect("work");
    let now = h.store.update_details(&seen.guard(), seen.details.clone(), vec![]).await.expect("update");
    for version in [seen.version, now.version + 1, 0] {
        let guard = Guard { version, ..seen.guard() };
        for refused in every_guarded_write(&h, &seen, &guard).await {
            assert_eq!(version_mismatch(refused), now.version);
        }
    }
    h.assert_unchanged(&now).await;
}

pub async fn a_token_without_the_lease_changes_nothing(h: Harness) {
    h.computation_in(Stage::SetupPhase, NON_AGGREGATOR).await;
    let seen = h.claim("mill").await.expect("work");
    for owner in [None, Some("another".to_owned())] {
        let guard = Guard { owner, ..seen.guard() };
        for refused in every_guarded_write(&h, &seen, &guard).await {
            assert!(
                matches!(&refused, Err(StoreError::LockOwnerMismatch { actual: Some(actual), .. }) if actual == "mill"),
                "{refused:?}"
            );
        }
    }
    h.assert_unchanged(&seen).await;
}

pub async fn versions_increase_whatever_the_clock_does(h: Harness) {
    let mut computation = h.create("c1", NON_AGGREGATOR).await;
    let start = h.clock.now().millis();
    for time in [start, start, start - 5000, start + 1, start + 10_000, 0] {
        h.clock.set(Timestamp::from_millis(time));
        let details = computation.details.clone();
        let updated = h.store.update_details(&computation.guard(), details, vec![]).await.expect("update");
        assert_eq!(updated.version, time.max(computation.version + 1));
        computation = updated;
    }
}

pub async fn a_computation_ends_from_every_stage(h: Harness) {
    let reasons = [CompletedReason::Succeeded, CompletedReason::Failed, CompletedReason::Canceled];
    for (protocol, role) in PARTS {
        let stages: Vec<ProtocolStage> = std::iter::successors(Some(protocol.initial_stage()), |stage| {
            stage.next(&details_of(protocol, role)).expect("matching details")
        })
        .collect();
        for (n, stop) in stages.into_iter().enumerate() {
            let reason = reasons[n % 3];
            let mut computation = h.create_of(protocol, &format!("{protocol:?}{role:?}{n}"), role).await;
            while computation.stage != stop {
                computation = h.next_stage(computation).await;
            }
            let ended = h.store.finish(&computation.guard(), reason, "").await.expect("finish");
            assert_eq!(ended.stage, protocol.terminal_stage());
            assert_eq!(ended.details.ending_state(), reason);
            assert_eq!((ended.lock_owner, ended.lock_expiration), (None, None));
            assert!(ended.version > computation.version);
            h.clock.advance(Duration::from_secs(3600));
            assert_eq!(h.claim_of(protocol, "mill").await, None, "an ended computation is no work");
        }
    }
}

/// Whoever reads the database later is not to find what deciphers the blobs that were kept.
pub async fn an_ended_computation_has_no_secret_any_more(h: Harness) {
    for (protocol, role) in PARTS {
        let mut new = new_computation_of(protocol, &format!("{protocol:?}{role:?}"), role);
        let pair = |secret_key: &[u8]| {
            let mut pair = ElGamalKeyPair::default();
            pair.public_key = Some(ElGamalPublicKey { generator: vec![2; 33], element: vec![3; 33] });
            pair.secret_key = secret_key.to_vec();
            Some(pair)
        };
        let with_secret = |details: &mut ComputationDetails, secret: &[u8]| match &mut details.protocol {
            Some(Details::LiquidLegionsV2(details)) => details.local_elgamal_key = pair(secret),
            Some(Details::ReachOnlyLiquidLegionsV2(details)) => details.local_elgamal_key = pair(secret),
            Some(Details::HonestMajorityShareShuffle(details)) => details.random_seed = secret.to_vec(),
            other => panic!("{other:?}"),
        };
        with_secret(&mut new.details, &[7; 48]);
        let mut expected = new.details.clone();
        with_secret(&mut expected, &[]);
        expected.ending_state = CompletedReason::Succeeded as i32;

        let created = h.store.create(new).await.expect("create");
        let ended = h.store.finish(&created.guard(), CompletedReason::Succeeded, "").await.expect("finish");
        assert_eq!(ended.details, expected);
        h.assert_unchanged(&ended).await;
    }
}

pub async fn a_computation_ends_once(h: Harness) {
    let created = h.create("c1", NON_AGGREGATOR).await;
    let ended = h.store.finish(&created.guard(), CompletedReason::Failed, "").await.expect("finish");
    let again = h.store.finish(&ended.guard(), CompletedReason::Failed, "").await.expect("the same reason");
    assert_eq!(again, ended);
    let other = h.store.finish(&ended.guard(), CompletedReason::Succeeded, "").await;
    assert!(matches!(other, Err(StoreError::IllegalTransition { .. })), "{other:?}");
    for to in PROTOCOL.stages() {
        let refused = h.store.advance(&ended.guard(), step(&ended, to)).await;
        assert!(matches!(refused, Err(StoreError::IllegalTransition { .. })), "{refused:?}");
    }
    let enqueued = h.store.enqueue(&ended.guard(), "", Duration::ZERO, GivenBack::Failed("")).await;
    assert!(matches!(enqueued, Err(StoreError::NotWork { .. })), "{enqueued:?}");
    h.assert_unchanged(&ended).await;
}

/// The second worker of a share shuffle works twice on what the first one sent.
pub async fn inputs_are_handed_on_where_the_protocol_says(h: Harness) {
    let role = RoleInComputation::SecondNonAggregator;
    let setup = h.computation_in(hmss::Stage::SetupPhase, role).await;
    let received: Vec<_> = setup.blobs.iter().map(|blob| (blob.dependency, blob.path.clone())).collect();
    let [(BlobDependency::Input, Some(_))] = received[..] else { panic!("{received:?}") };
    let shuffle = h.next_stage(setup).await;
    let blobs: Vec<_> = shuffle.blobs.iter().map(|blob| (blob.dependency, blob.path.clone())).collect();
    assert_eq!(blobs, [received[0].clone(), (BlobDependency::Output, None)]);
}

pub async fn of_those_who_create_the_same_one_succeeds(h: Harness) {
    for round in 0..5 {
        let creators = (0..6).map(|n| {
            let store = Arc::clone(if n % 2 == 0 { &h.store } else { &h.other });
            // Some have the same computation, and all of them the same requisitions, in orders that may lock up.
            let mut new = new_computation(&format!("{round}/{}", n % 4), NON_AGGREGATOR);
            new.requisitions = ["a", "b", "c"].map(|id| requisition(&format!("{round}/{id}"))).into();
            new.requisitions.rotate_left(n % 3);
            tokio::spawn(async move { store.create(new).await })
        });
        let mut created = Vec::new();
        for creator in creators.collect::<Vec<_>>() {
            match creator.await.expect("a creator") {
                Ok(computation) => created.push(computation),
                Err(StoreError::AlreadyExists(_) | StoreError::DuplicateRequisition(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(created.len(), 1);
        h.assert_unchanged(&created[0]).await;
    }
}
