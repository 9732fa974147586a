//! Requests that upstream refuses (`unit/errors.json`), and those that only we refuse.

use halo_protocols::kernel::{self, Code, Kernel, KernelError};
use halo_protocols::proto::any_sketch::crypto::encrypt_sketch_request::{
    DestroyedRegisterStrategy, PublisherNoiseParameter,
};
use halo_protocols::proto::any_sketch::crypto::{CombineElGamalPublicKeysRequest, EncryptSketchRequest};
use halo_protocols::proto::any_sketch::sketch::Register;
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::protocol::{
    CompleteExecutionPhaseOneAtAggregatorRequest, CompleteExecutionPhaseOneRequest,
    CompleteExecutionPhaseThreeAtAggregatorRequest, CompleteExecutionPhaseThreeRequest,
    CompleteExecutionPhaseTwoAtAggregatorRequest, CompleteExecutionPhaseTwoRequest,
    CompleteInitializationPhaseRequest, CompleteSetupPhaseRequest,
};
use prost::Message;

use crate::case::{Case, bytes};
use crate::run::context;

/// Methods of other protocols, which have their own tests.
const OTHER_PROTOCOLS: [&str; 6] = [
    "CompleteReachOnlyExecutionPhase",
    "CompleteReachAndFrequencyShufflePhase",
    "CompleteReachOnlyShufflePhase",
    "CompleteReachAndFrequencyAggregationPhase",
    "CompleteReachOnlyAggregationPhase",
    "GenerateSecretShares",
];

fn error<K: Kernel>(request: &K) -> KernelError {
    kernel::compute(request, &context(9)).err().expect("the request is refused")
}

fn decoded_error<K: Kernel + Message + Default>(request: &[u8]) -> KernelError {
    error(&K::decode(request).unwrap())
}

#[test]
fn every_request_that_upstream_refuses_is_refused_alike() {
    let rows: serde_json::Value = serde_json::from_str(include_str!("../vectors/unit/errors.json")).unwrap();
    let mut tested = 0;
    for row in rows.as_array().unwrap() {
        let (method, case) = (row["method"].as_str().unwrap(), row["case"].as_str().unwrap());
        if OTHER_PROTOCOLS.contains(&method) {
            continue;
        }
        let mut request = bytes(&row["request_hex"]);
        if case == "maximum frequency below two" {
            // Upstream looks at this before it looks for a curve, which the recorded request leaves out.
            request.extend([0x18, 0x9f, 0x03]);
        }
        let refuse = match method {
            "CompleteInitializationPhase" => decoded_error::<CompleteInitializationPhaseRequest>,
            "CompleteSetupPhase" => decoded_error::<CompleteSetupPhaseRequest>,
            "CompleteExecutionPhaseOne" => decoded_error::<CompleteExecutionPhaseOneRequest>,
            "CompleteExecutionPhaseTwoAtAggregator" => {
                decoded_error::<CompleteExecutionPhaseTwoAtAggregatorRequest>
            }
            "CompleteExecutionPhaseThreeAtAggregator" => {
                decoded_error::<CompleteExecutionPhaseThreeAtAggregatorRequest>
            }
            "CombineElGamalPublicKeys" => decoded_error::<CombineElGamalPublicKeysRequest>,
            other => panic!("no test for {other}"),
        };
        let error = refuse(&request);
        println!("{method}, {case}: {error}");
        assert_eq!(error.status() as i64, row["status_code"].as_i64().unwrap(), "{method}, {case}: {error}");
        assert!(what_is_expected(case)(&error), "{method}, {case}: {error:?}");
        tested += 1;
    }
    assert_eq!(tested, 18);
}

/// The precise error of each recorded case.
fn what_is_expected(case: &str) -> fn(&KernelError) -> bool {
    use KernelError as E;
    match case {
        "unknown curve" => |error| matches!(error, E::UnsupportedCurve { .. }),
        "vector not a whole number of registers" => |error| matches!(error, E::Length { .. }),
        "parallelism zero" => |error| matches!(error, E::Parallelism(0)),
        "secret key does not match public key" => |error| matches!(error, E::KeyPair { .. }),
        "bad composite key" => {
            |error| matches!(error, E::PublicKey { field: "composite_el_gamal_public_key", .. })
        }
        "register id has a bad point prefix"
        | "register id x coordinate not below the field prime"
        | "all zero register" => |error| matches!(error, E::Ciphertext { column: 0, .. }),
        "maximum frequency below two" => {
            |error| matches!(error, E::OutOfRange { field: "maximum_frequency", .. })
        }
        "matrix not divisible by maximum frequency minus one" => {
            |error| matches!(error, E::MatrixShape { .. })
        }
        "empty matrix" => |error| matches!(error, E::NothingCounted),
        "decay rate not above one" | "sketch size zero" => |error| matches!(error, E::Estimate(_)),
        "no keys" => |error| matches!(error, E::CombineKeys(_)),
        "different generators" => |error| matches!(error, E::GeneratorsDiffer(1)),
        other => panic!("no expectation for {other}"),
    }
}

/// A recorded request of a small computation with three duchies.
fn recorded<K: Kernel + Message + Default>() -> K {
    let stage = Case::load("llv2_3duchies_one_provider_small").stages_of(K::METHOD).remove(0);
    K::decode(stage.request.as_slice()).unwrap()
}

/// Tries broken variants of a recorded request.
fn refused<K: Kernel + Message + Default>(variants: &[(fn(&mut K), fn(&KernelError) -> bool, Code)]) {
    for (index, (edit, expected, code)) in variants.iter().enumerate() {
        let mut request = recorded::<K>();
        edit(&mut request);
        let error = error(&request);
        println!("{}, variant {index}: {error}", K::METHOD);
        assert!(expected(&error), "{}, variant {index}: {error:?}", K::METHOD);
        assert_eq!(error.status(), *code, "{}, variant {index}: {error}", K::METHOD);
    }
}

const INVALID: Code = Code::InvalidArgument;
const PRIVACY: DifferentialPrivacyParams = DifferentialPrivacyParams { epsilon: 1.0, delta: 0.1 };

/// The setup request of a case with noise, whose keys are those of the case.
fn noisy_setup() -> CompleteSetupPhaseRequest {
    let stage = Case::load("llv2_3duchies_gaussian").stages_of(CompleteSetupPhaseRequest::METHOD).remove(0);
    CompleteSetupPhaseRequest::decode(stage.request.as_slice()).unwrap()
}

#[test]
fn setup_refuses_bad_parameters() {
    type Request = CompleteSetupPhaseRequest;
    let edits: [(&str, fn(&mut Request)); 14] = [
        ("contributors", |request| request.noise_parameters.as_mut().unwrap().contributors_count = 0),
        ("sketches", |request| request.noise_parameters.as_mut().unwrap().total_sketches_count = 0),
        ("sketches", |request| request.noise_parameters.as_mut().unwrap().total_sketches_count = -5),
        ("dp_params", |request| request.noise_parameters.as_mut().unwrap().dp_params = None),
        ("blind_histogram", |request| dp(request).blind_histogram = None),
        ("epsilon", |request| dp(request).blind_histogram.as_mut().unwrap().epsilon = 0.0),
        ("epsilon", |request| dp(request).global_reach_dp_noise.as_mut().unwrap().epsilon = -1.0),
        ("delta", |request| dp(request).noise_for_publisher_noise.as_mut().unwrap().delta = 0.0),
        ("delta", |request| dp(request).noise_for_publisher_noise.as_mut().unwrap().delta = f64::NAN),
        ("noise_mechanism", |request| request.noise_mechanism = NoiseMechanism::None.into()),
        ("noise_mechanism", |request| request.noise_mechanism = NoiseMechanism::ContinuousGaussian.into()),
        ("noise_mechanism", |request| request.noise_mechanism = 77),
        ("parallelism", |request| request.parallelism = -1),
        ("composite_el_gamal_public_key", |request| {
            request.noise_parameters.as_mut().unwrap().composite_el_gamal_public_key = None;
        }),
    ];
    for (about, edit) in edits {
        let mut request = noisy_setup();
        edit(&mut request);
        let error = error(&request);
        assert!(error.to_string().contains(about), "{about}: {error}");
        assert_eq!(error.status(), INVALID);
    }
    let mut request = noisy_setup();
    request.maximum_frequency = 1;
    request.requisition_register_vector.pop();
    assert!(matches!(error(&request), KernelError::Length { .. }));
}

fn dp(
    request: &mut CompleteSetupPhaseRequest,
) -> &mut halo_protocols::proto::protocol::ReachNoiseDifferentialPrivacyParams {
    request.noise_parameters.as_mut().unwrap().dp_params.as_mut().unwrap()
}

#[test]
fn more_noise_than_a_message_holds_is_refused_with_its_number() {
    let mut request = noisy_setup();
    dp(&mut request).blind_histogram = Some(DifferentialPrivacyParams { epsilon: 2e-5, delta: 1e-9 });
    let parameters = request.noise_parameters.clone().unwrap();
    let count = halo_protocols::sketch::RegisterNoise::new(&parameters, request.noise_mechanism)
        .unwrap()
        .register_count();
    let registers = request.requisition_register_vector.len() as u64 / 198 + count;
    let error = error(&request);
    assert!(matches!(error, KernelError::TooLarge { records, .. } if records == registers), "{error}");
    assert!(error.to_string().contains(&registers.to_string()), "{error}");

    // The bound is the caller's to choose.
    let request = noisy_setup();
    let small = context(9).with_maximum_message_bytes(1_000);
    assert!(matches!(kernel::compute(&request, &small), Err(KernelError::TooLarge { limit: 1_000, .. })));
}

#[test]
fn phase_one_refuses_bad_requests() {
    type Request = CompleteExecutionPhaseOneRequest;
    refused::<Request>(&[
        (
            |request| request.local_el_gamal_key_pair = None,
            |error| matches!(error, KernelError::Missing(_)),
            INVALID,
        ),
        (
            |request| request.local_el_gamal_key_pair.as_mut().unwrap().secret_key.clear(),
            |error| matches!(error, KernelError::KeyPair { .. }),
            INVALID,
        ),
        (
            |request| request.composite_el_gamal_public_key = None,
            |error| matches!(error, KernelError::Missing("composite_el_gamal_public_key")),
            INVALID,
        ),
        (
            |request| {
                let key = request.composite_el_gamal_public_key.as_mut().unwrap();
                key.generator = key.element.clone();
            },
            |error| matches!(error, KernelError::PublicKey { .. }),
            INVALID,
        ),
        // The second half of the key of the second register, with prefixes of the forms that are not compressed.
        (
            |request| request.combined_register_vector[198 + 66 + 33] = 4,
            |error| matches!(error, KernelError::Ciphertext { record: 1, column: 1, .. }),
            INVALID,
        ),
        (
            |request| request.combined_register_vector[198 + 66 + 33] = 0,
            |error| matches!(error, KernelError::Ciphertext { record: 1, column: 1, .. }),
            INVALID,
        ),
        (
            |request| request.curve_id = 25519,
            |error| matches!(error, KernelError::PublicKey { .. } | KernelError::Length { .. }),
            INVALID,
        ),
    ]);
}

/// The wire has secret keys without leading zeros; upstream takes any number that has the public key.
#[test]
fn a_secret_key_need_not_be_reduced() {
    let request = recorded::<CompleteExecutionPhaseThreeRequest>();
    let expected = kernel::compute(&request, &context(9)).unwrap();
    let order = p256_order();
    let with_secret_key = |secret_key: Vec<u8>| {
        let mut request = request.clone();
        request.local_el_gamal_key_pair.as_mut().unwrap().secret_key = secret_key;
        kernel::compute(&request, &context(9))
    };
    let secret_key = request.local_el_gamal_key_pair.clone().unwrap().secret_key.clone();
    let mut larger = vec![0; 33];
    let mut carry = 0;
    for position in (0..33).rev() {
        let digit = |number: &[u8]| {
            (position + number.len()).checked_sub(33).map_or(0, |index| u16::from(number[index]))
        };
        let sum = digit(&secret_key) + digit(&order) + carry;
        larger[position] = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(with_secret_key(larger).as_ref(), Ok(&expected));
    assert_eq!(with_secret_key([vec![0; 5], secret_key].concat()).as_ref(), Ok(&expected));
    assert!(matches!(with_secret_key(order), Err(KernelError::KeyPair { .. })));
}

/// The order of P-256 (FIPS 186-4, D.1.2.3).
fn p256_order() -> Vec<u8> {
    hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap()
}

/// A register whose id is an encryption of the identity kills the stage in which its last layer comes off.
#[test]
fn an_id_that_opens_to_the_identity_is_an_internal_error_with_its_number() {
    let mut request = recorded::<CompleteExecutionPhaseOneAtAggregatorRequest>();
    let key = request.local_el_gamal_key_pair.clone().unwrap().public_key.clone().unwrap();
    // (G, Y): an encryption of the identity under the last key.
    let encrypted = [key.generator, key.element].concat();
    let at = 4 * 198;
    request.combined_register_vector[at..at + 66].copy_from_slice(&encrypted);
    let error = error(&request);
    assert!(matches!(error, KernelError::Identity { record: 4, .. }), "{error:?}");
    assert_eq!(error.status(), Code::Internal);
}

#[test]
fn phase_one_at_aggregator_refuses_bad_requests() {
    type Request = CompleteExecutionPhaseOneAtAggregatorRequest;
    refused::<Request>(&[
        (
            |request| request.total_sketches_count = 0,
            |error| matches!(error, KernelError::OutOfRange { field: "total_sketches_count", .. }),
            INVALID,
        ),
        (|request| request.parallelism = 0, |error| matches!(error, KernelError::Parallelism(0)), INVALID),
        (
            |request| request.noise_parameters = Some(Default::default()),
            |error| matches!(error, KernelError::OutOfRange { .. }),
            INVALID,
        ),
        // The count of register 3, found when the groups are merged.
        (
            |request| request.combined_register_vector[3 * 198 + 132] = 9,
            |error| matches!(error, KernelError::Ciphertext { record: 3, column: 2, .. }),
            INVALID,
        ),
    ]);
}

#[test]
fn phase_two_refuses_bad_requests() {
    type Request = CompleteExecutionPhaseTwoRequest;
    refused::<Request>(&[
        (
            |request| request.partial_composite_el_gamal_public_key = None,
            |error| matches!(error, KernelError::Missing("partial_composite_el_gamal_public_key")),
            INVALID,
        ),
        (
            |request| request.partial_composite_el_gamal_public_key = Some(Default::default()),
            |error| matches!(error, KernelError::PublicKey { .. }),
            INVALID,
        ),
        (|request| request.parallelism = 0, |error| matches!(error, KernelError::Parallelism(0)), INVALID),
        (
            |request| _ = request.flag_count_tuples.pop(),
            |error| matches!(error, KernelError::Length { .. }),
            INVALID,
        ),
        (
            |request| request.flag_count_tuples[264 + 198] = 9,
            |error| matches!(error, KernelError::Ciphertext { record: 1, column: 3, .. }),
            INVALID,
        ),
    ]);
}

#[test]
fn phase_two_at_aggregator_refuses_bad_requests() {
    type Request = CompleteExecutionPhaseTwoAtAggregatorRequest;
    fn width(error: &KernelError) -> bool {
        matches!(error, KernelError::Estimate(halo_protocols::estimate::EstimateError::Width(_)))
    }
    refused::<Request>(&[
        (
            |request| request.maximum_frequency = 0,
            |error| matches!(error, KernelError::OutOfRange { .. }),
            INVALID,
        ),
        (|request| request.vid_sampling_interval_width = 0.0, width, INVALID),
        (|request| request.vid_sampling_interval_width = 1.5, width, INVALID),
        (|request| request.vid_sampling_interval_width = f32::NAN, width, INVALID),
        (
            |request| request.sketch_parameters = None,
            |error| matches!(error, KernelError::Estimate(_)),
            INVALID,
        ),
        (
            |request| request.sketch_parameters.as_mut().unwrap().size = 3,
            |error| matches!(error, KernelError::Estimate(_)),
            INVALID,
        ),
        (
            |request| request.reach_dp_noise_baseline = Some(Default::default()),
            |error| matches!(error, KernelError::OutOfRange { field: "noise_mechanism", .. }),
            INVALID,
        ),
        // A matrix that would not fit a message is refused before it is made.
        (
            |request| request.maximum_frequency = i32::MAX,
            |error| matches!(error, KernelError::TooLarge { what: "matrix cells", .. }),
            INVALID,
        ),
    ]);
}

#[test]
fn phase_three_refuses_bad_requests() {
    refused::<CompleteExecutionPhaseThreeRequest>(&[
        (|request| request.parallelism = 0, |error| matches!(error, KernelError::Parallelism(0)), INVALID),
        (
            |request| _ = request.same_key_aggregator_matrix.pop(),
            |error| matches!(error, KernelError::Length { .. }),
            INVALID,
        ),
        (
            |request| request.same_key_aggregator_matrix[66] = 0,
            |error| matches!(error, KernelError::Ciphertext { record: 1, column: 0, .. }),
            INVALID,
        ),
    ]);
    refused::<CompleteExecutionPhaseThreeAtAggregatorRequest>(&[
        (
            |request| request.maximum_frequency = i32::MAX,
            |error| matches!(error, KernelError::MatrixShape { .. }),
            INVALID,
        ),
        // Noise that takes everything away.
        (
            |request| {
                request.noise_mechanism = NoiseMechanism::Geometric.into();
                request.global_frequency_dp_noise_per_bucket =
                    Some(halo_protocols::proto::protocol::PerBucketFrequencyDpNoiseBaseline {
                        contributors_count: 3,
                        dp_params: Some(PRIVACY),
                    });
            },
            |error| matches!(error, KernelError::NothingCounted),
            INVALID,
        ),
    ]);
}

#[test]
fn key_combination_refuses_related_and_invalid_keys() {
    type Request = CombineElGamalPublicKeysRequest;
    refused::<Request>(&[
        (
            |request| request.el_gamal_keys[1] = request.el_gamal_keys[0].clone(),
            |error| matches!(error, KernelError::RelatedKeys(_)),
            INVALID,
        ),
        (
            |request| {
                let mut opposite = request.el_gamal_keys[0].clone();
                opposite.element[0] ^= 1;
                request.el_gamal_keys.push(opposite);
            },
            |error| matches!(error, KernelError::RelatedKeys(_)),
            INVALID,
        ),
        (
            |request| {
                request.el_gamal_keys.truncate(1);
                request.el_gamal_keys[0].element.clear();
            },
            |error| matches!(error, KernelError::PublicKey { .. }),
            INVALID,
        ),
    ]);
}

#[test]
fn encryption_of_a_sketch_refuses_what_cannot_be_encrypted() {
    type Request = EncryptSketchRequest;
    fn registers(request: &mut Request) -> &mut Vec<Register> {
        &mut request.sketch.as_mut().unwrap().registers
    }
    refused::<Request>(&[
        (
            |request| _ = registers(request)[2].values.pop(),
            |error| matches!(error, KernelError::ValueCount { register: 2, found: 1, expected: 2 }),
            Code::Internal,
        ),
        (
            |request| registers(request)[1].values[1] = 0,
            |error| matches!(error, KernelError::Value { register: 1, value: 1, .. }),
            INVALID,
        ),
        (
            |request| {
                registers(request)[1].values[0] = 0;
                request.destroyed_register_strategy = DestroyedRegisterStrategy::Unspecified.into();
            },
            |error| matches!(error, KernelError::Value { value: 0, .. }),
            INVALID,
        ),
        (
            |request| request.sketch.as_mut().unwrap().config.as_mut().unwrap().values[0].aggregator = 0,
            |error| matches!(error, KernelError::Value { value: 0, .. }),
            INVALID,
        ),
        (
            |request| request.curve_id = 1,
            |error| matches!(error, KernelError::UnsupportedCurve { curve_id: 1 }),
            INVALID,
        ),
        (|request| request.el_gamal_keys = None, |error| matches!(error, KernelError::Missing(_)), INVALID),
        (
            |request| {
                request.noise_parameter =
                    Some(PublisherNoiseParameter { epsilon: 1.0, delta: 0.1, publisher_count: 0 });
            },
            |error| matches!(error, KernelError::OutOfRange { .. }),
            INVALID,
        ),
        (
            |request| {
                request.noise_parameter =
                    Some(PublisherNoiseParameter { epsilon: 0.0, delta: 0.1, publisher_count: 1 });
            },
            |error| matches!(error, KernelError::Noise { .. }),
            INVALID,
        ),
    ]);
}
