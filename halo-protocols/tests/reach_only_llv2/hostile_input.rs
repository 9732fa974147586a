//! Whatever bytes arrive: an error or a value, never a panic.

use halo_protocols::kernel::{self, Kernel};
use halo_protocols::proto::protocol::{
    CompleteReachOnlyExecutionPhaseAtAggregatorRequest, CompleteReachOnlyExecutionPhaseRequest,
    CompleteReachOnlyInitializationPhaseRequest, CompleteReachOnlySetupPhaseRequest,
};
use halo_protocols::reach_only_llv2::SetupPhaseAtAggregator;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use crate::case::Case;
use crate::edit::edits;
use crate::measurement::context;

/// Broken messages may ask for more than a test should compute.
const MAXIMUM_BYTES: u64 = 100_000;

fn attempt<K: Kernel + Message + Default>(bytes: &[u8]) {
    attempt_as(bytes, |request: K| request);
}

fn attempt_as<M: Message + Default, K: Kernel>(bytes: &[u8], kernel: impl FnOnce(M) -> K) {
    if let Ok(request) = M::decode(bytes) {
        let context = context(12).with_maximum_message_bytes(MAXIMUM_BYTES);
        let _ = kernel::compute(&kernel(request), &context);
    }
}

/// Every method with a way to attempt it.
const METHODS: [(&str, fn(&[u8])); 5] = [
    ("CompleteReachOnlyInitializationPhase", attempt::<CompleteReachOnlyInitializationPhaseRequest>),
    ("CompleteReachOnlySetupPhase", attempt::<CompleteReachOnlySetupPhaseRequest>),
    ("CompleteReachOnlySetupPhaseAtAggregator", |bytes| attempt_as(bytes, SetupPhaseAtAggregator)),
    ("CompleteReachOnlyExecutionPhase", attempt::<CompleteReachOnlyExecutionPhaseRequest>),
    (
        "CompleteReachOnlyExecutionPhaseAtAggregator",
        attempt::<CompleteReachOnlyExecutionPhaseAtAggregatorRequest>,
    ),
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
    let recorded: Vec<_> = ["rollv2_2duchies_no_noise", "rollv2_3duchies_geometric"]
        .into_iter()
        .flat_map(|case| Case::load(case).stages())
        .filter(|stage| METHODS.iter().any(|(method, _)| *method == stage.method))
        .collect();
    let covered = |method: &str| recorded.iter().any(|stage| stage.method == method);
    assert!(METHODS.iter().all(|(method, _)| covered(method)));
    let strategy = (any::<Index>(), edits());
    proptest!(ProptestConfig::with_cases(100), |((stage, edits) in strategy)| {
        let stage = stage.get(&recorded);
        let mut request = stage.request.clone();
        edits.iter().for_each(|edit| edit.apply(&mut request));
        let (_, attempt) = METHODS.iter().find(|(method, _)| *method == stage.method).unwrap();
        attempt(&request);
    });
}
