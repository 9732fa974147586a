//! Every seed, whole and damaged in a few ways, through its target: finds what a search would find at once, with
//! nothing but the stable compiler.

use std::panic::catch_unwind;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halo_fuzz::TARGETS;
use halo_fuzz::seeds::seeds;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Targets count the memory of the whole process, so one runs at a time.
static TARGET: Mutex<()> = Mutex::new(());

#[test]
fn seeds_and_their_damaged_copies_break_no_promise() -> std::io::Result<()> {
    let _alone = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, target) in TARGETS {
        let seeds = seeds(name)?;
        assert!(!seeds.is_empty(), "{name} has no seed");
        for seed in &seeds {
            for input in damaged(seed) {
                target(&input);
            }
        }
        println!("{name}: {} seeds", seeds.len());
    }
    Ok(())
}

/// The input cut short at several places, and with single bits turned.
fn damaged(seed: &[u8]) -> Vec<Vec<u8>> {
    let length = seed.len();
    let cut = [0, 1, length / 2, length.saturating_sub(1)].map(|end| seed[..end.min(length)].to_vec());
    let turned = [1, length / 3, length / 2, length.saturating_sub(2)].map(|position| {
        let mut copy = seed.to_vec();
        if let Some(byte) = copy.get_mut(position) {
            *byte ^= 1 << (position % 8);
        }
        copy
    });
    [seed.to_vec()].into_iter().chain(cut).chain(turned).collect()
}

/// What blind changes begin with, so that whoever repeats the test tries the same inputs in the same order.
const SEED: u64 = 9;

/// How long each target is given inputs that were changed blindly: a slow machine tries the first of those that a fast one tries.
const BLIND: Duration = Duration::from_millis(700);

/// A search for what is not known yet is longer and has another seed: `HALO_FUZZ_SECONDS` gives each target so long,
/// `HALO_FUZZ_SEED` is a number.
#[test]
fn blind_changes_break_no_promise() -> std::io::Result<()> {
    let _alone = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
    let number = |variable| std::env::var(variable).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = number("HALO_FUZZ_SEED").unwrap_or(SEED);
    let blind = number("HALO_FUZZ_SECONDS").map_or(BLIND, Duration::from_secs);
    println!("HALO_FUZZ_SEED={seed}");
    for (name, target) in TARGETS {
        let (seeds, mut rng) = (seeds(name)?, ChaCha20Rng::seed_from_u64(seed));
        let (begun, mut inputs) = (Instant::now(), 0);
        while begun.elapsed() < blind {
            let input = changed(&seeds, &mut rng);
            let tried = catch_unwind(|| target(&input));
            assert!(tried.is_ok(), "{name}: {}", STANDARD.encode(&input));
            inputs += 1;
        }
        println!("{name}: {inputs} inputs");
    }
    Ok(())
}

/// One of the seeds with a few changes.
fn changed(seeds: &[Vec<u8>], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut below = |limit: usize| rng.next_u32() as usize % limit.max(1);
    let mut input = seeds[below(seeds.len())].clone();
    for _ in 0..=below(6) {
        let start = below(input.len() + 1);
        let end = (start + below(16)).min(input.len());
        match below(6) {
            0 => drop(input.drain(start..end)),
            1 => input.extend_from_within(start..end),
            2 => input.truncate(start),
            3 => {
                let other = &seeds[below(seeds.len())];
                let from = below(other.len() + 1);
                input.splice(start..end, other[from..(from + end - start).min(other.len())].iter().copied());
            }
            4 => input[start..end].fill([0, 1, 0x7f, 0x80, 0xff][below(5)]),
            _ => {
                if let Some(byte) = input.get_mut(start) {
                    *byte ^= 1 << below(8);
                }
            }
        }
    }
    input
}
