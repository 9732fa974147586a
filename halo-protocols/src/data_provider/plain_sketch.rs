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

/// The shape of the sketches of a measurement, the same at all data providers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SketchParameters {
    /// How fast the probability of a register falls with its index.
    pub decay_rate: f64,
    /// How many registers there are.
    pub size: i64,
    /// From how many values the sampling indicator is drawn that tells two people in one register apart; at least 1.
    pub sampling_indicator_size: i64,
    /// Which of many independent maps from people to registers is used. All data providers of a measurement must use
    /// the same; upstream's use `None`. Trials take others to see how much an estimate depends on the map.
    pub salt: Option<u64>,
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

/// Builds a sketch of impressions, each a virtual person id and how often it was seen.
///
/// Registers come in ascending order of their index. A key is stored plus one, and 0 stands for a register that
/// several people share, as upstream's message has it.
pub fn plain_sketch(
    parameters: &SketchParameters,
    impressions: impl IntoIterator<Item = (i64, u32)>,
) -> Sketch {
    let mut registers = BTreeMap::<i64, Contents>::new();
    for (vid, count) in impressions {
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
/// Registers come in ascending order of their index. The sampling indicator of the parameters is not used.
pub fn reach_only_sketch(parameters: &SketchParameters, people: impl IntoIterator<Item = i64>) -> Sketch {
    let registers: BTreeSet<i64> = people.into_iter().map(|vid| parameters.index(vid)).collect();
    Sketch {
        config: Some(SketchConfig { values: Vec::new(), ..parameters.config() }),
        registers: registers.into_iter().map(|index| Register { index, values: Vec::new() }).collect(),
    }
}

impl SketchParameters {
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
