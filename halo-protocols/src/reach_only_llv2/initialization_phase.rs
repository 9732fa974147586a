//! The initialization phase: each duchy makes its key pair for the computation
//! (docs/protocols/llv2.md#parties-and-keys).

use halo_crypto::Group;

use crate::kernel::keys::fresh_key_pair;
use crate::kernel::{Kernel, KernelContext, KernelError, require_curve};
use crate::proto::protocol::{
    CompleteReachOnlyInitializationPhaseRequest, CompleteReachOnlyInitializationPhaseResponse,
};

/// Makes a duchy's key pair.
///
/// # Errors
/// [`KernelError::UnsupportedCurve`] if the request names another group.
///
/// # Security
/// The answer holds the secret key. It is a function of the context's seed, so the seed must be as secret.
pub fn complete_reach_only_initialization_phase<G: Group>(
    request: &CompleteReachOnlyInitializationPhaseRequest,
    context: &KernelContext,
) -> Result<CompleteReachOnlyInitializationPhaseResponse, KernelError> {
    let CompleteReachOnlyInitializationPhaseRequest { curve_id } = request;
    require_curve::<G>(*curve_id)?;
    let method = CompleteReachOnlyInitializationPhaseRequest::METHOD;
    Ok(CompleteReachOnlyInitializationPhaseResponse {
        el_gamal_key_pair: Some(fresh_key_pair::<G>(method, context)),
        elapsed_cpu_time_millis: 0,
    })
}

impl Kernel for CompleteReachOnlyInitializationPhaseRequest {
    type Response = CompleteReachOnlyInitializationPhaseResponse;
    const METHOD: &'static str = "CompleteReachOnlyInitializationPhase";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_reach_only_initialization_phase::<G>(self, context)
    }
}
