use halo_protocols::proto::protocol::{
    honest_majority_share_shuffle as hmss, liquid_legions_sketch_aggregation_v2 as llv2,
    reach_only_liquid_legions_sketch_aggregation_v2 as reach_only,
};
use tonic::Code;

use super::*;
use crate::proto::api::{EncryptedMessage, protocol_config};
use crate::proto::internal::{ComputationDetails, RequisitionDetails};

const CERTIFICATE: &str = "dataProviders/edp1/certificates/c";
const SKETCH: LiquidLegionsSketchParameters = LiquidLegionsSketchParameters { decay_rate: 12.0, size: 2 };

fn token(protocol: ProtocolDetails) -> ComputationToken {
    let details = ComputationDetails { protocol: Some(protocol), ..ComputationDetails::default() };
    ComputationToken { computation_details: Some(details), ..ComputationToken::default() }
}

fn share_shuffle(ring_modulus: i32) -> ComputationToken {
    let parameters = hmss::computation_details::Parameters { ring_modulus, ..Default::default() };
    let mut details = hmss::ComputationDetails::default();
    details.parameters = Some(parameters);
    token(ProtocolDetails::HonestMajorityShareShuffle(details))
}

fn reach_only_llv2(elliptic_curve_id: i32) -> ComputationToken {
    let parameters = reach_only::computation_details::Parameters {
        elliptic_curve_id,
        sketch_parameters: Some(SKETCH),
        ..Default::default()
    };
    token(ProtocolDetails::ReachOnlyLiquidLegionsV2(reach_only::ComputationDetails {
        parameters: Some(parameters),
        ..Default::default()
    }))
}

fn liquid_legions(elliptic_curve_id: i32) -> ComputationToken {
    let parameters = llv2::computation_details::Parameters {
        elliptic_curve_id,
        sketch_parameters: Some(SKETCH),
        ..Default::default()
    };
    token(ProtocolDetails::LiquidLegionsV2(llv2::ComputationDetails {
        parameters: Some(parameters),
        ..Default::default()
    }))
}

fn requisition(duchy: &str) -> RequisitionMetadata {
    let details =
        RequisitionDetails { external_fulfilling_duchy_id: duchy.into(), ..RequisitionDetails::default() };
    RequisitionMetadata { details: Some(details), ..RequisitionMetadata::default() }
}

fn seed_header() -> HonestMajorityShareShuffle {
    HonestMajorityShareShuffle {
        secret_seed: Some(EncryptedMessage { ciphertext: vec![7; 300], ..EncryptedMessage::default() }),
        register_count: 3,
        data_provider_certificate: CERTIFICATE.into(),
    }
}

fn header(protocol: Option<HonestMajorityShareShuffle>) -> Header {
    Header {
        data_provider: "dataProviders/edp1".into(),
        requisition: "r1".into(),
        fingerprint: Vec::new(),
        nonce: 1,
        etag: String::new(),
        context: None,
        protocol: protocol.map(HeaderProtocol::HonestMajorityShareShuffle),
        configured: Vec::new(),
    }
}

fn refusal(token: &ComputationToken, header: &Header) -> Status {
    Expected::new(token, &requisition("worker1"), header, "worker1").expect_err("refused")
}

#[test]
fn a_share_is_expected_with_its_seed_kept() {
    let expected =
        Expected::new(&share_shuffle(127), &requisition("worker1"), &header(Some(seed_header())), "worker1");
    let Expected { mut body, details } = expected.expect("a good header");
    let Some(RequisitionDetailsProtocol::HonestMajorityShareShuffle(details)) =
        details.and_then(|details| details.protocol)
    else {
        panic!("no details")
    };
    assert_eq!(details.secret_seed_ciphertext, [7; 300]);
    assert_eq!((details.register_count, &details.data_provider_certificate[..]), (3, CERTIFICATE));
    // Three values below 127.
    assert!(body.push(&[0x0a, 3, 1, 126, 0]).expect("good values").is_none());
    assert!(body.finish().expect("three").is_none());
}

#[test]
fn every_field_of_a_share_shuffle_header_is_checked() {
    type Change = fn(&mut HonestMajorityShareShuffle);
    let cases: [(Change, &str); 11] = [
        (|header| header.secret_seed = None, "secret_seed is missing"),
        (|header| header.secret_seed = Some(EncryptedMessage::default()), "secret_seed is missing"),
        (
            |header| header.secret_seed.as_mut().expect("set").ciphertext = vec![0; MAXIMUM_SEED_BYTES + 1],
            "at most",
        ),
        (|header| header.register_count = 0, "register_count is 0"),
        (|header| header.register_count = -1, "register_count is -1"),
        (|header| header.register_count = 1 << 27, "register_count is 134217728, expected 1 to 134217727"),
        (|header| header.data_provider_certificate.clear(), "data_provider_certificate"),
        (
            |header| header.data_provider_certificate = "dataProviders/edp2/certificates/c".into(),
            "dataProviders/edp1/certificates",
        ),
        (
            |header| header.data_provider_certificate = "duchies/edp1/certificates/c".into(),
            "dataProviders/edp1/certificates",
        ),
        (
            |header| header.data_provider_certificate = format!("{CERTIFICATE}/../x"),
            "dataProviders/edp1/certificates",
        ),
        (
            |header| header.data_provider_certificate = format!("{CERTIFICATE}{}", "a".repeat(500 << 10)),
            "dataProviders/edp1/certificates",
        ),
    ];
    for (change, reason) in cases {
        let mut seed = seed_header();
        change(&mut seed);
        let refused = refusal(&share_shuffle(127), &header(Some(seed)));
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(reason), "{refused}");
    }
}

#[test]
fn a_requisition_is_fulfilled_where_the_kingdom_says() {
    let good = header(Some(seed_header()));
    for assigned in ["worker2", ""] {
        let refused = Expected::new(&share_shuffle(127), &requisition(assigned), &good, "worker1");
        assert_eq!(refused.expect_err("elsewhere").code(), Code::InvalidArgument);
    }
}

#[test]
fn headers_of_another_protocol_are_refused() {
    let seed = header(Some(seed_header()));
    let plain = header(None);
    for (token, header) in
        [(share_shuffle(127), &plain), (liquid_legions(415), &seed), (reach_only_llv2(415), &seed)]
    {
        assert_eq!(refusal(&token, header).code(), Code::InvalidArgument);
    }
    let configured = |protocol| Header { configured: vec![protocol], ..plain.clone() };
    let reach_only = configured(ConfiguredProtocol::ReachOnlyLiquidLegionsV2(
        protocol_config::ReachOnlyLiquidLegionsV2::default(),
    ));
    assert_eq!(refusal(&liquid_legions(415), &reach_only).code(), Code::InvalidArgument);
    assert!(Expected::new(&reach_only_llv2(415), &requisition(""), &reach_only, "worker1").is_ok());
    let frequency =
        configured(ConfiguredProtocol::LiquidLegionsV2(protocol_config::LiquidLegionsV2::default()));
    assert_eq!(refusal(&reach_only_llv2(415), &frequency).code(), Code::InvalidArgument);
    assert!(Expected::new(&liquid_legions(415), &requisition(""), &frequency, "worker1").is_ok());
}

#[test]
fn sketches_have_the_registers_of_their_protocol() {
    for (token, length) in
        [(liquid_legions(415), 198), (reach_only_llv2(415), 66), (reach_only_llv2(25519), 64)]
    {
        let expected = Expected::new(&token, &requisition(""), &header(None), "worker1").expect("a sketch");
        assert!(expected.details.is_none());
        let mut body = expected.body;
        body.push(&[0]).expect("nothing to check yet");
        let error = body.finish().expect_err("one byte");
        assert_eq!(error, BodyError::Registers(RegistersError::Length { length: 1, register: length }));
    }
}

/// What our own database must not have: the caller is not to blame.
#[test]
fn computations_without_parameters_are_an_internal_error() {
    for modulus in [0, 1, -5, i32::MAX] {
        assert_eq!(refusal(&share_shuffle(modulus), &header(Some(seed_header()))).code(), Code::Internal);
    }
    assert_eq!(refusal(&reach_only_llv2(1), &header(None)).code(), Code::Internal);
    let nothing = ComputationToken::default();
    assert_eq!(refusal(&nothing, &header(None)).code(), Code::Unimplemented);
}
