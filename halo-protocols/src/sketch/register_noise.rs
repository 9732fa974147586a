//! [`RegisterNoise`]: the registers that a duchy adds in the setup phase, so that nobody can tell how many real ones
//! there are (llv2.md §B2).
//!
//! The number of registers is fixed by the parameters; what is random is how many of them are of which kind. The
//! rest is padding.

use halo_crypto::Group;
use halo_crypto::elgamal::EncryptionKey;
use halo_crypto::noise::DistributedNoise;
use halo_crypto::parallel::CHUNK;
use halo_crypto::prg::StreamSeed;

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

    /// How many registers this noise takes, whatever is drawn: `2·μ_pub + 2·μ_reach + μ_blind·T·(T+1)` for `T`
    /// sketches. Saturates.
    pub fn register_count(&self) -> u64 {
        let sketches = u64::from(self.total_sketches_count);
        let blinded_histogram =
            sketches.saturating_mul(sketches + 1).saturating_mul(u64::from(self.blinded_histogram.offset()));
        let others = 2 * (u64::from(self.publisher.offset()) + u64::from(self.reach.offset()));
        blinded_histogram.saturating_add(others)
    }

    /// Draws the registers and encrypts them under `key`. The caller has checked that there is room for them.
    pub(crate) fn encrypt<G: Group>(
        &self,
        key: &EncryptionKey<G>,
        streams: &StreamSeed,
        context: &KernelContext,
    ) -> Result<Vec<u8>, KernelError> {
        let (kinds, id_count) = self.draw(streams);
        let ids = blinded_histogram_ids::<G>(id_count, streams, context)?;
        let destroyed = G::hash_one(DESTROYED_REGISTER_KEY);
        let blinded_histogram = G::hash_one(BLINDED_HISTOGRAM_NOISE_KEY);
        let publisher_id = G::hash_one(PUBLISHER_NOISE_ID);
        let padding_id = G::hash_one(PADDING_NOISE_ID);

        let layout = Layout::REGISTER;
        let mut registers = vec![0; kinds.len() * layout.length::<G>()];
        context.executor().for_each_chunk(
            &kinds,
            1,
            &mut registers,
            layout.length::<G>(),
            |chunk, kinds, registers| {
                let mut rng = streams.stream("noise registers", chunk);
                let count_of = |wanted: fn(&Kind) -> bool| kinds.iter().filter(|kind| wanted(kind)).count();
                let reach = count_of(|kind| matches!(kind, Kind::Reach));
                let keyless = count_of(|kind| matches!(kind, Kind::Publisher | Kind::Padding));
                let mut reach_ids = random_points::<G>(REACH_NOISE_PREFIX, reach, &mut rng).into_iter();
                let mut random_keys = random_points::<G>("", keyless, &mut rng).into_iter();
                let mut random_key = || random_keys.next().expect("as many as were counted");

                let mut column_ids = Vec::with_capacity(kinds.len());
                let mut column_keys = Vec::with_capacity(kinds.len());
                for kind in kinds {
                    let (id, register_key) = match *kind {
                        Kind::BlindedHistogram { id } => (ids[id], blinded_histogram),
                        Kind::Publisher => (publisher_id, random_key()),
                        Kind::Reach => (reach_ids.next().expect("as many as were counted"), destroyed),
                        Kind::Padding => (padding_id, random_key()),
                    };
                    column_ids.push(id);
                    column_keys.push(register_key);
                }
                // The count is the same point as the key in every kind.
                for (column, points) in
                    [(Layout::ID, &column_ids), (Layout::KEY, &column_keys), (Layout::COUNT, &column_keys)]
                {
                    let ciphertexts = key.encrypt(points, &mut rng);
                    layout.encode::<G>("noise", chunk * CHUNK, &ciphertexts, registers, column)?;
                }
                Ok::<_, KernelError>(())
            },
        )?;
        Ok(registers)
    }

    /// What each register is, and how many ids the blinded histogram has.
    fn draw(&self, streams: &StreamSeed) -> (Vec<Kind>, usize) {
        let total = usize::try_from(self.register_count()).expect("checked to fit a message");
        let mut kinds = Vec::with_capacity(total);
        let mut ids = 0;
        for size in 1..=self.total_sketches_count as usize {
            let bucket = self.blinded_histogram.sample(&mut streams.stream("blinded histogram noise", size));
            for _ in 0..bucket {
                kinds.resize(kinds.len() + size, Kind::BlindedHistogram { id: ids });
                ids += 1;
            }
        }
        for (noise, purpose, kind) in
            [(&self.publisher, "publisher noise", Kind::Publisher), (&self.reach, "reach noise", Kind::Reach)]
        {
            let drawn = noise.sample(&mut streams.stream(purpose, 0)) as usize;
            kinds.resize(kinds.len() + drawn, kind);
        }
        debug_assert!(kinds.len() <= total, "no draw exceeds twice its offset");
        kinds.resize(total, Kind::Padding);
        (kinds, ids)
    }
}

/// The ids of blinded-histogram noise.
fn blinded_histogram_ids<G: Group>(
    count: usize,
    streams: &StreamSeed,
    context: &KernelContext,
) -> Result<Vec<G::Point>, KernelError> {
    let mut ids = vec![G::identity(); count];
    context.executor().for_each_chunk(&vec![(); count], 1, &mut ids, 1, |chunk, _, ids| {
        let mut rng = streams.stream("blinded histogram ids", chunk);
        ids.copy_from_slice(&random_points::<G>(BLINDED_HISTOGRAM_NOISE_PREFIX, ids.len(), &mut rng));
        Ok::<_, KernelError>(())
    })?;
    Ok(ids)
}
