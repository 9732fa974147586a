//! What one message of the stream asks of the local computation.

use std::time::Duration;

use halo_crypto::parallel::Executor;
use halo_protocols::kernel::KernelContext;
use halo_protocols::liquid_legions::RingStage;
use halo_protocols::llv2::StageKind;
use halo_protocols::{hmss, llv2, reach_only_llv2};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{Instrument as _, Span};

use super::{HeraldError, HeraldParts, Inner};
use crate::convert::{self, ConvertError, Hosted, RingProtocol};
use crate::private_key_store::PrivateKeyError;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::{ComputationDetails, ComputationToken};
use crate::proto::system::Computation;
use crate::proto::system::computation::State;
use crate::proto::system::computation_participant::Failure;
use crate::protocol_stages::{Protocol, ProtocolError, ProtocolStage, advance_request};
use crate::seeds::SeedSource;
use crate::telemetry::context::WorkSpan;
use crate::telemetry::instruments::HERALD_ITEMS;

const LONGEST_POLL: Duration = Duration::from_secs(30);

/// Why an item was not worked on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ItemError {
    /// A call failed.
    #[error("{0}")]
    Status(#[from] Status),
    /// The Kingdom's message, or the stored computation, cannot be understood or is refused.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The protocol refuses what the Kingdom says.
    #[error("{0}")]
    Step(String),
    /// The stored computation is of a protocol that this duchy does not run.
    #[error(transparent)]
    Stored(#[from] ProtocolError),
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
    /// The duchy lacks what the computation needs.
    #[error(transparent)]
    Herald(#[from] HeraldError),
    /// A worker's private key cannot be stored.
    #[error("{0}: {source}", source = std::error::Error::source(&**.0).map(ToString::to_string).unwrap_or_default())]
    PrivateKey(Box<PrivateKeyError>),
    /// The local computation has not come far enough for the Kingdom's state in all the time allowed.
    #[error("after {waited:?} the local computation is still {stage}")]
    Overdue { waited: Duration, stage: &'static str },
}

impl From<PrivateKeyError> for ItemError {
    fn from(error: PrivateKeyError) -> Self {
        Self::PrivateKey(Box::new(error))
    }
}

impl ItemError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => matches!(
                status.code(),
                Code::Aborted
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Unknown
                    | Code::Unavailable
            ),
            Self::PrivateKey(error) => error.is_transient(),
            Self::Convert(_)
            | Self::Herald(_)
            | Self::Step(_)
            | Self::Stored(_)
            | Self::Randomness(_)
            | Self::Overdue { .. } => false,
        }
    }
}

/// What a try of an item led to.
pub(super) enum Progressed {
    Done,
    /// The local computation is not where the Kingdom's state needs it; this is where it is.
    NotYet(&'static str),
}

impl Inner {
    /// Works on one item to its end: done, or failed at the Kingdom.
    pub(super) async fn process(&self, computation: Computation) {
        let id = match convert::computation_id(&computation.name) {
            Ok(id) => id.to_owned(),
            // There is no computation to fail, and the item will not get better.
            Err(error) => {
                return tracing::error!(%error, "the Kingdom sent a computation without a valid name");
            }
        };
        let state = computation.state();
        let span = WorkSpan {
            name: "herald.item",
            computation: &id,
            protocol: "",
            stage: state.as_str_name(),
            attempt: 0,
            owner: &self.parts.id,
            duchy: &self.parts.duchy,
        };
        self.work(&id, state, &computation).instrument(span.start()).await;
    }

    async fn work(&self, id: &str, state: State, computation: &Computation) {
        let acted = self.act(id, state, computation).await;
        HERALD_ITEMS.add(1, [state.as_str_name(), if acted.is_ok() { "done" } else { "failed" }]);
        if let Err(error) = acted {
            Span::current().record("otel.status_code", "ERROR");
            tracing::error!(%error, "the computation cannot go on");
            self.give_up(id, &error).await;
        }
        if self.options.deletable_states.contains(&(state as i32)) {
            let reason = match state {
                State::Succeeded => CompletedReason::Succeeded,
                State::Cancelled => CompletedReason::Canceled,
                _ => CompletedReason::Failed,
            };
            self.delete(id, reason).await;
        }
    }

    /// Tries until the item is done, its local stage is overdue, or an error remains.
    async fn act(&self, id: &str, state: State, computation: &Computation) -> Result<(), ItemError> {
        let started = Instant::now();
        let mut poll = self.options.stage_poll;
        let mut failures = 0;
        loop {
            // The permit is held for one try only, so that nobody waits for those that wait.
            let tried = {
                let _permit = self.permits.acquire().await;
                self.attempt(id, state, computation).await
            };
            let pause = match tried {
                Ok(Progressed::Done) => return Ok(()),
                Ok(Progressed::NotYet(stage)) => {
                    let waited = started.elapsed();
                    if waited >= self.options.stage_patience {
                        return Err(ItemError::Overdue { waited, stage });
                    }
                    let pause = poll;
                    poll = (poll * 3 / 2).min(LONGEST_POLL);
                    pause
                }
                Err(error) => {
                    failures += 1;
                    if !error.may_pass() || failures >= self.options.item_attempts {
                        return Err(error);
                    }
                    tracing::debug!(%error, failures, "trying again");
                    self.options.stage_poll * 2u32.pow(failures.min(8))
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        id: &str,
        state: State,
        computation: &Computation,
    ) -> Result<Progressed, ItemError> {
        match state {
            State::PendingRequisitionParams => self.create(id, computation).await,
            State::PendingParticipantConfirmation => self.take_in_key_set(id, computation).await,
            State::PendingComputation => self.start(id, computation).await,
            State::Failed => self.finish(id, CompletedReason::Failed).await,
            State::Cancelled => self.finish(id, CompletedReason::Canceled).await,
            State::Succeeded => Ok(Progressed::Done),
            State::PendingRequisitionFulfillment | State::Unspecified => {
                tracing::warn!("the Kingdom sent a computation in an unexpected state");
                Ok(Progressed::Done)
            }
        }
    }

    /// The keys of all duchies and the requisitions: they take the computation to its confirmation. A share shuffle has
    /// none.
    async fn take_in_key_set(&self, id: &str, computation: &Computation) -> Result<Progressed, ItemError> {
        let Some((token, stage)) = self.find(id).await? else { return Ok(Progressed::NotYet("unknown")) };
        match stage.protocol() {
            Protocol::LiquidLegionsV2 => self.gather::<llv2::State>(token, computation).await,
            Protocol::ReachOnlyLiquidLegionsV2 => {
                self.gather::<reach_only_llv2::State>(token, computation).await
            }
            Protocol::HonestMajorityShareShuffle => {
                tracing::warn!("the Kingdom asks for a confirmation that there is not");
                Ok(Progressed::Done)
            }
        }
    }

    async fn gather<C: RingProtocol>(
        &self,
        token: ComputationToken,
        computation: &Computation,
    ) -> Result<Progressed, ItemError> {
        let (stage, waiting) = (ProtocolStage::of(&token)?, C::Stage::WAIT_REQUISITIONS_AND_KEY_SET.into());
        if stage != waiting {
            // A mill that has published its key will also take it to the waiting stage.
            return Ok(before(stage, waiting));
        }
        let setup = self.parts.setup.current();
        let setup = C::part(&setup).ok_or(ConvertError::Protocol(C::PROTOCOL.name()))?;
        let event = convert::key_set_published::<C>(computation, &setup.aggregator)?;
        let requisitions = convert::requisition_entries(computation)?;
        let next = self.step::<C>(&token, event)?;
        let details = with_state(&token, &next)?;
        let token = self.parts.internal.update_details(token, details, requisitions).await?;
        self.advance(token, Hosted::stage(&next)).await
    }

    /// Everybody is ready: duchies that wait for the word begin.
    async fn start(&self, id: &str, computation: &Computation) -> Result<Progressed, ItemError> {
        let Some((token, stage)) = self.find(id).await? else { return Ok(Progressed::NotYet("unknown")) };
        match stage.protocol() {
            Protocol::LiquidLegionsV2 => self.begin::<llv2::State>(token).await,
            Protocol::ReachOnlyLiquidLegionsV2 => self.begin::<reach_only_llv2::State>(token).await,
            Protocol::HonestMajorityShareShuffle => {
                let token = self.take_in_nonces(token, stage, computation).await?;
                self.begin::<hmss::State>(token).await
            }
        }
    }

    async fn begin<P: Hosted>(&self, token: ComputationToken) -> Result<Progressed, ItemError> {
        let stage = ProtocolStage::of(&token)?;
        let state = P::read(&token, &self.parts.duchy, &self.parts.setup.current())?;
        let Some(waiting) = state.waits_to_start_in() else { return Ok(Progressed::Done) };
        if stage != waiting {
            return Ok(before(stage, waiting));
        }
        let next = self.step::<P>(&token, P::started())?;
        self.advance(token, next.stage()).await
    }

    /// A share shuffle has no confirmation, at which nonces are taken in and looked at: a worker that has not begun yet
    /// takes them in now, and its mill looks at them.
    async fn take_in_nonces(
        &self,
        token: ComputationToken,
        stage: ProtocolStage,
        computation: &Computation,
    ) -> Result<ComputationToken, ItemError> {
        let waits = [hmss::Stage::WaitToStart, hmss::Stage::WaitOnShuffleInputPhaseOne];
        if !waits.map(ProtocolStage::from).contains(&stage) {
            return Ok(token);
        }
        let requisitions = convert::requisition_entries(computation)?;
        let details = token.computation_details.clone().unwrap_or_default();
        Ok(self.parts.internal.update_details(token, details, requisitions).await?)
    }

    async fn finish(&self, id: &str, reason: CompletedReason) -> Result<Progressed, ItemError> {
        let Some((token, stage)) = self.find(id).await? else { return Ok(Progressed::Done) };
        if stage.kind() != StageKind::Terminal {
            let terminal = stage.protocol().terminal_stage();
            self.parts.internal.finish(token, terminal, reason).await?;
            tracing::info!(?reason, "ended by the Kingdom");
        }
        Ok(Progressed::Done)
    }

    pub(super) async fn find(
        &self,
        id: &str,
    ) -> Result<Option<(ComputationToken, ProtocolStage)>, ItemError> {
        let Some(token) = self.parts.internal.find(id).await? else { return Ok(None) };
        let stage = ProtocolStage::of(&token)?;
        Ok(Some((token, stage)))
    }

    fn step<P: Hosted>(&self, token: &ComputationToken, event: P::Event) -> Result<P, ItemError> {
        let HeraldParts { duchy, setup, .. } = &self.parts;
        let state = P::read(token, duchy, &setup.current())?;
        // What the Kingdom says only moves the computation on: no kernel runs, no effect follows.
        let seed = SeedSource::OperatingSystem.seed(duchy, &token.global_computation_id, "herald")?;
        let stepped = state.step(event, &KernelContext::new(Executor::serial(), seed));
        Ok(stepped.map_err(|error| ItemError::Step(error.to_string()))?.next)
    }

    async fn advance(&self, token: ComputationToken, next: ProtocolStage) -> Result<Progressed, ItemError> {
        let request = advance_request(token, next, Vec::new())?;
        self.parts.internal.advance(request).await?;
        tracing::info!(entered = next.name(), "the computation goes on");
        Ok(Progressed::Done)
    }

    /// Tells the Kingdom that this duchy cannot take part, and ends the local computation.
    async fn give_up(&self, id: &str, error: &ItemError) {
        let failure = Failure {
            participant_child_reference_id: self.parts.id.clone(),
            error_message: format!("the herald of {} gave up: {error}", self.parts.duchy),
            error_time: Some(std::time::SystemTime::now().into()),
            stage_attempt: None,
        };
        if let Err(status) = self.parts.kingdom.fail(id, failure).await {
            tracing::error!(%status, "the Kingdom is not told of the failure");
        }
        if let Err(error) = self.finish(id, CompletedReason::Failed).await {
            tracing::error!(%error, "the local computation is not ended");
        }
    }

    /// Forgets a computation that has ended at the Kingdom, after ending it here if its mill has not come to that: with the
    /// end goes what does not lie in its row.
    async fn delete(&self, id: &str, reason: CompletedReason) {
        let deleted = async {
            self.finish(id, reason).await?;
            match self.find(id).await? {
                Some((token, _)) => Ok(self.parts.internal.delete(token.local_computation_id).await?),
                None => Ok::<_, ItemError>(()),
            }
        };
        if let Err(error) = deleted.await {
            tracing::warn!(%error, "the ended computation is not deleted");
        }
    }
}

/// Whether a computation in `stage` still has to reach `awaited`, or has passed it.
fn before(stage: ProtocolStage, awaited: ProtocolStage) -> Progressed {
    if stage.number() < awaited.number() { Progressed::NotYet(stage.name()) } else { Progressed::Done }
}

/// The stored details with what the state adds.
fn with_state<P: Hosted>(token: &ComputationToken, state: &P) -> Result<ComputationDetails, ItemError> {
    let mut details = token.computation_details.clone().unwrap_or_default();
    state.write(&mut details)?;
    Ok(details)
}
