//! The share shuffle at 10^6 and 10^7 registers (and 10^8 with the feature `large`), on one thread where nothing else is
//! said: what its primitives (expanding, combining, shuffling, counting) take for a register, beside AES on a byte, a copy
//! of memory and a plain shuffle in the same run, how many times as fast they are; and what its stages take, what they gain
//! from a second thread, and what they hold in memory.
//!
//! A register is a byte in the stages and in what is shuffled, four in a decoded message. `--quick` passes twice over what
//! is slow; other arguments are parts of names to measure.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use aes::Aes256;
use aes::cipher::array::Array;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use halo_benches::results::Recorder;
use halo_benches::rng;
use halo_benches::stopwatch::{Memory, Stopwatch, Unit};
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
use halo_protocols::{Computation, DuchyId};
use memmap2::{Advice, MmapMut};
use openssl::symm::{Cipher, Crypter, Mode};
use peak_alloc::PeakAlloc;
use prost::Message;

type AnyError = Box<dyn std::error::Error>;

const SIZES: &[usize] =
    if cfg!(feature = "large") { &[1_000_000, 10_000_000, 100_000_000] } else { &[1_000_000, 10_000_000] };

/// The modulus of production.
const MODULUS: u32 = 127;

/// The cipher works on as much at a time, which stays in the nearest cache.
const BUFFER: usize = 8192;

/// Of 128 bytes drawn one is rejected.
const DRAWN: f64 = 128.0 / 127.0;

/// What is compared at the end.
const CIPHER: &str = "AES-256 by the crate aes";
const GENERATOR: &str = "AES-256-CTR, the generator's bytes";
const EXPAND_AND_ADD: &str = "expand a share and add it";
const PLAIN_MOVES: &str = "plain Fisher-Yates on u32, given the places";
const PLAIN_SHUFFLE: &str = "plain Fisher-Yates on u32";
const PLACES: &str = "shuffle: the places alone";
const SHUFFLE: &str = "shuffle";
const SHUFFLE_ON_TWO_THREADS: &str = "shuffle on two threads";
const SHUFFLE_ON_HUGE_PAGES: &str = "shuffle on huge pages";

/// Counts what is allocated; a stage allocates a few large blocks, so that costs nothing.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

fn main() -> Result<(), AnyError> {
    halo_benches::choose_backend()?;
    let mut stopwatch = Stopwatch::from_arguments(encryption()?);
    stopwatch.print_heading();
    let pool = Executor::on(Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build()?));
    for &registers in SIZES {
        let mut bench = Bench { registers, pool: pool.clone(), stopwatch: &mut stopwatch };
        bench.primitives()?;
        for maximum_frequency in [5, 1] {
            bench.stages(maximum_frequency)?;
        }
    }
    stopwatch.print_summary();
    SIZES.iter().for_each(|registers| compare(&stopwatch, *registers));
    stopwatch.record(&mut Recorder::create(Path::new(env!("CARGO_TARGET_TMPDIR")), "share_shuffle")?)?;
    Ok(())
}

/// OpenSSL's encryption of a megabyte.
fn encryption() -> Result<Unit, AnyError> {
    const BUFFERS: usize = 128;
    let mut cipher = Crypter::new(Cipher::aes_256_ctr(), Mode::Encrypt, &[1; 32], Some(&[2; 16]))?;
    let (buffer, mut encrypted) = ([0; BUFFER], [0; 2 * BUFFER]);
    let work = move || {
        for _ in 0..BUFFERS {
            cipher.update(&buffer, &mut encrypted).expect("there is room for what is encrypted");
        }
    };
    Ok(Unit {
        name: "OpenSSL: one byte of AES-256-CTR",
        count: (BUFFERS * BUFFER) as u32,
        work: Box::new(work),
    })
}

/// Prints how many times as fast one thing is as another, if both were measured.
fn compare(stopwatch: &Stopwatch, registers: usize) {
    let took = |name| stopwatch.seconds(name, registers);
    let moves = |shuffled| Some(took(shuffled)? - took(PLACES)?);
    let ratio = |slow: Option<f64>, fast: Option<f64>| Some(slow? / fast?);
    let drawn = |cipher| Some(DRAWN * took(cipher)?);
    println!("\n{:<58}{:>9}{:>20}", "work", "records", "times as fast");
    for (what, times) in [
        ("expand and add, in bytes drawn, of AES-256-CTR", ratio(drawn(GENERATOR), took(EXPAND_AND_ADD))),
        ("expand and add, in bytes drawn, of AES-256 alone", ratio(drawn(CIPHER), took(EXPAND_AND_ADD))),
        ("shuffle, of plain Fisher-Yates on u32", ratio(took(PLAIN_SHUFFLE), took(SHUFFLE))),
        (
            "shuffle on huge pages, of plain Fisher-Yates on u32",
            ratio(took(PLAIN_SHUFFLE), took(SHUFFLE_ON_HUGE_PAGES)),
        ),
        ("shuffle on two threads, of that on one", ratio(took(SHUFFLE), took(SHUFFLE_ON_TWO_THREADS))),
        ("moves alone, of plain ones on u32", ratio(took(PLAIN_MOVES), moves(SHUFFLE))),
        (
            "moves alone on huge pages, of plain ones on u32",
            ratio(took(PLAIN_MOVES), moves(SHUFFLE_ON_HUGE_PAGES)),
        ),
    ] {
        if let Some(times) = times {
            println!("{what:<58}{registers:>9}{times:>19.2}×");
        }
    }
}

struct Bench<'s> {
    registers: usize,
    /// Of two threads.
    pool: Executor,
    stopwatch: &'s mut Stopwatch,
}

impl Bench<'_> {
    fn measure<T>(&mut self, name: &str, work: impl FnMut() -> T) -> T {
        self.stopwatch.measure(name, self.registers, work)
    }

    fn measure_on<I, T>(&mut self, name: &str, input: impl FnMut() -> I, work: impl FnMut(I) -> T) -> T {
        self.stopwatch.measure_on(name, self.registers, input, work)
    }

    /// A stage on an input of `received` bytes: first to see what is held in memory, then against the clock. Of what it
    /// answers, `sent` tells the bytes.
    fn stage<I, T>(
        &mut self,
        name: &str,
        received: usize,
        input: impl Fn() -> I,
        work: impl Fn(I, &KernelContext) -> Result<T, AnyError>,
        sent: impl Fn(&T) -> usize,
    ) -> Result<T, AnyError> {
        let [one, two] = [Executor::serial(), self.pool.clone()].map(|executor| context(executor, 9));
        let (answer, peak) = Memory::peak(&input, |input| work(input, &one));
        let answer = answer?;
        let memory = Memory { peak, messages: received + sent(&answer) };
        self.stopwatch.measure_stage(name, self.registers, memory, [&one, &two], input, work);
        Ok(answer)
    }

    fn primitives(&mut self) -> Result<(), AnyError> {
        let ring = RingModulus::new(MODULUS)?;
        let seed = PrngSeed::random(&mut rng());
        let bytes = vec![1u8; self.registers];
        let mut copy = vec![0u8; self.registers];
        self.measure("copy of memory", || copy.copy_from_slice(black_box(&bytes)));
        drop(copy);
        self.expansion(ring, &seed, bytes)?;
        self.permutation(&seed)?;
        let mut sums: Vec<u8> = (0..self.registers).map(|register| (register % 7) as u8).collect();
        self.measure_on("count", Histogram::new, |mut histogram| {
            histogram.add_all(sums.iter().copied().map(u32::from));
            histogram
        });
        let share = vec![2u8; self.registers];
        self.measure("combine: add a share", || ring.add(&mut sums, &share))?;
        let mut sums = vec![1u32; self.registers];
        let share = expand(&seed, self.registers, ring)?;
        self.measure("combine: add a decoded share", || ring.add(&mut sums, share.expose()))?;
        Ok(())
    }

    /// AES on as many bytes as there are registers, then what a seed expands to.
    fn expansion(&mut self, ring: RingModulus, seed: &PrngSeed, mut sums: Vec<u8>) -> Result<(), AnyError> {
        let mut buffer = [0u8; BUFFER];
        let passes = self.registers.div_ceil(BUFFER);
        let (key, _) = seed.as_bytes().split_at(32);
        let cipher = Aes256::new_from_slice(key)?;
        self.measure(CIPHER, || {
            let (blocks, _) = Array::slice_as_chunks_mut(&mut buffer);
            (0..passes).for_each(|_| cipher.encrypt_blocks(blocks));
        });
        let generator = || UniformGenerator::new(seed);
        self.measure_on(GENERATOR, generator, |mut generator| {
            (0..passes).for_each(|_| generator.fill_bytes(&mut buffer));
        });
        let mut expanded = 0;
        self.measure_on("expand a share", generator, |mut generator| {
            generator.uniform_blocks(sums.len(), ring, |block: &[u8]| expanded += block.len())
        })?;
        self.measure_on(EXPAND_AND_ADD, generator, |mut generator| {
            let mut done = 0;
            generator.uniform_blocks(sums.len(), ring, |block: &[u8]| {
                ring.sums(&mut sums[done..done + block.len()], block);
                done += block.len();
            })
        })?;
        Ok(())
    }

    /// Our shuffle, and the plain one, with the same seed.
    fn permutation(&mut self, seed: &PrngSeed) -> Result<(), AnyError> {
        let places = places(seed, self.registers);
        let mut wide: Vec<u32> = (0..self.registers as u32).collect();
        self.measure(PLAIN_MOVES, || exchange(&mut wide, &places));
        drop(places);
        self.measure(PLAIN_SHUFFLE, || plain_shuffle(&mut wide, seed));
        drop(wide);
        let (one, two) = (Executor::serial(), self.pool.clone());
        // Elements without a size do not have to be moved.
        let mut sizeless = vec![(); self.registers];
        self.measure(PLACES, || halo_crypto::shuffle(&mut sizeless, seed, &one))?;
        let mut narrow = vec![1u8; self.registers];
        self.measure(SHUFFLE, || halo_crypto::shuffle(&mut narrow, seed, &one))?;
        self.measure(SHUFFLE_ON_TWO_THREADS, || halo_crypto::shuffle(&mut narrow, seed, &two))?;
        drop(narrow);
        let mut huge = MmapMut::map_anon(self.registers)?;
        huge.advise(Advice::HugePage)?;
        huge.fill(1);
        self.measure(SHUFFLE_ON_HUGE_PAGES, || halo_crypto::shuffle(&mut huge, seed, &one))?;
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
                // The other providers' would take as long.
                let shares = if provider == 0 {
                    self.stage(
                        &format!("{kind}: GenerateSecretShares"),
                        size_of_val(data.as_slice()),
                        request,
                        |request, context| Ok(generate_secret_shares(&request, context)?),
                        |shares| size_of_val(shares.share_vector.as_slice()),
                    )?
                } else {
                    generate_secret_shares(&request(), &context(Executor::serial(), provider))?
                };
                Ok::<_, AnyError>((provider, shares))
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
            let output = self.stage(
                &name,
                inputs.vectors.iter().map(|share| share.frequency_vector.len()).sum(),
                || Event::Shuffle(inputs.clone()),
                |event, context| {
                    let step = shuffling(role, worker, maximum_frequency).step(event, context)?;
                    let output = step.effects.into_iter().find_map(|effect| match effect {
                        Effect::Keep(payload) => Some(payload),
                        _ => None,
                    });
                    Ok(output.ok_or("no output")?)
                },
                |output| output.as_bytes().len(),
            )?;
            messages.push(output.into_bytes());
        }
        let name = format!("{kind}: aggregation phase");
        self.stage(
            &name,
            messages.iter().map(Vec::len).sum(),
            || Event::Aggregate(AggregationInputs { messages: messages.clone() }),
            |event, context| {
                let setting = setting(Role::Aggregator, maximum_frequency);
                Ok(State::AggregationPhase(setting).step(event, context)?.effects)
            },
            // A count for each frequency.
            |_| 0,
        )?;
        Ok(())
    }
}

/// The shuffle as it is described (docs/protocols/hmss.md): a draw, a remainder, an exchange; except that not all draws are held at once.
fn plain_shuffle(elements: &mut [u32], seed: &PrngSeed) {
    draws(seed, elements.len(), |index, place| elements.swap(index, place));
}

fn places(seed: &PrngSeed, length: usize) -> Vec<u32> {
    let mut places = Vec::with_capacity(length);
    draws(seed, length, |_, place| places.push(place as u32));
    places
}

fn draws(seed: &PrngSeed, length: usize, mut place: impl FnMut(usize, usize)) {
    let mut generator = UniformGenerator::new(seed);
    let mut bytes = [0; 8192];
    let mut index = 0;
    while index + 1 < length {
        generator.fill_bytes(&mut bytes);
        for draw in bytes.as_chunks().0.iter().take(length - 1 - index) {
            place(index, index + remainder(u128::from_le_bytes(*draw), (length - index) as u64) as usize);
            index += 1;
        }
    }
}

/// By three divisions of 64 bits, which is faster than one of 128.
fn remainder(draw: u128, places: u64) -> u64 {
    let mut remainder = (draw >> 64) as u64 % places;
    for word in [draw as u64 >> 32, u64::from(draw as u32)] {
        remainder = (remainder << 32 | word) % places;
    }
    remainder
}

fn exchange(elements: &mut [u32], places: &[u32]) {
    for (index, place) in places.iter().enumerate() {
        elements.swap(index, *place as usize);
    }
}

fn context(executor: Executor, seed: u8) -> KernelContext {
    KernelContext::new(executor, StreamSeed::new([seed; 32]))
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
