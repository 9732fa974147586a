//! The plain Liquid Legions sketch of one data provider.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::fingerprint::{distribution_fingerprint, salted_fingerprint};
use crate::proto::any_sketch::distribution::DistributionChoice;
use crate::proto::any_sketch::sketch::Register;
use crate::proto::any_sketch::sketch_config::value_spec::Aggregator;
use crate::proto::any_sketch::sketch_config::{IndexSpec, ValueSpec};
use crate::proto::any_sketch::{
    Distribution, ExponentialDistribution, OracleDistribution, Sketch, SketchConfig, UniformDistribution,
};

/// The shape of the sketches of a measurement, the same at all data providers: the Kingdom says it.
///
/// [`SketchParameters::validate`] looks whether the numbers are in their ranges; the functions that build sketches do not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SketchParameters {
    /// How fast the probability of a register falls with its index; above 0, and so that its exponential is finite (709 is,
    /// 710 is not). Duchies take part only where it is above 1.
    pub decay_rate: f64,
    /// How many registers there are; at least 1.
    pub size: i64,
    /// From how many values the sampling indicator is drawn that tells two people in one register apart; at least 1. Sketches
    /// for the reach-only protocol have none.
    pub sampling_indicator_size: i64,
    /// Which of many independent maps from people to registers is used. All data providers of a measurement must use
    /// the same; upstream's use `None`. Trials take others to see how much an estimate depends on the map.
    pub salt: Option<u64>,
}

/// A number that no sketch can have.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SketchParametersError {
    /// The decay rate gives no distribution over registers.
    #[error("decay rate {0}: it must be above 0, and its exponential finite")]
    DecayRate(f64),
    /// There is no register.
    #[error("{0} registers: there must be at least 1")]
    Size(i64),
    /// There is nothing to draw sampling indicators from.
    #[error("sampling indicators of {0} values: there must be at least 1")]
    SamplingIndicatorSize(i64),
}

/// The name, and part of the fingerprint, of the distribution over registers.
const INDEX: &str = "Index";
/// The name, and part of the fingerprint, of the distribution over keys.
const SAMPLING_INDICATOR: &str = "SamplingIndicator";

/// What a register holds.
#[derive(Clone, Copy, Debug)]
struct Contents {
    /// The sampling indicator of everybody in it; `None` once two differ.
    indicator: Option<u64>,
    impressions: i64,
}

/// Builds a sketch of impressions, each a virtual person id and how often it was seen. A person may come several times, which
/// adds up; who was seen 0 times is left out.
///
/// Registers come in ascending order of their index. A key is stored plus one, and 0 stands for a register that
/// several people share, as upstream's message has it.
///
/// The parameters should have been [validated](SketchParameters::validate). Of others comes a sketch from which nothing can be
/// estimated: everybody is in register 0 if the decay rate is out of range, and nobody is told apart from another in a register
/// without sampling indicators.
pub fn plain_sketch(
    parameters: &SketchParameters,
    impressions: impl IntoIterator<Item = (i64, u32)>,
) -> Sketch {
    let mut registers = BTreeMap::<i64, Contents>::new();
    // A count of 0 has no encryption, and whoever was not seen belongs in no register.
    for (vid, count) in impressions.into_iter().filter(|(_, count)| *count > 0) {
        let indicator = parameters.indicator(vid);
        match registers.entry(parameters.index(vid)) {
            Entry::Vacant(entry) => {
                entry.insert(Contents { indicator: Some(indicator), impressions: i64::from(count) });
            }
            Entry::Occupied(mut entry) => {
                let contents = entry.get_mut();
                contents.indicator = contents.indicator.filter(|other| *other == indicator);
                contents.impressions = contents.impressions.saturating_add(i64::from(count));
            }
        }
    }
    Sketch {
        config: Some(parameters.config()),
        registers: registers
            .into_iter()
            .map(|(index, Contents { indicator, impressions })| {
                let key = indicator.map_or(0, |indicator| indicator.cast_signed() + 1);
                Register { index, values: vec![key, impressions] }
            })
            .collect(),
    }
}

/// Builds a sketch for the reach-only protocol: which registers somebody in `people` falls into, and nothing else.
///
/// Registers come in ascending order of their index. The sampling indicator of the parameters is not used. The parameters should
/// have been validated, as for [`plain_sketch`].
///
/// Liquid Legions v2 with a maximum frequency of 1 is another protocol: its duchies expect the registers of [`plain_sketch`].
pub fn reach_only_sketch(parameters: &SketchParameters, people: impl IntoIterator<Item = i64>) -> Sketch {
    let registers: BTreeSet<i64> = people.into_iter().map(|vid| parameters.index(vid)).collect();
    Sketch {
        config: Some(SketchConfig { values: Vec::new(), ..parameters.config() }),
        registers: registers.into_iter().map(|index| Register { index, values: Vec::new() }).collect(),
    }
}

impl SketchParameters {
    /// Looks whether every number is in its range.
    ///
    /// # Errors
    /// [`SketchParametersError`], of the first that is not.
    pub fn validate(&self) -> Result<(), SketchParametersError> {
        let Self { decay_rate, size, sampling_indicator_size, salt: _ } = *self;
        // So that NaN is refused, too.
        if !(decay_rate > 0.0 && decay_rate.exp().is_finite()) {
            return Err(SketchParametersError::DecayRate(decay_rate));
        }
        if size < 1 {
            return Err(SketchParametersError::Size(size));
        }
        if sampling_indicator_size < 1 {
            return Err(SketchParametersError::SamplingIndicatorSize(sampling_indicator_size));
        }
        Ok(())
    }

    /// The register of a person: exponentially distributed, `⌊size·(1 − ln(e^a + u·(1 − e^a))/a)⌋` for the
    /// fingerprint `u` scaled to [0, 1].
    fn index(&self, vid: i64) -> i64 {
        let u = self.fingerprint(vid, INDEX) as f64 / u64::MAX as f64;
        let decay = self.decay_rate;
        let x = 1.0 - (decay.exp() + u * (1.0 - decay.exp())).ln() / decay;
        (x * self.size as f64).floor() as i64
    }

    /// The sampling indicator of a person.
    fn indicator(&self, vid: i64) -> u64 {
        self.fingerprint(vid, SAMPLING_INDICATOR) % self.sampling_indicator_size.max(1).cast_unsigned()
    }

    fn fingerprint(&self, vid: i64, distribution: &str) -> u64 {
        match self.distribution_salt(distribution) {
            None => distribution_fingerprint(vid, distribution),
            Some(salt) => salted_fingerprint(vid, &salt),
        }
    }

    /// The salt of one distribution: of its own, for the register must tell nothing of the indicator.
    fn distribution_salt(&self, distribution: &str) -> Option<String> {
        self.salt.map(|salt| format!("{distribution}:{salt:016x}"))
    }

    /// The configuration as upstream's message spells it.
    fn config(&self) -> SketchConfig {
        let distribution = |choice| Some(Distribution { distribution_choice: Some(choice) });
        SketchConfig {
            indexes: vec![IndexSpec {
                name: INDEX.to_owned(),
                distribution: distribution(DistributionChoice::Exponential(ExponentialDistribution {
                    rate: self.decay_rate,
                    num_values: self.size,
                    salt: self.distribution_salt(INDEX),
                })),
            }],
            values: vec![
                ValueSpec {
                    name: SAMPLING_INDICATOR.to_owned(),
                    aggregator: Aggregator::Unique.into(),
                    distribution: distribution(DistributionChoice::Uniform(UniformDistribution {
                        num_values: self.sampling_indicator_size,
                        salt: self.distribution_salt(SAMPLING_INDICATOR),
                    })),
                },
                ValueSpec {
                    name: "Frequency".to_owned(),
                    aggregator: Aggregator::Sum.into(),
                    distribution: distribution(DistributionChoice::Oracle(OracleDistribution {
                        key: "frequency".to_owned(),
                    })),
                },
            ],
            ..SketchConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{double, integer, rows};

    #[test]
    fn a_salt_gives_another_map_and_is_named_in_the_configuration() {
        let plain =
            SketchParameters { decay_rate: 12.0, size: 100_000, sampling_indicator_size: 1000, salt: None };
        let salted = SketchParameters { salt: Some(7), ..plain };
        let people = || (0..100).map(|vid| (vid, 1));
        let (plain, salted) = (plain_sketch(&plain, people()), plain_sketch(&salted, people()));
        assert_ne!(plain.registers, salted.registers);
        let Some(DistributionChoice::Exponential(index)) = salted
            .config
            .and_then(|config| config.indexes.into_iter().next())
            .and_then(|index| index.distribution)
            .and_then(|distribution| distribution.distribution_choice)
        else {
            panic!("the index is exponentially distributed")
        };
        assert_eq!(index.salt.as_deref(), Some("Index:0000000000000007"));
    }

    #[test]
    fn people_fall_where_upstream_puts_them() {
        for row in rows("fingerprints", "") {
            let parameters = SketchParameters {
                decay_rate: double(&row["decay_rate"]),
                size: integer(&row["sketch_size"]),
                sampling_indicator_size: 10_000_000,
                salt: None,
            };
            let vid = integer(&row["vid"]);
            assert_eq!(parameters.index(vid), integer::<i64>(&row["index"]), "{row}");
            assert_eq!(parameters.indicator(vid), integer::<u64>(&row["sampling_indicator"]), "{row}");
        }
    }

    #[test]
    fn a_reach_only_sketch_has_the_registers_of_the_full_one() {
        let parameters =
            SketchParameters { decay_rate: 12.0, size: 50, sampling_indicator_size: 1000, salt: None };
        let full = plain_sketch(&parameters, (0..100).map(|vid| (vid, 2)));
        let reach_only = reach_only_sketch(&parameters, 0..100);
        let indexes = |sketch: &Sketch| -> Vec<i64> {
            sketch.registers.iter().map(|register| register.index).collect()
        };
        assert_eq!(indexes(&reach_only), indexes(&full));
        assert!(reach_only.registers.len() < 50);
        assert!(reach_only.registers.iter().all(|register| register.values.is_empty()));
        let (reach_only, full) = (reach_only.config.unwrap_or_default(), full.config.unwrap_or_default());
        assert_eq!(reach_only.indexes, full.indexes);
        assert!(reach_only.values.is_empty() && full.values.len() == 2);
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let valid =
            SketchParameters { decay_rate: 12.0, size: 50, sampling_indicator_size: 1000, salt: None };
        for decay_rate in [f64::MIN_POSITIVE, 1.0, 709.0] {
            assert_eq!(SketchParameters { decay_rate, ..valid }.validate(), Ok(()), "{decay_rate}");
        }
        let least = SketchParameters { size: 1, sampling_indicator_size: 1, ..valid };
        assert_eq!(least.validate(), Ok(()));
        for decay_rate in [0.0, -1.0, 710.0, f64::INFINITY] {
            let refused = SketchParameters { decay_rate, ..valid };
            assert_eq!(refused.validate(), Err(SketchParametersError::DecayRate(decay_rate)));
        }
        let nan = SketchParameters { decay_rate: f64::NAN, ..valid }.validate();
        assert!(matches!(nan, Err(SketchParametersError::DecayRate(_))));
        for size in [0, -1] {
            let refused = SketchParameters { size, ..valid }.validate();
            assert_eq!(refused, Err(SketchParametersError::Size(size)));
            let refused = SketchParameters { sampling_indicator_size: size, ..valid }.validate();
            assert_eq!(refused, Err(SketchParametersError::SamplingIndicatorSize(size)));
        }
    }

    /// What the pages say of parameters that nobody has looked at.
    #[test]
    fn without_a_distribution_everybody_is_in_the_first_register() {
        for decay_rate in [0.0, 710.0, f64::INFINITY, f64::NAN] {
            let parameters =
                SketchParameters { decay_rate, size: 1000, sampling_indicator_size: 1000, salt: None };
            let registers = plain_sketch(&parameters, (0..100).map(|vid| (vid, 1))).registers;
            assert_eq!(registers, [Register { index: 0, values: vec![0, 100] }], "{decay_rate}");
        }
    }

    #[test]
    fn whoever_was_not_seen_is_in_no_register() {
        let parameters =
            SketchParameters { decay_rate: 12.0, size: 1, sampling_indicator_size: 10_000_000, salt: None };
        assert!(plain_sketch(&parameters, [(5, 0)]).registers.is_empty());
        // Nor does it make a register one of several people.
        let key = parameters.indicator(5).cast_signed() + 1;
        let registers = plain_sketch(&parameters, [(6, 0), (5, 2), (7, 0)]).registers;
        assert_eq!(registers, [Register { index: 0, values: vec![key, 2] }]);
    }

    #[test]
    fn a_shared_register_is_destroyed_and_stays_so() {
        let parameters =
            SketchParameters { decay_rate: 12.0, size: 1, sampling_indicator_size: 10_000_000, salt: None };
        let values = |impressions: &[(i64, u32)]| {
            let sketch = plain_sketch(&parameters, impressions.iter().copied());
            assert_eq!(sketch.registers.len(), 1);
            sketch.registers[0].values.clone()
        };
        let key = parameters.indicator(5).cast_signed() + 1;
        assert_eq!(values(&[(5, 2), (5, 1)]), [key, 3]);
        assert_eq!(values(&[(5, 2), (6, 1)]), [0, 3]);
        assert_eq!(values(&[(5, 1), (6, 1), (5, 1), (6, 1)]), [0, 4]);
        assert!(plain_sketch(&parameters, []).registers.is_empty());
    }
}
