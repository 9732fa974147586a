//! Stage kernels: the heavy arithmetic of a stage as a pure function of upstream's request message.
//!
//! Each kernel exists as a function generic over the [`Group`], under upstream's name (for instance
//! [`llv2::complete_setup_phase`](crate::llv2::complete_setup_phase)). [`compute`] picks the suite from the
//! request's curve id and calls it.
//!
//! ```
//! use halo_crypto::{parallel::Executor, prg::StreamSeed};
//! use halo_protocols::kernel::{self, KernelContext};
//! use halo_protocols::proto::protocol::CompleteInitializationPhaseRequest;
//!
//! // A test's seed: a real one comes from the operating system.
//! let context = KernelContext::new(Executor::serial(), StreamSeed::new([7; 32]));
//! let response = kernel::compute(&CompleteInitializationPhaseRequest { curve_id: 415 }, &context)?;
//! assert!(response.el_gamal_key_pair.is_some());
//! # Ok::<(), kernel::KernelError>(())
//! ```

mod combine_keys;
mod context;
mod error;
pub(crate) mod keys;
pub(crate) mod noise;

use halo_crypto::{Group, P256, Ristretto255};

pub use combine_keys::combine_el_gamal_public_keys;
pub use context::{KernelContext, MAXIMUM_MESSAGE_BYTES};
pub use error::{Code, KernelError};

/// A request that a kernel answers.
///
/// Requests do not say how long the answer took (`elapsed_cpu_time_millis`): a pure function has no clock, so the
/// field is left 0 for the caller to fill.
pub trait Kernel {
    /// The message that answers it.
    type Response: prost::Message + Default;

    /// Upstream's name of the method.
    const METHOD: &'static str;

    /// The id of the group that the request's points belong to.
    fn curve_id(&self) -> i64;

    /// Answers the request in the group `G`.
    ///
    /// # Errors
    /// [`KernelError`]; nothing of a refused request is answered.
    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError>;
}

/// Answers a request in the group that it names.
///
/// # Errors
/// [`KernelError::UnsupportedCurve`] if there is no such group, else as [`Kernel::compute`].
pub fn compute<K: Kernel>(request: &K, context: &KernelContext) -> Result<K::Response, KernelError> {
    match request.curve_id() {
        P256::CURVE_ID => request.compute::<P256>(context),
        Ristretto255::CURVE_ID => request.compute::<Ristretto255>(context),
        curve_id => Err(KernelError::UnsupportedCurve { curve_id }),
    }
}

/// Checks that a request which names a group is computed in that group.
pub(crate) fn require_curve<G: Group>(curve_id: i64) -> Result<(), KernelError> {
    if curve_id == G::CURVE_ID { Ok(()) } else { Err(KernelError::UnsupportedCurve { curve_id }) }
}

/// Checks a request's `parallelism`. Ours does not depend on it, but upstream refuses what is not positive.
pub(crate) fn require_parallelism(parallelism: i32) -> Result<(), KernelError> {
    if parallelism > 0 { Ok(()) } else { Err(KernelError::Parallelism(parallelism)) }
}
