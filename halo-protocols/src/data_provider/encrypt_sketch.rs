//! `EncryptSketch`: a plain sketch becomes registers that only all duchies together can open.

use std::collections::BTreeSet;

use halo_crypto::Group;
use halo_crypto::count::unit_point;
use halo_crypto::elgamal::{EncryptionKey, PublicKey};
use halo_crypto::noise::{DistributedNoise, NoiseMechanism, NoiseParameters, PrivacyParameters};
use halo_crypto::parallel::CHUNK;
use prost::Message as _;

use crate::kernel::noise::positive;
use crate::kernel::{Kernel, KernelContext, KernelError, require_curve};
use crate::proto::any_sketch::SketchConfig;
use crate::proto::any_sketch::crypto::encrypt_sketch_request::{
    DestroyedRegisterStrategy, PublisherNoiseParameter,
};
use crate::proto::any_sketch::crypto::{EncryptSketchRequest, EncryptSketchResponse};
use crate::proto::any_sketch::sketch::Register;
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
    let EncryptSketchRequest {
        sketch,
        el_gamal_keys,
        curve_id,
        maximum_value,
        destroyed_register_strategy,
        noise_parameter,
    } = request;
    require_curve::<G>(*curve_id)?;
    let field = "el_gamal_keys";
    let key = el_gamal_keys.as_ref().ok_or(KernelError::Missing(field))?;
    let key = PublicKey::<G>::from_fields(&key.generator, &key.element)
        .map_err(|reason| KernelError::PublicKey { field, reason })?;
    let key = EncryptionKey::new(key);

    let no_sketch = Default::default();
    let sketch = sketch.as_ref().unwrap_or(&no_sketch);
    let no_config = SketchConfig::default();
    let plan = Plan {
        aggregators: aggregators(sketch.config.as_ref().unwrap_or(&no_config)),
        largest_count: i64::from(*maximum_value) + 1,
        strategy: DestroyedRegisterStrategy::try_from(*destroyed_register_strategy)
            .unwrap_or(DestroyedRegisterStrategy::Unspecified),
    };
    let mut records = Vec::with_capacity(sketch.registers.len());
    for (number, register) in sketch.registers.iter().enumerate() {
        plan.add(number, register, &mut records)?;
    }

    let layout = Layout::of_width(1 + plan.aggregators.len());
    let length = layout.length::<G>();
    let streams = context.streams::<G>(EncryptSketchRequest::METHOD, &[&request.encode_to_vec()]);
    if let Some(parameter) = noise_parameter {
        if plan.aggregators.is_empty() {
            // The random point of a noise register takes the place of its values.
            return Err(KernelError::Missing("sketch.config.values"));
        }
        let noise = publisher_noise(parameter)?;
        let largest = records.len() as u64 + 2 * u64::from(noise.offset());
        context.require_room("registers", largest, length)?;
        let drawn = noise.sample(&mut streams.stream("publisher noise", 0)) as usize;
        let noise =
            Record { id: Id::PublisherNoise, values: vec![Value::SharedRandom; plan.aggregators.len()] };
        records.resize(records.len() + drawn, noise);
    }

    let mut encrypted = vec![0; context.require_room("registers", records.len() as u64, length)?];
    let points = Points::<G>::new(&records);
    context.executor().for_each_chunk(&records, 1, &mut encrypted, length, |chunk, records, encrypted| {
        let mut rng = streams.stream("registers", chunk);
        let noise = records.iter().any(|record| matches!(record.id, Id::PublisherNoise));
        let random = if noise {
            random_points::<G>("", records.len(), &mut rng)
        } else {
            vec![G::identity(); records.len()]
        };
        for column in 0..=plan.aggregators.len() {
            let plaintexts = points.column(records, column, &random);
            let ciphertexts = key.encrypt(&plaintexts, &mut rng);
            layout.encode::<G>("sketch", chunk * CHUNK, &ciphertexts, encrypted, layout.column(column))?;
        }
        Ok::<_, KernelError>(())
    })?;
    Ok(EncryptSketchResponse { encrypted_sketch: layout.sort::<G>(&encrypted) })
}

/// How the values of each register are aggregated.
fn aggregators(config: &SketchConfig) -> Vec<Aggregator> {
    config.values.iter().map(|value| value.aggregator()).collect()
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

/// A register to be encrypted.
#[derive(Clone, Debug)]
struct Record {
    id: Id,
    values: Vec<Value>,
}

#[derive(Clone, Copy, Debug)]
enum Id {
    /// A register of the sketch.
    Index(i64),
    /// The one id of all publisher noise.
    PublisherNoise,
}

/// The plaintext of a value.
#[derive(Clone, Copy, Debug)]
enum Value {
    /// The hash of a key.
    Key(i64),
    /// A multiple of the unit point.
    Count(u64),
    /// The point that marks a destroyed register.
    Destroyed,
    /// A random point, the same for all values of the register.
    SharedRandom,
}

/// How plain registers become records.
struct Plan {
    aggregators: Vec<Aggregator>,
    largest_count: i64,
    strategy: DestroyedRegisterStrategy,
}

impl Plan {
    /// Checks a register and appends what it becomes.
    fn add(&self, number: usize, register: &Register, records: &mut Vec<Record>) -> Result<(), KernelError> {
        let Register { index, values } = register;
        if values.len() != self.aggregators.len() {
            return Err(KernelError::ValueCount {
                register: number,
                found: values.len(),
                expected: self.aggregators.len(),
            });
        }
        let refused = |value, reason| Err(KernelError::Value { register: number, value, reason });
        let mut plaintexts = Vec::with_capacity(values.len());
        let mut destroyed = None;
        for (position, (value, aggregator)) in values.iter().zip(&self.aggregators).enumerate() {
            match aggregator {
                Aggregator::Unique if *value > 0 => plaintexts.push(Value::Key(*value)),
                Aggregator::Unique => destroyed = Some(position),
                Aggregator::Sum if *value > 0 && self.largest_count > 0 => {
                    plaintexts.push(Value::Count((*value).min(self.largest_count).unsigned_abs()));
                }
                Aggregator::Sum => return refused(position, "a count and its maximum must be positive"),
                Aggregator::Unspecified => {
                    return refused(position, "it is not said how values are aggregated");
                }
            }
        }
        let mut push = |values| records.push(Record { id: Id::Index(*index), values });
        match (destroyed, self.strategy) {
            (None, _) => push(plaintexts),
            (Some(_), DestroyedRegisterStrategy::FlaggedKey) => push(vec![Value::Destroyed; values.len()]),
            (Some(_), DestroyedRegisterStrategy::ConflictingKeys) => {
                push(vec![Value::Count(1); values.len()]);
                push(vec![Value::Count(2); values.len()]);
            }
            (Some(position), DestroyedRegisterStrategy::Unspecified) => {
                return refused(position, "the register is destroyed, and no strategy for that is given");
            }
        }
        Ok(())
    }
}

/// The points of counts and constants, made once.
struct Points<G: Group> {
    destroyed: G::Point,
    publisher_noise_id: G::Point,
    /// The counts that occur, in ascending order, and the point of each.
    counts: Vec<u64>,
    count_points: Vec<G::Point>,
}

impl<G: Group> Points<G> {
    fn new(records: &[Record]) -> Self {
        let counts: BTreeSet<u64> = records
            .iter()
            .flat_map(|record| &record.values)
            .filter_map(|value| match value {
                Value::Count(count) => Some(*count),
                _ => None,
            })
            .collect();
        let counts: Vec<u64> = counts.into_iter().collect();
        let scalars: Vec<G::Scalar> = counts.iter().map(|count| G::Scalar::from(*count)).collect();
        let unit = G::fixed_base(&unit_point::<G>());
        Self {
            destroyed: G::hash_one(DESTROYED_REGISTER_KEY),
            publisher_noise_id: G::hash_one(PUBLISHER_NOISE_ID),
            count_points: G::fixed_base_multiples(&unit, &scalars),
            counts,
        }
    }

    /// The plaintexts of one column: 0 is the id, the others are values. `random` has a point for each record.
    fn column(&self, records: &[Record], column: usize, random: &[G::Point]) -> Vec<G::Point> {
        let mut plaintexts = random.to_vec();
        let mut hashed = Vec::new();
        let mut hashed_at = Vec::new();
        for (position, (record, plaintext)) in records.iter().zip(&mut plaintexts).enumerate() {
            let value = column.checked_sub(1).map(|value| record.values[value]);
            match (value, record.id) {
                (None, Id::PublisherNoise) => *plaintext = self.publisher_noise_id,
                (None, Id::Index(number)) | (Some(Value::Key(number)), _) => {
                    hashed.push(number.to_string());
                    hashed_at.push(position);
                }
                (Some(Value::Count(count)), _) => *plaintext = self.count(count),
                (Some(Value::Destroyed), _) => *plaintext = self.destroyed,
                (Some(Value::SharedRandom), _) => {}
            }
        }
        let mut points = vec![G::identity(); hashed.len()];
        G::hash_to_group(&hashed, &mut points);
        for (position, point) in hashed_at.into_iter().zip(points) {
            plaintexts[position] = point;
        }
        plaintexts
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
