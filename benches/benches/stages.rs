//! Every stage of Liquid Legions v2 and of its reach-only form ([`Computation`]): what it takes for a record on one thread,
//! beside one multiplication by OpenSSL in the same run, what it gains from a second thread, and what it holds in memory.
//! The primitives of a ciphertext come first.
//!
//! `--quick` passes twice over what is slow; other arguments are parts of names to measure. The feature `large` adds
//! larger sketches.

use std::hint::black_box;
use std::path::Path;

use halo_benches::computation::Computation;
use halo_benches::results::Recorder;
use halo_benches::stopwatch::{Stopwatch, Unit};
use halo_benches::{SIZES, SKETCH_SIZES, points, rng};
use halo_crypto::elgamal::{EncryptionKey, KeyPair};
use halo_crypto::noise::{DistributedNoise, NoiseMechanism, NoiseParameters, PrivacyParameters};
use halo_crypto::pohlig_hellman::BlindingKey;
use halo_crypto::{Group, P256, Ristretto255};
use peak_alloc::PeakAlloc;

/// Counts what is allocated, at a cost that does not show beside curve arithmetic.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    halo_benches::choose_backend()?;
    let mut stopwatch = Stopwatch::from_arguments(Unit::multiplication()?);
    stopwatch.print_heading();
    noise_samplers(&mut stopwatch)?;
    suite::<P256>(&mut stopwatch)?;
    suite::<Ristretto255>(&mut stopwatch)?;
    stopwatch.print_summary();
    stopwatch.record(&mut Recorder::create(Path::new(env!("CARGO_TARGET_TMPDIR")), "stages")?)?;
    Ok(())
}

fn noise_samplers(stopwatch: &mut Stopwatch) -> Result<(), Box<dyn std::error::Error>> {
    let privacy = PrivacyParameters { epsilon: 0.1, delta: 1e-9 };
    for (name, mechanism) in
        [("geometric", NoiseMechanism::Geometric), ("discrete Gaussian", NoiseMechanism::DiscreteGaussian)]
    {
        let noise =
            DistributedNoise::new(mechanism, &NoiseParameters { privacy, contributors: 3, sensitivity: 2 })?;
        let mut rng = rng();
        stopwatch.measure(&format!("{name} noise, draw"), SIZES[0], || {
            (0..SIZES[0]).map(|_| noise.sample(&mut rng)).max()
        });
    }
    Ok(())
}

fn suite<G: Group>(stopwatch: &mut Stopwatch) -> Result<(), Box<dyn std::error::Error>> {
    for count in SIZES {
        primitives::<G>(stopwatch, count);
    }
    for &count in SKETCH_SIZES {
        Computation::<G>::new(count)?.run(stopwatch)?;
    }
    Ok(())
}

fn primitives<G: Group>(stopwatch: &mut Stopwatch, count: usize) {
    let mut rng = rng();
    let keys = KeyPair::<G>::random(&mut rng);
    let blinding = BlindingKey::random(&mut rng);
    let public = EncryptionKey::new(keys.public);
    let messages = points::<G>(count);
    let name = |operation| format!("{} ElGamal {operation}, ciphertext", G::NAME);
    let mut ciphertexts = stopwatch.measure(&name("encrypt"), count, || public.encrypt(&messages, &mut rng));
    stopwatch.measure(&name("re-randomize"), count, || public.re_randomize(&mut ciphertexts, &mut rng));
    stopwatch.measure(&name("partial decrypt"), count, || ciphertexts.partial_decrypt(&keys.secret));
    stopwatch.measure(&name("blind"), count, || ciphertexts.blind(&keys.secret, &blinding));
    black_box(ciphertexts);
}
