//! Messages that are lost: this duchy has acknowledged them, and does not have them any more.
//!
//! A duchy leaves the stage in which it sends a message when the receiver has acknowledged it, which the receiver does when
//! it has recorded it; after that the message is never sent again. If the sender is past that stage and the message is not
//! recorded here, then this duchy's database is older than its acknowledgment: it was restored from a backup. Everybody
//! would wait without end, so the computation fails.
//!
//! A database may also be restored to the moment between recording the last message of a stage and leaving the stage. Nothing is
//! lost then, and the stage is left.

use std::sync::Arc;
use std::time::Duration;

use halo_protocols::DuchyId;
use tonic::Status;

use super::Inner;
use crate::audit::{Entry, Event, Outcome};
use crate::clock::Timestamp;
use crate::fail_point::{around, stage_of};
use crate::platform;
use crate::proto::internal::ComputationToken;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::system::computation::State;
use crate::protocol_stages::{ProtocolError, ProtocolStage, advance_request, received, slot_of};
use crate::shutdown::Shutdown;

/// Why a computation could not be looked at. There is another look.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("{0}")]
    Status(#[from] Status),
    #[error(transparent)]
    Stored(#[from] ProtocolError),
}

/// Looks for computations that wait for lost messages, again and again until the mill is told to stop.
pub(super) async fn watch(mill: Arc<Inner>, shutdown: Shutdown) {
    let interval = mill.options.lost_message_interval;
    while shutdown.unless_requested(tokio::time::sleep(interval)).await.is_some() {
        match shutdown.unless_requested(mill.look()).await {
            Some(Ok(())) => {}
            Some(Err(status)) => tracing::warn!(%status, "computations that wait cannot be listed"),
            None => return,
        }
    }
}

impl Inner {
    /// Fails the computations that have waited for as long as the interval lasts and whose messages are lost, and has those
    /// go on that have all of them. It begins anywhere among them, so that a look that is cut short passes over no one for good.
    pub(super) async fn look(&self) -> Result<(), Status> {
        let mut ids = Vec::new();
        for protocol in self.parts.specialty.protocols() {
            ids.extend(self.parts.internal.ids_in(&protocol.awaiting()).await?);
        }
        let anywhere = platform::random_u32().map_err(|error| Status::internal(error.to_string()))?;
        let first = anywhere as usize % ids.len().max(1);
        ids.rotate_left(first);
        for id in ids {
            if let Err(error) = self.look_at(&id).await {
                tracing::debug!(computation = id, %error, "not known whether its messages are lost");
            }
        }
        Ok(())
    }

    async fn look_at(&self, id: &str) -> Result<(), LookError> {
        let Some(token) = self.parts.internal.find(id).await? else { return Ok(()) };
        // A version is the time of the change that made it, by a clock that may have been wrong. What has just changed is
        // left alone, which saves calls and is needed for nothing else.
        let now = Timestamp::from(platform::time());
        if Duration::from_millis(now.millis().abs_diff(token.version)) < self.options.lost_message_interval {
            return Ok(());
        }
        let stage = ProtocolStage::of(&token)?;
        if let Some(received) = received(&token) {
            return self.leave(token, stage, received).await;
        }
        if let Some((token, reason)) = self.lost(token, stage).await? {
            self.fail_lost(token, &reason).await;
        }
        Ok(())
    }

    /// Leaves a stage whose messages have all come. If somebody else does so, too, the computation has changed for one of
    /// them.
    async fn leave(
        &self,
        token: ComputationToken,
        stage: ProtocolStage,
        received: Vec<String>,
    ) -> Result<(), LookError> {
        let details = token.computation_details.clone().unwrap_or_default();
        let Some(next) = stage.next(&details)? else { return Ok(()) };
        let id = token.global_computation_id.clone();
        let left = self.parts.internal.advance(advance_request(token, next, received)?);
        around("database.advance", stage.name(), left).await?;
        tracing::warn!(computation = id, stage = stage.name(), "left a stage that had all it waited for");
        Ok(())
    }

    /// The computation of `token` as it is now and what it waits for in vain in `stage`, if it does.
    async fn lost(
        &self,
        token: ComputationToken,
        stage: ProtocolStage,
    ) -> Result<Option<(ComputationToken, String)>, LookError> {
        let Inner { parts, .. } = self;
        let id = token.global_computation_id.as_str();
        let details = token.computation_details.clone().unwrap_or_default();
        for sender in stage.senders(&details, &parts.duchy)? {
            let Some(sent_in) = stage.sent_in(&details, sender)? else { continue };
            if !is_missing(&token, sender) {
                continue;
            }
            let at = parts.peers.stage(&DuchyId::from(sender), id).await?;
            if at.protocol() != stage.protocol() || at.number() <= sent_in.number() {
                continue;
            }
            // What was recorded before the sender went on is seen only by whoever looks after that.
            let Some(token) = parts.internal.find(id).await? else { return Ok(None) };
            let here = ProtocolStage::of(&token)? == stage && is_missing(&token, sender);
            // The sender may also be past everything because the computation has ended.
            if !here || parts.kingdom.computation(id).await?.state() != State::PendingComputation {
                return Ok(None);
            }
            let reason = format!(
                "what {sender} has sent is lost: this duchy is in {}, {sender} in {}; was a backup restored here?",
                stage.name(),
                at.name()
            );
            return Ok(Some((token, reason)));
        }
        Ok(None)
    }

    async fn fail_lost(&self, token: ComputationToken, reason: &str) {
        let id = token.global_computation_id.clone();
        tracing::error!(computation = id, reason, "the computation cannot go on");
        Entry::new(Event::ComputationFailed, Outcome::Failed)
            .duchy(&self.parts.duchy)
            .computation(&id)
            .detail("mill", self.options.id.as_str())
            .reason(reason)
            .record();
        if let Err(status) = self.fail_at_kingdom(&token, reason).await {
            return tracing::error!(computation = id, %status, "the Kingdom is not told of the failure");
        }
        let Ok(stage) = ProtocolStage::of(&token) else { return };
        let stage_name = stage_of(Some(&token));
        let terminal = stage.protocol().terminal_stage();
        let finished = self.parts.internal.finish(token, terminal, CompletedReason::Failed, reason);
        if let Err(status) = around("database.finish", stage_name, finished).await {
            // The herald will hear of the failure from the Kingdom.
            tracing::warn!(computation = id, %status, "the failed computation is not ended here");
        }
    }
}

/// Whether nothing of `sender`'s is recorded in the stage.
fn is_missing(token: &ComputationToken, sender: &str) -> bool {
    slot_of(token, sender).is_some_and(|slot| slot.path.is_empty())
}
