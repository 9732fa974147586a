//! What a worker refuses to combine, and whose requisition it names.

use halo_crypto::Secret;
use halo_crypto::prg::{PrngSeed, PrngSeedError};
use halo_crypto::ring::RingError;
use halo_protocols::Computation;
use halo_protocols::hmss::{
    Event, RequisitionError, Role, SeedShare, SetupInputs, ShareShuffleError, ShuffleInputs, State,
    StepError, VectorShare, Worker, WorkerKeys,
};
use halo_protocols::proto::duchy::{EncryptionKeyPair, EncryptionPublicKey};
use halo_protocols::proto::frequency_count::{FrequencyVector, SecretShareGeneratorRequest};
use halo_protocols::proto::protocol::honest_majority_share_shuffle::ShufflePhaseInput;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;
use proptest::prelude::*;
use prost::Message;

use crate::run::{context, recombined, ring};
use crate::settings::setting;

/// A worker of a computation with four requisitions.
pub fn worker(role: Role) -> Worker {
    Worker {
        setting: setting(role, 4),
        keys: WorkerKeys {
            random_seed: PrngSeed::from_bytes(&[200 + role as u8; 48]).unwrap(),
            encryption_key_pair: EncryptionKeyPair {
                private_key_id: "key".into(),
                public_key: Some(EncryptionPublicKey { format: 1, data: vec![8, 1] }),
            },
        },
    }
}

fn vector(requisition: &str, values: &[u32]) -> VectorShare {
    VectorShare {
        requisition: requisition.into(),
        register_count: 3,
        frequency_vector: FrequencyVector { data: values.to_vec() }.encode_to_vec(),
    }
}

fn seed_share(requisition: &str, byte: u8) -> SeedShare {
    SeedShare { requisition: requisition.into(), seed: Secret::new(vec![byte; 48]) }
}

fn sent(requisition: &str) -> SecretSeed {
    SecretSeed {
        requisition_id: requisition.into(),
        secret_seed_ciphertext: vec![1],
        register_count: 3,
        data_provider_certificate: String::new(),
    }
}

/// Vectors for `a` and `c`, seeds for `b` and `d`.
pub fn inputs() -> ShuffleInputs {
    ShuffleInputs {
        requisitions: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
        vectors: vec![vector("a", &[1, 2, 126]), vector("c", &[0, 0, 5])],
        peer_message: ShufflePhaseInput {
            peer_random_seed: vec![9; 48],
            secret_seeds: vec![sent("b"), sent("d")],
        }
        .encode_to_vec(),
        seeds: vec![seed_share("b", 1), seed_share("d", 2)],
        kept: None,
    }
}

fn refused(change: impl FnOnce(&mut ShuffleInputs)) -> RequisitionError {
    let mut inputs = inputs();
    change(&mut inputs);
    let state = State::ShufflePhase(worker(Role::FirstNonAggregator));
    match state.step(Event::Shuffle(inputs), &context(0)) {
        Err(StepError::Requisition(error) | StepError::PassedOn { source: error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

fn peer_message(inputs: &mut ShuffleInputs, change: impl FnOnce(&mut Vec<SecretSeed>)) {
    let mut message = ShufflePhaseInput::decode(inputs.peer_message.as_slice()).unwrap();
    change(&mut message.secret_seeds);
    inputs.peer_message = message.encode_to_vec();
}

#[test]
fn every_requisition_has_exactly_one_share() {
    let state = State::ShufflePhase(worker(Role::FirstNonAggregator));
    assert!(state.step(Event::Shuffle(inputs()), &context(0)).is_ok());

    let missing = |id: &str| RequisitionError::Missing(id.into());
    assert_eq!(refused(|inputs| drop(inputs.vectors.pop())), missing("c"));
    let neither = refused(|inputs| {
        inputs.seeds.pop();
        peer_message(inputs, |seeds| drop(seeds.pop()));
    });
    assert_eq!(neither, missing("d"));

    let repeated = |id: &str| RequisitionError::Repeated(id.into());
    assert_eq!(refused(|inputs| inputs.vectors.push(vector("a", &[0, 0, 0]))), repeated("a"));
    assert_eq!(refused(|inputs| inputs.vectors.push(vector("b", &[0, 0, 0]))), repeated("b"));
    assert_eq!(refused(|inputs| peer_message(inputs, |seeds| seeds.push(sent("b")))), repeated("b"));
    assert_eq!(refused(|inputs| inputs.seeds.push(seed_share("b", 7))), repeated("b"));

    let unknown = refused(|inputs| inputs.vectors[0].requisition = "x".into());
    assert_eq!(unknown, RequisitionError::Unknown("x".into()));
    let count = refused(|inputs| drop(inputs.requisitions.pop()));
    assert_eq!(count, RequisitionError::Count { found: 3, expected: 4 });
    let not_opened = |id: &str| RequisitionError::NotOpened(id.into());
    assert_eq!(refused(|inputs| drop(inputs.seeds.pop())), not_opened("d"));
    assert_eq!(refused(|inputs| inputs.seeds.push(seed_share("e", 7))), not_opened("e"));
}

/// What a worker holds itself is nobody else's doing; what the other worker passed on is for that one to explain.
#[test]
fn who_passed_on_a_seed_is_named_for_it() {
    let culprit = |change: fn(&mut ShuffleInputs)| {
        let mut inputs = inputs();
        change(&mut inputs);
        let state = State::ShufflePhase(worker(Role::FirstNonAggregator));
        let error = state.step(Event::Shuffle(inputs), &context(0)).expect_err("a wrong share");
        error.culprit().cloned()
    };
    let peer = worker(Role::FirstNonAggregator).peer().clone();
    assert_eq!(culprit(|inputs| inputs.vectors[1].register_count = 4), None);
    assert_eq!(culprit(|inputs| drop(inputs.vectors.pop())), None);
    assert_eq!(
        culprit(|inputs| peer_message(inputs, |seeds| seeds[1].register_count = 4)),
        Some(peer.clone())
    );
    let unknown = culprit(|inputs| {
        peer_message(inputs, |seeds| seeds[1].requisition_id = "x".into());
        inputs.seeds[1].requisition = "x".into();
    });
    assert_eq!(unknown, Some(peer));
}

#[test]
fn seeds_are_whole_and_differ() {
    let error = refused(|inputs| inputs.seeds[1].seed = Secret::new(vec![1; 47]));
    let reason = PrngSeedError { what: "seed", length: 47 };
    assert_eq!(error, RequisitionError::Seed { requisition: "d".into(), reason });
    assert_eq!(error.requisition(), Some("d"));
    let error = refused(|inputs| inputs.seeds[1] = seed_share("d", 1));
    assert_eq!(error, RequisitionError::EqualSeeds { requisition: "d".into(), other: "b".into() });
}

#[test]
fn all_vectors_have_as_many_registers() {
    let differing =
        |id: &str, found| RequisitionError::RegisterCount { requisition: id.into(), found, expected: 3 };
    assert_eq!(refused(|inputs| inputs.vectors[1].register_count = 4), differing("c", 4));
    let seed = refused(|inputs| peer_message(inputs, |seeds| seeds[1].register_count = 2));
    assert_eq!(seed, differing("d", 2));
    for none in [0, -1, i64::MIN] {
        let error = refused(|inputs| inputs.vectors[0].register_count = none);
        let expected = RequisitionError::RegisterCount { requisition: "a".into(), found: none, expected: 1 };
        assert_eq!(error, expected);
    }
}

#[test]
fn the_data_of_a_share_is_of_the_ring() {
    let share = |id: &str, reason| RequisitionError::Share { requisition: id.into(), reason };
    // In ascending order of requisitions, `c` is the third.
    let length = |found| share("c", ShareShuffleError::ShareLength { share: 2, expected: 3, found });
    assert_eq!(refused(|inputs| inputs.vectors[1] = vector("c", &[0, 0])), length(2));
    assert_eq!(refused(|inputs| inputs.vectors[1] = vector("c", &[0; 9000])), length(9000));
    assert_eq!(refused(|inputs| inputs.vectors[1] = vector("c", &[])), length(0));
    let reason = RingError::Value { index: 1, modulus: 127 };
    let value = share("c", ShareShuffleError::ShareValue { share: 2, reason });
    assert_eq!(refused(|inputs| inputs.vectors[1] = vector("c", &[0, 127, 0])), value);
    assert_eq!(refused(|inputs| inputs.vectors[1] = vector("c", &[0, u32::MAX, 0])), value);
    let malformed = refused(|inputs| inputs.vectors[1].frequency_vector = vec![0x0a, 9, 1]);
    assert_eq!(malformed, share("c", ShareShuffleError::Malformed(2)));
}

#[test]
fn what_is_passed_on_is_whole() {
    let refused = |secret_seeds| {
        let state = State::SetupPhase(worker(Role::FirstNonAggregator));
        match state.step(Event::Setup(SetupInputs { secret_seeds, evidence: None }), &context(0)) {
            Err(StepError::Requisition(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        refused(["a", "b", "c", "d", "e"].map(sent).to_vec()),
        RequisitionError::Count { found: 5, expected: 4 }
    );
    assert_eq!(refused(vec![sent("a"), sent("b"), sent("a")]), RequisitionError::Repeated("a".into()));
    let mut empty = sent("b");
    empty.secret_seed_ciphertext.clear();
    assert_eq!(refused(vec![sent("a"), empty]), RequisitionError::NoSeed("b".into()));
}

/// One thing wrong with the shares of four requisitions.
#[derive(Clone, Copy, Debug)]
enum Damage {
    MissingShare,
    RepeatedShare,
    UnknownRequisition,
    SeedLength(usize),
    VectorLength(usize),
    /// Shares were made modulo another number: a value is none of this ring.
    OtherModulus(u32),
    RegisterCount(i64),
}

fn damages() -> impl Strategy<Value = Damage> {
    let another = |right: usize, most: usize| (0..most).prop_filter("right", move |length| *length != right);
    prop_oneof![
        Just(Damage::MissingShare),
        Just(Damage::RepeatedShare),
        Just(Damage::UnknownRequisition),
        another(48, 100).prop_map(Damage::SeedLength),
        another(3, 5000).prop_map(Damage::VectorLength),
        (127..=u32::MAX).prop_map(Damage::OtherModulus),
        any::<i64>().prop_filter("right", |count| *count != 3).prop_map(Damage::RegisterCount),
    ]
}

impl Damage {
    /// Damages the share at place 0 or 1 among the vectors or, if it is about seeds, among the seeds; whose it was.
    fn apply(self, inputs: &mut ShuffleInputs, place: usize) -> String {
        let whose = inputs.vectors[place].requisition.clone();
        match self {
            Self::MissingShare => drop(inputs.vectors.remove(place)),
            Self::RepeatedShare => inputs.vectors.push(vector(&whose, &[5, 5, 5])),
            Self::UnknownRequisition => {
                inputs.vectors[place].requisition.push('x');
                return inputs.vectors[place].requisition.clone();
            }
            Self::SeedLength(length) => {
                inputs.seeds[place].seed = Secret::new(vec![77; length]);
                return inputs.seeds[place].requisition.clone();
            }
            Self::VectorLength(length) => inputs.vectors[place] = vector(&whose, &vec![1; length]),
            Self::OtherModulus(value) => inputs.vectors[place] = vector(&whose, &[1, value, 1]),
            Self::RegisterCount(count) => inputs.vectors[place].register_count = count,
        }
        whose
    }

    fn explains(self, error: &RequisitionError) -> bool {
        use RequisitionError as E;
        match (self, error) {
            (Self::MissingShare, E::Missing(_))
            | (Self::RepeatedShare, E::Repeated(_))
            | (Self::UnknownRequisition, E::Unknown(_)) => true,
            (Self::SeedLength(wrong), E::Seed { reason, .. }) => reason.length == wrong,
            (
                Self::VectorLength(wrong),
                E::Share { reason: ShareShuffleError::ShareLength { expected: 3, found, .. }, .. },
            ) => *found == wrong,
            (
                Self::OtherModulus(_),
                E::Share { reason: ShareShuffleError::ShareValue { reason, .. }, .. },
            ) => *reason == RingError::Value { index: 1, modulus: 127 },
            (Self::RegisterCount(wrong), E::RegisterCount { found, expected, .. }) => {
                *found == wrong || *expected == wrong
            }
            _ => false,
        }
    }
}

proptest! {
    /// Whatever is wrong with one share is an error that names it, and the requisition.
    #[test]
    fn a_damaged_share_is_named(damage in damages(), place in 0..2usize) {
        let mut inputs = inputs();
        let whose = damage.apply(&mut inputs, place);
        let state = State::ShufflePhase(worker(Role::FirstNonAggregator));
        let error = match state.step(Event::Shuffle(inputs), &context(0)) {
            Err(StepError::Requisition(error) | StepError::PassedOn { source: error, .. }) => error,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert!(damage.explains(&error), "{:?}", error);
        match damage {
            // The first count sets the standard, so it is the next share that is found to differ.
            Damage::RegisterCount(count) if place == 0 && count > 0 => {
                prop_assert_eq!(error.requisition(), Some("c"));
            }
            _ => prop_assert_eq!(error.requisition(), Some(whose.as_str())),
        }
    }

    #[test]
    fn shares_of_any_vector_recombine(
        (modulus, data) in (2..1000u32)
            .prop_flat_map(|modulus| (Just(modulus), prop::collection::vec(0..modulus, 1..100))),
        seed in any::<u8>(),
    ) {
        let request = SecretShareGeneratorRequest { ring_modulus: modulus, data };
        let mut shares = halo_protocols::hmss::generate_secret_shares(&request, &context(seed))?;
        prop_assert_eq!(recombined(&shares, modulus), request.data.clone());
        prop_assert!(ring(modulus).check(&shares.share_vector).is_ok());
        // Another seed gives another vector, unless there are too few values to tell.
        let key = &mut shares.share_seed.as_mut().unwrap().key;
        key[0] ^= 1;
        if request.data.len() > 40 {
            prop_assert_ne!(recombined(&shares, modulus), request.data);
        }
    }

    /// Arbitrary bytes where shares are expected: an error or a result, never a panic.
    #[test]
    fn arbitrary_bytes_are_survived(
        vector in prop::collection::vec(any::<u8>(), 0..50),
        message in prop::collection::vec(any::<u8>(), 0..50),
        register_count in prop_oneof![0..5i64, any::<i64>()],
    ) {
        let mut inputs = inputs();
        inputs.vectors[0].frequency_vector = vector.clone();
        inputs.vectors.iter_mut().for_each(|vector| vector.register_count = register_count);
        let state = || State::ShufflePhase(worker(Role::FirstNonAggregator));
        let _ = state().step(Event::Shuffle(inputs.clone()), &context(0));
        inputs.peer_message = message.clone();
        let _ = state().step(Event::Shuffle(inputs), &context(0));
        let aggregate = Event::Aggregate(halo_protocols::hmss::AggregationInputs { messages: vec![vector, message] });
        let _ = State::AggregationPhase(setting(Role::Aggregator, 4)).step(aggregate, &context(0));
    }
}
