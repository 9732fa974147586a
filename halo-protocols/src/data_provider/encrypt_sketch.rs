//! `EncryptSketch`: a plain sketch becomes registers that only all duchies together can open.

use std::collections::BTreeSet;

use halo_crypto::Group;
use halo_crypto::count::unit_point;
use halo_crypto::elgamal::{EncryptionKey, PublicKey};
use halo_crypto::noise::{DistributedNoise, NoiseMechanism, NoiseParameters, PrivacyParameters};
use halo_crypto::parallel::CHUNK;
use halo_crypto::prg::StreamSeed;
use prost::Message as _;
use rand_core::CryptoRng;

use crate::kernel::noise::positive;
use crate::kernel::{Kernel, KernelContext, KernelError, require_curve};
use crate::proto::any_sketch::Sketch;
use crate::proto::any_sketch::crypto::encrypt_sketch_request::{
    DestroyedRegisterStrategy, PublisherNoiseParameter,
};
use crate::proto::any_sketch::crypto::{EncryptSketchRequest, EncryptSketchResponse};
use crate::proto::any_sketch::sketch::Register;
use crate::proto::any_sketch::sketch_config::ValueSpec;
use crate::proto::any_sketch::sketch_config::value_spec::Aggregator;
use crate::sketch::Layout;
use crate::sketch::constants::{DESTROYED_REGISTER_KEY, PUBLISHER_NOISE_ID};
use crate::sketch::random_point::random_points;

/// Encrypts each register as its index and its values, adds publisher noise if asked for, and sorts.
///
/// Counts above the maximum become the maximum plus one. A register that several people share is marked as the
/// request's strategy says. The order of the plain sketch is not kept: upstream keeps it and puts the noise at its
/// end, where it can be told apart.
///
/// # Errors
/// [`KernelError`]: a bad key, a register that does not fit the configuration, a value that cannot be encrypted, bad
/// noise parameters, or more registers than fit a message.
pub fn encrypt_sketch<G: Group>(
    request: &EncryptSketchRequest,
    context: &KernelContext,
) -> Result<EncryptSketchResponse, KernelError> {
    require_curve::<G>(request.curve_id)?;
    let field = "el_gamal_keys";
    let key = request.el_gamal_keys.as_ref().ok_or(KernelError::Missing(field))?;
    let key = PublicKey::<G>::from_fields(&key.generator, &key.element)
        .map_err(|reason| KernelError::PublicKey { field, reason })?;
    let key = EncryptionKey::new(key);

    let no_sketch = Sketch::default();
    let sketch = request.sketch.as_ref().unwrap_or(&no_sketch);
    let mut plan = Plan::new(request, sketch);
    let layout = Layout::of_width(1 + plan.aggregators.len());
    let length = layout.length::<G>();
    // Checked first, so that registers can be numbered with 32 bits.
    context.require_room("registers", sketch.registers.len() as u64, length)?;
    plan.records.reserve_exact(sketch.registers.len());
    for (number, register) in (0..).zip(&sketch.registers) {
        plan.add(number, register)?;
    }
    let streams = context.streams::<G>(EncryptSketchRequest::METHOD, &[&request.encode_to_vec()]);
    if let Some(parameter) = &request.noise_parameter {
        plan.add_publisher_noise(parameter, &streams, |records| {
            context.require_room("registers", records, length).map(drop)
        })?;
    }

    let mut encrypted = vec![0; context.require_room("registers", plan.records.len() as u64, length)?];
    let points = Points::<G>::new(&plan, &sketch.registers);
    context.executor().for_each_chunk(
        &plan.records,
        1,
        &mut encrypted,
        length,
        |chunk, records, encrypted| {
            let mut rng = streams.stream("registers", chunk);
            let random = points.random(records, &mut rng);
            for column in 0..=plan.aggregators.len() {
                let plaintexts = points.column(records, column, &random);
                let ciphertexts = key.encrypt(&plaintexts, &mut rng);
                layout.encode::<G>(
                    "sketch",
                    chunk * CHUNK,
                    &ciphertexts,
                    encrypted,
                    layout.column(column),
                )?;
            }
            Ok::<_, KernelError>(())
        },
    )?;
    layout.sort::<G>(&mut encrypted, context.executor());
    Ok(EncryptSketchResponse { encrypted_sketch: encrypted })
}

fn publisher_noise(parameter: &PublisherNoiseParameter) -> Result<DistributedNoise, KernelError> {
    let PublisherNoiseParameter { epsilon, delta, publisher_count } = *parameter;
    let parameters = NoiseParameters {
        privacy: PrivacyParameters { epsilon, delta },
        contributors: 1,
        sensitivity: positive("noise_parameter.publisher_count", publisher_count)?,
    };
    DistributedNoise::new(NoiseMechanism::Geometric, &parameters)
        .map_err(|reason| KernelError::Noise { field: "noise_parameter", reason })
}

/// A register to be encrypted; numbers are those of the plain sketch's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    /// A register with its values.
    Plain(u32),
    /// A destroyed register, marked as such.
    Destroyed(u32),
    /// A destroyed register as one of two registers whose values all differ: this is the count in place of each.
    Conflicting(u32, u8),
    /// Not a register of the sketch.
    PublisherNoise,
}

/// The plaintext of an id or a value.
#[derive(Clone, Copy, Debug)]
enum Plaintext {
    /// The hash of a number, which is an index or a key.
    Number(i64),
    /// A multiple of the unit point.
    Count(u64),
    /// The point that marks a destroyed register.
    Destroyed,
    /// The one id of all publisher noise.
    PublisherNoiseId,
    /// A random point, the same for all values of the register.
    SharedRandom,
}

/// What plain registers become.
struct Plan {
    aggregators: Vec<Aggregator>,
    largest_count: i64,
    strategy: DestroyedRegisterStrategy,
    /// What is encrypted: a few bytes for each register, as there may be very many.
    records: Vec<Record>,
    /// The counts that occur.
    counts: BTreeSet<u64>,
}

impl Plan {
    /// No registers yet.
    fn new(request: &EncryptSketchRequest, sketch: &Sketch) -> Self {
        let values = sketch.config.as_ref().map_or(&[][..], |config| &config.values);
        Self {
            aggregators: values.iter().map(ValueSpec::aggregator).collect(),
            largest_count: i64::from(request.maximum_value) + 1,
            strategy: DestroyedRegisterStrategy::try_from(request.destroyed_register_strategy)
                .unwrap_or(DestroyedRegisterStrategy::Unspecified),
            records: Vec::new(),
            counts: BTreeSet::new(),
        }
    }

    /// Draws publisher noise and appends it, if `require_room` lets the most that can be drawn pass.
    fn add_publisher_noise(
        &mut self,
        parameter: &PublisherNoiseParameter,
        streams: &StreamSeed,
        require_room: impl FnOnce(u64) -> Result<(), KernelError>,
    ) -> Result<(), KernelError> {
        if self.aggregators.is_empty() {
            // The random point of a noise register takes the place of its values.
            return Err(KernelError::Missing("sketch.config.values"));
        }
        let noise = publisher_noise(parameter)?;
        require_room(self.records.len() as u64 + 2 * u64::from(noise.offset()))?;
        let drawn = noise.sample(&mut streams.stream("publisher noise", 0)) as usize;
        self.records.resize(self.records.len() + drawn, Record::PublisherNoise);
        Ok(())
    }

    /// Checks a register and appends what it becomes.
    fn add(&mut self, number: u32, register: &Register) -> Result<(), KernelError> {
        let values = &register.values;
        if values.len() != self.aggregators.len() {
            return Err(KernelError::ValueCount {
                register: number as usize,
                found: values.len(),
                expected: self.aggregators.len(),
            });
        }
        let refused = |value, reason| Err(KernelError::Value { register: number as usize, value, reason });
        let mut destroyed = None;
        for (position, (value, aggregator)) in values.iter().zip(&self.aggregators).enumerate() {
            match aggregator {
                Aggregator::Unique if *value > 0 => {}
                Aggregator::Unique => destroyed = Some(position),
                Aggregator::Sum if *value > 0 && self.largest_count > 0 => {
                    self.counts.insert(self.count(*value));
                }
                Aggregator::Sum => return refused(position, "a count and its maximum must be positive"),
                Aggregator::Unspecified => {
                    return refused(position, "it is not said how values are aggregated");
                }
            }
        }
        match (destroyed, self.strategy) {
            (None, _) => self.records.push(Record::Plain(number)),
            (Some(_), DestroyedRegisterStrategy::FlaggedKey) => self.records.push(Record::Destroyed(number)),
            (Some(_), DestroyedRegisterStrategy::ConflictingKeys) => {
                self.records.extend([1, 2].map(|count| Record::Conflicting(number, count)));
                self.counts.extend([1, 2]);
            }
            (Some(position), DestroyedRegisterStrategy::Unspecified) => {
                return refused(position, "the register is destroyed, and no strategy for that is given");
            }
        }
        Ok(())
    }

    /// A positive count as it is encrypted.
    fn count(&self, value: i64) -> u64 {
        value.min(self.largest_count).unsigned_abs()
    }

    /// What a record has in a column: 0 is the id, the others are values.
    fn plaintext(&self, record: Record, column: usize, registers: &[Register]) -> Plaintext {
        let Some(value) = column.checked_sub(1) else {
            return match record {
                Record::Plain(number) | Record::Destroyed(number) | Record::Conflicting(number, _) => {
                    Plaintext::Number(registers[number as usize].index)
                }
                Record::PublisherNoise => Plaintext::PublisherNoiseId,
            };
        };
        match record {
            Record::Plain(number) => {
                let plain = registers[number as usize].values[value];
                match self.aggregators[value] {
                    Aggregator::Sum => Plaintext::Count(self.count(plain)),
                    Aggregator::Unique | Aggregator::Unspecified => Plaintext::Number(plain),
                }
            }
            Record::Destroyed(_) => Plaintext::Destroyed,
            Record::Conflicting(_, count) => Plaintext::Count(count.into()),
            Record::PublisherNoise => Plaintext::SharedRandom,
        }
    }
}

/// How plaintexts become points; those of counts and constants are made once.
struct Points<'a, G: Group> {
    plan: &'a Plan,
    registers: &'a [Register],
    destroyed: G::Point,
    publisher_noise_id: G::Point,
    /// The counts that occur, in ascending order, and the point of each.
    counts: Vec<u64>,
    count_points: Vec<G::Point>,
}

impl<'a, G: Group> Points<'a, G> {
    fn new(plan: &'a Plan, registers: &'a [Register]) -> Self {
        let counts: Vec<u64> = plan.counts.iter().copied().collect();
        let scalars: Vec<G::Scalar> = counts.iter().map(|count| G::Scalar::from(*count)).collect();
        let unit = G::fixed_base(&unit_point::<G>());
        Self {
            plan,
            registers,
            destroyed: G::hash_one(DESTROYED_REGISTER_KEY),
            publisher_noise_id: G::hash_one(PUBLISHER_NOISE_ID),
            count_points: G::fixed_base_multiples(&unit, &scalars),
            counts,
        }
    }

    /// A point for each record, random where publisher noise is among them.
    fn random(&self, records: &[Record], rng: &mut impl CryptoRng) -> Vec<G::Point> {
        if records.contains(&Record::PublisherNoise) {
            random_points::<G>("", records.len(), rng)
        } else {
            vec![G::identity(); records.len()]
        }
    }

    /// The points of one column. `random` has a point for each record.
    fn column(&self, records: &[Record], column: usize, random: &[G::Point]) -> Vec<G::Point> {
        let mut points = random.to_vec();
        let mut hashed = Vec::new();
        let mut hashed_at = Vec::new();
        for (position, (record, point)) in records.iter().zip(&mut points).enumerate() {
            match self.plan.plaintext(*record, column, self.registers) {
                Plaintext::Number(number) => {
                    hashed.push(number.to_string());
                    hashed_at.push(position);
                }
                Plaintext::Count(count) => *point = self.count(count),
                Plaintext::Destroyed => *point = self.destroyed,
                Plaintext::PublisherNoiseId => *point = self.publisher_noise_id,
                Plaintext::SharedRandom => {}
            }
        }
        let mut elements = vec![G::identity(); hashed.len()];
        G::hash_to_group(&hashed, &mut elements);
        for (position, element) in hashed_at.into_iter().zip(elements) {
            points[position] = element;
        }
        points
    }

    fn count(&self, count: u64) -> G::Point {
        let position = self.counts.binary_search(&count).expect("every count of the records was collected");
        self.count_points[position]
    }
}

impl Kernel for EncryptSketchRequest {
    type Response = EncryptSketchResponse;
    const METHOD: &'static str = "EncryptSketch";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        encrypt_sketch::<G>(self, context)
    }
}
