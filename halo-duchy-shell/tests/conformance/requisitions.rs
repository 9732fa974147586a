//! Requisitions that the Kingdom waits for and the duchy knows of.

use halo_duchy_shell::consent::{nonce_hash, requisition_fingerprint};
use halo_duchy_shell::proto::api::encryption_public_key::Format;
use halo_duchy_shell::proto::api::fulfill_requisition_request::Header;
use halo_duchy_shell::proto::api::measurement::{DataProviderEntry, data_provider_entry};
use halo_duchy_shell::proto::api::measurement_spec::{MeasurementType, Reach, VidSamplingInterval};
use halo_duchy_shell::proto::api::measurements_client::MeasurementsClient;
use halo_duchy_shell::proto::api::requisitions_client::RequisitionsClient;
use halo_duchy_shell::proto::api::{
    CreateMeasurementRequest, DifferentialPrivacyParams, EncryptedMessage, EncryptionPublicKey,
    ListRequisitionsRequest, Measurement, MeasurementSpec, Requisition, SignedMessage,
};
use halo_duchy_shell::proto::internal::computation_details::Protocol as Details;
use halo_duchy_shell::proto::internal::{ExternalRequisitionKey, RequisitionDetails, RequisitionEntry};
use halo_duchy_shell::proto::system::computation::State;
use halo_duchy_shell::proto::system::computation_participant::{
    RequisitionParams, requisition_params as params,
};
use halo_duchy_shell::proto::system::computation_participants_client::ComputationParticipantsClient;
use halo_duchy_shell::proto::system::computations_client::ComputationsClient;
use halo_duchy_shell::proto::system::{
    SetParticipantRequisitionParamsRequest, StreamActiveComputationsRequest,
};
use halo_duchy_shell::protocol_stages::Protocol;
use halo_protocols::proto::duchy::config::RoleInComputation;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::rows::create;
use crate::world::{DUCHIES, Part, World};

pub const NONCE: u64 = 7;

/// A requisition of `edp1`, as it and its duchy see it.
#[derive(Clone)]
pub struct Known {
    /// At the Kingdom.
    pub requisition: Requisition,
    /// A good header for it.
    pub header: Header,
}

impl World {
    /// A requisition that may be fulfilled, for a sketch in P-256.
    pub async fn sketch_requisition(&self) -> Known {
        self.requisition(Protocol::LiquidLegionsV2).await
    }

    /// A requisition of a share shuffle of three registers, in the eyes of the duchy; the Kingdom knows it as another.
    pub async fn share_requisition(&self) -> Known {
        self.requisition(Protocol::HonestMajorityShareShuffle).await
    }

    async fn requisition(&self, protocol: Protocol) -> Known {
        let (measurement, id) = self.measurement().await;
        let listing = ListRequisitionsRequest { parent: "dataProviders/edp1".into(), ..Default::default() };
        let mut requisitions = RequisitionsClient::new(self.channel(Part::Kingdom, "edp1"));
        let listed = requisitions.list_requisitions(listing).await.expect("listed").into_inner();
        let of = |requisition: &Requisition| requisition.measurement == measurement.name;
        let requisition = listed.requisitions.into_iter().find(of).expect("its requisition");

        let spec = measurement.measurement_spec.expect("as sent").data;
        let fingerprint = requisition_fingerprint(&spec, &Sha256::digest(b"spec")).to_vec();
        let mut request = create(protocol, &id, RoleInComputation::FirstNonAggregator);
        let details = request.computation_details.as_mut().expect("details");
        details.kingdom_computation.get_or_insert_default().measurement_spec = spec;
        match &mut details.protocol {
            Some(Details::LiquidLegionsV2(details)) => {
                details.role = RoleInComputation::NonAggregator as i32;
                let parameters = details.parameters.get_or_insert_default();
                parameters.elliptic_curve_id = 415;
                parameters.sketch_parameters.get_or_insert_default().size = 100;
            }
            Some(Details::HonestMajorityShareShuffle(details)) => {
                details.parameters.get_or_insert_default().ring_modulus = 127;
            }
            other => panic!("{other:?}"),
        }
        request.requisitions = vec![RequisitionEntry {
            key: Some(ExternalRequisitionKey {
                external_requisition_id: requisition.name.rsplit('/').next().expect("an id").into(),
                requisition_fingerprint: fingerprint.clone(),
            }),
            value: Some(RequisitionDetails {
                nonce_hash: nonce_hash(NONCE).to_vec(),
                external_fulfilling_duchy_id: self.duchy.into(),
                ..Default::default()
            }),
        }];
        self.computations().create_computation(request).await.expect("created");
        let header = Header {
            name: requisition.name.clone(),
            requisition_fingerprint: fingerprint,
            nonce: NONCE,
            ..Header::default()
        };
        Known { requisition, header }
    }

    /// A new measurement of `edp1`'s reach.
    pub async fn wish(&self) -> Measurement {
        let request = CreateMeasurementRequest {
            parent: "measurementConsumers/mc".into(),
            measurement: Some(wish()),
            ..Default::default()
        };
        let mut measurements = MeasurementsClient::new(self.channel(Part::Kingdom, "mc"));
        measurements.create_measurement(request).await.expect("created").into_inner()
    }

    /// The ids of the first `count` computations that the Kingdom tells of, in its order.
    pub async fn active(&self, count: usize) -> Vec<String> {
        let mut computations = ComputationsClient::new(self.channel(Part::Kingdom, self.duchy));
        let request = StreamActiveComputationsRequest::default();
        let mut stream =
            computations.stream_active_computations(request).await.expect("a stream").into_inner();
        let mut ids = Vec::new();
        while ids.len() < count {
            let next = stream.message().await.expect("in order").expect("not the end");
            let name = next.computation.expect("a computation").name;
            ids.push(name.trim_start_matches("computations/").to_owned());
        }
        ids
    }

    /// A measurement of `edp1`'s reach that waits for it, and the id of its computation.
    async fn measurement(&self) -> (Measurement, String) {
        let measurement = self.wish().await;
        let id = self.new_computation().await;
        for duchy in DUCHIES {
            let key = params::LiquidLegionsV2 {
                el_gamal_public_key: b"key".to_vec(),
                el_gamal_public_key_signature: b"signature".to_vec(),
                ..Default::default()
            };
            let request = SetParticipantRequisitionParamsRequest {
                name: format!("computations/{id}/participants/{duchy}"),
                requisition_params: Some(RequisitionParams {
                    duchy_certificate: format!("duchies/{duchy}/certificates/1"),
                    protocol: Some(params::Protocol::LiquidLegionsV2(key)),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let mut participants = ComputationParticipantsClient::new(self.channel(Part::Kingdom, duchy));
            participants.set_participant_requisition_params(request).await.expect("set");
        }
        (measurement, id)
    }

    /// The id of the computation that waits for the duchies' keys.
    async fn new_computation(&self) -> String {
        let mut computations = ComputationsClient::new(self.channel(Part::Kingdom, self.duchy));
        let request = StreamActiveComputationsRequest::default();
        let mut stream =
            computations.stream_active_computations(request).await.expect("a stream").into_inner();
        loop {
            let next = stream.message().await.expect("in order").expect("not the end");
            let computation = next.computation.expect("a computation");
            if computation.state() == State::PendingRequisitionParams {
                return computation.name.trim_start_matches("computations/").to_owned();
            }
        }
    }
}

fn wish() -> Measurement {
    let key = EncryptionPublicKey { format: Format::TinkKeyset.into(), data: b"keyset".to_vec() };
    let privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
    let spec = MeasurementSpec {
        nonce_hashes: vec![nonce_hash(NONCE).to_vec()],
        vid_sampling_interval: Some(VidSamplingInterval { start: 0.0, width: 1.0 }),
        measurement_type: Some(MeasurementType::Reach(Reach { privacy_params: Some(privacy) })),
        serialized_measurement_public_key: key.encode_to_vec(),
        ..Default::default()
    };
    Measurement {
        measurement_consumer_certificate: "measurementConsumers/mc/certificates/1".into(),
        measurement_spec: Some(SignedMessage {
            data: spec.encode_to_vec(),
            signature: b"signature".to_vec(),
            ..Default::default()
        }),
        data_providers: vec![DataProviderEntry {
            key: "dataProviders/edp1".into(),
            value: Some(data_provider_entry::Value {
                data_provider_certificate: "dataProviders/edp1/certificates/1".into(),
                nonce_hash: nonce_hash(NONCE).to_vec(),
                encrypted_requisition_spec: Some(EncryptedMessage {
                    ciphertext: b"spec".to_vec(),
                    ..Default::default()
                }),
                data_provider_public_key: None,
            }),
        }],
        ..Default::default()
    }
}
