//! Differential privacy as an invariant of a stage: what noise it adds is accounted for before anything is stored or
//! sent, and less than the parameters demand ends the computation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use halo_protocols::llv2::NoisePolicy;
use halo_protocols::{Effect, NoiseAccount, NoiseComponent, StageNoise};
use serde_json::json;

use super::MillError;
use super::work::Work;
use crate::audit::{Entry, Event, Outcome};
use crate::seeds::Commitment;

/// How many stages are remembered by their seeds.
const REMEMBERED: usize = 16 << 10;

/// What was tried, in errors.
const ACCOUNTING: &str = "accounting for noise";

/// Why a computation without noise is refused.
const WITHOUT_NOISE: &str =
    "the computation is without noise; this mill was not started with --insecure-dev-allow-no-noise";

/// Whether a stage may not be worked on for lack of noise.
fn is_refused(noise: &StageNoise, policy: NoisePolicy) -> bool {
    matches!((noise, policy), (StageNoise::Disabled, NoisePolicy::Required))
}

/// The seeds that this process has drawn noise from, by their commitments: no two stages may have one in common.
#[derive(Debug, Default)]
pub(super) struct UsedSeeds(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    stages: BTreeMap<Commitment, String>,
    oldest_first: VecDeque<Commitment>,
}

impl UsedSeeds {
    /// Remembers what `seed` is used for. Another attempt at the same stage has the same seed.
    ///
    /// # Errors
    /// What it was used for before, if that is something else.
    fn use_for(&self, seed: Commitment, stage: &str) -> Result<(), String> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match used.stages.get(&seed) {
            Some(before) if before == stage => return Ok(()),
            Some(before) => return Err(before.clone()),
            None => {}
        }
        if used.oldest_first.len() == REMEMBERED
            && let Some(oldest) = used.oldest_first.pop_front()
        {
            used.stages.remove(&oldest);
        }
        used.stages.insert(seed, stage.to_owned());
        used.oldest_first.push_back(seed);
        Ok(())
    }
}

/// What a stage was given to work on, as far as its output must be longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Bytes that the output must carry.
    pub(super) bytes: u64,
    /// Messages and requisitions that they are in.
    pub(super) messages: u64,
    /// Whether an earlier attempt kept the output, and accounted for it.
    pub(super) kept: bool,
}

impl Work {
    /// Refuses a computation that is without noise, unless this mill may work on such.
    pub(super) fn require_noise(&self, noise: &StageNoise) -> Result<(), MillError> {
        match is_refused(noise, self.mill.options.noise_policy) {
            true => Err(self.noise_missing(WITHOUT_NOISE)),
            false => Ok(()),
        }
    }

    /// Checks that the output of a stage has the noise that `noise` demands, and records it.
    pub(super) fn account_for_noise<M>(
        &self,
        noise: &StageNoise,
        seed: Commitment,
        given: Given,
        effects: &[Effect<M>],
    ) -> Result<(), MillError> {
        let StageNoise::Added(account) = noise else { return Ok(()) };
        if given.kept {
            return Ok(());
        }
        let outputs = effects.iter().filter_map(|effect| match effect {
            Effect::Keep(payload) => Some(payload.as_bytes().len() as u64),
            _ => None,
        });
        let output_bytes = outputs.max().unwrap_or_default();
        let checked = account.check((given.bytes, given.messages), output_bytes);
        checked.map_err(|missing| self.noise_missing(&missing.to_string()))?;
        let what = format!("{} of {}", self.stage_name(), self.token.global_computation_id);
        let used = self.mill.used_seeds.use_for(seed, &format!("{}: {what}", self.mill.parts.duchy));
        used.map_err(|before| self.noise_missing(&format!("its seed was used before, for {before}")))?;
        tracing::info!(records = account.records, components = account.components.len(), %seed, "noise added");
        self.noise_entry(account, seed).try_record().map_err(|error| MillError::transient(ACCOUNTING)(&error))
    }

    fn noise_entry(&self, account: &NoiseAccount, seed: Commitment) -> Entry {
        let component = |component: &NoiseComponent| {
            json!({
                "purpose": component.purpose,
                "mechanism": component.mechanism,
                "epsilon": component.epsilon,
                "delta": component.delta,
                "sensitivity": component.sensitivity,
                "contributors": component.contributors,
                "shift": component.offset,
                "draws": component.draws,
            })
        };
        let components: Vec<_> = account.components.iter().map(component).collect();
        self.entry(Event::NoiseAdded, Outcome::Done)
            .detail("components", components)
            .detail("records", account.records)
            .detail("seed", seed.to_string())
    }

    fn noise_missing(&self, reason: &str) -> MillError {
        self.entry(Event::NoiseMissing, Outcome::Refused).reason(reason).record();
        MillError::Permanent { what: ACCOUNTING, reason: format!("less noise than demanded: {reason}") }
    }
}

#[cfg(test)]
mod tests {
    use halo_crypto::prg::StreamSeed;

    use super::*;

    fn commitment(byte: u8) -> Commitment {
        Commitment::of(&StreamSeed::new([byte; 32]))
    }

    #[test]
    fn noise_that_is_disabled_is_let_through_for_development_only() {
        assert!(is_refused(&StageNoise::Disabled, NoisePolicy::Required));
        assert!(!is_refused(&StageNoise::Disabled, NoisePolicy::AllowNone));
        assert!(!is_refused(&StageNoise::NotHere, NoisePolicy::Required));
    }

    #[test]
    fn a_seed_is_for_one_stage() {
        let used = UsedSeeds::default();
        assert_eq!(used.use_for(commitment(1), "SETUP_PHASE of a"), Ok(()));
        assert_eq!(used.use_for(commitment(2), "SETUP_PHASE of b"), Ok(()));
        assert_eq!(used.use_for(commitment(1), "SETUP_PHASE of a"), Ok(()), "another attempt");
        assert_eq!(used.use_for(commitment(1), "SETUP_PHASE of b"), Err("SETUP_PHASE of a".to_owned()));
    }

    #[test]
    fn the_oldest_seeds_are_forgotten() {
        let used = UsedSeeds::default();
        for index in 0..=REMEMBERED {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&(index as u64).to_be_bytes());
            assert_eq!(used.use_for(Commitment::of(&StreamSeed::new(seed)), "a"), Ok(()));
        }
        assert_eq!(used.0.lock().expect("sound").stages.len(), REMEMBERED);
        assert_eq!(used.use_for(Commitment::of(&StreamSeed::new([0; 32])), "b"), Ok(()), "forgotten");
    }
}
