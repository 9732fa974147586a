use std::sync::LazyLock;

use halo_duchy_shell::config::{DuchyDirectory, ProtocolsSetup};
use halo_duchy_shell::convert::{
    Announced, Hosted, computation_id, duchy_of, evidence, key_set_published, own_requisition_paths,
    requisition_entries, secret_seeds,
};
use halo_duchy_shell::proto::api::measurement_spec::{
    MeasurementType, ReachAndFrequency, VidSamplingInterval,
};
use halo_duchy_shell::proto::api::{self, MeasurementSpec};
use halo_duchy_shell::proto::internal::{ComputationToken, CreateComputationRequest};
use halo_duchy_shell::proto::system::advance_computation_request::{Header, Payload, header};
use halo_duchy_shell::proto::system::computation::MpcProtocolConfig;
use halo_duchy_shell::proto::system::computation::mpc_protocol_config::liquid_legions_v2::{
    LiquidLegionsSketchParams, MpcNoise,
};
use halo_duchy_shell::proto::system::computation::mpc_protocol_config::{
    HonestMajorityShareShuffle, LiquidLegionsV2, NoiseMechanism, Protocol as KingdomProtocol,
};
use halo_duchy_shell::proto::system::{
    AdvanceComputationRequest, Computation, ComputationParticipant, ComputationStage,
    DifferentialPrivacyParams, LiquidLegionsV2 as Description, Requisition,
};
use halo_duchy_shell::protocol_stages::{
    PeerMessage, Protocol, ProtocolStage, advance_request, participants, slot_of,
};
use halo_protocols::liquid_legions::NoisePolicy;
use halo_protocols::{hmss, llv2, reach_only_llv2};
use prost::Message;

use crate::config_files::{DIRECTORY, OWN, SETUP};
use crate::memory::bounded;

static PARTS: LazyLock<ProtocolsSetup> = LazyLock::new(|| {
    let directory: &DuchyDirectory = &DIRECTORY;
    ProtocolsSetup::parse(SETUP, OWN, directory).expect("well formed")
});

/// Any bytes as a message that is converted into a protocol's own terms: a computation as the Kingdom tells of it, the
/// beginning of what a peer sends, a peer's stage, a row as the internal API hands it out. The first byte chooses.
///
/// What is announced and accepted can be stored, and read back as a state in its first stage; a state that is read from a
/// row is the one that is written to it.
pub fn messages(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    // Reading it takes the descriptors of all messages, megabytes that are kept, which no input is to be charged with.
    LazyLock::force(&PARTS);
    // Two bytes are an empty message among repeated ones: the largest has some hundreds in memory.
    bounded(data.len(), 1024, || match choice % 4 {
        0 => announced(data),
        1 => header(data),
        2 => stage(data),
        _ => row(data),
    });
}

fn announced(data: &[u8]) {
    let Ok(computation) = Computation::decode(data) else { return };
    let entries = requisition_entries(&computation);
    let _ = key_set_published::<llv2::State>(&computation, "aggregator");
    let _ = key_set_published::<reach_only_llv2::State>(&computation, "aggregator");
    let Some(request) = accepted(&computation) else { return };
    let id = computation_id(&computation.name).expect("it was accepted");
    assert_eq!(request.global_computation_id, id);
    let protocol = Protocol::try_from(request.computation_type).expect("our own");
    let token = ComputationToken {
        global_computation_id: id.to_owned(),
        computation_stage: Some(protocol.initial_stage().into()),
        computation_details: request.computation_details,
        ..ComputationToken::default()
    };
    match protocol {
        Protocol::LiquidLegionsV2 => stored::<llv2::State>(&token),
        Protocol::ReachOnlyLiquidLegionsV2 => stored::<reach_only_llv2::State>(&token),
        // Its rows name the requisitions, which come with the computation or make it be refused.
        Protocol::HonestMajorityShareShuffle => drop(entries),
    }
}

/// The request that creates the computation, if it is accepted without noise or with it.
fn accepted(computation: &Computation) -> Option<CreateComputationRequest> {
    let read = |policy| Announced::read(computation, OWN, &PARTS, policy).ok();
    let announced = read(NoisePolicy::Required);
    if announced.is_some() {
        assert!(read(NoisePolicy::AllowNone).is_some(), "less is asked of it");
    }
    announced.or_else(|| read(NoisePolicy::AllowNone))?.request(None).ok()
}

fn stored<C: Hosted>(token: &ComputationToken) {
    let state = C::read(token, OWN, &PARTS).expect("what was announced can be stored");
    assert_eq!(Some(state.stage()), ProtocolStage::of(token).ok());
}

fn header(data: &[u8]) {
    let Ok(AdvanceComputationRequest { payload: Some(Payload::Header(header)) }) =
        AdvanceComputationRequest::decode(data)
    else {
        return;
    };
    let _ = computation_id(&header.name);
    let _ = duchy_of(&header.name);
    let Some(protocol) = &header.protocol else { return };
    let Ok(message) = PeerMessage::try_from(protocol) else { return };
    assert_eq!(header::Protocol::from(message), *protocol);
    assert_eq!(message.awaited_in().protocol().stages().filter(|s| *s == message.awaited_in()).count(), 1);
}

fn stage(data: &[u8]) {
    let Ok(ComputationStage { stage: Some(stage), .. }) = ComputationStage::decode(data) else { return };
    if let Ok(read) = ProtocolStage::try_from(&stage) {
        assert_eq!(halo_duchy_shell::proto::system::computation_stage::Stage::from(read), stage);
    }
}

fn row(data: &[u8]) {
    let Ok(token) = ComputationToken::decode(data) else { return };
    let _ = evidence(&token, OWN, Vec::new());
    let paths = own_requisition_paths(&token, OWN);
    assert!(paths.len() <= token.requisitions.len());
    assert!(secret_seeds(&token, OWN).len() <= token.requisitions.len());
    slots(&token);
    read_back::<llv2::State>(&token);
    read_back::<reach_only_llv2::State>(&token);
    read_back::<hmss::State>(&token);
}

/// Whose messages are awaited, and where they go.
fn slots(token: &ComputationToken) {
    let (Ok(stage), Some(details)) = (ProtocolStage::of(token), &token.computation_details) else { return };
    for sender in participants(details) {
        let _ = stage.awaits(details, OWN, sender);
        assert!(slot_of(token, sender).is_none_or(|slot| token.blobs.contains(slot)));
    }
    if let Ok(Some(next)) = stage.next(details) {
        let request = advance_request(token.clone(), next, Vec::new()).expect("of the same details");
        assert!(
            usize::try_from(request.output_blobs)
                .is_ok_and(|outputs| outputs <= participants(details).len() + 1)
        );
    }
}

fn read_back<C: Hosted>(token: &ComputationToken) {
    let Ok(state) = C::read(token, OWN, &PARTS) else { return };
    assert_eq!(Some(state.stage()), ProtocolStage::of(token).ok());
    let mut written = token.clone();
    let details = written.computation_details.as_mut().expect("it was read");
    state.write(details).expect("of this protocol");
    let again = C::read(&written, OWN, &PARTS).expect("our own");
    assert_eq!(again.stage(), state.stage());
    let mut rewritten = written.clone();
    again.write(rewritten.computation_details.as_mut().expect("it was read")).expect("of this protocol");
    // A number that is none equals nothing, not even itself.
    assert_eq!(rewritten.encode_to_vec(), written.encode_to_vec());
}

/// A computation of the protocol of `config` that the Kingdom announces.
pub(crate) fn announcement(config: KingdomProtocol) -> Computation {
    let privacy = api::DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
    let key = api::EncryptionPublicKey {
        format: api::encryption_public_key::Format::TinkKeyset as i32,
        data: vec![1, 2, 3],
    };
    let spec = MeasurementSpec {
        serialized_measurement_public_key: key.encode_to_vec(),
        nonce_hashes: vec![vec![7; 32]],
        vid_sampling_interval: Some(VidSamplingInterval { start: 0.0, width: 1.0 }),
        measurement_type: Some(MeasurementType::ReachAndFrequency(ReachAndFrequency {
            reach_privacy_params: Some(privacy),
            frequency_privacy_params: Some(privacy),
            maximum_frequency: 5,
        })),
        ..MeasurementSpec::default()
    };
    let participant = |duchy: &str| ComputationParticipant {
        name: format!("computations/c/participants/{duchy}"),
        ..ComputationParticipant::default()
    };
    Computation {
        name: "computations/c".into(),
        public_api_version: "v2alpha".into(),
        measurement_spec: spec.encode_to_vec(),
        computation_participants: ["worker1", "worker2", "aggregator"].map(participant).to_vec(),
        requisitions: vec![Requisition {
            name: "computations/c/requisitions/r".into(),
            requisition_spec_hash: vec![5; 32],
            nonce_hash: vec![7; 32],
            ..Requisition::default()
        }],
        mpc_protocol_config: Some(MpcProtocolConfig { protocol: Some(config) }),
        ..Computation::default()
    }
}

/// What the Kingdom may configure.
pub(crate) fn configurations() -> Vec<KingdomProtocol> {
    let privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
    let mut configurations = Vec::new();
    for (noise, curve) in [
        (NoiseMechanism::Geometric, 415),
        (NoiseMechanism::DiscreteGaussian, 415),
        (NoiseMechanism::None, 415),
    ] {
        let config = LiquidLegionsV2 {
            sketch_params: Some(LiquidLegionsSketchParams { decay_rate: 12.0, max_size: 1000 }),
            mpc_noise: Some(MpcNoise {
                blinded_histogram_noise: Some(privacy),
                publisher_noise: Some(privacy),
            }),
            elliptic_curve_id: curve,
            maximum_frequency: 5,
            noise_mechanism: noise.into(),
        };
        configurations.push(KingdomProtocol::LiquidLegionsV2(config));
        configurations.push(KingdomProtocol::ReachOnlyLiquidLegionsV2(config));
        configurations.push(KingdomProtocol::HonestMajorityShareShuffle(HonestMajorityShareShuffle {
            reach_and_frequency_ring_modulus: 127,
            reach_ring_modulus: 127,
            noise_mechanism: noise.into(),
        }));
    }
    configurations
}

/// Requests that create each of the computations that may be configured.
pub(crate) fn creations() -> Vec<CreateComputationRequest> {
    configurations().into_iter().filter_map(|config| accepted(&announcement(config))).collect()
}

/// Every kind of message.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let input = |choice: u8, message: &[u8]| [&[choice], message].concat();
    let mut seeds: Vec<_> =
        configurations().into_iter().map(|config| input(0, &announcement(config).encode_to_vec())).collect();
    for description in [1, 2, 5] {
        let protocol = Some(header::Protocol::LiquidLegionsV2(Description { description }));
        let header = Header { name: "computations/c".into(), protocol };
        let message = AdvanceComputationRequest { payload: Some(Payload::Header(header)) };
        seeds.push(input(1, &message.encode_to_vec()));
    }
    for request in creations() {
        let protocol = Protocol::try_from(request.computation_type).expect("our own");
        for stage in protocol.stages() {
            let stage_message =
                ComputationStage { name: String::new(), etag: String::new(), stage: Some(stage.into()) };
            seeds.push(input(2, &stage_message.encode_to_vec()));
        }
        let token = ComputationToken {
            global_computation_id: "c".into(),
            computation_stage: Some(protocol.initial_stage().into()),
            computation_details: request.computation_details,
            ..ComputationToken::default()
        };
        seeds.push(input(3, &token.encode_to_vec()));
    }
    seeds.sort();
    seeds.dedup();
    seeds
}
