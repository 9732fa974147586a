//! What each single party receives says nothing of the input but what it is to find out.
//!
//! The tests are chi-squared at a significance of 10^-6, with fixed seeds: they pass or fail for good.

use std::cell::RefCell;
use std::rc::Rc;

use halo_crypto::prg::PrngSeed;
use halo_crypto::secret_sharing::expand;
use halo_protocols::hmss::{Message, generate_secret_shares};
use halo_protocols::proto::duchy::NoiseMechanism;
use halo_protocols::proto::frequency_count::SecretShareGeneratorRequest;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::{
    AggregationPhaseInput, ShufflePhaseInput,
};
use halo_protocols::testing::hmss::Cluster;
use prost::Message as _;

use crate::chi_squared::assert_uniform;
use crate::run::{add, context, fulfilments, machine_parameters, ring};

const MODULUS: u32 = 127;

fn residues(values: &[u32]) -> impl Iterator<Item = usize> {
    values.iter().map(|value| *value as usize)
}

#[test]
fn each_share_alone_is_uniform() {
    type Vector = fn(usize) -> u32;
    let vectors: [(&str, Vector); 3] =
        [("nobody", |_| 0), ("everybody", |_| 1), ("alternating", |register| register as u32 % 6)];
    for (what, vector) in vectors {
        let data: Vec<u32> = (0..50_000).map(vector).collect();
        let request = SecretShareGeneratorRequest { ring_modulus: MODULUS, data };
        let shares = generate_secret_shares(&request, &context(11)).unwrap();
        assert_uniform(residues(&shares.share_vector), MODULUS as usize, what);
        let seed = shares.share_seed.as_ref().unwrap();
        let seed = PrngSeed::from_parts(&seed.key, &seed.iv).unwrap();
        let expanded = expand(&seed, 50_000, ring(MODULUS)).unwrap();
        assert_uniform(residues(expanded.expose()), MODULUS as usize, what);
    }
}

/// The vectors that the aggregator receives from the workers.
fn received_by_the_aggregator(
    vectors: &[Vec<u32>],
    maximum_frequency: i32,
    mechanism: Option<NoiseMechanism>,
    seed: u32,
) -> [Vec<u32>; 2] {
    let received = Rc::new(RefCell::new(Vec::new()));
    let mut cluster_seed = [0; 32];
    cluster_seed[..4].copy_from_slice(&seed.to_be_bytes());
    let parameters = machine_parameters(maximum_frequency, mechanism);
    let cluster = Cluster::new(&parameters, vectors.len(), cluster_seed).unwrap();
    let log = Rc::clone(&received);
    cluster
        .intercepted_by(Box::new(move |delivery| {
            if delivery.message == Message::AggregationPhaseInput {
                let message = AggregationPhaseInput::decode(delivery.payload.as_slice()).unwrap();
                log.borrow_mut().push(message.combined_frequency_vectors);
            }
        }))
        .run(&fulfilments(vectors, seed as u8))
        .unwrap();
    received.take().try_into().unwrap()
}

/// The messages that reach one of the duchies.
fn received_by(duchy: &'static str, vectors: &[Vec<u32>], mechanism: Option<NoiseMechanism>) -> Vec<Vec<u8>> {
    let received = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&received);
    Cluster::new(&machine_parameters(3, mechanism), vectors.len(), [6; 32])
        .unwrap()
        .intercepted_by(Box::new(move |delivery| {
            if delivery.to.as_str() == duchy {
                log.borrow_mut().push(delivery.payload.clone());
            }
        }))
        .run(&fulfilments(vectors, 6))
        .unwrap();
    received.take()
}

/// Beside its shares, each of which alone is uniform, a worker gets the other's random seed and sealed seeds. The same
/// randomness gives the same bytes, whoever was seen.
#[test]
fn what_a_worker_receives_does_not_depend_on_who_was_seen() {
    let registers = 40;
    let vectors = |seen: fn(usize) -> u32| vec![(0..registers).map(seen).collect::<Vec<u32>>(); 4];
    let inputs = [vectors(|_| 1), vectors(|_| 3), vectors(|register| register as u32 % 4)];
    for mechanism in [None, Some(NoiseMechanism::Geometric)] {
        for worker in ["worker1", "worker2"] {
            // The data providers' seeds are drawn from the vectors, among others: compare all but them.
            let views = inputs.each_ref().map(|vectors| {
                let received = received_by(worker, vectors, mechanism);
                let [message] = received.as_slice() else { panic!("{} messages", received.len()) };
                let mut message = ShufflePhaseInput::decode(message.as_slice()).unwrap();
                for seed in &mut message.secret_seeds {
                    assert_eq!(std::mem::take(&mut seed.secret_seed_ciphertext).len(), 48);
                }
                message
            });
            assert_eq!(views[0], views[1], "{worker}");
            assert_eq!(views[0], views[2], "{worker}");
            assert_eq!(views[0].secret_seeds.len(), 2, "{worker}");
        }
    }
}

#[test]
fn what_one_worker_sends_is_uniform() {
    for (maximum_frequency, mechanism) in
        [(1, None), (3, None), (1, Some(NoiseMechanism::Geometric)), (3, Some(NoiseMechanism::Geometric))]
    {
        let vectors = vec![vec![1; 20_000], vec![0; 20_000], vec![1; 20_000]];
        for share in received_by_the_aggregator(&vectors, maximum_frequency, mechanism, 5) {
            assert_uniform(residues(&share), MODULUS as usize, "a worker's share");
        }
    }
}

#[test]
fn the_aggregator_learns_no_position() {
    const REGISTERS: usize = 10;
    for person in [0, 4, REGISTERS - 1] {
        let positions = (0..1000).map(|run| {
            let mut vector = vec![0; REGISTERS];
            vector[person] = 2;
            let [first, second] = received_by_the_aggregator(&[vector], 3, None, run);
            let sum = add(MODULUS, &first, &second);
            assert_eq!(sum.iter().sum::<u32>(), 2);
            sum.iter().position(|value| *value == 2).unwrap()
        });
        assert_uniform(positions, REGISTERS, "the position of one person");
    }
}

#[test]
fn noise_lies_among_the_registers() {
    // Everybody is seen twice, so that 0 and 1 come from noise alone.
    let vectors = vec![vec![1; 60], vec![1; 60]];
    let mut positions = Vec::new();
    for run in 0..300 {
        let [first, second] =
            received_by_the_aggregator(&vectors, 3, Some(NoiseMechanism::DiscreteGaussian), run);
        let sum = add(MODULUS, &first, &second);
        let tenth = sum.len().div_ceil(10);
        // The last of the ten parts may be shorter.
        positions.extend(
            sum.iter()
                .enumerate()
                .filter(|(_, value)| **value == 1)
                .map(|(position, _)| position / tenth)
                .filter(|part| *part < 9),
        );
    }
    assert_uniform(positions, 9, "noise");
}

#[test]
fn for_reach_alone_the_aggregator_sees_no_frequency() {
    for seen in [1, 2, 3] {
        let mut vectors = vec![vec![0; 30_000]; 3];
        vectors.iter_mut().take(seen).for_each(|vector| vector.fill(1));
        let [first, second] = received_by_the_aggregator(&vectors, 1, None, seen as u32);
        let sum = add(MODULUS, &first, &second);
        assert!(sum.iter().all(|value| *value != 0));
        let values = sum.iter().map(|value| *value as usize - 1);
        assert_uniform(values, MODULUS as usize - 1, "registers of people seen");
    }
}
