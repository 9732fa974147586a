//! What any coalition of all duchies but one receives from the honest one says nothing of the input but what is promised.
//!
//! A party alone sees less than a coalition that it belongs to, so these tests speak for each single duchy too.
//!
//! Promised (docs/protocols/llv2.md) is that the coalition learns the sizes of lists and, if the aggregator is in it, how
//! many registers share an index, how many tuples are of each kind and how many rows have each count, all with the honest
//! duchy's noise among them. It learns
//!
//! - no index, key or count: of the honest duchy's ciphertexts its keys leave one layer on, and all points it gets
//!   look random (different, digits uniform), for people who are all alike and for people who are all different;
//! - no way through the honest duchy: no point goes in and comes out, and a register comes out at any place equally often;
//! - no person behind a pseudonym: that of an index is none of the hashes of all indexes, nor the same in another
//!   computation.
//!
//! That noise has the distribution which its privacy rests on is shown in `statistics`. What tests cannot show: that
//! encodings which pass for random are (that is the decisional Diffie–Hellman assumption), and anything about a coalition
//! that does not follow the protocol. An aggregator that keeps the random factors of its tuples can, against the
//! protocol, take them off the flags it opens in the end, and look the differences of keys up.
//!
//! The tests are χ² at a significance of 10⁻⁶, with fixed seeds.

use std::collections::{BTreeMap, BTreeSet};

use halo_crypto::Ristretto255;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_protocols::data_provider::{SketchParameters, plain_sketch};
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::any_sketch::Sketch;
use halo_protocols::proto::any_sketch::sketch::Register;
use halo_protocols::proto::duchy::{ElGamalKeyPair, NoiseMechanism};
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use halo_protocols::sketch::Layout;

use crate::chi_squared::assert_uniform;
use crate::opening::{Opener, Plaintext, hash};
use crate::run::{Measurement, Noise, Run, context};
use crate::view::{View, odd_one_out};

type G = Ristretto255;

const DUCHIES: usize = 3;
const AGGREGATOR: usize = DUCHIES - 1;
const REGISTER: [halo_crypto::elgamal::Column; 3] = [Layout::ID, Layout::KEY, Layout::COUNT];

fn seeded(seed: u32) -> KernelContext {
    let mut bytes = [0x5e; 32];
    bytes[..4].copy_from_slice(&seed.to_be_bytes());
    KernelContext::new(Executor::serial(), StreamSeed::new(bytes))
}

fn run(noise: Option<Noise>, seed: u32) -> Run<G> {
    let measurement = Measurement {
        maximum_frequency: 3,
        total_sketches_count: DUCHIES as i32,
        sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 },
        width: 1.0,
        noise,
    };
    let mut run = Run::new(measurement, DUCHIES as u8, context(0));
    run.context = seeded(seed);
    run
}

/// Index, key and count of each register.
fn sketch(registers: impl IntoIterator<Item = [i64; 3]>) -> Sketch {
    let parameters =
        SketchParameters { decay_rate: 12.0, size: 1000, sampling_indicator_size: 1000, salt: None };
    let register = |[index, key, count]: [i64; 3]| Register { index, values: vec![key, count] };
    Sketch {
        config: plain_sketch(&parameters, []).config,
        registers: registers.into_iter().map(register).collect(),
    }
}

/// The keys of some duchies; none of none.
fn keys(pairs: &[ElGamalKeyPair]) -> Option<Opener<G>> {
    (!pairs.is_empty()).then(|| Opener::new(pairs))
}

/// Everything that duchies send in a computation. Element *i* of a list that goes round is what duchy *i* receives, the
/// last what the aggregator does.
struct Transcript {
    setup: Vec<Vec<u8>>,
    registers: Vec<Vec<u8>>,
    tuples: Vec<Vec<u8>>,
    matrix: Vec<Vec<u8>>,
}

impl Transcript {
    fn of(run: &Run<G>, requisitions: [Vec<u8>; DUCHIES]) -> Self {
        let [first, second, own] = requisitions;
        let mut setup =
            vec![run.setup_at_one(first, vec![]).unwrap(), run.setup_at_one(second, vec![]).unwrap()];
        setup.push(run.setup_at_one(own, setup.concat()).unwrap());
        let mut registers = vec![setup[AGGREGATOR].clone()];
        for worker in 0..AGGREGATOR {
            registers.push(run.phase_one_at(worker, registers[worker].clone()).unwrap());
        }
        let mut tuples = vec![run.phase_one_at_aggregator(registers[AGGREGATOR].clone()).unwrap()];
        for worker in 0..AGGREGATOR {
            tuples.push(run.phase_two_at(worker, tuples[worker].clone()).unwrap());
        }
        let (_, rows) = run.phase_two_at_aggregator(tuples[AGGREGATOR].clone()).unwrap();
        let mut matrix = vec![rows];
        for worker in 0..AGGREGATOR {
            matrix.push(run.phase_three_at(worker, matrix[worker].clone()).unwrap());
        }
        Self { setup, registers, tuples, matrix }
    }
}

/// Twenty people at each data provider: the same at all, or all different.
fn transcripts() -> [(&'static str, Run<G>, Transcript); 2] {
    let people: [(&str, fn(i64, i64) -> [i64; 3]); 2] = [
        ("alike", |_, person| [person, 5, 1]),
        ("different", |provider, person| {
            [100 * provider + person, 20 * provider + person + 1, person % 4 + 1]
        }),
    ];
    people.map(|(what, register)| {
        let mut run = run(Some(Noise::uniform(NoiseMechanism::Geometric, 1.5, 0.9)), 1);
        let requisitions = [0, 1, 2].map(|provider| {
            run.context = seeded(100 + provider as u32);
            run.encrypt(sketch((0..20).map(|person| register(provider, person))))
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
            let others = Opener::<G>::new(&others);
            // Layers of those before the honest one are off already.
            let after = keys(&run.pairs[honest + 1..]);
            let after = after.as_ref();

            let sent = &transcript.setup[honest];
            let view = |columns: &[_], records: &[u8]| {
                columns
                    .iter()
                    .fold(View::default(), |view, column| view.with(records, *column, Some(&others)))
            };
            view(&REGISTER, sent).assert_hidden(&what("setup"));

            let registers = |position: usize| {
                let records = &transcript.registers[position];
                view(&REGISTER[1..], records).with(records, Layout::ID, after.filter(|_| position <= honest))
            };
            let before = registers(honest);
            before.assert_hidden(&what("registers"));

            let tuples = |position: usize| {
                let records = &transcript.tuples[position];
                let flags = after.filter(|_| position <= honest);
                Layout::FLAGS.iter().fold(view(&[Layout::TUPLE_COUNT], records), |view, flag| {
                    view.with(records, *flag, flags)
                })
            };
            if honest == AGGREGATOR {
                let made =
                    view(&[Layout::FLAGS.as_slice(), &[Layout::TUPLE_COUNT]].concat(), &transcript.tuples[0]);
                made.assert_hidden(&what("tuples made"));
                made.assert_unlinkable(&before, &what("phase one"));
                let rows = view(&[Layout::CELL.column(0)], &transcript.matrix[0]);
                rows.assert_hidden(&what("rows made"));
                rows.assert_unlinkable(&tuples(AGGREGATOR), &what("phase two"));
            } else {
                let after_it = registers(honest + 1);
                after_it.assert_hidden(&what("registers after"));
                after_it.assert_unlinkable(&before, &what("phase one"));
                tuples(honest).assert_hidden(&what("tuples"));
                tuples(honest + 1).assert_hidden(&what("tuples after"));
                tuples(honest + 1).assert_unlinkable(&tuples(honest), &what("phase two"));
                View::default()
                    .with(&transcript.matrix[honest], Layout::CELL.column(0), after)
                    .assert_hidden(&what("matrix"));
            }
        }
    }
}

/// With the last key the same lists show what they hold.
#[test]
fn all_duchies_together_see_more() {
    let [(_, run, transcript), _] = transcripts();
    let everybody = Opener::<G>::new(&run.pairs);
    for column in REGISTER {
        let view = View::default().with(&transcript.setup[AGGREGATOR], column, Some(&everybody));
        assert!(std::panic::catch_unwind(|| view.assert_hidden("")).is_err(), "{column:?}");
    }
}

#[test]
fn sizes_follow_from_parameters() {
    let [(_, _, alike), (_, _, different)] = transcripts();
    for (alike, different) in
        alike.setup.iter().chain(&alike.registers).zip(different.setup.iter().chain(&different.registers))
    {
        assert_eq!(alike.len(), different.len());
    }
}

#[test]
fn pseudonyms_show_multiplicities_and_nobody() {
    let [first, second] = [1, 2].map(|seed| {
        let mut run = run(None, seed);
        // Person 0 at one data provider, 1 at two, 2 at three.
        let requisitions = [3, 2, 1].map(|people| {
            run.context = seeded(100 * seed + people as u32);
            run.encrypt(sketch((3 - people..3).map(|index| [index, 5, 1])))
        });
        let plain: Vec<Plaintext> = Opener::<G>::new(&run.pairs).column(&requisitions.concat(), Layout::ID);
        let transcript = Transcript::of(&run, requisitions);
        let pseudonyms: Vec<Vec<Plaintext>> = (0..AGGREGATOR)
            .map(|worker| {
                Opener::<G>::new(&run.pairs[worker + 1..])
                    .column(&transcript.registers[worker + 1], Layout::ID)
            })
            .collect();
        (plain, pseudonyms)
    });
    let dictionary: BTreeSet<Plaintext> = (0..1000).map(|index| hash::<G>(&index.to_string())).collect();
    assert!(first.0.iter().all(|index| dictionary.contains(index)), "a dictionary opens indexes");
    for (mine, others) in first.1.iter().zip(&second.1) {
        let mut groups = BTreeMap::<_, usize>::new();
        mine.iter().for_each(|pseudonym| *groups.entry(pseudonym).or_default() += 1);
        let mut sizes: Vec<usize> = groups.values().copied().collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 2, 3]);
        assert!(
            mine.iter().all(|pseudonym| !dictionary.contains(pseudonym)),
            "a dictionary opens pseudonyms"
        );
        assert!(mine.iter().all(|pseudonym| !others.contains(pseudonym)), "two computations are linked");
    }
}

const RECORDS: usize = 8;

/// Registers of eight people, in order, the one at `marked` with another count.
fn marked_registers(run: &Run<G>, marked: usize) -> Vec<u8> {
    let registers = (0..RECORDS).map(|place| [place as i64, 5, if place == marked { 2 } else { 1 }]);
    registers.flat_map(|register| run.encrypt(sketch([register]))).collect()
}

#[test]
fn a_record_leaves_an_honest_duchy_at_any_place() {
    let mut run = run(None, 3);
    let everybody = Opener::<G>::new(&run.pairs);
    for marked in [0, RECORDS - 1] {
        let registers = marked_registers(&run, marked);
        assert_eq!(odd_one_out(&everybody.column(&registers, Layout::COUNT)), marked);
        let at_aggregator = run.phase_one(registers.clone(), 0).unwrap();
        let tuples = run.phase_one_at_aggregator(at_aggregator.clone()).unwrap();
        let mut places = [const { Vec::new() }; 3];
        for seed in 0..165 {
            run.context = seeded(1000 + seed);
            let place = |records: Vec<u8>, column| odd_one_out(&everybody.column(&records, column));
            places[0].push(place(run.phase_one_at(0, registers.clone()).unwrap(), Layout::COUNT));
            let made = run.phase_one_at_aggregator(at_aggregator.clone()).unwrap();
            places[1].push(place(made, Layout::TUPLE_COUNT));
            places[2].push(place(run.phase_two_at(0, tuples.clone()).unwrap(), Layout::TUPLE_COUNT));
        }
        let [one, at_aggregator, two] = places;
        assert_uniform(one, RECORDS, "phase one");
        assert_uniform(at_aggregator, RECORDS, "phase one at the aggregator");
        assert_uniform(two, RECORDS, "phase two");
    }
}

#[test]
fn data_lies_anywhere_among_noise() {
    let mut run = run(Some(Noise::uniform(NoiseMechanism::Geometric, 4.0, 0.9)), 4);
    let length = Layout::REGISTER.length::<G>();
    let noise = run.setup_at_one(vec![], vec![]).unwrap().len() / length;
    // So many that the list can be cut into equal parts.
    let people = RECORDS - noise % RECORDS;
    let part = (noise + people) / RECORDS;
    let mut parts = Vec::new();
    let mut seed = 5000;
    while parts.len() < 200 {
        run.context = seeded(seed);
        seed += 1;
        let data = run.encrypt(sketch((0..people as i64).map(|index| [index, index + 1, 1])));
        let data: BTreeSet<&[u8]> = data.chunks_exact(length).collect();
        let sent = run.setup_at_one(data.iter().copied().flatten().copied().collect(), vec![]).unwrap();
        let places = sent.chunks_exact(length).enumerate().filter(|(_, record)| data.contains(record));
        parts.extend(places.map(|(place, _)| place / part));
    }
    assert_uniform(parts, RECORDS, "data among noise");
}
