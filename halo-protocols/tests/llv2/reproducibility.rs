//! The same request with the same seed gives the same bytes, at any number of threads; another seed or request does
//! not share randomness.

use std::sync::Arc;

use halo_crypto::Ristretto255;
use halo_crypto::parallel::{CHUNK, Executor};
use halo_crypto::prg::StreamSeed;
use halo_protocols::data_provider::{SketchParameters, plain_sketch};
use halo_protocols::kernel::{KernelContext, KernelError};
use halo_protocols::proto::duchy::NoiseMechanism;
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use halo_protocols::sketch::Layout;

use crate::run::{Measurement, Noise, Outcome, Run, context};

fn measurement() -> Measurement {
    Measurement {
        maximum_frequency: 2,
        total_sketches_count: 2,
        sketch: LiquidLegionsSketchParameters { decay_rate: 4.0, size: 20_000 },
        width: 1.0,
        noise: Some(Noise::uniform(NoiseMechanism::DiscreteGaussian, 3.0, 0.1)),
    }
}

/// All messages of a computation that takes several chunks.
fn messages(context: KernelContext) -> (Vec<Vec<u8>>, Outcome) {
    let run = Run::<Ristretto255>::new(measurement(), 2, context);
    let parameters =
        SketchParameters { decay_rate: 4.0, size: 20_000, sampling_indicator_size: 1_000_000, salt: None };
    let sketch = |people: std::ops::Range<i64>| {
        run.encrypt(plain_sketch(&parameters, people.map(|vid| (vid, 1 + vid as u32 % 3))))
    };
    let requisitions = [sketch(0..CHUNK as i64 + 100), sketch(500..560)];
    assert!(requisitions[0].len() > CHUNK * Layout::REGISTER.length::<Ristretto255>());
    let setup = run.setup(&requisitions).unwrap();
    let blinded = run.phase_one(setup.clone(), 0).unwrap();
    let tuples = run.phase_one_at_aggregator(blinded.clone()).unwrap();
    let peeled = run.phase_two(tuples.clone(), 0).unwrap();
    let (reach, matrix) = run.phase_two_at_aggregator(peeled.clone()).unwrap();
    let opened = run.phase_three(matrix.clone(), 0).unwrap();
    let distribution = run.phase_three_at_aggregator(opened.clone()).unwrap();
    let [first, second] = requisitions;
    let messages = vec![first, second, setup, blinded, tuples, peeled, matrix, opened];
    (messages, Outcome { reach, distribution })
}

#[test]
fn messages_depend_on_the_seed_and_not_on_threads() {
    let pool = |threads| Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    let on = |threads| KernelContext::new(Executor::on(pool(threads)), StreamSeed::new([5; 32]));
    assert!(messages(context(5)) == messages(on(3)), "one thread and three give different bytes");
    let setup =
        |seed| Run::<Ristretto255>::new(measurement(), 2, context(seed)).setup(&[Vec::new(), Vec::new()]);
    assert_eq!(setup(5), setup(5));
    assert_ne!(setup(5), setup(6));
}

#[test]
fn another_request_shares_no_randomness() {
    let run = Run::<Ristretto255>::new(measurement(), 2, context(7));
    let setup = |requisitions: &[u8]| run.setup_at_one(requisitions.to_vec(), Vec::new()).unwrap();
    let length = Layout::REGISTER.length::<Ristretto255>();
    let parameters =
        SketchParameters { decay_rate: 4.0, size: 20_000, sampling_indicator_size: 1_000_000, salt: None };
    let registers = run.encrypt(plain_sketch(&parameters, [(1, 1)]));
    let (without, with) = (setup(&[]), setup(&registers));
    let common =
        without.chunks_exact(length).filter(|noise| with.chunks_exact(length).any(|other| other == *noise));
    assert_eq!(common.count(), 0);
}

#[test]
fn a_cancelled_kernel_says_so() {
    let executor = Executor::serial();
    let control = executor.control().clone();
    let mut run = Run::<Ristretto255>::new(measurement(), 2, context(8));
    run.context = KernelContext::new(executor, StreamSeed::new([8; 32]));
    control.cancel();
    assert!(matches!(run.setup_at_one(Vec::new(), Vec::new()), Err(KernelError::Cancelled(_))));
}
