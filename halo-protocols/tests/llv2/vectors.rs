//! Every recorded request, answered by our kernels and compared with the recorded response.
//!
//! The manifest's `check` says how, and each test prints it:
//! - `bytes`: our response is the recorded one, byte for byte (CPU time aside).
//! - `value`: reach or distribution are equal exactly; the matrix opens to the same zeros in the same order.
//! - `structure`: opened with the case's keys, our response has the same multiset of plaintexts as the recorded one,
//!   where ids may differ by a common blinding, and random flags count only as "not zero". Where the stage adds noise,
//!   both contain what follows from the request, and the rest of both has the shape of that noise.
//! - `random`: the response works where it is used: key pairs fit, sketches open to the recorded sketch.

use std::collections::{BTreeMap, BTreeSet};

use halo_crypto::{Group, P256};
use halo_protocols::kernel::{self, Kernel};
use halo_protocols::proto::any_sketch::crypto::{
    CombineElGamalPublicKeysRequest, ElGamalPublicKey, EncryptSketchRequest,
};
use halo_protocols::proto::protocol::{
    CompleteExecutionPhaseOneAtAggregatorRequest, CompleteExecutionPhaseOneRequest,
    CompleteExecutionPhaseThreeAtAggregatorRequest, CompleteExecutionPhaseThreeRequest,
    CompleteExecutionPhaseTwoAtAggregatorRequest, CompleteExecutionPhaseTwoRequest,
    CompleteInitializationPhaseRequest, CompleteSetupPhaseRequest,
};
use halo_protocols::sketch::Layout;
use prost::Message;

use crate::backends;
use crate::case::{CASES, Case, Stage, bytes};
use crate::opening::{Opener, Plaintext, groups, hash, multiset_difference, plaintext, sorted, tuples};
use crate::recorded::assert_all_recorded;
use crate::run::{Run, context};

#[test]
fn every_recorded_computation_is_listed() {
    assert_all_recorded("llv2_", &CASES);
}

#[test]
fn two_duchies_no_noise() {
    check_case("llv2_2duchies_no_noise");
}

#[test]
fn three_duchies_gaussian() {
    check_case("llv2_3duchies_gaussian");
}

#[test]
fn three_duchies_geometric() {
    check_case("llv2_3duchies_geometric");
}

#[test]
fn three_duchies_max_frequency_1() {
    check_case("llv2_3duchies_max_frequency_1");
}

#[test]
fn three_duchies_no_noise() {
    check_case("llv2_3duchies_no_noise");
}

#[test]
fn three_duchies_one_provider_small() {
    check_case("llv2_3duchies_one_provider_small");
}

#[test]
fn four_duchies_geometric() {
    check_case("llv2_4duchies_geometric");
}

#[test]
fn keys_combine_as_upstream_combines_them() {
    let rows: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/unit/key_combination.json")).unwrap();
    for row in rows.as_array().unwrap() {
        let generator = bytes(&row["generator"]);
        let key = |element| ElGamalPublicKey { generator: generator.clone(), element };
        let elements = row["elements"].as_array().unwrap().iter().map(bytes);
        let request = CombineElGamalPublicKeysRequest {
            curve_id: P256::CURVE_ID,
            el_gamal_keys: elements.map(key).collect(),
        };
        let combined = kernel::compute(&request, &context(0)).unwrap().el_gamal_keys;
        assert_eq!(combined, Some(key(bytes(&row["combined_element"]))));
    }
}

#[test]
fn every_case_on_the_other_backends() {
    backends::repeat_on_the_others("vectors::every_case");
}

#[test]
#[ignore = "the tests above, for every_case_on_the_other_backends"]
fn every_case() {
    backends::choose();
    CASES.into_iter().for_each(check_case);
}

fn check_case(name: &str) {
    let checker = Checker::new(Case::load(name));
    for stage in checker.case.stages() {
        println!("{name} {:02} {} at {}: {}", stage.sequence, stage.method, stage.actor, stage.check);
        checker.check(&stage);
    }
}

/// A request with our response and the recorded one.
struct Answered<K: Kernel> {
    request: K,
    ours: K::Response,
    theirs: K::Response,
}

fn answer<K: Kernel + Message + Default>(stage: &Stage) -> Answered<K> {
    let request = K::decode(stage.request.as_slice()).unwrap();
    let ours = kernel::compute(&request, &context(stage.sequence as u8)).unwrap();
    let theirs = K::Response::decode(stage.response.as_slice()).unwrap();
    Answered { request, ours, theirs }
}

struct Checker {
    case: Case,
    run: Run<P256>,
    /// Opens what is encrypted under the composite key.
    composite: Opener<P256>,
}

impl Checker {
    fn new(case: Case) -> Self {
        let run = Run::with_keys(case.measurement(), case.key_pairs(), context(0));
        let composite = Opener::new(&run.pairs);
        Self { case, run, composite }
    }

    /// Opens what only the duchies from a position on can open.
    fn from(&self, position: usize) -> Opener<P256> {
        Opener::new(&self.run.pairs[position..])
    }

    fn check(&self, stage: &Stage) {
        match (stage.method.as_str(), stage.check.as_str()) {
            ("CompleteInitializationPhase", "random") => self.initialization(stage),
            ("CombineElGamalPublicKeys", "bytes") => {
                let Answered::<CombineElGamalPublicKeysRequest> { ours, theirs, .. } = answer(stage);
                assert_eq!(ours, theirs);
            }
            ("EncryptSketch", "random") => self.encrypt_sketch(stage),
            ("CompleteSetupPhase", "bytes") => {
                let Answered::<CompleteSetupPhaseRequest> { ours, theirs, .. } = answer(stage);
                assert_eq!(ours.combined_register_vector, theirs.combined_register_vector);
            }
            ("CompleteSetupPhase", "structure") => self.setup(stage),
            ("CompleteExecutionPhaseOne", "structure") => self.phase_one(stage),
            ("CompleteExecutionPhaseOneAtAggregator", "structure") => self.phase_one_at_aggregator(stage),
            ("CompleteExecutionPhaseTwo", "structure") => self.phase_two(stage),
            ("CompleteExecutionPhaseTwoAtAggregator", "value") => self.phase_two_at_aggregator(stage),
            ("CompleteExecutionPhaseThree", "bytes") => {
                let Answered::<CompleteExecutionPhaseThreeRequest> { ours, theirs, .. } = answer(stage);
                assert_eq!(ours.same_key_aggregator_matrix, theirs.same_key_aggregator_matrix);
            }
            ("CompleteExecutionPhaseThreeAtAggregator", "value") => {
                let Answered::<CompleteExecutionPhaseThreeAtAggregatorRequest> { ours, theirs, .. } =
                    answer(stage);
                assert_eq!(ours.frequency_distribution, theirs.frequency_distribution);
            }
            other => panic!("no test for {other:?}"),
        }
    }

    fn initialization(&self, stage: &Stage) {
        let Answered::<CompleteInitializationPhaseRequest> { ours, .. } = answer(stage);
        let pair = ours.el_gamal_key_pair.unwrap();
        let key = halo_crypto::elgamal::SecretKey::<P256>::from_bytes(&pair.secret_key).unwrap();
        let public = pair.public_key.clone().unwrap();
        assert_eq!(public.element, key.public_key().to_bytes());
        assert_eq!(public.generator, P256::encode_one(&P256::generator()).unwrap());
    }

    fn encrypt_sketch(&self, stage: &Stage) {
        let Answered::<EncryptSketchRequest> { ours, theirs, .. } = answer(stage);
        let open = |registers: &[u8]| {
            let ids = self.composite.column(registers, Layout::ID);
            sorted(ids.into_iter().zip(self.composite.keys_and_counts(registers)).collect())
        };
        assert_eq!(open(&ours.encrypted_sketch), open(&theirs.encrypted_sketch));
    }

    fn setup(&self, stage: &Stage) {
        let Answered::<CompleteSetupPhaseRequest> { request, ours, theirs } = answer(stage);
        for response in [ours.combined_register_vector, theirs.combined_register_vector] {
            let registers: Vec<&[u8]> = response.chunks_exact(REGISTER).collect();
            assert!(registers.is_sorted());
            // Only ids survive where only reach is asked for.
            let reach_only = self.run.measurement.maximum_frequency == 1;
            let kept = if reach_only { REGISTER / 3 } else { REGISTER };
            let requisitions = request.requisition_register_vector.chunks_exact(REGISTER);
            let mut rewritten: BTreeSet<&[u8]> = requisitions.map(|register| &register[..kept]).collect();
            let mut others: BTreeSet<&[u8]> =
                request.combined_register_vector.chunks_exact(REGISTER).collect();
            let mut noise = Vec::new();
            for register in registers {
                if others.remove(register) {
                    continue;
                }
                if rewritten.remove(&register[..kept]) {
                    if reach_only {
                        let key = self.composite.column(register, Layout::KEY);
                        assert_eq!(key, [hash::<P256>("destroyed_register_key")]);
                    }
                    continue;
                }
                noise.push(register);
            }
            assert!(others.is_empty() && rewritten.is_empty(), "every register received is still there");
            self.check_register_noise(&noise.concat());
        }
    }

    /// Whether registers are a possible draw of one duchy's noise.
    fn check_register_noise(&self, registers: &[u8]) {
        let Some(noise) = self.run.measurement.noise else { return assert!(registers.is_empty()) };
        let (duchies, sketches) = (self.run.pairs.len(), self.run.measurement.total_sketches_count as u32);
        let blind = noise.distribution(noise.blind_histogram, duchies, 2).offset();
        let publisher = noise.distribution(noise.publisher, duchies, sketches).offset();
        let reach = noise.distribution(noise.reach, duchies, 1).offset();
        let expected = 2 * publisher + 2 * reach + blind * sketches * (sketches + 1);
        assert_eq!(registers.len(), expected as usize * REGISTER);

        let destroyed = hash::<P256>("destroyed_register_key");
        let blinded = hash::<P256>("blinded_histogram_noise_register_key");
        let mut blinded_ids = BTreeMap::<Plaintext, u32>::new();
        let mut reach_ids = BTreeSet::new();
        let (mut publisher_noise, mut padding) = (0, 0);
        let ids = self.composite.column(registers, Layout::ID);
        for (id, (key, count)) in ids.into_iter().zip(self.composite.keys_and_counts(registers)) {
            assert_eq!(key, count, "in all noise");
            if key == blinded {
                *blinded_ids.entry(id).or_default() += 1;
            } else if key == destroyed {
                assert!(reach_ids.insert(id), "reach noise has distinct ids");
            } else if id == hash::<P256>("publisher_noise_register_id") {
                publisher_noise += 1;
            } else {
                assert_eq!(id, hash::<P256>("padding_noise_register_id"));
                padding += 1;
            }
        }
        for size in 1..=sketches {
            let bucket = blinded_ids.values().filter(|count| **count == size).count() as u32;
            assert!(bucket <= 2 * blind, "bucket {size}: {bucket}");
        }
        assert!(blinded_ids.values().all(|size| *size <= sketches));
        assert!(publisher_noise <= 2 * publisher && reach_ids.len() as u32 <= 2 * reach);
        println!(
            "  noise: {} blinded ids, {publisher_noise} publisher, {} reach, {padding} padding",
            blinded_ids.len(),
            reach_ids.len()
        );
    }

    fn phase_one(&self, stage: &Stage) {
        let Answered::<CompleteExecutionPhaseOneRequest> { request, ours, theirs } = answer(stage);
        let position = self.case.position(&stage.actor);
        let open = |ids: Opener<P256>, registers: &[u8]| {
            groups(ids.column(registers, Layout::ID), self.composite.keys_and_counts(registers))
        };
        let expected = open(self.from(position), &request.combined_register_vector);
        for response in [&ours.combined_register_vector, &theirs.combined_register_vector] {
            assert!(response.chunks_exact(REGISTER).is_sorted());
            assert_eq!(open(self.from(position + 1), response), expected);
        }
    }

    fn phase_one_at_aggregator(&self, stage: &Stage) {
        let Answered::<CompleteExecutionPhaseOneAtAggregatorRequest> { request, ours, theirs } =
            answer(stage);
        let expected = self.expected_tuples(&request.combined_register_vector);
        for response in [&ours.flag_count_tuples, &theirs.flag_count_tuples] {
            assert!(response.chunks_exact(TUPLE).is_sorted());
            let opened = tuples(&self.composite, &self.composite, response);
            let found = opened.iter().map(TupleShape::of).collect();
            let noise = multiset_difference(found, expected.clone());
            self.check_tuple_noise(&noise);
        }
    }

    /// The tuples that follow from the registers, worked out on plaintexts.
    fn expected_tuples(&self, registers: &[u8]) -> Vec<TupleShape> {
        let ids = self.from(self.run.pairs.len() - 1).column(registers, Layout::ID);
        let keys = self.composite.column(registers, Layout::KEY);
        let counts = self.composite.points(registers, Layout::COUNT);
        let mut by_id = BTreeMap::<Plaintext, (Vec<Plaintext>, Vec<_>)>::new();
        for ((id, key), count) in ids.into_iter().zip(keys).zip(counts) {
            let group = by_id.entry(id).or_default();
            group.0.push(key);
            group.1.push(count);
        }
        let largest = self.run.measurement.total_sketches_count as usize;
        by_id
            .into_values()
            .filter(|(keys, _)| keys.len() <= largest)
            .map(|(keys, counts)| {
                let one_key = keys.iter().all(|key| *key == keys[0]);
                let destroyed = one_key && keys[0] == hash::<P256>("destroyed_register_key");
                let blinded = one_key && keys[0] == hash::<P256>("blinded_histogram_noise_register_key");
                let zero = [one_key, destroyed, blinded];
                let count = if zero == LIVE { plaintext::<P256>(&P256::sum(&counts)) } else { Vec::new() };
                TupleShape { zero, count }
            })
            .collect()
    }

    /// Whether tuples are a possible draw of one duchy's noise.
    fn check_tuple_noise(&self, tuples: &[TupleShape]) {
        let measurement = &self.run.measurement;
        let (Some(noise), 2..) = (measurement.noise, measurement.maximum_frequency) else {
            return assert!(tuples.is_empty());
        };
        let offset = noise.distribution(noise.frequency, self.run.pairs.len(), 2).offset() as usize;
        assert_eq!(tuples.len(), 2 * offset * (measurement.maximum_frequency as usize + 1));
        let mut kinds = BTreeMap::<&TupleShape, usize>::new();
        for tuple in tuples {
            *kinds.entry(tuple).or_default() += 1;
        }
        let counts = halo_crypto::count::count_points::<P256>(measurement.maximum_frequency as u32);
        let counts: Vec<Plaintext> = counts.iter().map(plaintext::<P256>).collect();
        let padding = TupleShape { zero: [true, true, false], count: Vec::new() };
        let destroyed = TupleShape { zero: [false; 3], count: Vec::new() };
        for (kind, number) in kinds {
            if *kind != padding {
                assert!(*kind == destroyed || kind.zero == LIVE && counts.contains(&kind.count), "{kind:?}");
                assert!(number <= 2 * offset, "{kind:?}: {number}");
            }
        }
    }

    fn phase_two(&self, stage: &Stage) {
        let Answered::<CompleteExecutionPhaseTwoRequest> { request, ours, theirs } = answer(stage);
        let position = self.case.position(&stage.actor);
        let expected = tuples(&self.from(position), &self.composite, &request.flag_count_tuples);
        for response in [&ours.flag_count_tuples, &theirs.flag_count_tuples] {
            assert!(response.chunks_exact(TUPLE).is_sorted());
            let found = tuples(&self.from(position + 1), &self.composite, response);
            let noise = multiset_difference(found, expected.clone());
            for [_, b, c, count] in &noise {
                assert!(!b.is_empty() || c == count, "padding repeats its point");
            }
            self.check_tuple_noise(&noise.iter().map(TupleShape::of).collect::<Vec<_>>());
        }
    }

    fn phase_two_at_aggregator(&self, stage: &Stage) {
        let Answered::<CompleteExecutionPhaseTwoAtAggregatorRequest> { ours, theirs, .. } = answer(stage);
        assert_eq!(ours.reach, theirs.reach);
        let zeros = |matrix: &[u8]| -> Vec<bool> {
            let cells = self.composite.column(matrix, Layout::CELL.column(0));
            cells.iter().map(Vec::is_empty).collect()
        };
        assert_eq!(zeros(&ours.same_key_aggregator_matrix), zeros(&theirs.same_key_aggregator_matrix));
    }
}

const REGISTER: usize = 198;
const TUPLE: usize = 264;
const LIVE: [bool; 3] = [true, false, false];

/// What can be said of a tuple: which flags are zero, and the count if it is not random.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TupleShape {
    zero: [bool; 3],
    count: Plaintext,
}

impl TupleShape {
    fn of([a, b, c, count]: &[Plaintext; 4]) -> Self {
        let zero = [a, b, c].map(Vec::is_empty);
        Self { zero, count: if zero == LIVE { count.clone() } else { Vec::new() } }
    }
}
