//! What the data provider's encryption does with counts, destroyed registers and publisher noise.

use halo_crypto::count::count_points;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, Ristretto255};
use halo_protocols::data_provider::{SketchParameters, encrypt_sketch, plain_sketch};
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::any_sketch::Sketch;
use halo_protocols::proto::any_sketch::crypto::encrypt_sketch_request::{
    DestroyedRegisterStrategy, PublisherNoiseParameter,
};
use halo_protocols::proto::any_sketch::crypto::{ElGamalPublicKey, EncryptSketchRequest};
use halo_protocols::proto::any_sketch::sketch::Register;
use halo_protocols::proto::duchy::{ElGamalKeyPair, NoiseMechanism};
use halo_protocols::proto::protocol::CompleteInitializationPhaseRequest;
use halo_protocols::sketch::Layout;

use crate::draws::{Draws, probabilities};
use crate::opening::{Opener, Plaintext, hash, sorted};
use crate::run::context;

type G = Ristretto255;

const MAXIMUM_COUNT: u32 = 3;

fn key_pair() -> ElGamalKeyPair {
    let request = CompleteInitializationPhaseRequest { curve_id: G::CURVE_ID };
    let response = halo_protocols::llv2::complete_initialization_phase::<G>(&request, &context(20)).unwrap();
    response.el_gamal_key_pair.unwrap()
}

/// A request for a sketch with these registers: index, key as stored, count.
fn request(registers: &[(i64, i64, i64)]) -> EncryptSketchRequest {
    let parameters =
        SketchParameters { decay_rate: 12.0, size: 1000, sampling_indicator_size: 1000, salt: None };
    let config = plain_sketch(&parameters, []).config;
    let register =
        |(index, key, count): &(i64, i64, i64)| Register { index: *index, values: vec![*key, *count] };
    let key = key_pair().public_key.clone().unwrap();
    EncryptSketchRequest {
        sketch: Some(Sketch { config, registers: registers.iter().map(register).collect() }),
        el_gamal_keys: Some(ElGamalPublicKey { generator: key.generator, element: key.element }),
        curve_id: G::CURVE_ID,
        maximum_value: MAXIMUM_COUNT as i32,
        destroyed_register_strategy: DestroyedRegisterStrategy::FlaggedKey.into(),
        noise_parameter: None,
    }
}

/// Id, key and count of each register, sorted.
fn opened(request: &EncryptSketchRequest, context: &KernelContext) -> Vec<[Plaintext; 3]> {
    let registers = encrypt_sketch::<G>(request, context).unwrap().encrypted_sketch;
    assert!(registers.chunks_exact(Layout::REGISTER.length::<G>()).is_sorted());
    let opener = Opener::<G>::new(&[key_pair()]);
    let ids = opener.column(&registers, Layout::ID);
    let contents = opener.keys_and_counts(&registers);
    sorted(ids.into_iter().zip(contents).map(|(id, (key, count))| [id, key, count]).collect())
}

fn count(number: usize) -> Plaintext {
    G::encode_one(&count_points::<G>(number as u32)[number - 1]).unwrap()
}

#[test]
fn counts_are_capped_at_the_maximum_plus_one() {
    let registers = [(10, 7, 1), (11, 8, 3), (12, 8, 4), (13, 9, 5), (14, 9, i64::MAX)];
    let expected = [(10, 7, 1), (11, 8, 3), (12, 8, 4), (13, 9, 4), (14, 9, 4)]
        .map(|(id, key, number)| [hash::<G>(&id.to_string()), hash::<G>(&key.to_string()), count(number)]);
    assert_eq!(opened(&request(&registers), &context(21)), sorted(expected.to_vec()));
}

#[test]
fn destroyed_registers_are_marked_as_the_strategy_says() {
    let mut request = request(&[(10, 0, 2), (11, 5, 2)]);
    let live = [hash::<G>("11"), hash::<G>("5"), count(2)];
    let destroyed = hash::<G>("destroyed_register_key");
    let expected = vec![live.clone(), [hash::<G>("10"), destroyed.clone(), destroyed]];
    assert_eq!(opened(&request, &context(22)), sorted(expected));

    request.destroyed_register_strategy = DestroyedRegisterStrategy::ConflictingKeys.into();
    let conflicting = |number| [hash::<G>("10"), count(number), count(number)];
    assert_eq!(opened(&request, &context(22)), sorted(vec![live, conflicting(1), conflicting(2)]));
}

#[test]
fn publisher_noise_is_exact() {
    let (epsilon, delta, publishers) = (1.0, 0.5, 1);
    let mut request = request(&[(10, 7, 1)]);
    request.noise_parameter = Some(PublisherNoiseParameter { epsilon, delta, publisher_count: publishers });
    // ⌈ln(2·(1 + e)/0.5)⌉, of one contributor.
    let offset = 3;
    let mut draws = Draws::new(offset);
    for seed in 0..300_u32 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&seed.to_be_bytes());
        let registers = opened(&request, &KernelContext::new(Executor::serial(), StreamSeed::new(bytes)));
        let publisher_id = hash::<G>("publisher_noise_register_id");
        let noise: Vec<_> = registers.iter().filter(|[id, ..]| *id == publisher_id).collect();
        assert!(noise.iter().all(|[_, key, count]| key == count));
        assert_eq!(noise.len() + 1, registers.len());
        draws.add(noise.len());
    }
    let exact = probabilities(NoiseMechanism::Geometric, epsilon, delta, 1, 1, offset);
    draws.check("a data provider's publisher noise", &exact);
}
