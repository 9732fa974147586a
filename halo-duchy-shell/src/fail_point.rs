//! Named places at which a test can kill, stop or hold up a process: before and after every effect of every stage.
//!
//! Without the feature `fail-points`, which only test builds have, nothing is left of them. With it, the environment
//! says what happens where (docs/reliability.md).

#[cfg(feature = "fail-points")]
mod armed;

use crate::proto::internal::ComputationToken;
use crate::protocol_stages::ProtocolStage;

/// On which side of an effect a point lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The effect has not begun.
    Before,
    /// The effect has ended; nobody has been told.
    After,
}

/// Passes the point `{side}-{effect}@{stage}`, or `{side}-{effect}` if there is no stage.
#[cfg(feature = "fail-points")]
pub(crate) fn pass(side: Side, effect: &str, stage: &str) {
    armed::pass(side, effect, stage);
}

/// Nothing, in a build without fail points.
#[cfg(not(feature = "fail-points"))]
#[inline(always)]
pub(crate) fn pass(_: Side, _: &str, _: &str) {}

/// Carries out an effect of a stage between its two points.
pub(crate) async fn around<T>(effect: &str, stage: &str, work: impl Future<Output = T>) -> T {
    pass(Side::Before, effect, stage);
    let done = work.await;
    pass(Side::After, effect, stage);
    done
}

/// The stage's name of a token, for the name of a point.
pub(crate) fn stage_of(token: Option<&ComputationToken>) -> &'static str {
    token.and_then(|token| ProtocolStage::of(token).ok()).map_or("", ProtocolStage::name)
}
