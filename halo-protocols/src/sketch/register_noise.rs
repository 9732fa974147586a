//! [`RegisterNoise`]: the registers that a duchy adds in the setup phase, so that nobody can tell how many real ones
//! there are (docs/protocols/llv2.md#setup, docs/protocols/ro-llv2.md#setup).
//!
//! The number of registers is fixed by the parameters; what is random is how many of them are of which kind. The
//! rest is padding.

use halo_crypto::Group;
use halo_crypto::elgamal::{Column, EncryptionKey};
use halo_crypto::noise::DistributedNoise;
use halo_crypto::parallel::CHUNK;
use halo_crypto::prg::StreamSeed;
use rand_core::CryptoRng;

use super::Layout;
use super::constants::{
    BLINDED_HISTOGRAM_NOISE_KEY, BLINDED_HISTOGRAM_NOISE_PREFIX, DESTROYED_REGISTER_KEY, PADDING_NOISE_ID,
    PUBLISHER_NOISE_ID, REACH_NOISE_PREFIX,
};
use super::random_point::random_points;
use crate::kernel::noise::{HISTOGRAM_SENSITIVITY, REACH_SENSITIVITY, distributed_noise, positive};
use crate::kernel::{KernelContext, KernelError};
use crate::proto::protocol::RegisterNoiseGenerationParameters;

/// The noise registers of one duchy, before they are drawn.
#[derive(Clone, Debug)]
pub struct RegisterNoise {
    total_sketches_count: u32,
    blinded_histogram: DistributedNoise,
    publisher: DistributedNoise,
    reach: DistributedNoise,
}

/// What one noise register is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Shares a fresh id with as many others as its bucket says; key and count mark it as noise.
    BlindedHistogram { id: usize },
    /// Has the one id of publisher noise.
    Publisher,
    /// Has an id of its own, and counts as a person.
    Reach,
    /// Has the one id of padding.
    Padding,
}

impl RegisterNoise {
    /// Reads the parameters of a setup request.
    ///
    /// # Errors
    /// [`KernelError`] if they define no noise.
    pub fn new(
        parameters: &RegisterNoiseGenerationParameters,
        noise_mechanism: i32,
    ) -> Result<Self, KernelError> {
        let total_sketches_count = positive("total_sketches_count", parameters.total_sketches_count)?;
        let privacy = parameters.dp_params.as_ref().ok_or(KernelError::Missing("dp_params"))?;
        let noise = |field, privacy, sensitivity| {
            distributed_noise(field, noise_mechanism, parameters.contributors_count, privacy, sensitivity)
        };
        Ok(Self {
            total_sketches_count,
            blinded_histogram: noise(
                "dp_params.blind_histogram",
                privacy.blind_histogram.as_ref(),
                HISTOGRAM_SENSITIVITY,
            )?,
            publisher: noise(
                "dp_params.noise_for_publisher_noise",
                privacy.noise_for_publisher_noise.as_ref(),
                total_sketches_count,
            )?,
            reach: noise(
                "dp_params.global_reach_dp_noise",
                privacy.global_reach_dp_noise.as_ref(),
                REACH_SENSITIVITY,
            )?,
        })
    }

    /// The most ids that the blinded histograms of `duchies` can have together. Saturates.
    pub(crate) fn most_blinded_histogram_ids(&self, duchies: u32) -> u64 {
        let per_bucket = 2 * u64::from(self.blinded_histogram.offset());
        per_bucket.saturating_mul(self.total_sketches_count.into()).saturating_mul(duchies.into())
    }

    /// How many registers this noise takes, whatever is drawn: `2·μ_pub + 2·μ_reach + μ_blind·T·(T+1)` for `T`
    /// sketches. Saturates.
    pub fn register_count(&self) -> u64 {
        let sketches = u64::from(self.total_sketches_count);
        let blinded_histogram =
            sketches.saturating_mul(sketches + 1).saturating_mul(u64::from(self.blinded_histogram.offset()));
        let others = 2 * (u64::from(self.publisher.offset()) + u64::from(self.reach.offset()));
        blinded_histogram.saturating_add(others)
    }

    /// How many registers this noise takes in the reach-only protocol: [`RegisterNoise::register_count`] and
    /// one more each of publisher noise and padding, so that both ids occur and can be subtracted. Saturates.
    pub fn reach_only_register_count(&self) -> u64 {
        self.register_count().saturating_add(2)
    }

    /// Draws the registers, encrypts them under `key` and appends them to `registers`. The caller has checked that
    /// there is room for them.
    pub(crate) fn encrypt<G: Group>(
        &self,
        key: &EncryptionKey<G>,
        streams: &StreamSeed,
        context: &KernelContext,
        registers: &mut Vec<u8>,
    ) -> Result<(), KernelError> {
        let (kinds, id_count) = self.draw(streams, 0);
        let ids = Ids::<G>::new(id_count, self.most_blinded_histogram_ids(1), streams, context)?;
        let destroyed = G::hash_one(DESTROYED_REGISTER_KEY);
        let blinded_histogram = G::hash_one(BLINDED_HISTOGRAM_NOISE_KEY);

        let layout = Layout::REGISTER;
        let given = registers.len();
        registers.resize(given + kinds.len() * layout.length::<G>(), 0);
        context.executor().for_each_chunk(
            &kinds,
            1,
            &mut registers[given..],
            layout.length::<G>(),
            |chunk, kinds, registers| {
                let mut rng = streams.stream("noise registers", chunk);
                let column_ids = ids.of(kinds, &mut rng);
                let keyless = count(kinds, |kind| matches!(kind, Kind::Publisher | Kind::Padding));
                let mut random_keys = random_points::<G>("", keyless, &mut rng).into_iter();
                let column_keys: Vec<G::Point> = kinds
                    .iter()
                    .map(|kind| match kind {
                        Kind::BlindedHistogram { .. } => blinded_histogram,
                        Kind::Reach => destroyed,
                        Kind::Publisher | Kind::Padding => {
                            random_keys.next().expect("as many as were counted")
                        }
                    })
                    .collect();
                // The count is the same point as the key in every kind.
                for (column, points) in
                    [(Layout::ID, &column_ids), (Layout::KEY, &column_keys), (Layout::COUNT, &column_keys)]
                {
                    let ciphertexts = key.encrypt(points, &mut rng);
                    layout.encode::<G>("noise", chunk * CHUNK, &ciphertexts, registers, column)?;
                }
                Ok(())
            },
        )
    }

    /// Draws the registers of the reach-only protocol, which are ids alone, encrypts them under `key` and appends them
    /// to `registers`. The caller has checked that there is room for them.
    ///
    /// Returns how many different ids the blinded histogram has; each will be taken for one that counts.
    pub(crate) fn encrypt_ids<G: Group>(
        &self,
        key: &EncryptionKey<G>,
        streams: &StreamSeed,
        context: &KernelContext,
        registers: &mut Vec<u8>,
    ) -> Result<u64, KernelError> {
        let (kinds, id_count) = self.draw(streams, 1);
        let ids = Ids::<G>::new(id_count, self.most_blinded_histogram_ids(1), streams, context)?;
        let layout = Layout::REACH_ONLY_REGISTER;
        let length = layout.length::<G>();
        let given = registers.len();
        registers.resize(given + kinds.len() * length, 0);
        let noise = &mut registers[given..];
        context.executor().for_each_chunk(&kinds, 1, noise, length, |chunk, kinds, registers| {
            let mut rng = streams.stream("noise registers", chunk);
            let ciphertexts = key.encrypt(&ids.of(kinds, &mut rng), &mut rng);
            layout.encode::<G>("noise", chunk * CHUNK, &ciphertexts, registers, ID_ALONE)
        })?;
        Ok(id_count as u64)
    }

    /// What each register is, and how many ids the blinded histogram has. Of publisher noise and of padding there are
    /// `surely` more than are drawn.
    fn draw(&self, streams: &StreamSeed, surely: usize) -> (Vec<Kind>, usize) {
        let total = usize::try_from(self.register_count()).expect("checked to fit a message") + 2 * surely;
        let mut kinds = Vec::with_capacity(total);
        let mut ids = 0;
        for size in 1..=self.total_sketches_count as usize {
            let bucket = self.blinded_histogram.sample(&mut streams.stream("blinded histogram noise", size));
            for _ in 0..bucket {
                kinds.resize(kinds.len() + size, Kind::BlindedHistogram { id: ids });
                ids += 1;
            }
        }
        for (noise, purpose, kind, surely) in [
            (&self.publisher, "publisher noise", Kind::Publisher, surely),
            (&self.reach, "reach noise", Kind::Reach, 0),
        ] {
            let drawn = noise.sample(&mut streams.stream(purpose, 0)) as usize;
            kinds.resize(kinds.len() + drawn + surely, kind);
        }
        debug_assert!(kinds.len() <= total, "no draw exceeds twice its offset");
        kinds.resize(total, Kind::Padding);
        (kinds, ids)
    }
}

/// Where the id is in a register that has nothing else.
const ID_ALONE: Column = Layout::REACH_ONLY_REGISTER.column(0);

fn count(kinds: &[Kind], wanted: fn(&Kind) -> bool) -> usize {
    kinds.iter().filter(|kind| wanted(kind)).count()
}

/// The ids that several registers of noise have in common.
struct Ids<G: Group> {
    blinded_histogram: Vec<G::Point>,
    publisher: G::Point,
    padding: G::Point,
}

impl<G: Group> Ids<G> {
    /// Draws `count` ids for the blinded histogram, of the `most` that there can be; the others are fixed.
    fn new(
        count: usize,
        most: u64,
        streams: &StreamSeed,
        context: &KernelContext,
    ) -> Result<Self, KernelError> {
        let most = usize::try_from(most).expect("no more than registers, which fit a message");
        let mut ids = vec![G::identity(); most];
        // The step is over all that there can be: its progress is shown and stored, and how many were drawn is for nobody
        // to know.
        context.executor().for_each_chunk(&vec![(); most], 1, &mut ids, 1, |chunk, _, ids| {
            let drawn = count.saturating_sub(chunk * CHUNK).min(ids.len());
            let mut rng = streams.stream("blinded histogram ids", chunk);
            ids[..drawn].copy_from_slice(&random_points::<G>(
                BLINDED_HISTOGRAM_NOISE_PREFIX,
                drawn,
                &mut rng,
            ));
            Ok::<_, KernelError>(())
        })?;
        Ok(Self {
            blinded_histogram: ids,
            publisher: G::hash_one(PUBLISHER_NOISE_ID),
            padding: G::hash_one(PADDING_NOISE_ID),
        })
    }

    /// The ids of some registers; those of reach noise are drawn here.
    fn of(&self, kinds: &[Kind], rng: &mut impl CryptoRng) -> Vec<G::Point> {
        let reach = count(kinds, |kind| matches!(kind, Kind::Reach));
        let mut reach_ids = random_points::<G>(REACH_NOISE_PREFIX, reach, rng).into_iter();
        kinds
            .iter()
            .map(|kind| match *kind {
                Kind::BlindedHistogram { id } => self.blinded_histogram[id],
                Kind::Publisher => self.publisher,
                Kind::Reach => reach_ids.next().expect("as many as were counted"),
                Kind::Padding => self.padding,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use halo_crypto::P256;
    use halo_crypto::elgamal::KeyPair;
    use halo_crypto::parallel::{Control, Executor};

    use super::*;
    use crate::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
    use crate::proto::protocol::ReachNoiseDifferentialPrivacyParams;

    /// Who watches a stage sees how many records it has had, step by step.
    #[test]
    fn progress_does_not_tell_what_was_drawn() {
        let privacy = Some(DifferentialPrivacyParams { epsilon: 0.5, delta: 1e-5 });
        let parameters = RegisterNoiseGenerationParameters {
            contributors_count: 3,
            total_sketches_count: 2,
            dp_params: Some(ReachNoiseDifferentialPrivacyParams {
                blind_histogram: privacy,
                noise_for_publisher_noise: privacy,
                global_reach_dp_noise: privacy,
            }),
            ..Default::default()
        };
        let noise =
            RegisterNoise::new(&parameters, NoiseMechanism::Geometric.into()).expect("sound parameters");
        let (registers, ids) = (noise.reach_only_register_count(), noise.most_blinded_histogram_ids(1));

        let mut drawn = Vec::new();
        for seed in 0..3 {
            let streams = StreamSeed::new([seed; 32]);
            let key = KeyPair::<P256>::random(&mut streams.stream("key", 0)).public;
            let control = Control::default();
            let context =
                KernelContext::new(Executor::serial().with_control(control.clone()), streams.clone());
            let mut encrypted = Vec::new();
            drawn.push(
                noise
                    .encrypt_ids(&EncryptionKey::new(key), &streams, &context, &mut encrypted)
                    .expect("there is room"),
            );
            let progress = control.progress();
            assert_eq!((progress.step, progress.total), (2, registers));
            // Over both steps: the ids, then the registers.
            assert_eq!(control.done(), ids + registers);
        }
        assert!(
            drawn.iter().any(|ids| *ids != drawn[0]),
            "{drawn:?}: the seeds have to differ in what they draw"
        );
    }
}
