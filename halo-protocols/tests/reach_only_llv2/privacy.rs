//! What any coalition of all duchies but one receives from the honest one says nothing of the input but what is promised.
//!
//! A party alone sees less than a coalition that it belongs to, so these tests speak for each single duchy too.
//!
//! Promised is that the coalition learns the sizes of lists and, if the aggregator is in it, how many registers share an
//! index, with the honest duchy's noise among them, and how many of these noise indexes there are in sum (that is the
//! excessive noise). It learns
//!
//! - no index: of the honest duchy's ciphertexts its keys leave one layer on, and all points it gets look random, for
//!   people who are all alike and for people who are all different;
//! - no way through the honest duchy: no point goes in and comes out, and a register comes out at any place equally often;
//! - no person behind a pseudonym: that of an index is none of the hashes of all indexes, nor the same in another
//!   computation.
//!
//! That noise has the distribution which its privacy rests on is shown in `statistics`. What tests cannot show: that
//! encodings which pass for random are (that is the decisional Diffie–Hellman assumption), and anything about a coalition
//! that does not follow the protocol.
//!
//! The tests are χ² at a significance of 10⁻⁶, with fixed seeds.

use std::collections::BTreeSet;

use halo_crypto::elgamal::Column;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, Ristretto255};
use halo_protocols::data_provider::{SketchParameters, reach_only_sketch};
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::any_sketch::crypto::{self, EncryptSketchRequest};
use halo_protocols::proto::any_sketch::sketch::Register;
use halo_protocols::proto::duchy::{ElGamalKeyPair, NoiseMechanism};
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use halo_protocols::sketch::Layout;

use crate::chi_squared::assert_uniform;
use crate::measurement::{Measurement, Noise, context};
use crate::opening::{Opener, Plaintext, hash, sorted};
use crate::run::{Blob, Run};
use crate::view::{View, odd_one_out};

type G = Ristretto255;

const DUCHIES: usize = 3;
const AGGREGATOR: usize = DUCHIES - 1;
const ID: Column = Layout::REACH_ONLY_REGISTER.column(0);
const RECORDS: usize = 8;

fn seeded(seed: u32) -> KernelContext {
    let mut bytes = [0x5f; 32];
    bytes[..4].copy_from_slice(&seed.to_be_bytes());
    KernelContext::new(Executor::serial(), StreamSeed::new(bytes))
}

fn run(noise: Option<Noise>, seed: u32) -> Run<G> {
    let measurement = Measurement {
        maximum_frequency: 1,
        total_sketches_count: DUCHIES as i32,
        sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 },
        width: 1.0,
        noise,
    };
    let mut run = Run::new(measurement, DUCHIES as u8, context(0));
    run.context = seeded(seed);
    run
}

fn some_noise(epsilon: f64) -> Option<Noise> {
    Some(Noise::uniform(NoiseMechanism::Geometric, epsilon, 0.9))
}

/// An encrypted sketch with these indexes.
fn requisition(run: &Run<G>, indexes: impl IntoIterator<Item = i64>) -> Vec<u8> {
    let parameters =
        SketchParameters { decay_rate: 12.0, size: 1000, sampling_indicator_size: 1, salt: None };
    let mut sketch = reach_only_sketch(&parameters, []);
    sketch.registers = indexes.into_iter().map(|index| Register { index, values: vec![] }).collect();
    let request = EncryptSketchRequest {
        sketch: Some(sketch),
        el_gamal_keys: Some(crypto::ElGamalPublicKey {
            generator: run.composite.generator.clone(),
            element: run.composite.element.clone(),
        }),
        curve_id: G::CURVE_ID,
        ..EncryptSketchRequest::default()
    };
    halo_protocols::data_provider::encrypt_sketch::<G>(&request, &run.context).unwrap().encrypted_sketch
}

/// The keys of some duchies; none of none.
fn keys(pairs: &[ElGamalKeyPair]) -> Option<Opener<G>> {
    (!pairs.is_empty()).then(|| Opener::new(pairs))
}

/// Registers and excessive noise as the holder of these keys sees them.
fn view(blob: &Blob, keys: Option<&Opener<G>>) -> View {
    View::default().with(&blob.registers, ID, keys).with(&blob.excessive_noise, ID, keys)
}

/// What each duchy sends in setup, and what goes round: element *i* is what duchy *i* receives.
struct Transcript {
    setup: Vec<Blob>,
    round: Vec<Blob>,
}

impl Transcript {
    fn of(run: &Run<G>, [first, second, own]: [Vec<u8>; DUCHIES]) -> Self {
        let mut setup = vec![run.setup_at(0, &first).unwrap(), run.setup_at(1, &second).unwrap()];
        setup.push(run.setup_at_aggregator(own, setup.clone()).unwrap());
        let mut round = vec![setup[AGGREGATOR].clone()];
        for worker in 0..AGGREGATOR {
            round.push(run.execution_at(worker, round[worker].clone()).unwrap());
        }
        Self { setup, round }
    }
}

/// Twenty people at each data provider: the same at all, or all different.
fn transcripts() -> [(&'static str, Run<G>, Transcript); 2] {
    [("alike", 0), ("different", 100)].map(|(what, apart)| {
        let mut run = run(some_noise(1.5), 1);
        let requisitions = [0, 1, 2].map(|provider| {
            run.context = seeded(100 + provider as u32);
            requisition(&run, (0..20).map(|person| apart * provider + person))
        });
        let transcript = Transcript::of(&run, requisitions);
        (what, run, transcript)
    })
}

#[test]
fn a_coalition_sees_random_points() {
    for (what, run, transcript) in transcripts() {
        for honest in 0..DUCHIES {
            let what = |list| format!("{what}, {list}, honest duchy {honest}");
            let others: Vec<_> =
                run.pairs.iter().enumerate().filter(|(i, _)| *i != honest).map(|(_, p)| p.clone()).collect();
            view(&transcript.setup[honest], keys(&others).as_ref()).assert_hidden(&what("setup"));

            // Layers of those before the honest one are off already.
            let received = view(&transcript.round[honest], keys(&run.pairs[honest + 1..]).as_ref());
            received.assert_hidden(&what("registers"));
            if honest != AGGREGATOR {
                // The noise's first half does not change, as in any decryption; it has one place anyway.
                let ids = |position: usize| {
                    View::default().with::<G>(&transcript.round[position].registers, ID, None)
                };
                ids(honest + 1).assert_hidden(&what("registers after"));
                ids(honest + 1).assert_unlinkable(&ids(honest), &what("execution"));
                ids(honest + 1).assert_unlinkable(&received, &what("execution"));
            }
        }
    }
}

/// With the last key the same lists show what they hold.
#[test]
fn all_duchies_together_see_more() {
    let [(_, run, transcript), _] = transcripts();
    let view = view(&transcript.setup[AGGREGATOR], keys(&run.pairs).as_ref());
    assert!(std::panic::catch_unwind(|| view.assert_hidden("")).is_err());
}

#[test]
fn sizes_follow_from_parameters() {
    let [(_, _, alike), (_, _, different)] = transcripts();
    let sizes = |transcript: Transcript| -> Vec<(usize, usize)> {
        let blobs = transcript.setup.into_iter().chain(transcript.round);
        blobs.map(|blob| (blob.registers.len(), blob.excessive_noise.len())).collect()
    };
    assert_eq!(sizes(alike), sizes(different));
}

/// Equal numbers in the excessive noise of one duchy cannot be told from different ones.
#[test]
fn excessive_noise_hides_its_number() {
    let run = run(some_noise(1.5), 2);
    let ciphertexts: Vec<u8> = (0..60)
        .flat_map(|person| run.setup_at(0, &requisition(&run, [person])).unwrap().excessive_noise)
        .collect();
    let numbers: BTreeSet<Plaintext> =
        Opener::<G>::new(&run.pairs).column(&ciphertexts, ID).into_iter().collect();
    assert!((2..40).contains(&numbers.len()), "few numbers, and not one alone: {}", numbers.len());
    let others = Opener::<G>::new(&run.pairs[1..]);
    View::default().with(&ciphertexts, ID, Some(&others)).assert_hidden("excessive noise");
}

#[test]
fn pseudonyms_show_multiplicities_and_nobody() {
    let [first, second] = [1, 2].map(|seed| {
        let mut run = run(None, seed);
        // Person 0 at one data provider, 1 at two, 2 at three.
        let requisitions = [3, 2, 1].map(|people| {
            run.context = seeded(100 * seed + people as u32);
            requisition(&run, 3 - people..3)
        });
        let plain = Opener::<G>::new(&run.pairs).column(&requisitions.concat(), ID);
        let transcript = Transcript::of(&run, requisitions);
        let opened = |worker: usize| {
            Opener::<G>::new(&run.pairs[worker + 1..]).column(&transcript.round[worker + 1].registers, ID)
        };
        (plain, [opened(0), opened(1)])
    });
    let dictionary: BTreeSet<Plaintext> = (0..1000).map(|index| hash::<G>(&index.to_string())).collect();
    assert!(first.0.iter().all(|index| dictionary.contains(index)), "a dictionary opens indexes");
    for (mine, others) in first.1.iter().zip(&second.1) {
        let mine = sorted(mine.clone());
        let sizes = sorted(mine.chunk_by(|a, b| a == b).map(<[_]>::len).collect());
        assert_eq!(sizes, [1, 2, 3]);
        assert!(
            mine.iter().all(|pseudonym| !dictionary.contains(pseudonym)),
            "a dictionary opens pseudonyms"
        );
        assert!(mine.iter().all(|pseudonym| !others.contains(pseudonym)), "two computations are linked");
    }
}

#[test]
fn a_register_leaves_an_honest_duchy_at_any_place() {
    let mut run = run(None, 3);
    let noise = run.setup(&[vec![], vec![], vec![]]).unwrap().excessive_noise;
    let after = Opener::<G>::new(&run.pairs[1..]);
    // Seven registers of one person and one of another: the coalition sees where the other one went.
    for marked in [0, RECORDS - 1] {
        let registers: Vec<u8> = (0..RECORDS)
            .flat_map(|place| {
                run.context = seeded(500 + place as u32);
                requisition(&run, [i64::from(place == marked)])
            })
            .collect();
        let places = (0..200).map(|seed| {
            run.context = seeded(1000 + seed);
            let blob = Blob { registers: registers.clone(), excessive_noise: noise.clone() };
            odd_one_out(&after.column(&run.execution_at(0, blob).unwrap().registers, ID))
        });
        assert_uniform(places, RECORDS, "execution");
    }
}

#[test]
fn data_lies_anywhere_among_noise() {
    let mut run = run(some_noise(4.0), 4);
    let length = Layout::REACH_ONLY_REGISTER.length::<G>();
    let noise = run.setup_at(0, &[]).unwrap().registers.len() / length;
    // So many that the list can be cut into equal parts.
    let people = RECORDS - noise % RECORDS;
    let part = (noise + people) / RECORDS;
    let mut parts = Vec::new();
    let mut seed = 5000;
    while parts.len() < 400 {
        run.context = seeded(seed);
        seed += 1;
        let data = requisition(&run, 0..people as i64);
        let sent = run.setup_at(0, &data).unwrap().registers;
        let data: BTreeSet<&[u8]> = data.chunks_exact(length).collect();
        let places = sent.chunks_exact(length).enumerate().filter(|(_, record)| data.contains(record));
        parts.extend(places.map(|(place, _)| place / part));
    }
    assert_uniform(parts, RECORDS, "data among noise");
}
