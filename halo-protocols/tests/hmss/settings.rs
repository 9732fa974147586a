//! Settings that cannot be computed are refused at creation.

use halo_protocols::DuchyId;
use halo_protocols::hmss::{NoisePolicy, Role, Setting, SettingError, ShareShuffleError};
use halo_protocols::kernel::{KernelError, MAXIMUM_MESSAGE_BYTES};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};

use crate::run::machine_parameters;

/// A measurement of frequencies up to 3, noised.
pub fn setting(role: Role, requisition_count: usize) -> Setting {
    let non_aggregators = ["worker1", "worker2"].map(DuchyId::from);
    let duchy = match role {
        Role::FirstNonAggregator => "worker1",
        Role::SecondNonAggregator => "worker2",
        Role::Aggregator => "aggregator",
    };
    Setting {
        computation: "c".into(),
        duchy: duchy.into(),
        role,
        non_aggregators,
        aggregator: "aggregator".into(),
        requisition_count,
        parameters: machine_parameters(3, Some(NoiseMechanism::DiscreteGaussian)),
    }
}

fn check(change: impl Fn(&mut Setting)) -> Result<(), SettingError> {
    let mut setting = setting(Role::SecondNonAggregator, 4);
    change(&mut setting);
    setting.validate(NoisePolicy::Required, MAXIMUM_MESSAGE_BYTES)
}

#[test]
fn possible_settings_are_accepted() {
    assert_eq!(check(|_| {}), Ok(()));
    for role in Role::ALL {
        assert_eq!(setting(role, 4).validate(NoisePolicy::Required, MAXIMUM_MESSAGE_BYTES), Ok(()));
    }
    let mut quiet = setting(Role::Aggregator, 4);
    quiet.parameters.noise = None;
    assert_eq!(quiet.validate(NoisePolicy::AllowNone, MAXIMUM_MESSAGE_BYTES), Ok(()));
    assert_eq!(quiet.validate(NoisePolicy::Required, MAXIMUM_MESSAGE_BYTES), Err(SettingError::NoiseMissing));
    // A library has no flags.
    assert!(!SettingError::NoiseMissing.to_string().contains("--"));
    // 41 data providers of frequency 3 just fit the ring of production.
    assert_eq!(check(|setting| setting.requisition_count = 41), Ok(()));
}

#[test]
fn duchies_must_play_their_parts() {
    type Change = fn(&mut Setting);
    let changes: [Change; 4] = [
        |setting| setting.role = Role::FirstNonAggregator,
        |setting| setting.duchy = "worker1".into(),
        |setting| setting.aggregator = "worker1".into(),
        |setting| setting.non_aggregators = ["worker2", "worker2"].map(DuchyId::from),
    ];
    for change in changes {
        assert!(matches!(check(change), Err(SettingError::Roles { .. })));
    }
}

#[test]
fn rings_and_counts_must_be_possible() {
    assert_eq!(check(|setting| setting.requisition_count = 0), Err(SettingError::NoRequisitions));
    assert_eq!(
        check(|setting| setting.parameters.maximum_frequency = 0),
        Err(SettingError::MaximumFrequency(0))
    );
    let refused = |modulus, maximum| {
        let error = ShareShuffleError::SmallModulus { modulus, maximum };
        Err(SettingError::Kernel(KernelError::ShareShuffle(error)))
    };
    assert_eq!(check(|setting| setting.requisition_count = 42), refused(127, 126));
    assert_eq!(check(|setting| setting.parameters.ring_modulus = 13), refused(13, 12));
    assert_eq!(
        check(|setting| setting.requisition_count = usize::MAX),
        Err(SettingError::CombinedFrequency { maximum_frequency: 3, requisitions: usize::MAX })
    );
    let composite = |setting: &mut Setting| {
        setting.parameters.maximum_frequency = 1;
        setting.parameters.ring_modulus = 128;
    };
    let error = ShareShuffleError::CompositeModulus(128);
    assert_eq!(check(composite), Err(SettingError::Kernel(KernelError::ShareShuffle(error))));
    assert_eq!(check(|setting| setting.parameters.ring_modulus = 128), Ok(()));
    for width in [0.0, 1.5, f32::NAN] {
        let checked = check(|setting| setting.parameters.vid_sampling_width = width);
        assert!(matches!(checked, Err(SettingError::VidSamplingWidth(_))), "{width}");
    }
}

#[test]
fn noise_must_be_possible_and_bounded() {
    let privacy = |epsilon, delta| {
        check(|setting| {
            if let Some(noise) = &mut setting.parameters.noise {
                noise.reach = DifferentialPrivacyParams { epsilon, delta };
            }
        })
    };
    for (epsilon, delta) in [(0.0, 0.1), (1e-7, 0.1), (f64::NAN, 0.1), (1.0, 0.0), (1.0, f64::INFINITY)] {
        let refused = privacy(epsilon, delta);
        assert!(matches!(refused, Err(SettingError::Privacy { purpose: "reach noise", .. })), "{refused:?}");
    }
    // More than can be shuffled.
    assert!(matches!(privacy(1e-6, 1e-9), Err(SettingError::Kernel(_))));
    let mechanism = |mechanism: NoiseMechanism| {
        check(|setting| {
            if let Some(noise) = &mut setting.parameters.noise {
                noise.mechanism = mechanism as i32;
            }
        })
    };
    for impossible in [
        NoiseMechanism::Unspecified,
        NoiseMechanism::ContinuousGaussian,
        NoiseMechanism::DeterministicTruncatedLaplace,
    ] {
        assert!(matches!(mechanism(impossible), Err(SettingError::Kernel(_))), "{impossible:?}");
    }
    let without_frequency = check(|setting| {
        if let Some(noise) = &mut setting.parameters.noise {
            noise.frequency = None;
        }
    });
    assert_eq!(without_frequency, Err(SettingError::Kernel(KernelError::Missing("frequency_dp_params"))));
    let small = setting(Role::Aggregator, 4).validate(NoisePolicy::Required, 100);
    match small {
        Err(SettingError::TooMuchNoise { demanded, limit: 100 }) => assert!(demanded > 100),
        other => panic!("{other:?}"),
    }
}
