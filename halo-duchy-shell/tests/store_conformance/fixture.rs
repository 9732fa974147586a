//! Computations to put into a store.

use std::sync::Arc;
use std::time::Duration;

use halo_duchy_shell::clock::{ManualClock, Timestamp};
use halo_duchy_shell::proto::internal::computation_details::{
    KingdomComputationDetails, Protocol as Details,
};
use halo_duchy_shell::proto::internal::{
    ComputationDetails, ExternalRequisitionKey, RequisitionDetails, RequisitionEntry,
};
use halo_duchy_shell::protocol_stages::{Protocol, ProtocolStage};
use halo_duchy_shell::store::{
    Advance, BlobDependency, Claim, Computation, NewComputation, Store, StoreError,
};
use halo_protocols::llv2::{Stage, StageKind};
use halo_protocols::proto::duchy::config::RoleInComputation;
use halo_protocols::proto::protocol::honest_majority_share_shuffle as hmss;
use halo_protocols::proto::protocol::liquid_legions_sketch_aggregation_v2 as llv2;
use halo_protocols::proto::protocol::reach_only_liquid_legions_sketch_aggregation_v2 as reach_only_llv2;

/// Of most tests: what they try is the same for all.
pub const PROTOCOL: Protocol = Protocol::LiquidLegionsV2;
/// Every part that a duchy can play.
pub const PARTS: [(Protocol, RoleInComputation); 7] = [
    (Protocol::LiquidLegionsV2, RoleInComputation::Aggregator),
    (Protocol::LiquidLegionsV2, RoleInComputation::NonAggregator),
    (Protocol::ReachOnlyLiquidLegionsV2, RoleInComputation::Aggregator),
    (Protocol::ReachOnlyLiquidLegionsV2, RoleInComputation::NonAggregator),
    (Protocol::HonestMajorityShareShuffle, RoleInComputation::Aggregator),
    (Protocol::HonestMajorityShareShuffle, RoleInComputation::FirstNonAggregator),
    (Protocol::HonestMajorityShareShuffle, RoleInComputation::SecondNonAggregator),
];
pub const LOCK: Duration = Duration::from_secs(300);

/// An empty store, opened twice as two processes would, and the clock of both.
pub struct Harness {
    pub store: Arc<dyn Store>,
    pub other: Arc<dyn Store>,
    pub clock: Arc<ManualClock>,
    /// Whether the database gives up transactions at random: what is done many times is done fewer times then.
    pub faulty: bool,
    /// Removed with the harness.
    pub folder: tempfile::TempDir,
}

pub const fn stage(stage: Stage) -> ProtocolStage {
    ProtocolStage::LiquidLegionsV2(stage)
}

pub fn start_of_time() -> Timestamp {
    Timestamp::from_millis(1_763_953_280_000)
}

pub fn details(role: RoleInComputation) -> ComputationDetails {
    details_of(PROTOCOL, role)
}

pub fn details_of(protocol: Protocol, role: RoleInComputation) -> ComputationDetails {
    let participant = || {
        let named = |duchy: &str| llv2::computation_details::ComputationParticipant {
            duchy_id: duchy.into(),
            ..Default::default()
        };
        ["worker1", "worker2", "aggregator"].map(named).into()
    };
    let role = role as i32;
    let protocol = match protocol {
        Protocol::LiquidLegionsV2 => Details::LiquidLegionsV2(llv2::ComputationDetails {
            role,
            participant: participant(),
            ..Default::default()
        }),
        Protocol::ReachOnlyLiquidLegionsV2 => {
            Details::ReachOnlyLiquidLegionsV2(reach_only_llv2::ComputationDetails {
                role,
                participant: participant(),
                ..Default::default()
            })
        }
        Protocol::HonestMajorityShareShuffle => {
            let mut details = hmss::ComputationDetails::default();
            details.role = role;
            details.non_aggregators = ["worker1", "worker2"].map(String::from).into();
            Details::HonestMajorityShareShuffle(details)
        }
    };
    ComputationDetails {
        kingdom_computation: Some(KingdomComputationDetails {
            public_api_version: "v2alpha".into(),
            participant_count: 3,
            ..Default::default()
        }),
        protocol: Some(protocol),
        ..Default::default()
    }
}

pub fn key(id: &str) -> ExternalRequisitionKey {
    ExternalRequisitionKey { external_requisition_id: id.into(), requisition_fingerprint: vec![7; 32] }
}

pub fn requisition(id: &str) -> RequisitionEntry {
    let value = RequisitionDetails { nonce_hash: id.as_bytes().to_vec(), ..Default::default() };
    RequisitionEntry { key: Some(key(id)), value: Some(value) }
}

pub fn new_computation(global_id: &str, role: RoleInComputation) -> NewComputation {
    new_computation_of(PROTOCOL, global_id, role)
}

pub fn new_computation_of(protocol: Protocol, global_id: &str, role: RoleInComputation) -> NewComputation {
    NewComputation {
        protocol,
        global_id: global_id.into(),
        details: details_of(protocol, role),
        // Not in order: a store sorts them.
        requisitions: ["2", "1"].map(|n| requisition(&format!("{global_id}/{n}"))).into(),
    }
}

pub fn claim_by(owner: &str) -> Claim {
    Claim { protocol: PROTOCOL, owner: owner.into(), duration: LOCK, prioritized: Vec::new() }
}

/// The step to `next` as the protocol wants it.
pub fn step(computation: &Computation, next: ProtocolStage) -> Advance {
    let handed_on = match computation.stage.hands_inputs_on() {
        true => BlobDependency::Input,
        false => BlobDependency::Output,
    };
    let written = computation.blobs.iter().filter(|blob| blob.dependency == handed_on);
    Advance {
        next,
        inputs: written.filter_map(|blob| blob.path.clone()).collect(),
        pass_through: Vec::new(),
        outputs: next.output_slots(&computation.details).expect("matching details"),
        stage_details: next.details(&computation.details).expect("matching details").unwrap_or_default(),
    }
}

impl Harness {
    pub async fn create(&self, global_id: &str, role: RoleInComputation) -> Computation {
        self.create_of(PROTOCOL, global_id, role).await
    }

    pub async fn create_of(
        &self,
        protocol: Protocol,
        global_id: &str,
        role: RoleInComputation,
    ) -> Computation {
        self.store.create(new_computation_of(protocol, global_id, role)).await.expect("create")
    }

    pub async fn claim(&self, owner: &str) -> Option<Computation> {
        self.claim_of(PROTOCOL, owner).await
    }

    pub async fn claim_of(&self, protocol: Protocol, owner: &str) -> Option<Computation> {
        self.store.claim(Claim { protocol, ..claim_by(owner) }).await.expect("claim")
    }

    /// Claims what is the only work there is, if the stage is work, and fills all outputs.
    pub async fn complete_stage(&self, mut computation: Computation) -> Computation {
        if computation.stage.kind() == StageKind::Compute {
            let claimed = self.claim_of(computation.stage.protocol(), "mill").await.expect("work");
            assert_eq!(claimed.local_id, computation.local_id);
            computation = claimed;
        }
        for blob in computation.blobs.clone() {
            if blob.dependency == BlobDependency::Output {
                let path = format!("{}/{}/{}", computation.global_id, computation.stage.name(), blob.id);
                let recorded = self.store.record_output(&computation.guard(), blob.id, &path).await;
                computation = recorded.expect("record an output");
            }
        }
        computation
    }

    /// Takes the only computation of the store one stage further.
    pub async fn next_stage(&self, computation: Computation) -> Computation {
        let computation = self.complete_stage(computation).await;
        let next = computation.stage.next(&computation.details).expect("matching details");
        let advance = step(&computation, next.expect("not the last stage"));
        self.store.advance(&computation.guard(), advance).await.expect("advance")
    }

    /// Creates the only computation of the store and takes it to a stage.
    pub async fn computation_in(
        &self,
        target: impl Into<ProtocolStage>,
        role: RoleInComputation,
    ) -> Computation {
        let target = target.into();
        let mut computation = self.create_of(target.protocol(), "c1", role).await;
        while computation.stage != target {
            computation = self.next_stage(computation).await;
        }
        computation
    }

    /// Checks that nothing has changed.
    pub async fn assert_unchanged(&self, computation: &Computation) {
        let found = self.other.get(&computation.global_id).await.expect("get");
        assert_eq!(&found, computation);
    }
}

/// The version that a refusal names, or a panic.
pub fn version_mismatch<T: std::fmt::Debug>(result: Result<T, StoreError>) -> i64 {
    match result {
        Err(StoreError::VersionMismatch { actual, .. }) => actual,
        other => panic!("expected a version mismatch, found {other:?}"),
    }
}
