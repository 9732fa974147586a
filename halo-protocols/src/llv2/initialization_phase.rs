//! The initialization phase: each duchy makes its key pair for the computation
//! (docs/protocols/llv2.md#parties-and-keys).

use halo_crypto::Group;

use crate::kernel::keys::fresh_key_pair;
use crate::kernel::{Kernel, KernelContext, KernelError, require_curve};
use crate::proto::protocol::{CompleteInitializationPhaseRequest, CompleteInitializationPhaseResponse};

/// Makes a duchy's key pair.
///
/// # Errors
/// [`KernelError::UnsupportedCurve`] if the request names another group.
///
/// # Security
/// The answer holds the secret key. It is a function of the context's seed, so the seed must be as secret.
pub fn complete_initialization_phase<G: Group>(
    request: &CompleteInitializationPhaseRequest,
    context: &KernelContext,
) -> Result<CompleteInitializationPhaseResponse, KernelError> {
    let CompleteInitializationPhaseRequest { curve_id } = request;
    require_curve::<G>(*curve_id)?;
    Ok(CompleteInitializationPhaseResponse {
        el_gamal_key_pair: Some(fresh_key_pair::<G>(CompleteInitializationPhaseRequest::METHOD, context)),
        elapsed_cpu_time_millis: 0,
    })
}

impl Kernel for CompleteInitializationPhaseRequest {
    type Response = CompleteInitializationPhaseResponse;
    const METHOD: &'static str = "CompleteInitializationPhase";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        complete_initialization_phase::<G>(self, context)
    }
}
