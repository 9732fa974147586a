//! What one message of the stream asks of the local computation.

use std::time::Duration;

use halo_crypto::parallel::Executor;
use halo_protocols::computation::Computation as _;
use halo_protocols::kernel::KernelContext;
use halo_protocols::llv2::{Event, Stage, State as ProtocolState, StepError};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::Inner;
use crate::convert::{self, ConvertError};
use crate::proto::internal::computation_details::{CompletedReason, Protocol as StoredProtocol};
use crate::proto::internal::{ComputationDetails, ComputationToken};
use crate::proto::system::Computation;
use crate::proto::system::computation::State;
use crate::proto::system::computation_participant::Failure;
use crate::protocol_stages::{Protocol, ProtocolError, ProtocolStage, advance_request};
use crate::seeds::SeedSource;

const LONGEST_POLL: Duration = Duration::from_secs(30);

/// Why an item was not worked on.
#[derive(Debug, thiserror::Error)]
enum ItemError {
    /// A call failed.
    #[error("{0}")]
    Status(#[from] Status),
    /// The Kingdom's message, or the stored computation, cannot be understood or is refused.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The protocol refuses what the Kingdom says.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The stored computation is of a protocol that this duchy does not run.
    #[error(transparent)]
    Stored(#[from] ProtocolError),
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
    /// The local computation has not come far enough for the Kingdom's state in all the time allowed.
    #[error("after {waited:?} the local computation is still {stage}")]
    Overdue { waited: Duration, stage: &'static str },
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
            Self::Convert(_)
            | Self::Step(_)
            | Self::Stored(_)
            | Self::Randomness(_)
            | Self::Overdue { .. } => false,
        }
    }
}

/// What a try of an item led to.
enum Progressed {
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
        if let Err(error) = self.act(&id, state, &computation).await {
            tracing::error!(computation = id, ?state, %error, "the computation cannot go on");
            self.give_up(&id, &error).await;
        }
        if self.options.deletable_states.contains(&(state as i32)) {
            self.delete(&id).await;
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
                    tracing::debug!(computation = id, ?state, %error, failures, "trying again");
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
            State::PendingComputation => self.start(id).await,
            State::Failed => self.finish(id, CompletedReason::Failed).await,
            State::Cancelled => self.finish(id, CompletedReason::Canceled).await,
            State::Succeeded => Ok(Progressed::Done),
            State::PendingRequisitionFulfillment | State::Unspecified => {
                tracing::warn!(
                    computation = id,
                    ?state,
                    "the Kingdom sent a computation in an unexpected state"
                );
                Ok(Progressed::Done)
            }
        }
    }

    async fn create(&self, id: &str, computation: &Computation) -> Result<Progressed, ItemError> {
        let setup = self.setup.current();
        let setup = setup.liquid_legions_v2.as_ref();
        let request = convert::new_computation(computation, &self.duchy, setup, self.options.noise_policy)?;
        match self.internal.create(request).await {
            Ok(_) => tracing::info!(computation = id, "created"),
            Err(status) if status.code() == Code::AlreadyExists => {
                tracing::debug!(computation = id, "exists already");
            }
            Err(status) => return Err(status.into()),
        }
        Ok(Progressed::Done)
    }

    /// The keys of all duchies and the requisitions: they take the computation to its confirmation.
    async fn take_in_key_set(&self, id: &str, computation: &Computation) -> Result<Progressed, ItemError> {
        let Some((token, stage)) = self.find(id).await? else { return Ok(Progressed::NotYet("unknown")) };
        if stage != Stage::WaitRequisitionsAndKeySet {
            // A mill that has published its key will also take it to the waiting stage.
            return Ok(before(stage, Stage::WaitRequisitionsAndKeySet));
        }
        let setup = self.setup.current();
        let setup = setup.liquid_legions_v2.as_ref();
        let aggregator = &setup.ok_or(ConvertError::Protocol("Liquid Legions v2"))?.aggregator;
        let event = convert::key_set_published(computation, aggregator)?;
        let requisitions = convert::requisition_entries(computation)?;
        let next = self.step(&token, event)?;
        let details = with_state(&token, &next)?;
        let token = self.internal.update_details(token, details, requisitions).await?;
        self.advance(token, next.stage()).await
    }

    /// Everybody is ready: duchies that wait for the word begin.
    async fn start(&self, id: &str) -> Result<Progressed, ItemError> {
        let Some((token, stage)) = self.find(id).await? else { return Ok(Progressed::NotYet("unknown")) };
        let role = convert::role(&token)?;
        if Stage::WaitToStart.role().is_some_and(|waiting| waiting != role) {
            return Ok(Progressed::Done);
        }
        if stage != Stage::WaitToStart {
            return Ok(before(stage, Stage::WaitToStart));
        }
        let next = self.step(&token, Event::Start)?;
        self.advance(token, next.stage()).await
    }

    async fn finish(&self, id: &str, reason: CompletedReason) -> Result<Progressed, ItemError> {
        let Some((token, stage)) = self.find(id).await? else { return Ok(Progressed::Done) };
        if stage != Stage::Complete {
            let terminal = Protocol::LiquidLegionsV2.terminal_stage();
            self.internal.finish(token, terminal, reason).await?;
            tracing::info!(computation = id, ?reason, "ended by the Kingdom");
        }
        Ok(Progressed::Done)
    }

    async fn find(&self, id: &str) -> Result<Option<(ComputationToken, Stage)>, ItemError> {
        let Some(token) = self.internal.find(id).await? else { return Ok(None) };
        let stage = token.computation_stage.as_ref().ok_or(ProtocolError::UnsupportedStage)?;
        let ProtocolStage::LiquidLegionsV2(stage) = ProtocolStage::try_from(stage)?;
        Ok(Some((token, stage)))
    }

    fn step(&self, token: &ComputationToken, event: Event) -> Result<ProtocolState, ItemError> {
        let state = convert::state(token, &self.duchy)?;
        // What the Kingdom says only moves the computation on: no kernel runs, no effect follows.
        let seed = SeedSource::OperatingSystem.seed(&self.duchy, &token.global_computation_id, "herald")?;
        Ok(state.step(event, &KernelContext::new(Executor::serial(), seed))?.next)
    }

    async fn advance(&self, token: ComputationToken, next: Stage) -> Result<Progressed, ItemError> {
        let id = token.global_computation_id.clone();
        let request = advance_request(token, ProtocolStage::LiquidLegionsV2(next), Vec::new())?;
        self.internal.advance(request).await?;
        tracing::info!(computation = id, stage = next.name(), "entered");
        Ok(Progressed::Done)
    }

    /// Tells the Kingdom that this duchy cannot take part, and ends the local computation.
    async fn give_up(&self, id: &str, error: &ItemError) {
        let failure = Failure {
            participant_child_reference_id: self.id.clone(),
            error_message: format!("the herald of {} gave up: {error}", self.duchy),
            error_time: Some(std::time::SystemTime::now().into()),
            stage_attempt: None,
        };
        if let Err(status) = self.kingdom.fail(id, failure).await {
            tracing::error!(computation = id, %status, "the Kingdom is not told of the failure");
        }
        if let Err(error) = self.finish(id, CompletedReason::Failed).await {
            tracing::error!(computation = id, %error, "the local computation is not ended");
        }
    }

    async fn delete(&self, id: &str) {
        let deleted = match self.internal.find(id).await {
            Ok(Some(token)) => self.internal.delete(token.local_computation_id).await,
            Ok(None) => Ok(()),
            Err(status) => Err(status),
        };
        if let Err(status) = deleted {
            tracing::warn!(computation = id, %status, "the ended computation is not deleted");
        }
    }
}

/// Whether a computation in `stage` still has to reach `awaited`, or has passed it.
fn before(stage: Stage, awaited: Stage) -> Progressed {
    if stage < awaited { Progressed::NotYet(stage.name()) } else { Progressed::Done }
}

/// The stored details with what the state adds.
fn with_state(token: &ComputationToken, state: &ProtocolState) -> Result<ComputationDetails, ItemError> {
    let mut details = token.computation_details.clone().unwrap_or_default();
    match &mut details.protocol {
        Some(StoredProtocol::LiquidLegionsV2(details)) => {
            state.write_details(details).map_err(ConvertError::from)?;
        }
        _ => return Err(ProtocolError::DetailsMismatch { expected: Protocol::LiquidLegionsV2 }.into()),
    }
    Ok(details)
}
