//! Whatever bytes arrive: an error or a value, never a panic.

use halo_protocols::kernel::{self, Kernel};
use halo_protocols::proto::any_sketch::crypto::{CombineElGamalPublicKeysRequest, EncryptSketchRequest};
use halo_protocols::proto::protocol::{
    CompleteExecutionPhaseOneAtAggregatorRequest, CompleteExecutionPhaseOneRequest,
    CompleteExecutionPhaseThreeAtAggregatorRequest, CompleteExecutionPhaseThreeRequest,
    CompleteExecutionPhaseTwoAtAggregatorRequest, CompleteExecutionPhaseTwoRequest,
    CompleteInitializationPhaseRequest, CompleteSetupPhaseRequest,
};
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use crate::case::Case;
use crate::edit::edits;
use crate::run::context;

/// Broken messages may ask for more than a test should compute; the bound also shows that it is kept.
const MAXIMUM_BYTES: u64 = 20_000;

fn attempt<K: Kernel + Message + Default>(bytes: &[u8]) {
    if let Ok(request) = K::decode(bytes) {
        let _ = kernel::compute(&request, &context(12).with_maximum_message_bytes(MAXIMUM_BYTES));
    }
}

/// Every method with a way to attempt it.
const METHODS: [(&str, fn(&[u8])); 10] = [
    ("CompleteInitializationPhase", attempt::<CompleteInitializationPhaseRequest>),
    ("CombineElGamalPublicKeys", attempt::<CombineElGamalPublicKeysRequest>),
    ("EncryptSketch", attempt::<EncryptSketchRequest>),
    ("CompleteSetupPhase", attempt::<CompleteSetupPhaseRequest>),
    ("CompleteExecutionPhaseOne", attempt::<CompleteExecutionPhaseOneRequest>),
    ("CompleteExecutionPhaseOneAtAggregator", attempt::<CompleteExecutionPhaseOneAtAggregatorRequest>),
    ("CompleteExecutionPhaseTwo", attempt::<CompleteExecutionPhaseTwoRequest>),
    ("CompleteExecutionPhaseTwoAtAggregator", attempt::<CompleteExecutionPhaseTwoAtAggregatorRequest>),
    ("CompleteExecutionPhaseThree", attempt::<CompleteExecutionPhaseThreeRequest>),
    ("CompleteExecutionPhaseThreeAtAggregator", attempt::<CompleteExecutionPhaseThreeAtAggregatorRequest>),
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
    let recorded: Vec<_> = ["llv2_3duchies_one_provider_small", "llv2_3duchies_gaussian"]
        .into_iter()
        .flat_map(|case| Case::load(case).stages())
        .filter(|stage| stage.request.len() < 4_000)
        .collect();
    let covered = |method: &str| recorded.iter().any(|stage| stage.method == method);
    assert!(METHODS.iter().all(|(method, _)| covered(method)));
    let strategy = (any::<Index>(), edits());
    proptest!(ProptestConfig::with_cases(200), |((stage, edits) in strategy)| {
        let stage = stage.get(&recorded);
        let mut request = stage.request.clone();
        edits.iter().for_each(|edit| edit.apply(&mut request));
        let (_, attempt) = METHODS.iter().find(|(method, _)| *method == stage.method).unwrap();
        attempt(&request);
    });
}
