//! For random people and parameters, a computation without noise equals plain counting.

use std::collections::BTreeSet;

use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::data_provider::{SketchParameters, reach_only_sketch};
use halo_protocols::estimate::LiquidLegions;
use halo_protocols::kernel::KernelError;
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use proptest::prelude::*;

use crate::measurement::{Measurement, context};
use crate::run::Run;

/// A measurement and who saw whom: for each data provider the duchy it fulfils at, and whom it reached.
#[derive(Clone, Debug)]
struct Scenario {
    duchies: u8,
    parameters: SketchParameters,
    width: f32,
    providers: Vec<(usize, Vec<i64>)>,
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let parameters = (2.0..15.0, 3..60_i64).prop_map(|(decay_rate, size)| SketchParameters {
        decay_rate,
        size,
        sampling_indicator_size: 1,
        salt: None,
    });
    // Few people, so that providers share some, and few registers, so that some sketches are full.
    let people = proptest::collection::vec(0..40_i64, 0..12);
    let providers = proptest::collection::vec((0..4_usize, people), 1..5);
    (2..5_u8, parameters, 0.01..1.0_f32, providers).prop_map(|(duchies, parameters, width, providers)| {
        let here = |(duchy, people)| (duchy % usize::from(duchies), people);
        Scenario { duchies, parameters, width, providers: providers.into_iter().map(here).collect() }
    })
}

impl Scenario {
    /// The protocol.
    fn computed<G: Group>(&self) -> Result<i64, KernelError> {
        let SketchParameters { decay_rate, size, .. } = self.parameters;
        let measurement = Measurement {
            maximum_frequency: 1,
            total_sketches_count: self.providers.len() as i32,
            sketch: LiquidLegionsSketchParameters { decay_rate, size },
            width: self.width,
            noise: None,
        };
        let run = Run::<G>::new(measurement, self.duchies, context(11));
        let mut requisitions = vec![Vec::new(); usize::from(self.duchies)];
        for (duchy, people) in &self.providers {
            requisitions[*duchy].extend(run.encrypt(&self.parameters, people.iter().copied()));
        }
        run.complete(&requisitions)
    }

    /// The same from the plain sketches.
    fn expected(&self) -> Result<i64, KernelError> {
        let union: BTreeSet<i64> = self
            .providers
            .iter()
            .flat_map(|(_, people)| reach_only_sketch(&self.parameters, people.iter().copied()).registers)
            .map(|register| register.index)
            .collect();
        let sketch = LiquidLegions::new(self.parameters.decay_rate, self.parameters.size)?;
        Ok(sketch.reach(union.len() as u64, self.width)?)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_protocol_equals_plain_counting_on_ristretto255(scenario in scenarios()) {
        prop_assert_eq!(scenario.computed::<Ristretto255>(), scenario.expected());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn the_protocol_equals_plain_counting_on_p256(scenario in scenarios()) {
        prop_assert_eq!(scenario.computed::<P256>(), scenario.expected());
    }
}
