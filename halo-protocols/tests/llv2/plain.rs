//! For random sketches and parameters, a computation without noise equals a plain one on the union.

use std::collections::{BTreeMap, BTreeSet};

use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::data_provider::{SketchParameters, plain_sketch};
use halo_protocols::estimate::{EstimateError, LiquidLegions};
use halo_protocols::kernel::KernelError;
use halo_protocols::proto::any_sketch::Sketch;
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use proptest::prelude::*;

use crate::run::{Measurement, Outcome, Run, context};

/// A measurement and who saw whom: for each data provider the duchy it fulfils at, and its impressions.
#[derive(Clone, Debug)]
struct Scenario {
    duchies: u8,
    parameters: SketchParameters,
    maximum_frequency: i32,
    width: f32,
    providers: Vec<(usize, Vec<(i64, u32)>)>,
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let parameters =
        (2.0..15.0, 3..60_i64, 1..5_i64).prop_map(|(decay_rate, size, sampling_indicator_size)| {
            SketchParameters { decay_rate, size, sampling_indicator_size, salt: None }
        });
    // Few people, so that providers share some, and few keys, so that different people sometimes have the same.
    let impressions = proptest::collection::vec((0..40_i64, 1..4_u32), 0..12);
    let providers = proptest::collection::vec((0..4_usize, impressions), 1..5);
    (2..5_u8, parameters, 1..6_i32, 0.01..1.0_f32, providers).prop_map(
        |(duchies, parameters, maximum_frequency, width, providers)| Scenario {
            duchies,
            parameters,
            maximum_frequency,
            width,
            providers: providers
                .into_iter()
                .map(|(duchy, impressions)| (duchy % usize::from(duchies), impressions))
                .collect(),
        },
    )
}

impl Scenario {
    fn sketches(&self) -> Vec<(usize, Sketch)> {
        self.providers
            .iter()
            .map(|(duchy, impressions)| (*duchy, plain_sketch(&self.parameters, impressions.iter().copied())))
            .collect()
    }

    /// The protocol.
    fn computed<G: Group>(&self) -> Result<Outcome, KernelError> {
        let SketchParameters { decay_rate, size, .. } = self.parameters;
        let measurement = Measurement {
            maximum_frequency: self.maximum_frequency,
            total_sketches_count: self.providers.len() as i32,
            sketch: LiquidLegionsSketchParameters { decay_rate, size },
            width: self.width,
            noise: None,
        };
        let run = Run::<G>::new(measurement, self.duchies, context(11));
        let mut requisitions = vec![Vec::new(); usize::from(self.duchies)];
        for (duchy, sketch) in self.sketches() {
            requisitions[duchy].extend(run.encrypt(sketch));
        }
        run.complete(&requisitions)
    }

    /// The same from the plain sketches.
    fn expected(&self) -> Result<Outcome, KernelError> {
        let mut union = BTreeMap::<i64, (BTreeSet<i64>, i64)>::new();
        for register in self.sketches().into_iter().flat_map(|(_, sketch)| sketch.registers) {
            let (keys, count) = union.entry(register.index).or_default();
            keys.insert(register.values[0]);
            *count += register.values[1].min(i64::from(self.maximum_frequency) + 1);
        }
        let reach = LiquidLegions::new(self.parameters.decay_rate, self.parameters.size)?
            .reach(union.len() as u64, self.width)?;
        if self.maximum_frequency == 1 {
            return Ok(Outcome { reach, distribution: Vec::new() });
        }
        let mut histogram = BTreeMap::<i64, u32>::new();
        for (keys, count) in union.into_values() {
            // 0 is the key of a destroyed register.
            if keys.len() == 1 && !keys.contains(&0) {
                *histogram.entry(count.min(i64::from(self.maximum_frequency))).or_default() += 1;
            }
        }
        let total: u32 = histogram.values().sum();
        if total == 0 {
            return Err(KernelError::NothingCounted);
        }
        let share = |(frequency, rows)| (frequency, f64::from(rows) / f64::from(total));
        Ok(Outcome { reach, distribution: histogram.into_iter().map(share).collect() })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_protocol_equals_a_plain_computation_on_ristretto255(scenario in scenarios()) {
        prop_assert_eq!(scenario.computed::<Ristretto255>(), scenario.expected());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn the_protocol_equals_a_plain_computation_on_p256(scenario in scenarios()) {
        prop_assert_eq!(scenario.computed::<P256>(), scenario.expected());
    }
}

/// The generator above reaches all the ways in which a computation can end.
#[test]
fn scenarios_cover_results_and_refusals() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut reach_only, mut frequencies, mut empty, mut full) = (0, 0, 0, 0);
    for _ in 0..300 {
        match scenarios().new_tree(&mut runner).unwrap().current().expected() {
            Ok(Outcome { distribution, .. }) if distribution.is_empty() => reach_only += 1,
            Ok(_) => frequencies += 1,
            Err(KernelError::NothingCounted) => empty += 1,
            Err(KernelError::Estimate(EstimateError::Full { .. })) => full += 1,
            Err(other) => panic!("{other}"),
        }
    }
    println!("{reach_only} reach only, {frequencies} with frequencies, {empty} empty, {full} full");
    assert!(reach_only > 10 && frequencies > 100 && empty > 0 && full > 0);
}
