use super::*;

fn component(offset: u32, draws: u64) -> NoiseComponent {
    NoiseComponent {
        purpose: "reach noise",
        mechanism: "GEOMETRIC",
        epsilon: 1.0,
        delta: 1e-5,
        sensitivity: 1,
        contributors: 3,
        offset,
        draws,
    }
}

fn account(components: Vec<NoiseComponent>) -> NoiseAccount {
    NoiseAccount { components, records: 10, record_bytes: 66, carries_input: true, trailer_bytes: 66 }
}

#[test]
fn noise_of_size_zero_is_missing() {
    for empty in [component(0, 1), component(5, 0)] {
        let checked = account(vec![component(5, 1), empty]).check((0, 0), 660);
        assert_eq!(checked, Err(NoiseMissing::Empty("reach noise")));
    }
    assert_eq!(account(Vec::new()).check((0, 0), 660), Err(NoiseMissing::Empty("noise")));
}

#[test]
fn an_output_without_room_for_the_noise_is_missing_it() {
    let account = account(vec![component(5, 1)]);
    assert_eq!(account.check((0, 0), 660), Ok(()));
    assert_eq!(account.check((0, 0), 659), Err(NoiseMissing::Short { found: 659, least: 660 }));
    // Two messages of three records and a trailer each.
    let given = (2 * 4 * 66, 2);
    assert_eq!(account.check(given, 16 * 66), Ok(()));
    assert_eq!(account.check(given, 15 * 66), Err(NoiseMissing::Short { found: 15 * 66, least: 16 * 66 }));
}

#[test]
fn a_component_is_as_the_kernels_draw_it() {
    let privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
    let geometric = NoiseMechanism::Geometric as i32;
    let found = NoiseComponent::new("reach noise", geometric, 3, Some(&privacy), 1, 1).expect("noise");
    let drawn = distributed_noise("x", geometric, 3, Some(&privacy), 1).expect("noise");
    assert_eq!((found.offset, found.contributors), (drawn.offset(), 3));
    assert_eq!((found.mechanism, found.epsilon, found.delta), ("GEOMETRIC", 1.0, 1e-5));
    assert!(NoiseComponent::new("reach noise", 0, 3, Some(&privacy), 1, 1).is_err(), "no mechanism");
    assert!(NoiseComponent::new("reach noise", geometric, 3, None, 1, 1).is_err(), "no privacy");
}
