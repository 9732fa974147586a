//! [`TupleNoise`]: the flag-count tuples that a duchy adds, so that nobody can tell how many people were seen how
//! often (docs/noise-and-accuracy.md#four-noises).

use halo_crypto::Group;
use halo_crypto::count::count_points;
use halo_crypto::elgamal::EncryptionKey;
use halo_crypto::noise::DistributedNoise;
use halo_crypto::parallel::CHUNK;
use halo_crypto::prg::StreamSeed;

use super::Layout;
use super::random_point::random_points;
use crate::kernel::noise::{HISTOGRAM_SENSITIVITY, distributed_noise, positive};
use crate::kernel::{KernelContext, KernelError};
use crate::proto::protocol::FlagCountTupleNoiseGenerationParameters;

/// The noise tuples of one duchy, before they are drawn.
#[derive(Clone, Debug)]
pub struct TupleNoise {
    maximum_frequency: u32,
    frequency: DistributedNoise,
}

/// What one noise tuple is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A person seen this often.
    Frequency(u32),
    /// A register with several people.
    Destroyed,
    /// Nobody.
    Padding,
}

/// The plaintexts of a tuple's flags and count.
struct Plaintexts<G: Group> {
    flags: [G::Point; 3],
    count: G::Point,
}

impl TupleNoise {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// [`KernelError`] if they define no noise.
    pub fn new(
        parameters: &FlagCountTupleNoiseGenerationParameters,
        noise_mechanism: i32,
    ) -> Result<Self, KernelError> {
        let FlagCountTupleNoiseGenerationParameters { maximum_frequency, contributors_count, dp_params } =
            parameters;
        Ok(Self {
            maximum_frequency: positive("maximum_frequency", *maximum_frequency)?,
            frequency: distributed_noise(
                "dp_params",
                noise_mechanism,
                *contributors_count,
                dp_params.as_ref(),
                HISTOGRAM_SENSITIVITY,
            )?,
        })
    }

    /// How many tuples this noise takes, whatever is drawn: `2·μ·(F+1)` for the maximum frequency `F`.
    pub fn tuple_count(&self) -> u64 {
        2 * u64::from(self.frequency.offset()) * (u64::from(self.maximum_frequency) + 1)
    }

    /// How many of these tuples stand for somebody seen some number of times, on average: `μ·F`. These become rows of the
    /// aggregator's matrix.
    pub(crate) fn mean_frequency_count(&self) -> u64 {
        u64::from(self.frequency.offset()) * u64::from(self.maximum_frequency)
    }

    /// Draws the tuples, encrypts them and appends them to `tuples`: flags under the sum of the keys of the duchies
    /// to come, counts under the composite key. The caller has checked that there is room for them.
    pub(crate) fn encrypt<G: Group>(
        &self,
        partial: &EncryptionKey<G>,
        composite: &EncryptionKey<G>,
        streams: &StreamSeed,
        context: &KernelContext,
        tuples: &mut Vec<u8>,
    ) -> Result<(), KernelError> {
        let kinds = self.draw(streams);
        let counts = count_points::<G>(self.maximum_frequency);
        let layout = Layout::FLAG_COUNT_TUPLE;
        let given = tuples.len();
        tuples.resize(given + kinds.len() * layout.length::<G>(), 0);
        context.executor().for_each_chunk(
            &kinds,
            1,
            &mut tuples[given..],
            layout.length::<G>(),
            |chunk, kinds, tuples| {
                let mut rng = streams.stream("noise tuples", chunk);
                let needed = kinds.iter().map(|kind| kind.random_points()).sum();
                let mut random = random_points::<G>("", needed, &mut rng).into_iter();
                let mut random = || random.next().expect("as many as were counted");
                let plaintexts: Vec<Plaintexts<G>> =
                    kinds.iter().map(|kind| kind.plaintexts(&counts, &mut random)).collect();
                for (flag, column) in Layout::FLAGS.into_iter().enumerate() {
                    let points: Vec<G::Point> = plaintexts.iter().map(|tuple| tuple.flags[flag]).collect();
                    let ciphertexts = partial.encrypt(&points, &mut rng);
                    layout.encode::<G>("noise", chunk * CHUNK, &ciphertexts, tuples, column)?;
                }
                let points: Vec<G::Point> = plaintexts.iter().map(|tuple| tuple.count).collect();
                let ciphertexts = composite.encrypt(&points, &mut rng);
                layout.encode::<G>("noise", chunk * CHUNK, &ciphertexts, tuples, Layout::TUPLE_COUNT)
            },
        )
    }

    fn draw(&self, streams: &StreamSeed) -> Vec<Kind> {
        let total = usize::try_from(self.tuple_count()).expect("checked to fit a message");
        let mut kinds = Vec::with_capacity(total);
        for frequency in 1..=self.maximum_frequency {
            let drawn =
                self.frequency.sample(&mut streams.stream("frequency noise", frequency as usize)) as usize;
            kinds.resize(kinds.len() + drawn, Kind::Frequency(frequency));
        }
        let drawn = self.frequency.sample(&mut streams.stream("destroyed noise", 0)) as usize;
        kinds.resize(kinds.len() + drawn, Kind::Destroyed);
        debug_assert!(kinds.len() <= total, "no draw exceeds twice its offset");
        kinds.resize(total, Kind::Padding);
        kinds
    }
}

impl Kind {
    /// How many random points this kind of tuple takes.
    const fn random_points(self) -> usize {
        match self {
            Self::Frequency(_) => 2,
            Self::Destroyed => 4,
            Self::Padding => 1,
        }
    }

    fn plaintexts<G: Group>(
        self,
        counts: &[G::Point],
        random: &mut impl FnMut() -> G::Point,
    ) -> Plaintexts<G> {
        let zero = G::identity();
        match self {
            Self::Frequency(frequency) => {
                Plaintexts { flags: [zero, random(), random()], count: counts[frequency as usize - 1] }
            }
            Self::Destroyed => Plaintexts { flags: [random(), random(), random()], count: random() },
            Self::Padding => {
                let point = random();
                Plaintexts { flags: [zero, zero, point], count: point }
            }
        }
    }
}
