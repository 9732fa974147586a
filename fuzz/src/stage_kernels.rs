use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_protocols::hmss::{
    complete_reach_and_frequency_aggregation_phase, complete_reach_and_frequency_shuffle_phase,
    complete_reach_only_aggregation_phase, complete_reach_only_shuffle_phase, generate_secret_shares,
};
use halo_protocols::kernel::{self, Kernel, KernelContext, KernelError};
use halo_protocols::proto::any_sketch::crypto::{CombineElGamalPublicKeysRequest, EncryptSketchRequest};
use halo_protocols::proto::protocol::*;
use halo_protocols::reach_only_llv2::SetupPhaseAtAggregator;
use prost::Message;

/// What a kernel may emit here: enough for noise, too little to spend a second on it.
const MAXIMUM_MESSAGE_BYTES: u64 = 1 << 14;

/// Upstream's names of the kernels of all three protocols, in the order of the first input byte.
pub const METHODS: [&str; 20] = [
    CompleteInitializationPhaseRequest::METHOD,
    CompleteSetupPhaseRequest::METHOD,
    CompleteExecutionPhaseOneRequest::METHOD,
    CompleteExecutionPhaseOneAtAggregatorRequest::METHOD,
    CompleteExecutionPhaseTwoRequest::METHOD,
    CompleteExecutionPhaseTwoAtAggregatorRequest::METHOD,
    CompleteExecutionPhaseThreeRequest::METHOD,
    CompleteExecutionPhaseThreeAtAggregatorRequest::METHOD,
    CombineElGamalPublicKeysRequest::METHOD,
    EncryptSketchRequest::METHOD,
    CompleteReachOnlyInitializationPhaseRequest::METHOD,
    CompleteReachOnlySetupPhaseRequest::METHOD,
    SetupPhaseAtAggregator::METHOD,
    CompleteReachOnlyExecutionPhaseRequest::METHOD,
    CompleteReachOnlyExecutionPhaseAtAggregatorRequest::METHOD,
    "GenerateSecretShares",
    "CompleteReachAndFrequencyShufflePhase",
    "CompleteReachOnlyShufflePhase",
    "CompleteReachAndFrequencyAggregationPhase",
    "CompleteReachOnlyAggregationPhase",
];

/// Any bytes as the request of the method that the first byte names in [`METHODS`].
pub fn stage_kernels(data: &[u8]) {
    let Some((method, request)) = data.split_first() else { return };
    match usize::from(*method) % METHODS.len() {
        0 => answer::<CompleteInitializationPhaseRequest>(request),
        1 => answer::<CompleteSetupPhaseRequest>(request),
        2 => answer::<CompleteExecutionPhaseOneRequest>(request),
        3 => answer::<CompleteExecutionPhaseOneAtAggregatorRequest>(request),
        4 => answer::<CompleteExecutionPhaseTwoRequest>(request),
        5 => answer::<CompleteExecutionPhaseTwoAtAggregatorRequest>(request),
        6 => answer::<CompleteExecutionPhaseThreeRequest>(request),
        7 => answer::<CompleteExecutionPhaseThreeAtAggregatorRequest>(request),
        8 => answer::<CombineElGamalPublicKeysRequest>(request),
        9 => answer::<EncryptSketchRequest>(request),
        10 => answer::<CompleteReachOnlyInitializationPhaseRequest>(request),
        11 => answer::<CompleteReachOnlySetupPhaseRequest>(request),
        12 => answer_by(request, |request, context| {
            kernel::compute(
                &SetupPhaseAtAggregator(CompleteReachOnlySetupPhaseRequest::clone(request)),
                context,
            )
        }),
        13 => answer::<CompleteReachOnlyExecutionPhaseRequest>(request),
        14 => answer::<CompleteReachOnlyExecutionPhaseAtAggregatorRequest>(request),
        15 => answer_by(request, generate_secret_shares),
        16 => answer_by(request, complete_reach_and_frequency_shuffle_phase),
        17 => answer_by(request, complete_reach_only_shuffle_phase),
        18 => answer_by(request, complete_reach_and_frequency_aggregation_phase),
        _ => answer_by(request, complete_reach_only_aggregation_phase),
    }
}

fn answer<K: Kernel + Message + Default>(request: &[u8]) {
    answer_by(request, |request: &K, context| kernel::compute(request, context));
}

/// A request is answered, or refused with an error that can be printed.
fn answer_by<M: Message + Default, R: Message + Default>(
    request: &[u8],
    method: impl Fn(&M, &KernelContext) -> Result<R, KernelError>,
) {
    let Ok(request) = M::decode(request) else { return };
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([7; 32]))
        .with_maximum_message_bytes(MAXIMUM_MESSAGE_BYTES);
    match method(&request, &context) {
        Ok(response) => assert!(R::decode(&*response.encode_to_vec()).is_ok()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
