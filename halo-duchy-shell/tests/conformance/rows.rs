//! Computations at any stage, made through the internal API as the duchy's own processes make them.

use halo_duchy_shell::client::Channel;
use halo_duchy_shell::proto::internal::computations_client::ComputationsClient;
use halo_duchy_shell::proto::internal::{
    ClaimWorkRequest, ComputationBlobDependency, ComputationToken, CreateComputationRequest,
    GetComputationTokenRequest, RecordOutputBlobPathRequest, get_computation_token_request::Key,
};
use halo_duchy_shell::protocol_stages::{Protocol, ProtocolStage, advance_request};
use halo_protocols::llv2::StageKind;
use halo_protocols::proto::duchy::config::RoleInComputation;

use crate::fixture::{details_of, requisition};
use crate::world::{Part, World};

pub const LLV2: Protocol = Protocol::LiquidLegionsV2;
pub const AGGREGATOR: RoleInComputation = RoleInComputation::Aggregator;

/// A request that creates a computation with one requisition, `{id}-1`.
pub fn create(protocol: Protocol, id: &str, role: RoleInComputation) -> CreateComputationRequest {
    CreateComputationRequest {
        computation_type: protocol.number(),
        global_computation_id: id.into(),
        computation_details: Some(details_of(protocol, role)),
        requisitions: vec![requisition(&format!("{id}-1"))],
        computation_stage: Some(protocol.initial_stage().into()),
        stage_details: None,
    }
}

pub fn claim(protocol: Protocol) -> ClaimWorkRequest {
    ClaimWorkRequest {
        computation_type: protocol.number(),
        owner: "mill".into(),
        lock_duration: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        prioritized_stages: Vec::new(),
    }
}

pub fn record(token: &ComputationToken, id: i64, path: &str) -> RecordOutputBlobPathRequest {
    RecordOutputBlobPathRequest { token: Some(token.clone()), output_blob_id: id, blob_path: path.into() }
}

impl World {
    /// The internal API, as the duchy itself.
    pub fn computations(&self) -> ComputationsClient<Channel> {
        ComputationsClient::new(self.channel(Part::InternalApi, self.duchy))
    }

    /// A new computation in its first stage.
    pub async fn created(&self) -> ComputationToken {
        self.created_as(LLV2, AGGREGATOR).await
    }

    pub async fn created_as(&self, protocol: Protocol, role: RoleInComputation) -> ComputationToken {
        let request = create(protocol, &self.fresh("c"), role);
        let created = self.computations().create_computation(request).await.expect("created");
        created.into_inner().token.expect("a token")
    }

    /// Claims that computation; what is claimed before it stays claimed.
    pub async fn claimed(&self, wanted: &ComputationToken) -> ComputationToken {
        let protocol = ProtocolStage::of(wanted).expect("a stage").protocol();
        loop {
            let claimed = self.computations().claim_work(claim(protocol)).await.expect("claimed");
            let claimed = claimed.into_inner().token.expect("work");
            if claimed.local_computation_id == wanted.local_computation_id {
                return claimed;
            }
        }
    }

    /// A new computation, claimed.
    pub async fn working(&self) -> ComputationToken {
        let created = self.created().await;
        self.claimed(&created).await
    }

    /// The token of a computation as it is now.
    pub async fn token(&self, id: &str) -> ComputationToken {
        let request = GetComputationTokenRequest { key: Some(Key::GlobalComputationId(id.into())) };
        let found = self.computations().get_computation_token(request).await.expect("found");
        found.into_inner().token.expect("a token")
    }

    /// A new computation that has come to `target`.
    pub async fn computation_in(
        &self,
        target: impl Into<ProtocolStage>,
        role: RoleInComputation,
    ) -> ComputationToken {
        let target = target.into();
        let mut token = self.created_as(target.protocol(), role).await;
        loop {
            let stage = ProtocolStage::of(&token).expect("a stage");
            if stage == target {
                return token;
            }
            token = self.next_stage(token, stage).await;
        }
    }

    async fn next_stage(&self, mut token: ComputationToken, stage: ProtocolStage) -> ComputationToken {
        if stage.kind() == StageKind::Compute {
            token = self.claimed(&token).await;
        }
        for blob in token.blobs.clone() {
            if blob.dependency_type() == ComputationBlobDependency::Output && blob.path.is_empty() {
                let request = record(&token, blob.blob_id, &self.fresh("path/"));
                let recorded = self.computations().record_output_blob_path(request).await.expect("recorded");
                token = recorded.into_inner().token.expect("a token");
            }
        }
        let handed_on = match stage.hands_inputs_on() {
            true => ComputationBlobDependency::Input,
            false => ComputationBlobDependency::Output,
        };
        let blobs = token.blobs.iter().filter(|blob| blob.dependency_type() == handed_on);
        let inputs = blobs.map(|blob| blob.path.clone()).collect();
        let details = token.computation_details.clone().unwrap_or_default();
        let next = stage.next(&details).expect("matching details").expect("not the last");
        let request = advance_request(token, next, inputs).expect("matching details");
        let advanced = self.computations().advance_computation_stage(request).await.expect("advanced");
        advanced.into_inner().token.expect("a token")
    }
}
