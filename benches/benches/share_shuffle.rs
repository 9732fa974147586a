//! The share shuffle at 10^6 and 10^7 registers (and 10^8 with the feature `large`), on one thread: what its primitives
//! (expanding, combining, shuffling, counting) and stages take for a register, in bytes per second beside AES-256-CTR and
//! a copy of memory in the same run, and what a stage was found to hold in memory.
//!
//! Rates are of registers as they lie in memory: a byte each in the stages and in what is shuffled, four in a decoded
//! message. Arguments are parts of names to measure.

use std::hint::black_box;
use std::time::{Duration, Instant};

use halo_benches::rng;
use halo_crypto::Secret;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::{PrngSeed, StreamSeed, UniformGenerator};
use halo_crypto::ring::RingModulus;
use halo_crypto::secret_sharing::expand;
use halo_protocols::estimate::Histogram;
use halo_protocols::hmss::{
    AggregationInputs, Effect, Event, Parameters, Role, SeedShare, Setting, ShuffleInputs, State,
    VectorShare, Worker, WorkerKeys, generate_secret_shares,
};
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::duchy::EncryptionKeyPair;
use halo_protocols::proto::frequency_count::{FrequencyVector, SecretShareGeneratorRequest};
use halo_protocols::proto::protocol::honest_majority_share_shuffle::ShufflePhaseInput;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;
use halo_protocols::{Computation, DuchyId, Step};
use peak_alloc::PeakAlloc;
use prost::Message;

type AnyError = Box<dyn std::error::Error>;

const SIZES: &[usize] =
    if cfg!(feature = "large") { &[1_000_000, 10_000_000, 100_000_000] } else { &[1_000_000, 10_000_000] };

/// The modulus of production.
const MODULUS: u32 = 127;

/// Long enough for a rate, short enough for all of them.
const ENOUGH: Duration = Duration::from_millis(500);

/// Bytes of a register as the stages hold it with the modulus of production, and in a decoded message.
const NARROW: usize = 1;
const DECODED: usize = size_of::<u32>();

/// Counts what is allocated; a stage allocates a few large blocks, so that costs nothing.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

fn main() -> Result<(), AnyError> {
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    println!("{:<58}{:>12}{:>14}{:>11}", "work", "registers", "ns/register", "MB/s");
    for &registers in SIZES {
        let mut bench = Bench { filters: &filters, registers };
        bench.primitives()?;
        for maximum_frequency in [5, 1] {
            bench.stages(maximum_frequency)?;
        }
    }
    Ok(())
}

struct Bench<'f> {
    filters: &'f [String],
    registers: usize,
}

impl Bench<'_> {
    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    /// Times `work`, in which a register takes `width` bytes. Inputs are made before the clock starts.
    fn measure<I, T>(
        &self,
        name: &str,
        width: usize,
        mut input: impl FnMut() -> I,
        mut work: impl FnMut(I) -> T,
    ) -> T {
        let wanted = self.wants(name);
        let (mut passes, mut elapsed) = (0, Duration::ZERO);
        loop {
            let input = input();
            let started = Instant::now();
            let result = black_box(work(input));
            elapsed += started.elapsed();
            passes += 1;
            if !wanted || elapsed >= ENOUGH {
                if wanted {
                    let seconds = elapsed.as_secs_f64() / f64::from(passes) / self.registers as f64;
                    let (nanoseconds, megabytes) = (seconds * 1e9, width as f64 * 1e-6 / seconds);
                    println!("{name:<58}{:>12}{nanoseconds:>14.2}{megabytes:>11.0}", self.registers);
                }
                return result;
            }
        }
    }

    /// As [`Bench::measure`], for a stage: prints too what it holds at once, its input and its output among it.
    fn measure_stage<I, T>(
        &self,
        name: &str,
        width: usize,
        input: impl Fn() -> I,
        work: impl Fn(I) -> T,
    ) -> T {
        if self.wants(name) {
            let before = ALLOCATED.current_usage();
            let input = input();
            ALLOCATED.reset_peak_usage();
            drop(black_box(work(input)));
            let held = (ALLOCATED.peak_usage() - before) as f64 / self.registers as f64;
            println!("{name:<58}{:>12} holds {held:.2} bytes a register", self.registers);
        }
        self.measure(name, width, input, work)
    }

    fn primitives(&mut self) -> Result<(), AnyError> {
        let ring = RingModulus::new(MODULUS)?;
        let seed = PrngSeed::random(&mut rng());
        let mut bytes = vec![1u8; self.registers];
        let mut copy = vec![0u8; self.registers];
        self.measure("copy of memory", NARROW, || (), |()| copy.copy_from_slice(black_box(&bytes)));
        self.measure("AES-256-CTR", NARROW, || (), |()| UniformGenerator::new(&seed).fill_bytes(&mut copy));
        let mut expanded = 0;
        self.measure(
            "expand a share",
            NARROW,
            || UniformGenerator::new(&seed),
            |mut generator| generator.uniform_blocks(bytes.len(), ring, |block| expanded += block.len()),
        )?;
        self.measure("shuffle", NARROW, || (), |()| halo_crypto::shuffle(&mut bytes, &seed))?;
        drop((bytes, copy));
        let mut sums = vec![1u32; self.registers];
        let share = expand(&seed, self.registers, ring)?;
        self.measure("combine: add a share", DECODED, || (), |()| ring.add(&mut sums, share.expose()))?;
        self.measure("count", DECODED, Histogram::new, |mut histogram| {
            sums.iter().for_each(|sum| histogram.add(*sum));
            histogram
        });
        Ok(())
    }

    /// Three data providers: a vector and two seeds at the first worker, the opposite at the second.
    fn stages(&mut self, maximum_frequency: u32) -> Result<(), AnyError> {
        let kind = if maximum_frequency == 1 { "reach only" } else { "reach and frequency" };
        let data: Vec<u32> =
            (0..self.registers as u32).map(|register| register % (maximum_frequency + 1)).collect();
        let shares = (0u8..3)
            .map(|provider| {
                let request = || SecretShareGeneratorRequest { ring_modulus: MODULUS, data: data.clone() };
                let name = format!("{kind}: GenerateSecretShares");
                let answer = |request| generate_secret_shares(&request, &context(provider));
                // The other providers' would take as long.
                let shares = if provider == 0 {
                    self.measure_stage(&name, DECODED, request, answer)
                } else {
                    answer(request())
                };
                shares.map(|shares| (provider, shares))
            })
            .collect::<Result<Vec<_>, _>>()?;
        drop(data);
        let mut inputs = [ShuffleInputs::default(), ShuffleInputs::default()];
        let mut sent = [Vec::new(), Vec::new()];
        for (provider, shares) in shares {
            let requisition = format!("requisition{provider}");
            let [vector, seed] = if provider == 0 { [0, 1] } else { [1, 0] };
            let prng = shares.share_seed.as_ref().ok_or("a share without a seed")?;
            inputs[seed].seeds.push(SeedShare {
                requisition: requisition.clone(),
                seed: Secret::new([prng.key.as_slice(), &prng.iv].concat()),
            });
            sent[seed].push(SecretSeed {
                requisition_id: requisition.clone(),
                register_count: self.registers as i64,
                ..SecretSeed::default()
            });
            inputs[vector].vectors.push(VectorShare {
                requisition,
                register_count: self.registers as i64,
                frequency_vector: FrequencyVector { data: shares.share_vector }.encode_to_vec(),
            });
        }
        let roles = [Role::FirstNonAggregator, Role::SecondNonAggregator];
        let mut messages = Vec::new();
        for (worker, ((mut inputs, secret_seeds), role)) in
            inputs.into_iter().zip(sent).zip(roles).enumerate()
        {
            inputs.requisitions = (0..3).map(|provider| format!("requisition{provider}")).collect();
            let peer_random_seed = vec![2 - worker as u8; 48];
            inputs.peer_message = ShufflePhaseInput { peer_random_seed, secret_seeds }.encode_to_vec();
            let name = format!("{kind}: shuffle phase, {} of 3 shares vectors", inputs.vectors.len());
            let event = || Event::Shuffle(inputs.clone());
            let Step { effects, .. } = self.measure_stage(&name, NARROW, event, |event| {
                shuffling(role, worker, maximum_frequency).step(event, &context(9))
            })?;
            let output = effects.into_iter().find_map(|effect| match effect {
                Effect::Keep(payload) => Some(payload.into_bytes()),
                _ => None,
            });
            messages.push(output.ok_or("no output")?);
        }
        let name = format!("{kind}: aggregation phase");
        let event = || Event::Aggregate(AggregationInputs { messages: messages.clone() });
        self.measure_stage(&name, NARROW, event, |event| {
            let setting = setting(Role::Aggregator, maximum_frequency);
            State::AggregationPhase(setting).step(event, &context(9)).map(|step| step.effects)
        })?;
        Ok(())
    }
}

fn context(seed: u8) -> KernelContext {
    KernelContext::new(Executor::serial(), StreamSeed::new([seed; 32]))
}

fn shuffling(role: Role, worker: usize, maximum_frequency: u32) -> State {
    let random_seed = PrngSeed::from_bytes(&[1 + worker as u8; 48]).expect("a whole seed");
    let encryption_key_pair = EncryptionKeyPair::default();
    State::ShufflePhase(Worker {
        setting: setting(role, maximum_frequency),
        keys: WorkerKeys { random_seed, encryption_key_pair },
    })
}

/// No noise: its registers are a matter of the privacy parameters, and cost what others cost.
fn setting(role: Role, maximum_frequency: u32) -> Setting {
    let [first, second, aggregator] = ["worker1", "worker2", "aggregator"].map(DuchyId::from);
    let mut setting = Setting {
        computation: "bench".into(),
        duchy: first.clone(),
        role,
        non_aggregators: [first, second],
        aggregator,
        requisition_count: 3,
        parameters: Parameters {
            maximum_frequency: maximum_frequency as i32,
            ring_modulus: MODULUS as i32,
            vid_sampling_width: 1.0,
            noise: None,
        },
    };
    setting.duchy = setting.duchy_as(role).clone();
    setting
}
