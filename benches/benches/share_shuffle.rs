//! The share shuffle at 10^6 and 10^7 registers (and 10^8 with the feature `large`), on one thread where nothing else is
//! said: what its primitives (expanding, combining, shuffling, counting) and stages take for a register, in bytes per
//! second beside AES and a copy of memory in the same run; how many times as fast they are as AES and as a plain shuffle;
//! and what a stage was found to hold in memory. Times are the shortest of several passes.
//!
//! Rates are of registers as they lie in memory: a byte each in the stages and in what is shuffled, four in a decoded
//! message. Arguments are parts of names to measure.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aes::Aes256;
use aes::cipher::array::Array;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use halo_benches::{choose_backend, rng};
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
use memmap2::{Advice, MmapMut};
use openssl::symm::{Cipher, Crypter, Mode};
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
    choose_backend()?;
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
        input: impl FnMut() -> I,
        work: impl FnMut(I) -> T,
    ) -> T {
        self.time(name, width, input, work).0
    }

    /// As [`Bench::measure`]; gives the shortest time too, in nanoseconds a register.
    fn time<I, T>(
        &self,
        name: &str,
        width: usize,
        mut input: impl FnMut() -> I,
        mut work: impl FnMut(I) -> T,
    ) -> (T, f64) {
        let wanted = self.wants(name);
        let (mut shortest, mut elapsed) = (Duration::MAX, Duration::ZERO);
        loop {
            let input = input();
            let started = Instant::now();
            let result = black_box(work(input));
            let pass = started.elapsed();
            shortest = shortest.min(pass);
            elapsed += pass;
            if !wanted || elapsed >= ENOUGH {
                let nanoseconds = shortest.as_secs_f64() * 1e9 / self.registers as f64;
                if wanted {
                    let megabytes = width as f64 * 1e3 / nanoseconds;
                    println!("{name:<58}{:>12}{nanoseconds:>14.2}{megabytes:>11.0}", self.registers);
                }
                return (result, nanoseconds);
            }
        }
    }

    /// Prints how many times as fast one thing is as another, if all were measured.
    fn compare(&self, what: &str, ratio: f64) {
        if self.filters.is_empty() {
            println!("{what:<58}{:>12}{ratio:>14.2} times", self.registers);
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
        let bytes = vec![1u8; self.registers];
        let mut copy = vec![0u8; self.registers];
        self.measure("copy of memory", NARROW, || (), |()| copy.copy_from_slice(black_box(&bytes)));
        drop(copy);
        self.expansion(ring, &seed, bytes)?;
        self.permutation(&seed)?;
        let mut sums: Vec<u8> = (0..self.registers).map(|register| (register % 7) as u8).collect();
        self.measure("count", NARROW, Histogram::new, |mut histogram| {
            histogram.add_all(sums.iter().copied().map(u32::from));
            histogram
        });
        let share = vec![2u8; self.registers];
        self.measure("combine: add a share", NARROW, || (), |()| ring.add(&mut sums, &share))?;
        let mut sums = vec![1u32; self.registers];
        let share = expand(&seed, self.registers, ring)?;
        self.measure(
            "combine: add a decoded share",
            DECODED,
            || (),
            |()| ring.add(&mut sums, share.expose()),
        )?;
        Ok(())
    }

    /// AES on as many bytes as there are registers, then what a seed expands to. One in 128 bytes drawn is rejected.
    fn expansion(&self, ring: RingModulus, seed: &PrngSeed, mut sums: Vec<u8>) -> Result<(), AnyError> {
        const BUFFER: usize = 8192;
        let (key, iv) = seed.as_bytes().split_at(32);
        let mut buffer = [0u8; BUFFER];
        let mut encrypted = [0u8; 2 * BUFFER];
        let passes = self.registers.div_ceil(BUFFER);
        let openssl = || Crypter::new(Cipher::aes_256_ctr(), Mode::Encrypt, key, Some(iv)).expect("a cipher");
        self.measure("AES-256-CTR by OpenSSL", NARROW, openssl, |mut cipher| {
            (0..passes).try_for_each(|_| cipher.update(&buffer, &mut encrypted).map(drop))
        })?;
        let cipher = Aes256::new_from_slice(key)?;
        let ((), blocks) = self.time(
            "AES-256 by the crate aes",
            NARROW,
            || (),
            |()| {
                let (blocks, _) = Array::slice_as_chunks_mut(&mut buffer);
                (0..passes).for_each(|_| cipher.encrypt_blocks(blocks));
            },
        );
        let generator = || UniformGenerator::new(seed);
        let ((), stream) =
            self.time("AES-256-CTR, the generator's bytes", NARROW, generator, |mut generator| {
                (0..passes).for_each(|_| generator.fill_bytes(&mut buffer));
            });
        let mut expanded = 0;
        self.measure("expand a share", NARROW, generator, |mut generator| {
            generator.uniform_blocks(sums.len(), ring, |block: &[u8]| expanded += block.len())
        })?;
        let (outcome, added) = self.time("expand a share and add it", NARROW, generator, |mut generator| {
            let mut done = 0;
            generator.uniform_blocks(sums.len(), ring, |block: &[u8]| {
                ring.sums(&mut sums[done..done + block.len()], block);
                done += block.len();
            })
        });
        outcome?;
        let drawn = 128.0 / 127.0;
        self.compare("expand and add, in bytes drawn, of AES-256-CTR", drawn * stream / added);
        self.compare("expand and add, in bytes drawn, of AES-256 alone", drawn * blocks / added);
        Ok(())
    }

    /// Our shuffle, and the plain one after the specification, with the same seed.
    fn permutation(&self, seed: &PrngSeed) -> Result<(), AnyError> {
        let places = places(seed, self.registers);
        let mut wide: Vec<u32> = (0..self.registers as u32).collect();
        let ((), plain_moves) = self.time(
            "plain Fisher-Yates on u32, given the places",
            DECODED,
            || (),
            |()| exchange(&mut wide, &places),
        );
        drop(places);
        let ((), plain) =
            self.time("plain Fisher-Yates on u32", DECODED, || (), |()| plain_shuffle(&mut wide, seed));
        drop(wide);
        let serial = Executor::serial();
        let shuffle = |elements: &mut [u8]| halo_crypto::shuffle(elements, seed, &serial);
        // Elements without a size do not have to be moved.
        let (outcome, computed) = self.time(
            "shuffle: the places alone",
            NARROW,
            || vec![(); self.registers],
            |mut elements| halo_crypto::shuffle(&mut elements, seed, &serial),
        );
        outcome?;
        let mut narrow = vec![1u8; self.registers];
        let (outcome, ours) = self.time("shuffle", NARROW, || (), |()| shuffle(&mut narrow));
        outcome?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
        let two = Executor::on(Arc::new(pool));
        let (outcome, ours_on_two) = self.time(
            "shuffle on two threads",
            NARROW,
            || (),
            |()| halo_crypto::shuffle(&mut narrow, seed, &two),
        );
        outcome?;
        drop(narrow);
        let mut huge = MmapMut::map_anon(self.registers)?;
        huge.advise(Advice::HugePage)?;
        huge.fill(1);
        let (outcome, ours_huge) = self.time("shuffle on huge pages", NARROW, || (), |()| shuffle(&mut huge));
        outcome?;
        self.compare("shuffle, of plain Fisher-Yates on u32", plain / ours);
        self.compare("shuffle on huge pages, of plain Fisher-Yates on u32", plain / ours_huge);
        self.compare("shuffle on two threads, of that on one", ours / ours_on_two);
        self.compare("moves alone, of plain ones on u32", plain_moves / (ours - computed));
        self.compare("moves alone on huge pages, of plain ones on u32", plain_moves / (ours_huge - computed));
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

/// The shuffle as the specification has it: a draw, a remainder, an exchange; except that not all draws are held at once.
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
