use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_protocols::kernel::{self, Kernel, KernelContext};
use halo_protocols::proto::any_sketch::crypto::{CombineElGamalPublicKeysRequest, EncryptSketchRequest};
use halo_protocols::proto::protocol::*;
use prost::Message;

/// What a kernel may emit here: enough for noise, too little to spend a second on it.
const MAXIMUM_MESSAGE_BYTES: u64 = 1 << 14;

/// Upstream's names of the kernels, in the order of the first input byte.
pub const METHODS: [&str; 10] = [
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
        _ => answer::<EncryptSketchRequest>(request),
    }
}

/// A request is answered, or refused with an error that can be printed.
fn answer<K: Kernel + Message + Default>(request: &[u8]) {
    let Ok(request) = K::decode(request) else { return };
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([7; 32]))
        .with_maximum_message_bytes(MAXIMUM_MESSAGE_BYTES);
    match kernel::compute(&request, &context) {
        Ok(response) => assert!(K::Response::decode(&*response.encode_to_vec()).is_ok()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
