//! What the end of a computation and a sweep delete, and what they leave.

use std::time::Duration;

use halo_duchy_shell::blob::{Blob, Place};
use halo_duchy_shell::cleaner::{Cleaner, CleanerOptions};
use halo_duchy_shell::client::{CallPolicy, Channel};
use halo_duchy_shell::clock::{Clock, SystemClock};
use halo_duchy_shell::internal_api::InternalApi;
use halo_duchy_shell::proto::internal::FinishComputationRequest;
use halo_duchy_shell::proto::internal::computation_details::{CompletedReason, Protocol as Details};
use halo_duchy_shell::protocol_stages::{Protocol, ProtocolStage};
use halo_duchy_shell::service::AdvanceLimits;
use halo_duchy_shell::store::{Computation, Fulfillment, NewComputation};
use halo_duchy_shell::sweep::{SweepOptions, Sweeper, Swept};
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::EncryptionKeyPair;
use halo_protocols::proto::duchy::config::RoleInComputation;

use crate::duchy::Duchy;
use crate::fixture::{details, details_of, key, requisition};

const AGES: Duration = Duration::from_secs(1_000_000);

/// Whatever is over goes at once.
const NOW: SweepOptions =
    SweepOptions { intermediate_ttl: Duration::ZERO, orphan_ttl: Duration::ZERO, force: true };

impl Duchy {
    async fn create(&self, id: &str, protocol: Protocol) -> Computation {
        let details = details_of(protocol, RoleInComputation::FirstNonAggregator);
        self.create_with(id, protocol, details).await
    }

    async fn create_with(
        &self,
        id: &str,
        protocol: Protocol,
        details: halo_duchy_shell::proto::internal::ComputationDetails,
    ) -> Computation {
        let requisitions = vec![requisition(&format!("{id}/r"))];
        let new = NewComputation { protocol, global_id: id.into(), details, requisitions };
        self.harness.store.create(new).await.expect("create")
    }

    /// A blob of a stage that nothing refers to.
    async fn computed(&self, computation: &str) -> Blob {
        let place = Place::Stage { computation, stage: "SETUP_PHASE", attempt: 1 };
        self.blobs.write(place, &b"registers"[..]).await.expect("write")
    }

    /// What a data provider sent, recorded or not.
    async fn sent(&self, computation: &Computation, record: bool) -> Blob {
        let id = &computation.global_id;
        let place = Place::Requisition { computation: id, requisition: "r" };
        let blob = self.blobs.write(place, &b"sketch"[..]).await.expect("write");
        if record {
            let path = blob.path.clone();
            let data = Fulfillment { path, public_api_version: "v2alpha".into(), protocol: None };
            let key = key(&format!("{id}/r"));
            self.harness.store.record_fulfillment(computation.local_id, &key, data).await.expect("record");
        }
        blob
    }

    async fn end(&self, computation: &Computation) {
        let guard = self.harness.store.get(&computation.global_id).await.expect("get").guard();
        self.harness.store.finish(&guard, CompletedReason::Succeeded, "").await.expect("finish");
    }

    async fn sweep(&self, options: SweepOptions) -> Swept {
        let sweeper = Sweeper {
            store: self.harness.store.clone(),
            blobs: self.blobs.clone(),
            clock: std::sync::Arc::new(SystemClock),
        };
        let mut last = None;
        let swept = sweeper.sweep(options, |so_far| last = Some(so_far)).await.expect("a sweep");
        if swept.examined > 0 {
            assert_eq!(last, Some(swept), "progress ends with the result");
        }
        swept
    }

    async fn is_there(&self, blob: &Blob) -> bool {
        self.blobs.read(&blob.path, 100).await.is_ok()
    }
}

#[tokio::test]
async fn the_end_of_a_computation_takes_what_its_stages_computed() {
    for (protocol, reason) in [
        (Protocol::LiquidLegionsV2, CompletedReason::Succeeded),
        (Protocol::ReachOnlyLiquidLegionsV2, CompletedReason::Failed),
        (Protocol::HonestMajorityShareShuffle, CompletedReason::Canceled),
    ] {
        let mut duchy = Duchy::start("worker1", AdvanceLimits::default()).await;
        let role = match protocol {
            Protocol::HonestMajorityShareShuffle => RoleInComputation::FirstNonAggregator,
            _ => RoleInComputation::NonAggregator,
        };
        let computation = duchy.create_with("c1", protocol, details_of(protocol, role)).await;
        let other = duchy.create_with("c2", protocol, details_of(protocol, role)).await;
        let (computed, sent) = (duchy.computed("c1").await, duchy.sent(&computation, true).await);
        let others = duchy.computed("c2").await;
        let finish = FinishComputationRequest {
            token: Some(duchy.harness.store.get("c1").await.expect("get").into()),
            ending_computation_stage: Some(protocol.terminal_stage().into()),
            reason: reason as i32,
            error_message: String::new(),
        };
        duchy.computations.finish_computation(finish).await.expect("finish");
        assert!(!duchy.is_there(&computed).await, "{protocol:?}");
        assert!(duchy.is_there(&sent).await && duchy.is_there(&others).await, "{protocol:?}");
        assert_eq!(other.stage, protocol.initial_stage());
    }
}

#[tokio::test]
async fn intermediate_blobs_go_some_time_after_the_end() {
    let duchy = Duchy::start("worker1", AdvanceLimits::default()).await;
    let details = details(RoleInComputation::NonAggregator);
    let ended = duchy.create_with("ended", Protocol::LiquidLegionsV2, details.clone()).await;
    let working = duchy.create_with("working", Protocol::LiquidLegionsV2, details).await;
    let (sent, computed) = (duchy.sent(&ended, true).await, duchy.computed("ended").await);
    let (sent_too, computing) = (duchy.sent(&working, true).await, duchy.computed("working").await);
    // The store's clock stands in the past; by the real one the end was long ago.
    duchy.end(&ended).await;
    let since = SystemClock.now().millis() - duchy.harness.clock.now().millis();
    let since = Duration::from_millis(since.unsigned_abs());
    let young = SweepOptions { orphan_ttl: AGES, intermediate_ttl: since * 2, force: true };
    assert_eq!(duchy.sweep(young).await, Swept { examined: 4, ..Swept::default() });
    let due = SweepOptions { intermediate_ttl: since / 2, ..young };
    let counted = Swept { examined: 4, intermediate: 1, bytes: 9, ..Swept::default() };
    assert_eq!(duchy.sweep(SweepOptions { force: false, ..due }).await, counted);
    assert!(duchy.is_there(&computed).await, "a dry run deletes nothing");
    assert_eq!(duchy.sweep(due).await, counted);
    assert!(!duchy.is_there(&computed).await);
    for blob in [sent, sent_too, computing] {
        assert!(duchy.is_there(&blob).await);
    }
    assert_eq!(duchy.sweep(due).await, Swept { examined: 3, ..Swept::default() });
}

#[tokio::test]
async fn what_nothing_refers_to_goes_once_it_is_old() {
    let duchy = Duchy::start("worker1", AdvanceLimits::default()).await;
    let working = duchy.create("working", Protocol::HonestMajorityShareShuffle).await;
    let kept = duchy.sent(&working, true).await;
    let orphans = [
        duchy.sent(&working, false).await,
        duchy.computed("working").await,
        duchy.computed("nobody-knows").await,
    ];
    let young = SweepOptions { orphan_ttl: AGES, ..NOW };
    assert_eq!(duchy.sweep(young).await, Swept { examined: 4, ..Swept::default() });
    let swept = Swept { examined: 4, orphaned: 3, bytes: 6 + 9 + 9, ..Swept::default() };
    assert_eq!(duchy.sweep(SweepOptions { force: false, ..NOW }).await, swept);
    assert_eq!(duchy.sweep(NOW).await, swept);
    for blob in &orphans {
        assert!(!duchy.is_there(blob).await);
    }
    assert!(duchy.is_there(&kept).await);
    assert_eq!(duchy.files().len(), 1);
}

#[tokio::test]
async fn a_database_that_knows_nothing_makes_no_orphans() {
    let duchy = Duchy::start("worker1", AdvanceLimits::default()).await;
    let blob = duchy.computed("c1").await;
    duchy.blobs.write_private_key("7", b"sealed".to_vec()).await.expect("written");
    let swept = duchy.sweep(NOW).await;
    assert_eq!(swept, Swept { examined: 2, kept: 2, ..Swept::default() });
    assert!(duchy.is_there(&blob).await);
    let first = duchy.create("c2", Protocol::HonestMajorityShareShuffle).await;
    duchy.end(&first).await;
    let swept = duchy.sweep(NOW).await;
    assert_eq!((swept.orphaned, swept.private_keys, swept.kept), (1, 1, 0));
}

#[tokio::test]
async fn blobs_that_a_stage_refers_to_stay() {
    let duchy = Duchy::start("worker1", AdvanceLimits::default()).await;
    let setup: ProtocolStage = Stage::SetupPhase.into();
    duchy.computation_in(Stage::SetupPhase, RoleInComputation::NonAggregator).await;
    let claimed = duchy.harness.claim("mill").await.expect("work");
    assert_eq!(claimed.stage, setup);
    let (recorded, lost) = (duchy.computed("c1").await, duchy.computed("c1").await);
    let slot = claimed.blobs.last().expect("an output").id;
    duchy.harness.store.record_output(&claimed.guard(), slot, &recorded.path).await.expect("record");
    assert_eq!(duchy.sweep(NOW).await.orphaned, 1);
    assert!(duchy.is_there(&recorded).await && !duchy.is_there(&lost).await);
}

#[tokio::test]
async fn private_keys_of_no_computation_at_work_go() {
    let duchy = Duchy::start("worker1", AdvanceLimits::default()).await;
    let protocol = Protocol::HonestMajorityShareShuffle;
    for id in ["7", "8", "9"] {
        duchy.blobs.write_private_key(id, b"sealed".to_vec()).await.expect("written");
    }
    for (id, private_key_id) in [("working", "7"), ("ended", "8")] {
        let mut details = details_of(protocol, RoleInComputation::FirstNonAggregator);
        if let Some(Details::HonestMajorityShareShuffle(details)) = &mut details.protocol {
            let pair = EncryptionKeyPair { private_key_id: private_key_id.into(), public_key: None };
            details.encryption_key_pair = Some(pair);
        }
        let created = duchy.create_with(id, protocol, details).await;
        if id == "ended" {
            duchy.end(&created).await;
        }
    }
    let young = SweepOptions { orphan_ttl: AGES, ..NOW };
    assert_eq!(duchy.sweep(young).await, Swept { examined: 3, ..Swept::default() });
    let swept = Swept { examined: 3, private_keys: 2, bytes: 12, ..Swept::default() };
    assert_eq!(duchy.sweep(NOW).await, swept);
    for (id, there) in [("7", true), ("8", false), ("9", false)] {
        assert_eq!(duchy.blobs.read(&duchy.blobs.private_key_path(id), 100).await.is_ok(), there, "{id}");
    }
}

#[tokio::test]
async fn what_is_not_of_our_making_is_left_alone_but_for_unfinished_files() {
    let duchy = Duchy::start("worker1", AdvanceLimits::default()).await;
    let folder = duchy.harness.folder.path().join("worker1/computations/c1/SETUP_PHASE/1");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("00ff#1"), "a writer was killed").expect("a file");
    std::fs::write(duchy.harness.folder.path().join("worker1/notes.txt"), "an operator's").expect("a file");
    assert_eq!(duchy.sweep(SweepOptions { orphan_ttl: AGES, ..NOW }).await.orphaned, 0);
    let swept = duchy.sweep(NOW).await;
    assert_eq!(swept, Swept { examined: 1, orphaned: 1, unrecognized: 1, ..Swept::default() });
    assert_eq!(duchy.files().len(), 1);
}

#[tokio::test]
async fn the_cleaner_cleans_all_protocols_through_the_internal_api() {
    let duchy = Duchy::start("worker1", AdvanceLimits::default()).await;
    for (protocol, role) in [
        (Protocol::LiquidLegionsV2, RoleInComputation::NonAggregator),
        (Protocol::ReachOnlyLiquidLegionsV2, RoleInComputation::NonAggregator),
        (Protocol::HonestMajorityShareShuffle, RoleInComputation::FirstNonAggregator),
    ] {
        for state in ["ended", "working"] {
            let id = format!("{state}-{}", protocol.number());
            let created = duchy.create_with(&id, protocol, details_of(protocol, role)).await;
            duchy.sent(&created, true).await;
            if state == "ended" {
                duchy.end(&created).await;
            }
        }
    }
    duchy.computed("nobody-knows").await;
    let options = CleanerOptions {
        time_to_live: Duration::from_secs(1),
        end_states: Vec::new(),
        intermediate_ttl: Duration::ZERO,
        orphan_ttl: Duration::from_millis(1),
        deadline: Duration::from_secs(30),
        dry_run: true,
    };
    let clean = async |channel: &Channel, options| {
        let internal = InternalApi::new(channel.clone(), CallPolicy::default());
        Cleaner::new(internal, options).clean().await.expect("it is cleaned")
    };
    tokio::time::sleep(Duration::from_millis(5)).await;
    let other_ends = vec![CompletedReason::Canceled];
    let others = clean(&duchy.channel, CleanerOptions { end_states: other_ends, ..options.clone() }).await;
    assert_eq!(others.computations, 0, "what ended otherwise is kept");
    let dry = clean(&duchy.channel, options.clone()).await;
    assert_eq!((dry.computations, dry.blobs.map(|swept| swept.orphaned)), (3, Some(1)));
    assert_eq!(duchy.files().len(), 7, "a dry run deletes nothing");
    let own_ends = vec![CompletedReason::Succeeded, CompletedReason::Failed];
    let forced = CleanerOptions { dry_run: false, end_states: own_ends, ..options };
    let done = clean(&duchy.channel, forced.clone()).await;
    assert_eq!((done.computations, done.blobs.map(|swept| swept.orphaned)), (3, Some(1)));
    assert_eq!(duchy.files().len(), 3);
    let again = clean(&duchy.channel, forced).await;
    assert_eq!((again.computations, again.blobs.map(|swept| swept.orphaned)), (0, Some(0)));
}
