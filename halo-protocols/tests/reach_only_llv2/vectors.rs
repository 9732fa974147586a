//! Every recorded request, answered by our kernels and compared with the recorded response.
//!
//! The manifest's `check` says how, and each test prints it:
//! - `bytes`: our response is the recorded one, byte for byte (CPU time aside).
//! - `crv_bytes`: our registers are the recorded ones; both noise ciphertexts open to the same number.
//! - `noise_ciphertext_bytes`: our noise ciphertext is the recorded one; the registers of both open to groups of the
//!   sizes that those of the request have.
//! - `structure`: both hold the registers of the request, the rest of both is a possible draw of noise, and the noise
//!   ciphertext counts its ids.
//! - `value`: the reach is equal.
//! - `random`: the response works where it is used: key pairs fit, sketches open to the recorded sketch.

use std::collections::BTreeMap;

use halo_crypto::elgamal::Ciphertexts;
use halo_crypto::{Group, P256};
use halo_protocols::kernel::{self, Kernel};
use halo_protocols::proto::any_sketch::crypto::{CombineElGamalPublicKeysRequest, EncryptSketchRequest};
use halo_protocols::proto::protocol::{
    CompleteReachOnlyExecutionPhaseAtAggregatorRequest, CompleteReachOnlyExecutionPhaseRequest,
    CompleteReachOnlyInitializationPhaseRequest, CompleteReachOnlySetupPhaseRequest,
    CompleteReachOnlySetupPhaseResponse,
};
use halo_protocols::reach_only_llv2::SetupPhaseAtAggregator;
use halo_protocols::sketch::Layout;
use prost::Message;

use crate::CASES;
use crate::backends;
use crate::case::{Case, Stage};
use crate::measurement::context;
use crate::opening::{Opener, Plaintext, hash, multiset_difference, plaintext, sorted};
use crate::recorded::assert_all_recorded;
use crate::run::Run;

const REGISTER: usize = 66;

#[test]
fn every_recorded_computation_is_listed() {
    assert_all_recorded("rollv2_", &CASES);
}

#[test]
fn two_duchies_no_noise() {
    check_case("rollv2_2duchies_no_noise");
}

#[test]
fn three_duchies_gaussian() {
    check_case("rollv2_3duchies_gaussian");
}

#[test]
fn three_duchies_geometric() {
    check_case("rollv2_3duchies_geometric");
}

#[test]
fn three_duchies_no_noise() {
    check_case("rollv2_3duchies_no_noise");
}

#[test]
fn four_duchies_gaussian() {
    check_case("rollv2_4duchies_gaussian");
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
struct Answered<K, R> {
    request: K,
    ours: R,
    theirs: R,
}

fn answer<K: Kernel + Message + Default>(stage: &Stage) -> Answered<K, K::Response> {
    answer_as(stage, |request: &K| kernel::compute(request, &context(stage.sequence as u8)).unwrap())
}

fn answer_as<K: Message + Default, R: Message + Default>(
    stage: &Stage,
    compute: impl FnOnce(&K) -> R,
) -> Answered<K, R> {
    let request = K::decode(stage.request.as_slice()).unwrap();
    let ours = compute(&request);
    Answered { request, ours, theirs: R::decode(stage.response.as_slice()).unwrap() }
}

fn answer_setup(
    stage: &Stage,
) -> Answered<CompleteReachOnlySetupPhaseRequest, CompleteReachOnlySetupPhaseResponse> {
    if stage.method == SetupPhaseAtAggregator::METHOD {
        answer_as(stage, |request: &CompleteReachOnlySetupPhaseRequest| {
            let request = SetupPhaseAtAggregator(request.clone());
            kernel::compute(&request, &context(stage.sequence as u8)).unwrap()
        })
    } else {
        answer(stage)
    }
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

    fn check(&self, stage: &Stage) {
        match (stage.method.as_str(), stage.check.as_str()) {
            ("CompleteReachOnlyInitializationPhase", "random") => {
                let Answered { ours, .. } = answer::<CompleteReachOnlyInitializationPhaseRequest>(stage);
                let pair = ours.el_gamal_key_pair.clone().unwrap();
                let key = halo_crypto::elgamal::SecretKey::<P256>::from_bytes(&pair.secret_key).unwrap();
                assert_eq!(pair.public_key.clone().unwrap().element, key.public_key().to_bytes());
            }
            ("CombineElGamalPublicKeys", "bytes") => {
                let Answered { ours, theirs, .. } = answer::<CombineElGamalPublicKeysRequest>(stage);
                assert_eq!(ours, theirs);
            }
            ("EncryptSketch", "random") => {
                let Answered { ours, theirs, .. } = answer::<EncryptSketchRequest>(stage);
                assert_eq!(
                    sorted(ids(&self.composite, &ours.encrypted_sketch)),
                    sorted(ids(&self.composite, &theirs.encrypted_sketch))
                );
            }
            ("CompleteReachOnlySetupPhase" | "CompleteReachOnlySetupPhaseAtAggregator", check) => {
                let Answered { request, ours, theirs } = answer_setup(stage);
                match check {
                    "crv_bytes" => {
                        assert_eq!(ours.combined_register_vector, theirs.combined_register_vector);
                        for response in [&ours, &theirs] {
                            let noise = &response.serialized_excessive_noise_ciphertext;
                            assert_eq!(self.noise_ids(noise), 0);
                        }
                    }
                    "structure" => {
                        self.check_setup(&request, &ours);
                        self.check_setup(&request, &theirs);
                    }
                    other => panic!("no test for {other}"),
                }
            }
            ("CompleteReachOnlyExecutionPhase", "noise_ciphertext_bytes") => self.execution(stage),
            ("CompleteReachOnlyExecutionPhaseAtAggregator", "value") => {
                let Answered { ours, theirs, .. } =
                    answer::<CompleteReachOnlyExecutionPhaseAtAggregatorRequest>(stage);
                assert_eq!(ours.reach, theirs.reach);
            }
            other => panic!("no test for {other:?}"),
        }
    }

    /// How many ids some noise ciphertexts say there are, together.
    fn noise_ids(&self, ciphertexts: &[u8]) -> usize {
        let sum: Ciphertexts<P256> =
            std::iter::once(Ciphertexts::decode(ciphertexts).unwrap().sum()).collect();
        let opened = self.composite.column(&sum.encode().unwrap(), Layout::CELL.column(0)).remove(0);
        let multiples = halo_crypto::count::count_points::<P256>(1_000);
        let mut encoded =
            std::iter::once(P256::identity()).chain(multiples).map(|point| plaintext::<P256>(&point));
        encoded.position(|multiple| multiple == opened).unwrap()
    }

    fn check_setup(
        &self,
        request: &CompleteReachOnlySetupPhaseRequest,
        response: &CompleteReachOnlySetupPhaseResponse,
    ) {
        let blocks = |bytes: &[u8]| -> Vec<Vec<u8>> { bytes.chunks_exact(REGISTER).map(Vec::from).collect() };
        let registers = blocks(&response.combined_register_vector);
        assert!(registers.is_sorted());
        let noise = multiset_difference(registers, blocks(&request.combined_register_vector));
        let mut noise_ids = self.noise_ids(&response.serialized_excessive_noise_ciphertext);
        if !request.serialized_excessive_noise_ciphertext.is_empty() {
            noise_ids -= self.noise_ids(&request.serialized_excessive_noise_ciphertext);
        }
        self.check_register_noise(&noise.concat(), noise_ids);
    }

    /// Whether registers are a possible draw of one duchy's noise, with this many ids of the blinded histogram.
    fn check_register_noise(&self, registers: &[u8], blinded_histogram_ids: usize) {
        let noise = self.run.measurement.noise.unwrap();
        let (duchies, sketches) = (self.run.pairs.len(), self.run.measurement.total_sketches_count as usize);
        let offset =
            |privacy, sensitivity| noise.distribution(privacy, duchies, sensitivity).offset() as usize;
        let blind = offset(noise.blind_histogram, 2);
        let publisher = offset(noise.publisher, sketches as u32);
        let reach = offset(noise.reach, 1);
        let expected = 2 * publisher + 2 * reach + blind * sketches * (sketches + 1) + 2;
        assert_eq!(registers.len(), expected * REGISTER);

        let mut groups = BTreeMap::<Plaintext, usize>::new();
        for id in ids(&self.composite, registers) {
            *groups.entry(id).or_default() += 1;
        }
        let publisher_noise = groups.remove(&hash::<P256>("publisher_noise_register_id")).unwrap();
        let padding = groups.remove(&hash::<P256>("padding_noise_register_id")).unwrap();
        assert!((1..=2 * publisher + 1).contains(&publisher_noise) && padding >= 1);
        for size in 2..=sketches {
            let bucket = groups.values().filter(|count| **count == size).count();
            assert!(bucket <= 2 * blind, "bucket {size}: {bucket}");
        }
        assert!(groups.values().all(|size| *size <= sketches));
        // Of the ids that occur once, some are reach noise; those that occur more often are not.
        assert!(groups.values().filter(|size| **size > 1).count() <= blinded_histogram_ids);
        let reach_noise = groups.len() - blinded_histogram_ids;
        assert!(reach_noise <= 2 * reach && blinded_histogram_ids <= 2 * blind * sketches);
        println!(
            "  noise: {blinded_histogram_ids} blinded ids, {publisher_noise} publisher, {reach_noise} reach, \
             {padding} padding"
        );
    }

    fn execution(&self, stage: &Stage) {
        let Answered { request, ours, theirs } = answer::<CompleteReachOnlyExecutionPhaseRequest>(stage);
        assert_eq!(ours.serialized_excessive_noise_ciphertext, theirs.serialized_excessive_noise_ciphertext);
        let position = self.case.position(&stage.actor);
        let group_sizes = |from: usize, registers: &[u8]| {
            let mut groups = BTreeMap::<Plaintext, usize>::new();
            for id in ids(&Opener::new(&self.run.pairs[from..]), registers) {
                *groups.entry(id).or_default() += 1;
            }
            sorted(groups.into_values().collect())
        };
        let expected = group_sizes(position, &request.combined_register_vector);
        for response in [&ours, &theirs] {
            let registers = &response.combined_register_vector;
            assert!(registers.chunks_exact(REGISTER).is_sorted());
            assert_eq!(group_sizes(position + 1, registers), expected);
        }
        let before = ids(&Opener::new(&self.run.pairs[position..]), &request.combined_register_vector);
        let after = ids(&Opener::new(&self.run.pairs[position + 1..]), &ours.combined_register_vector);
        assert!(after.iter().all(|id| !before.contains(id)), "every id is blinded");
    }
}

fn ids(opener: &Opener<P256>, registers: &[u8]) -> Vec<Plaintext> {
    opener.column(registers, Layout::REACH_ONLY_REGISTER.column(0))
}
