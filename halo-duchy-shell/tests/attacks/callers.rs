//! Parties with certificates of ours who call what is not theirs to call.

use halo_duchy_shell::proto::api::requisition::{Refusal, refusal::Justification};
use halo_duchy_shell::proto::api::requisition_fulfillment_client::RequisitionFulfillmentClient;
use halo_duchy_shell::proto::api::requisitions_client::RequisitionsClient;
use halo_duchy_shell::proto::api::{
    FulfillRequisitionRequest, ListRequisitionsRequest, RefuseRequisitionRequest,
};
use halo_duchy_shell::proto::internal::async_computation_control_client::AsyncComputationControlClient;
use halo_duchy_shell::proto::internal::computations_client::ComputationsClient;
use halo_duchy_shell::proto::internal::get_computation_token_request::Key;
use halo_duchy_shell::proto::internal::{
    AdvanceComputationRequest as RecordRequest, ClaimWorkRequest, FinishComputationRequest,
    GetComputationTokenRequest, GetOutputBlobMetadataRequest, PurgeComputationsRequest,
};
use halo_duchy_shell::proto::system::advance_computation_request::Header;
use halo_duchy_shell::proto::system::computation_control_client::ComputationControlClient;
use halo_duchy_shell::proto::system::computation_participants_client::ComputationParticipantsClient;
use halo_duchy_shell::proto::system::computations_client::ComputationsClient as SystemComputationsClient;
use halo_duchy_shell::proto::system::requisitions_client::RequisitionsClient as SystemRequisitionsClient;
use halo_duchy_shell::proto::system::{
    ConfirmComputationParticipantRequest, FailComputationParticipantRequest,
    FulfillRequisitionRequest as SystemFulfillRequest, GetComputationRequest, GetComputationStageRequest,
    SetComputationResultRequest, SetParticipantRequisitionParamsRequest,
};
use tonic::Code::PermissionDenied;

use crate::relay::messages;
use crate::world::{CONSUMER, DATA_PROVIDERS, DUCHIES, KINGDOM, World, refused};

/// A duchy's internal servers are for its own processes.
async fn internal_servers(world: &World, duchy: &str, id: &str) {
    let addresses = world.trial.duchies[duchy].addresses();
    let others = DUCHIES.into_iter().filter(|other| *other != duchy);
    for party in others.chain([DATA_PROVIDERS[0], CONSUMER, KINGDOM]) {
        let what = format!("{party} at {duchy}'s internal servers");
        let mut internal = ComputationsClient::new(world.channel(party, addresses.internal_api));
        let request = GetComputationTokenRequest { key: Some(Key::GlobalComputationId(id.to_owned())) };
        refused(internal.get_computation_token(request).await, PermissionDenied, &what);
        refused(internal.claim_work(ClaimWorkRequest::default()).await, PermissionDenied, &what);
        let finish = FinishComputationRequest::default();
        refused(internal.finish_computation(finish).await, PermissionDenied, &what);
        let purge = PurgeComputationsRequest::default();
        refused(internal.purge_computations(purge).await, PermissionDenied, &what);

        let mut bookkeeping =
            AsyncComputationControlClient::new(world.channel(party, addresses.async_control));
        let record = RecordRequest { global_computation_id: id.to_owned(), ..RecordRequest::default() };
        refused(bookkeeping.advance_computation(record).await, PermissionDenied, &what);
        let slot =
            GetOutputBlobMetadataRequest { global_computation_id: id.to_owned(), data_origin: party.into() };
        refused(bookkeeping.get_output_blob_metadata(slot).await, PermissionDenied, &what);
    }
}

/// Only duchies hand data to duchies, and only data providers fulfil requisitions.
async fn open_servers(world: &World, duchy: &str, computation: &str) {
    let addresses = world.trial.duchies[duchy].addresses();
    for party in [DATA_PROVIDERS[0], CONSUMER, KINGDOM] {
        let what = format!("{party} at {duchy}'s control server");
        let mut control = ComputationControlClient::new(world.channel(party, addresses.control));
        let header = Header { name: computation.to_owned(), protocol: None };
        let stream = tokio_stream::iter(messages(header, b"data"));
        refused(control.advance_computation(stream).await, PermissionDenied, &what);
        let name = format!("{computation}/participants/{duchy}/stage");
        let stage = control.get_computation_stage(GetComputationStageRequest { name }).await;
        refused(stage, PermissionDenied, &what);
    }
    for party in DUCHIES.into_iter().chain([CONSUMER, KINGDOM]) {
        let channel = world.channel(party, addresses.fulfillment);
        let stream = tokio_stream::iter([FulfillRequisitionRequest::default()]);
        let answer = RequisitionFulfillmentClient::new(channel).fulfill_requisition(stream).await;
        refused(answer, PermissionDenied, &format!("{party} at {duchy}'s fulfillment server"));
    }
}

/// At the Kingdom a duchy speaks for itself only.
async fn duchies_at_the_kingdom(world: &World, computation: &str) {
    let address = world.kingdom();
    for party in ["worker2", DATA_PROVIDERS[1], CONSUMER] {
        let mut participants = ComputationParticipantsClient::new(world.channel(party, address));
        let what = format!("{party} in the name of worker1");
        let name = format!("{computation}/participants/worker1");
        let fail = FailComputationParticipantRequest { name: name.clone(), ..Default::default() };
        refused(participants.fail_computation_participant(fail).await, PermissionDenied, &what);
        let confirm = ConfirmComputationParticipantRequest { name: name.clone(), ..Default::default() };
        refused(participants.confirm_computation_participant(confirm).await, PermissionDenied, &what);
        let params = SetParticipantRequisitionParamsRequest { name, ..Default::default() };
        refused(participants.set_participant_requisition_params(params).await, PermissionDenied, &what);
    }
    let mut computations = SystemComputationsClient::new(world.channel("worker2", address));
    let result = SetComputationResultRequest {
        name: computation.to_owned(),
        aggregator_certificate: "duchies/aggregator/certificates/1".to_owned(),
        public_api_version: "v2alpha".to_owned(),
        ..SetComputationResultRequest::default()
    };
    let what = "a worker's result in the name of the aggregator";
    refused(computations.set_computation_result(result).await, PermissionDenied, what);
}

/// The system API is for duchies; of the public API each data provider sees its own.
async fn data_providers_at_the_kingdom(world: &World, computation: &str) {
    let (address, [intruder, victim, _]) = (world.kingdom(), DATA_PROVIDERS);
    let mut computations = SystemComputationsClient::new(world.channel(intruder, address));
    let get = GetComputationRequest { name: computation.to_owned() };
    refused(computations.get_computation(get).await, PermissionDenied, "a data provider in the system API");
    let requisitions = world.trial.kingdom.computation(computation).expect("under way").requisitions;
    let mut system = SystemRequisitionsClient::new(world.channel(intruder, address));
    let mut public = RequisitionsClient::new(world.channel(intruder, address));
    for requisition in requisitions {
        let fulfill = SystemFulfillRequest { name: requisition.name.clone(), nonce: 1, ..Default::default() };
        let what = "a data provider as a duchy";
        refused(system.fulfill_requisition(fulfill).await, PermissionDenied, what);
        let id = requisition.name.rsplit('/').next().unwrap_or_default();
        let refuse = RefuseRequisitionRequest {
            name: format!("dataProviders/{victim}/requisitions/{id}"),
            refusal: Some(Refusal {
                justification: Justification::Unfulfillable.into(),
                message: "not mine".to_owned(),
            }),
            ..RefuseRequisitionRequest::default()
        };
        let what = "a refusal in another's name";
        refused(public.refuse_requisition(refuse).await, PermissionDenied, what);
    }
    let list = ListRequisitionsRequest { parent: format!("dataProviders/{victim}"), ..Default::default() };
    refused(public.list_requisitions(list).await, PermissionDenied, "a look at another's requisitions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_calls_as_another() {
    let world = World::start().await;
    world
        .withstand(async |world: &World| {
            let computation = world.computation();
            let id = computation.trim_start_matches("computations/");
            for duchy in DUCHIES {
                internal_servers(world, duchy, id).await;
                open_servers(world, duchy, &computation).await;
            }
            duchies_at_the_kingdom(world, &computation).await;
            data_providers_at_the_kingdom(world, &computation).await;
        })
        .await;
}
