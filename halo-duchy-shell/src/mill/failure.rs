//! After an attempt that did not commit its stage: leave it, give it back, or fail the computation.

use std::time::Duration;

use tonic::Status;

use super::work::Work;
use super::{Inner, MillError, StageEvent};
use crate::audit::{Event, Outcome};
use crate::fail_point::{around, stage_of};
use crate::platform;
use crate::proto::internal::ComputationToken;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::system::computation_log_entry::{ErrorDetails, error_details};
use crate::proto::system::computation_participant::Failure;
use crate::proto::system::{ComputationLogEntry, StageAttempt};
use crate::protocol_stages::ProtocolStage;
use crate::retry::Backoff;
use crate::store::GivenBack;

const LONGEST_RETRY: u32 = 600;
/// All attempts at a stage, those that were interrupted too, are this many times as many as may fail: a stage that is
/// stopped each time, as by a limit on the time that a Job has, does not go on for ever.
const MOST_INTERRUPTIONS: i32 = 10;

/// Whether this attempt at the stage is one too many, where `maximum` may fail.
pub(super) fn is_one_too_many(token: &ComputationToken, maximum: i32) -> bool {
    failed_attempts(token) > maximum || token.attempt > maximum.saturating_mul(MOST_INTERRUPTIONS)
}

/// Whether this attempt is the last one that may fail.
fn is_last(token: &ComputationToken, maximum: i32) -> bool {
    failed_attempts(token) >= maximum
}

/// The attempts at the stage up to this one that have failed, if this one does: those that were interrupted have not.
fn failed_attempts(token: &ComputationToken) -> i32 {
    let details = token.stage_specific_details.as_ref();
    token.attempt.saturating_sub(details.map_or(0, |details| details.interrupted_attempts))
}

impl Work {
    /// Does what `error` asks for with the work that `claimed` began.
    pub(super) async fn fail(&mut self, claimed: &ComputationToken, error: MillError) {
        let attempt = claimed.attempt;
        match &error {
            MillError::LostLock(reason) => {
                tracing::warn!(reason, "the work is no longer this mill's");
                self.entry(Event::LeaseLost, Outcome::Failed).reason(reason).record();
                self.observe(StageEvent::Interrupted { reason: error.to_string() });
            }
            MillError::Stopped => {
                self.give_back(claimed, Duration::ZERO, GivenBack::Interrupted(&error.to_string())).await;
            }
            MillError::Transient { .. } | MillError::PeerNotReady { .. } => {
                tracing::warn!(%error, "the attempt failed");
                if is_last(claimed, self.mill.options.max_attempts) {
                    let reason = format!("{error}, the last of {attempt} attempts");
                    return self.fail_computation(claimed, &reason).await;
                }
                self.observe(StageEvent::Interrupted { reason: error.to_string() });
                self.mill.log_transient(claimed, &error).await;
                let failed = GivenBack::Failed(&error.to_string());
                self.give_back(claimed, self.mill.retry_delay(failed_attempts(claimed)), failed).await;
            }
            MillError::Permanent { .. } => {
                tracing::error!(%error, "the computation cannot go on");
                self.fail_computation(claimed, &error.to_string()).await;
            }
        }
    }

    /// The computation, if it is still in the attempt that was claimed and the lease is still this mill's.
    async fn still_ours(&self, claimed: &ComputationToken) -> Option<ComputationToken> {
        let latest = match self.mill.parts.internal.find(&claimed.global_computation_id).await {
            Ok(latest) => latest?,
            Err(status) => {
                tracing::warn!(%status, "the work is left to be claimed when the lease runs out");
                return None;
            }
        };
        let same = latest.computation_stage == claimed.computation_stage
            && latest.attempt == claimed.attempt
            && latest.lock_owner == self.mill.options.id;
        same.then_some(latest)
    }

    /// Makes the work claimable again after `delay`. Only this attempt's: if the stage was committed after all and the
    /// reply was lost, there is nothing to give back.
    async fn give_back(&self, claimed: &ComputationToken, delay: Duration, given_back: GivenBack<'_>) {
        let Some(latest) = self.still_ours(claimed).await else { return };
        let Inner { parts, options, .. } = &*self.mill;
        let enqueued = parts.internal.enqueue(latest, &options.id, delay, given_back);
        if let Err(status) = around("database.enqueue", self.stage_name(), enqueued).await {
            tracing::warn!(%status, "the work is left to be claimed when the lease runs out");
        }
    }

    /// Fails the computation at the Kingdom, then here.
    async fn fail_computation(&self, claimed: &ComputationToken, reason: &str) {
        let Some(latest) = self.still_ours(claimed).await else { return };
        self.entry(Event::ComputationFailed, Outcome::Failed).reason(reason).record();
        self.observe(StageEvent::Failed { reason: reason.to_owned() });
        if let Err(status) = self.mill.fail_at_kingdom(&latest, reason).await {
            // The next attempt will fail in the same way and try to tell the Kingdom again.
            tracing::error!(%status, "the Kingdom is not told of the failure");
            let attempt = failed_attempts(claimed).min(self.mill.options.max_attempts);
            let why = format!("{reason}; and the Kingdom is not told of it: {}", status.message());
            let failed = GivenBack::Failed(&why);
            return self.give_back(claimed, self.mill.retry_delay(attempt), failed).await;
        }
        let Ok(stage) = ProtocolStage::of(&latest) else {
            // The mills of this duchy claim no protocol that they do not know.
            return tracing::error!("the stage is unknown");
        };
        let terminal = stage.protocol().terminal_stage();
        let failed = CompletedReason::Failed;
        let finished = self.mill.parts.internal.finish(latest, terminal, failed, reason);
        if let Err(status) = around("database.finish", self.stage_name(), finished).await {
            // The herald will hear of the failure from the Kingdom.
            tracing::warn!(%status, "the failed computation is not ended here");
        }
    }
}

impl Inner {
    /// 2^attempt units and up to as many again, at random, so that duchies do not try in step.
    fn retry_delay(&self, attempt: i32) -> Duration {
        let unit = self.options.retry_unit;
        let pauses = Backoff::new(unit * 2, 2.0, unit * LONGEST_RETRY).spread(1.0, 2.0);
        pauses.pause(u32::try_from(attempt).unwrap_or_default())
    }

    /// Tells the Kingdom that this duchy cannot go on.
    pub(super) async fn fail_at_kingdom(&self, token: &ComputationToken, reason: &str) -> Result<(), Status> {
        let failure = Failure {
            participant_child_reference_id: self.options.id.clone(),
            error_message: format!("{}: {reason}", self.parts.duchy),
            error_time: Some(platform::time().into()),
            stage_attempt: Some(stage_attempt(token)),
        };
        let failed = self.parts.kingdom.fail(&token.global_computation_id, failure);
        around("kingdom.fail", stage_of(Some(token)), failed).await
    }

    /// Leaves a note of a failed attempt at the Kingdom; a courtesy.
    async fn log_transient(&self, token: &ComputationToken, error: &MillError) {
        let entry = ComputationLogEntry {
            participant_child_reference_id: self.options.id.clone(),
            log_message: error.to_string(),
            stage_attempt: Some(stage_attempt(token)),
            error_details: Some(ErrorDetails {
                r#type: error_details::Type::Transient as i32,
                error_time: Some(platform::time().into()),
            }),
            ..ComputationLogEntry::default()
        };
        if let Err(status) = self.parts.kingdom.log(&token.global_computation_id, entry).await {
            tracing::debug!(%status, "the Kingdom did not take a log entry");
        }
    }
}

/// The attempt as the Kingdom names it.
pub(crate) fn stage_attempt(token: &ComputationToken) -> StageAttempt {
    let stage = ProtocolStage::of(token).ok();
    StageAttempt {
        stage: stage.map_or(0, ProtocolStage::number),
        stage_name: stage.map_or_else(String::new, |stage| stage.name().to_owned()),
        stage_start_time: Some(platform::time().into()),
        attempt_number: i64::from(token.attempt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::internal::ComputationStageDetails;

    fn token(attempt: i32, interrupted_attempts: i32) -> ComputationToken {
        let details = ComputationStageDetails { interrupted_attempts, ..Default::default() };
        ComputationToken { attempt, stage_specific_details: Some(details), ..Default::default() }
    }

    #[test]
    fn interrupted_attempts_are_not_those_that_may_fail() {
        for (attempt, interrupted, last, too_many) in [
            (2, 0, false, false),
            (3, 0, true, false),
            (4, 0, true, true),
            (4, 1, true, false),
            (12, 11, false, false),
            (13, 9, true, true),
        ] {
            let token = token(attempt, interrupted);
            assert_eq!((is_last(&token, 3), is_one_too_many(&token, 3)), (last, too_many), "{token:?}");
        }
        assert!(is_last(&ComputationToken { attempt: 3, ..Default::default() }, 3));
    }

    #[test]
    fn a_stage_is_not_interrupted_for_ever() {
        assert!(!is_one_too_many(&token(30, 29), 3));
        assert!(is_one_too_many(&token(31, 30), 3));
        assert!(!is_one_too_many(&token(i32::MAX, i32::MAX - 1), i32::MAX));
    }
}
