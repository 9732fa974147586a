//! Requests that upstream refuses (`unit/errors.json`), and those that only we refuse.

use halo_crypto::P256;
use halo_crypto::elgamal::{EncryptionKey, PublicKey};
use halo_protocols::kernel::{self, Code, Kernel, KernelError};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, ElGamalPublicKey, NoiseMechanism};
use halo_protocols::proto::protocol::{
    CompleteReachOnlyExecutionPhaseAtAggregatorRequest, CompleteReachOnlyExecutionPhaseRequest,
    CompleteReachOnlyInitializationPhaseRequest, CompleteReachOnlySetupPhaseRequest,
    RegisterNoiseGenerationParameters,
};
use halo_protocols::reach_only_llv2::SetupPhaseAtAggregator;
use prost::Message;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::case::{Case, bytes};
use crate::measurement::context;

const INVALID: Code = Code::InvalidArgument;
const CIPHERTEXT: usize = 66;

fn error<K: Kernel>(request: &K) -> KernelError {
    kernel::compute(request, &context(9)).err().expect("the request is refused")
}

#[test]
fn every_request_that_upstream_refuses_is_refused_alike() {
    let rows: serde_json::Value = serde_json::from_str(include_str!("../vectors/unit/errors.json")).unwrap();
    let rows = rows.as_array().unwrap().iter();
    let rows: Vec<_> = rows.filter(|row| row["method"] == "CompleteReachOnlyExecutionPhase").collect();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let request = bytes(&row["request_hex"]);
        let request = CompleteReachOnlyExecutionPhaseRequest::decode(request.as_slice()).unwrap();
        let error = error(&request);
        println!("{}: {error}", row["case"]);
        assert_eq!(error.status() as i64, row["status_code"].as_i64().unwrap(), "{error}");
        let expected = match row["case"].as_str().unwrap() {
            "vector not a whole number of ciphertexts" => {
                matches!(error, KernelError::Length { length: 1, record_length: CIPHERTEXT, .. })
            }
            "missing noise ciphertext" => matches!(error, KernelError::NotOneCiphertext { length: 0, .. }),
            other => panic!("no expectation for {other}"),
        };
        assert!(expected, "{}: {error:?}", row["case"]);
    }
}

/// The first recorded request to a method, of a computation with noise.
fn recorded<K: Message + Default>(method: &str) -> K {
    let stage = Case::load("rollv2_3duchies_geometric").stages_of(method).remove(0);
    K::decode(stage.request.as_slice()).unwrap()
}

/// Tries broken variants of a recorded request.
fn refused<M: Message + Default + Clone, K: Kernel>(
    kernel: fn(M) -> K,
    variants: &[(fn(&mut M), fn(&KernelError) -> bool, Code)],
) {
    for (index, (edit, expected, code)) in variants.iter().enumerate() {
        let mut request = recorded::<M>(K::METHOD);
        edit(&mut request);
        let error = error(&kernel(request));
        println!("{}, variant {index}: {error}", K::METHOD);
        assert!(expected(&error), "{}, variant {index}: {error:?}", K::METHOD);
        assert_eq!(error.status(), *code, "{}, variant {index}: {error}", K::METHOD);
    }
}

fn noise(request: &mut CompleteReachOnlySetupPhaseRequest) -> &mut RegisterNoiseGenerationParameters {
    request.noise_parameters.as_mut().unwrap()
}

#[test]
fn initialization_refuses_unknown_curves() {
    for curve_id in [0, -1, 714] {
        let error = error(&CompleteReachOnlyInitializationPhaseRequest { curve_id });
        assert_eq!(error, KernelError::UnsupportedCurve { curve_id });
        assert_eq!(error.status(), INVALID);
    }
}

const SETUP: &[(fn(&mut CompleteReachOnlySetupPhaseRequest), fn(&KernelError) -> bool, Code)] = &[
    (|request| request.curve_id = 1, |error| matches!(error, KernelError::UnsupportedCurve { .. }), INVALID),
    (
        |request| noise(request).curve_id = 25519,
        |error| matches!(error, KernelError::UnsupportedCurve { curve_id: 25519 }),
        INVALID,
    ),
    (
        |request| request.combined_register_vector.push(2),
        |error| matches!(error, KernelError::Length { field: "combined_register_vector", .. }),
        INVALID,
    ),
    (
        |request| noise(request).contributors_count = 0,
        |error| matches!(error, KernelError::OutOfRange { field: "contributors_count", .. }),
        INVALID,
    ),
    (
        |request| noise(request).total_sketches_count = 0,
        |error| matches!(error, KernelError::OutOfRange { field: "total_sketches_count", .. }),
        INVALID,
    ),
    (
        |request| noise(request).total_sketches_count = i32::MAX,
        |error| matches!(error, KernelError::TooLarge { what: "registers", .. } | KernelError::Noise { .. }),
        INVALID,
    ),
    (
        |request| noise(request).dp_params = None,
        |error| matches!(error, KernelError::Missing("dp_params")),
        INVALID,
    ),
    (
        |request| {
            let privacy = noise(request).dp_params.as_mut().unwrap();
            privacy.blind_histogram = Some(DifferentialPrivacyParams { epsilon: 0.0, delta: 0.1 });
        },
        |error| matches!(error, KernelError::Noise { field: "dp_params.blind_histogram", .. }),
        INVALID,
    ),
    (
        |request| {
            let privacy = noise(request).dp_params.as_mut().unwrap();
            privacy.global_reach_dp_noise = Some(DifferentialPrivacyParams { epsilon: 1.0, delta: f64::NAN });
        },
        |error| matches!(error, KernelError::Noise { field: "dp_params.global_reach_dp_noise", .. }),
        INVALID,
    ),
    (
        |request| request.noise_mechanism = NoiseMechanism::ContinuousGaussian.into(),
        |error| matches!(error, KernelError::OutOfRange { field: "noise_mechanism", .. }),
        INVALID,
    ),
    (|request| request.parallelism = 0, |error| matches!(error, KernelError::Parallelism(0)), INVALID),
    (
        |request| noise(request).composite_el_gamal_public_key = None,
        |error| matches!(error, KernelError::Missing("noise_parameters.composite_el_gamal_public_key")),
        INVALID,
    ),
    (
        |request| {
            request.noise_parameters = None;
            request.composite_el_gamal_public_key = None;
        },
        |error| matches!(error, KernelError::Missing("composite_el_gamal_public_key")),
        INVALID,
    ),
];

#[test]
fn setup_refuses_bad_requests() {
    refused(|request: CompleteReachOnlySetupPhaseRequest| request, SETUP);
    refused(SetupPhaseAtAggregator, SETUP);
    refused(
        SetupPhaseAtAggregator,
        &[
            // Upstream ignores a remainder.
            (
                |request| _ = request.serialized_excessive_noise_ciphertext.pop(),
                |error| matches!(error, KernelError::Length { .. }),
                INVALID,
            ),
            (
                |request| request.serialized_excessive_noise_ciphertext[CIPHERTEXT] = 4,
                |error| matches!(error, KernelError::Ciphertext { record: 1, column: 0, .. }),
                INVALID,
            ),
        ],
    );
}

#[test]
fn execution_refuses_bad_requests() {
    type Request = CompleteReachOnlyExecutionPhaseRequest;
    refused::<Request, _>(
        |request| request,
        &[
            (
                |request| request.parallelism = -1,
                |error| matches!(error, KernelError::Parallelism(-1)),
                INVALID,
            ),
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
                |request| {
                    let twice = request.serialized_excessive_noise_ciphertext.repeat(2);
                    request.serialized_excessive_noise_ciphertext = twice;
                },
                |error| matches!(error, KernelError::NotOneCiphertext { length: 132, .. }),
                INVALID,
            ),
            (
                |request| request.serialized_excessive_noise_ciphertext[1..33].fill(0xff),
                |error| {
                    matches!(
                        error,
                        KernelError::Ciphertext { field: "serialized_excessive_noise_ciphertext", .. }
                    )
                },
                INVALID,
            ),
            // The second half of the third register, with the prefix of a form that is not compressed.
            (
                |request| request.combined_register_vector[2 * CIPHERTEXT + 33] = 4,
                |error| matches!(error, KernelError::Ciphertext { record: 2, column: 0, .. }),
                INVALID,
            ),
            // An encryption of the identity under this duchy's key alone: nothing is left once its layer is off.
            (
                |request| {
                    let identity = identity_under_local_key(request.local_el_gamal_key_pair.as_ref());
                    request.combined_register_vector[CIPHERTEXT..2 * CIPHERTEXT].copy_from_slice(&identity);
                },
                |error| matches!(error, KernelError::Identity { record: 1, .. }),
                Code::Internal,
            ),
        ],
    );
}

/// (G, Y): an encryption of the identity under the key Y.
fn identity_under_local_key(pair: Option<&halo_protocols::proto::duchy::ElGamalKeyPair>) -> Vec<u8> {
    let ElGamalPublicKey { generator, element } = pair.unwrap().public_key.clone().unwrap();
    [generator, element].concat()
}

type AtAggregator = CompleteReachOnlyExecutionPhaseAtAggregatorRequest;

#[test]
fn execution_at_aggregator_refuses_bad_requests() {
    fn width(error: &KernelError) -> bool {
        matches!(error, KernelError::Estimate(halo_protocols::estimate::EstimateError::Width(_)))
    }
    refused::<AtAggregator, _>(
        |request| request,
        &[
            (
                |request| request.combined_register_vector.truncate(CIPHERTEXT + 1),
                |error| matches!(error, KernelError::Length { .. }),
                INVALID,
            ),
            (
                |request| _ = request.serialized_excessive_noise_ciphertext.pop(),
                |error| matches!(error, KernelError::ExcessiveNoiseLength { length: 65, expected: 66 }),
                Code::Internal,
            ),
            // A ciphertext of some register instead.
            (
                |request| {
                    let register = request.combined_register_vector[..CIPHERTEXT].to_vec();
                    request.serialized_excessive_noise_ciphertext = register;
                },
                |error| matches!(error, KernelError::ExcessiveNoiseUnknown { .. }),
                Code::Internal,
            ),
            // Upstream aborts: the recorded number of noise ids is not 0.
            (
                |request| request.noise_parameters = None,
                |error| matches!(error, KernelError::Missing("noise_parameters")),
                INVALID,
            ),
            (
                |request| request.noise_parameters.as_mut().unwrap().contributors_count = 0,
                |error| matches!(error, KernelError::OutOfRange { .. }),
                INVALID,
            ),
            (
                |request| request.noise_parameters.as_mut().unwrap().contributors_count = i32::MAX,
                |error| matches!(error, KernelError::OutOfRange { .. } | KernelError::Noise { .. }),
                INVALID,
            ),
            (
                |request| request.parallelism = 0,
                |error| matches!(error, KernelError::Parallelism(0)),
                INVALID,
            ),
            (|request| request.vid_sampling_interval_width = 0.0, width, INVALID),
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
                |request| {
                    let baseline = request.reach_dp_noise_baseline.as_mut().unwrap();
                    baseline.global_reach_dp_noise = None;
                },
                |error| matches!(error, KernelError::Missing(_)),
                INVALID,
            ),
            (
                |request| {
                    let identity = identity_under_local_key(request.local_el_gamal_key_pair.as_ref());
                    request.combined_register_vector[3 * CIPHERTEXT..4 * CIPHERTEXT]
                        .copy_from_slice(&identity);
                },
                |error| matches!(error, KernelError::Identity { record: 3, .. }),
                Code::Internal,
            ),
        ],
    );
}

/// As many noise ids as parameters can lead to are read, and not one more.
#[test]
fn the_number_of_noise_ids_is_bounded_by_the_parameters() {
    let request = recorded::<AtAggregator>(AtAggregator::METHOD);
    let noise = Case::load("rollv2_3duchies_geometric").measurement().noise.unwrap();
    let maximum = 2 * u64::from(noise.distribution(noise.blind_histogram, 3, 2).offset()) * 3 * 3;
    let key = request.local_el_gamal_key_pair.as_ref().unwrap().public_key.clone().unwrap();
    let key = EncryptionKey::new(PublicKey::<P256>::from_fields(&key.generator, &key.element).unwrap());
    let with_noise_ids = |number: u64| {
        let point = *halo_crypto::count::count_points::<P256>(number as u32).last().unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(number);
        let mut request = request.clone();
        request.serialized_excessive_noise_ciphertext = key.encrypt(&[point], &mut rng).encode().unwrap();
        kernel::compute(&request, &context(9))
    };
    assert!(with_noise_ids(maximum).is_ok());
    assert_eq!(with_noise_ids(maximum + 1), Err(KernelError::ExcessiveNoiseUnknown { maximum }));
    // More noise than registers leaves none, which stands for one person.
    let mut flooded = request.clone();
    flooded.combined_register_vector.truncate(CIPHERTEXT);
    assert_eq!(kernel::compute(&flooded, &context(9)).unwrap().reach, 1);
}
