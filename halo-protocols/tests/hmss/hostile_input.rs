//! Whatever bytes arrive as a request: an error or a value, never a panic.

use halo_protocols::hmss::{
    complete_reach_and_frequency_aggregation_phase, complete_reach_and_frequency_shuffle_phase,
    complete_reach_only_aggregation_phase, complete_reach_only_shuffle_phase, generate_secret_shares,
};
use halo_protocols::kernel::{KernelContext, KernelError};
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use crate::case::Case;
use crate::edit::edits;
use crate::run::context;

fn attempt<M: Message + Default, R: Message + Default>(
    bytes: &[u8],
    method: fn(&M, &KernelContext) -> Result<R, KernelError>,
) {
    let Ok(request) = M::decode(bytes) else { return };
    match method(&request, &context(12)) {
        Ok(response) => assert!(R::decode(&*response.encode_to_vec()).is_ok()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

type Attempt = fn(&[u8]);

/// Every method with a way to attempt it.
const METHODS: [(&str, Attempt); 5] = [
    ("GenerateSecretShares", |bytes| attempt(bytes, generate_secret_shares)),
    ("CompleteReachAndFrequencyShufflePhase", |bytes| {
        attempt(bytes, complete_reach_and_frequency_shuffle_phase);
    }),
    ("CompleteReachOnlyShufflePhase", |bytes| attempt(bytes, complete_reach_only_shuffle_phase)),
    ("CompleteReachAndFrequencyAggregationPhase", |bytes| {
        attempt(bytes, complete_reach_and_frequency_aggregation_phase);
    }),
    ("CompleteReachOnlyAggregationPhase", |bytes| attempt(bytes, complete_reach_only_aggregation_phase)),
];

proptest! {
    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for (_, attempt) in METHODS {
            attempt(&bytes);
        }
    }
}

#[test]
fn edited_requests() {
    let cases = [
        "hmss_rf_one_provider_tiny",
        "hmss_rf_geometric",
        "hmss_ro_no_noise_small_prime",
        "hmss_ro_gaussian",
    ];
    let recorded: Vec<_> = cases.into_iter().flat_map(|case| Case::load(case).stages_of("")).collect();
    let covered = |method: &str| recorded.iter().any(|stage| stage.method == method);
    assert!(METHODS.iter().all(|(method, _)| covered(method)));
    let strategy = (any::<Index>(), edits());
    proptest!(ProptestConfig::with_cases(300), |((stage, edits) in strategy)| {
        let stage = stage.get(&recorded);
        let mut request = stage.request_bytes().to_vec();
        edits.iter().for_each(|edit| edit.apply(&mut request));
        let (_, attempt) = METHODS.iter().find(|(method, _)| *method == stage.method).unwrap();
        attempt(&request);
    });
}
