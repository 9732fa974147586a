//! Requests that upstream refuses (`unit/errors.json`), and those that only we refuse.

use halo_crypto::prg::PrngSeedError;
use halo_crypto::ring::RingError;
use halo_crypto::secret_sharing::SplitError;
use halo_crypto::shuffle::TooManyElements;
use halo_protocols::estimate::EstimateError;
use halo_protocols::hmss::{
    MeasurementKind, ShareShuffleError, complete_reach_and_frequency_aggregation_phase,
    complete_reach_and_frequency_shuffle_phase, complete_reach_only_aggregation_phase,
    complete_reach_only_shuffle_phase, generate_secret_shares,
};
use halo_protocols::kernel::{Code, KernelContext, KernelError};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::frequency_count::SecretShareGeneratorRequest;
use halo_protocols::proto::protocol::complete_shuffle_phase_request::frequency_vector_share::ShareType;
use halo_protocols::proto::protocol::{CompleteAggregationPhaseRequest, CompleteShufflePhaseRequest};
use prost::Message;

use crate::case::Case;
use crate::run::{aggregate, context, shuffle};

use MeasurementKind::{ReachAndFrequency, ReachOnly};

fn refused<M: Message + Default, R: std::fmt::Debug>(
    request: &[u8],
    method: fn(&M, &KernelContext) -> Result<R, KernelError>,
) -> KernelError {
    method(&M::decode(request).unwrap(), &context(9)).expect_err("the request is refused")
}

#[test]
fn every_request_that_upstream_refuses_is_refused_alike() {
    let rows: serde_json::Value = serde_json::from_str(include_str!("../vectors/unit/errors.json")).unwrap();
    let mut tested = 0;
    for row in rows.as_array().unwrap() {
        let request = hex::decode(row["request_hex"].as_str().unwrap()).unwrap();
        let error = match row["method"].as_str().unwrap() {
            "CompleteReachAndFrequencyShufflePhase" => {
                refused(&request, complete_reach_and_frequency_shuffle_phase)
            }
            "CompleteReachOnlyShufflePhase" => refused(&request, complete_reach_only_shuffle_phase),
            "CompleteReachAndFrequencyAggregationPhase" => {
                refused(&request, complete_reach_and_frequency_aggregation_phase)
            }
            "CompleteReachOnlyAggregationPhase" => refused(&request, complete_reach_only_aggregation_phase),
            "GenerateSecretShares" => refused(&request, generate_secret_shares),
            _ => continue,
        };
        let case = row["case"].as_str().unwrap();
        println!("{case}: {error}");
        assert_eq!(error.status() as i64, row["status_code"].as_i64().unwrap(), "{case}: {error}");
        assert!(is_expected(case, &error), "{case}: {error:?}");
        tested += 1;
    }
    assert_eq!(tested, 33);
}

/// Whether this is the precise error of a recorded case.
fn is_expected(case: &str, error: &KernelError) -> bool {
    use KernelError as E;
    use ShareShuffleError as S;
    let three_registers = S::ShareLength { share: 0, expected: 3, found: 4 };
    match case {
        "register count zero" => matches!(error, E::OutOfRange { field: "register_count", found: 0, .. }),
        "ring modulus one" | "modulus one" => *error == S::Modulus(RingError::Modulus(1)).into(),
        "ring modulus equal to maximum combined frequency plus one" => {
            matches!(error, E::ShareShuffle(S::SmallModulus { modulus, maximum }) if *modulus == maximum + 1)
        }
        "composite ring modulus" => matches!(error, E::ShareShuffle(S::CompositeModulus(_))),
        "seed too short" => *error == S::CommonSeed(PrngSeedError { what: "seed", length: 5 }).into(),
        "no shares" => *error == S::NoShares.into(),
        "share type not set" => *error == S::ShareType(1).into(),
        "share of the wrong length" => *error == three_registers.into(),
        "share value not below the modulus" => {
            *error == S::ShareValue { share: 0, reason: RingError::Value { index: 1, modulus: 127 } }.into()
        }
        "noise parameters with mechanism NONE" => {
            matches!(error, E::ShareShuffle(S::UnexpectedNoise("reach_dp_params" | "frequency_dp_params")))
        }
        "mechanism without parameters" => {
            matches!(error, E::Missing("reach_dp_params" | "frequency_dp_params"))
        }
        "order not set while noise is on" => *error == S::Order.into(),
        "three shares" => *error == S::ShareCount(3).into(),
        "maximum frequency zero" => matches!(error, E::OutOfRange { field: "maximum_frequency", .. }),
        "combined value is neither a count nor the sentinel" => {
            matches!(error, E::ShareShuffle(S::CombinedValue { sentinel: 126, .. }))
        }
        "all registers zero" => *error == E::NothingCounted,
        "sampling width zero" => *error == E::Estimate(EstimateError::Width(0.0)),
        "shares of different length" => matches!(error, E::ShareShuffle(S::ShareLength { .. })),
        "empty data" => *error == S::Split(SplitError::Empty).into(),
        "value not below the modulus" => {
            matches!(
                error,
                E::ShareShuffle(S::Split(SplitError::Values(RingError::Value { modulus: 127, .. })))
            )
        }
        other => panic!("no expectation for {other}"),
    }
}

fn shuffle_request(case: &str) -> CompleteShufflePhaseRequest {
    Case::load(case).stages_of("ShufflePhase")[0].request()
}

fn shuffle_error(
    kind: MeasurementKind,
    case: &str,
    change: impl Fn(&mut CompleteShufflePhaseRequest),
) -> KernelError {
    let mut request = shuffle_request(case);
    assert!(shuffle(kind, &request, &context(1)).is_ok());
    change(&mut request);
    shuffle(kind, &request, &context(1)).expect_err("the request is refused")
}

fn invalid(error: ShareShuffleError) -> KernelError {
    let error = KernelError::from(error);
    assert_eq!(error.status(), Code::InvalidArgument);
    error
}

#[test]
fn a_share_that_is_refused_is_named() {
    let vector = |request: &mut CompleteShufflePhaseRequest, change: fn(&mut Vec<u32>)| {
        let shares = &mut request.frequency_vector_shares;
        let found = shares.iter_mut().enumerate().find_map(|(index, share)| match &mut share.share_type {
            Some(ShareType::Data(data)) => Some((index, &mut data.values)),
            _ => None,
        });
        let (index, values) = found.unwrap();
        change(values);
        index
    };
    let index = vector(&mut shuffle_request("hmss_rf_no_noise"), |_| {});
    let error = |change: fn(&mut Vec<u32>)| {
        shuffle_error(ReachAndFrequency, "hmss_rf_no_noise", |request| {
            vector(request, change);
        })
    };
    let length = |found| invalid(ShareShuffleError::ShareLength { share: index, expected: 2000, found });
    assert_eq!(error(|values| values.push(0)), length(2001));
    assert_eq!(error(|values| values.resize(9000, 0)), length(9000));
    assert_eq!(error(|values| values.truncate(1999)), length(1999));
    assert_eq!(error(Vec::clear), length(0));
    let value = |index| RingError::Value { index, modulus: 127 };
    let refused = |at| invalid(ShareShuffleError::ShareValue { share: index, reason: value(at) });
    assert_eq!(error(|values| values[1999] = 127), refused(1999));
    assert_eq!(error(|values| values[5] = u32::MAX), refused(5));

    let last = shuffle_request("hmss_rf_no_noise").frequency_vector_shares.len() - 1;
    let error = shuffle_error(ReachAndFrequency, "hmss_rf_no_noise", |request| {
        request.frequency_vector_shares[last].share_type = Some(ShareType::Seed(vec![1; 47]));
    });
    let reason = PrngSeedError { what: "seed", length: 47 };
    assert_eq!(error, invalid(ShareShuffleError::ShareSeed { share: last, reason }));
    let error = shuffle_error(ReachAndFrequency, "hmss_rf_no_noise", |request| {
        request.frequency_vector_shares[last].share_type = None;
    });
    assert_eq!(error, invalid(ShareShuffleError::ShareType(last)));
    let error = shuffle_error(ReachAndFrequency, "hmss_rf_no_noise", |request| {
        request.frequency_vector_shares.clear();
    });
    assert_eq!(error, invalid(ShareShuffleError::NoShares));
}

#[test]
fn rings_without_room_are_refused() {
    let modulus = |kind, case, modulus| {
        shuffle_error(kind, case, |request| {
            request.frequency_vector_params.as_mut().unwrap().ring_modulus = modulus;
        })
    };
    for small in [2, 15, 16] {
        let error = ShareShuffleError::SmallModulus { modulus: small as u32, maximum: 15 };
        assert_eq!(modulus(ReachAndFrequency, "hmss_rf_no_noise", small), invalid(error));
    }
    for (none, wrong) in [(0, 0), (1, 1), (i32::MAX, i32::MAX as u32)] {
        let error = ShareShuffleError::Modulus(RingError::Modulus(wrong));
        assert_eq!(modulus(ReachAndFrequency, "hmss_rf_no_noise", none), invalid(error));
    }
    let error = modulus(ReachAndFrequency, "hmss_rf_no_noise", -1);
    assert!(matches!(error, KernelError::OutOfRange { field: "ring_modulus", found: -1, .. }));
    for composite in [6, 121, 128] {
        let error = ShareShuffleError::CompositeModulus(composite as u32);
        assert_eq!(modulus(ReachOnly, "hmss_ro_no_noise", composite), invalid(error));
    }
    let error = shuffle_error(ReachAndFrequency, "hmss_rf_no_noise", |request| {
        request.frequency_vector_params.as_mut().unwrap().maximum_combined_frequency = -1;
    });
    assert!(matches!(error, KernelError::OutOfRange { field: "maximum_combined_frequency", .. }));
    let error = shuffle_error(ReachAndFrequency, "hmss_rf_no_noise", |r| r.frequency_vector_params = None);
    assert_eq!(error, KernelError::Missing("frequency_vector_params"));
}

#[test]
fn noise_must_be_possible_and_asked_for_in_full() {
    for (kind, case) in [(ReachAndFrequency, "hmss_rf_geometric"), (ReachOnly, "hmss_ro_gaussian")] {
        for mechanism in [NoiseMechanism::Unspecified, NoiseMechanism::ContinuousGaussian] {
            let error = shuffle_error(kind, case, |request| request.noise_mechanism = mechanism as i32);
            assert!(matches!(error, KernelError::OutOfRange { field: "noise_mechanism", .. }), "{error}");
            assert_eq!(error.status(), Code::InvalidArgument);
        }
        for (epsilon, delta) in [(0.0, 0.1), (f64::NAN, 0.1), (1.0, 0.0), (1.0, 3.0), (1e-300, 1e-300)] {
            let error = shuffle_error(kind, case, |request| {
                request.reach_dp_params = Some(DifferentialPrivacyParams { epsilon, delta });
            });
            assert!(matches!(error, KernelError::Noise { field: "reach_dp_params", .. }), "{error}");
        }
        let error = shuffle_error(kind, case, |request| request.order = 3);
        assert_eq!(error, invalid(ShareShuffleError::Order));
    }
    // Without noise nobody asks who is first.
    let mut request = shuffle_request("hmss_rf_no_noise");
    request.order = 0;
    assert!(shuffle(ReachAndFrequency, &request, &context(1)).is_ok());
}

#[test]
fn more_registers_than_can_be_shuffled_are_refused_before_any_is_held() {
    let error = shuffle_error(ReachAndFrequency, "hmss_rf_no_noise", |request| {
        request.frequency_vector_params.as_mut().unwrap().register_count = 1 << 27;
    });
    assert_eq!(error, invalid(ShareShuffleError::TooManyRegisters(TooManyElements { elements: 1 << 27 })));
    for (epsilon, kind, case) in
        [(1e-6, ReachAndFrequency, "hmss_rf_geometric"), (1e-7, ReachOnly, "hmss_ro_geometric")]
    {
        let error = shuffle_error(kind, case, |request| {
            let privacy = Some(DifferentialPrivacyParams { epsilon, delta: 0.1 });
            request.reach_dp_params = privacy;
            request.frequency_dp_params = request.frequency_dp_params.and(privacy);
        });
        assert_eq!(error.status(), Code::InvalidArgument);
        let refused = matches!(
            error,
            KernelError::ShareShuffle(ShareShuffleError::TooManyRegisters(_)) | KernelError::Noise { .. }
        );
        assert!(refused, "{error}");
    }
}

fn aggregation_error(
    kind: MeasurementKind,
    case: &str,
    change: impl Fn(&mut CompleteAggregationPhaseRequest),
) -> KernelError {
    let mut request: CompleteAggregationPhaseRequest =
        Case::load(case).stages_of("AggregationPhase")[0].request();
    assert!(aggregate(kind, &request).is_ok());
    change(&mut request);
    aggregate(kind, &request).expect_err("the request is refused")
}

#[test]
fn shares_that_the_parameters_do_not_lead_to_are_refused() {
    for (kind, case, expected) in
        [(ReachAndFrequency, "hmss_rf_geometric", 2660), (ReachOnly, "hmss_ro_gaussian", 1576)]
    {
        let length = |share, found| invalid(ShareShuffleError::ShareLength { share, expected, found });
        let error = aggregation_error(kind, case, |request| {
            // Both alike, which upstream lets pass.
            for share in &mut request.frequency_vector_shares {
                share.share_vector.pop();
            }
        });
        assert_eq!(error, length(0, expected - 1));
        let error = aggregation_error(kind, case, |request| {
            request.frequency_vector_shares[1].share_vector.resize(9000, 0);
        });
        assert_eq!(error, length(1, 9000));
        let error = aggregation_error(kind, case, |request| {
            request.frequency_vector_shares[0].share_vector.clear();
        });
        assert_eq!(error, length(0, 0));
        let error = aggregation_error(kind, case, |request| {
            request.frequency_vector_shares[1].share_vector[7] = 127;
        });
        let reason = RingError::Value { index: 7, modulus: 127 };
        assert_eq!(error, invalid(ShareShuffleError::ShareValue { share: 1, reason }));
        let error = aggregation_error(kind, case, |request| {
            request.frequency_vector_shares.pop();
        });
        assert_eq!(error, invalid(ShareShuffleError::ShareCount(1)));
        let error = aggregation_error(kind, case, |request| request.vid_sampling_interval_width = f32::NAN);
        assert!(matches!(error, KernelError::Estimate(EstimateError::Width(_))), "{error}");
    }
}

#[test]
fn a_changed_share_shows_in_frequencies() {
    let error = aggregation_error(ReachAndFrequency, "hmss_rf_no_noise", |request| {
        let values = &mut request.frequency_vector_shares[0].share_vector;
        values[3] = (values[3] + 60) % 127;
    });
    let named = ShareShuffleError::CombinedValue { register: 3, maximum: 15, sentinel: 126 };
    assert_eq!(error, KernelError::from(named));
    assert_eq!(error.status(), Code::Internal);
}

#[test]
fn vectors_that_cannot_be_shared_are_refused() {
    let error = |ring_modulus, data: &[u32]| {
        let request = SecretShareGeneratorRequest { ring_modulus, data: data.to_vec() };
        generate_secret_shares(&request, &context(1)).expect_err("the request is refused")
    };
    for modulus in [0, 1, (1 << 30) + 1] {
        let named = ShareShuffleError::Modulus(RingError::Modulus(modulus));
        assert_eq!(error(modulus, &[0]), invalid(named));
    }
    assert!(error(127, &[]).to_string().contains("no values"));
    assert!(error(127, &[0, 126, 127]).to_string().contains("value 2 is not below"));
}
