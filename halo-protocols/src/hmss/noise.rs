//! A worker's noise: registers that stand for people who were not there (docs/protocols/hmss.md#the-shuffled-vector).
//!
//! Their number is fixed; what they hold is private to the worker and drawn afresh, unlike all else that it draws.

use halo_crypto::prg::{PrngSeed, StreamSeed, UniformGenerator};
use halo_crypto::ring::Residue;

use super::parameters::VectorNoise;
use super::{FrequencyVectorParameters, ShareShuffleError};

/// Appends a worker's noise registers to `registers`.
///
/// For reach and frequency: as many empty registers as the reach noise draws, as many of each frequency as that
/// frequency's noise draws, the rest sentinels. For reach alone: as many registers with random values other than 0 as
/// the reach noise draws, the rest empty.
pub(super) fn append<T: Residue>(
    registers: &mut Vec<T>,
    parameters: &FrequencyVectorParameters,
    noise: &VectorNoise,
    streams: &StreamSeed,
) -> Result<(), ShareShuffleError> {
    let mut rng = streams.stream("noise", 0);
    let start = registers.len();
    // No draw is more than twice its mean, so neither sum exceeds the length.
    let end = start + parameters.noise_length() as usize;
    let reach = noise.reach.sample(&mut rng) as usize;
    let filler = match &noise.frequency {
        Some(frequency) => {
            registers.resize(start + reach, T::default());
            for value in 1..=parameters.maximum_combined_frequency() {
                let copies = frequency.sample(&mut rng) as usize;
                registers.resize(registers.len() + copies, T::narrow(value));
            }
            T::narrow(parameters.sentinel())
        }
        None => {
            let mut values = UniformGenerator::new(&PrngSeed::random(&mut rng));
            values.uniform_nonzero_blocks(reach, parameters.modulus(), |block| {
                registers.extend_from_slice(block);
            })?;
            T::default()
        }
    };
    registers.resize(end, filler);
    Ok(())
}
