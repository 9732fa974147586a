//! What one message of the stream asks of the local computation.

use std::sync::Arc;
use std::time::Duration;

use halo_crypto::parallel::Executor;
use halo_protocols::kernel::KernelContext;
use halo_protocols::liquid_legions::RingStage;
use halo_protocols::llv2::StageKind;
use halo_protocols::{hmss, llv2, reach_only_llv2};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::Status;
use tracing::{Instrument as _, Span};

use super::ended::End;
use super::{HeraldError, HeraldParts, Inner};
use crate::audit::{Entry, Event, Outcome};
use crate::computation_secrets::ComputationSecretError;
use crate::convert::{self, ConvertError, Hosted, RingProtocol};
use crate::fail_point::{around, stage_of};
use crate::platform;
use crate::private_key_store::PrivateKeyError;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::{ComputationDetails, ComputationToken, RequisitionEntry};
use crate::proto::system::Computation;
use crate::proto::system::computation::State;
use crate::proto::system::computation_participant::Failure;
use crate::protocol_stages::{Protocol, ProtocolError, ProtocolStage, advance_request};
use crate::retry::{Backoff, Class, Retries};
use crate::seeds::SeedSource;
use crate::telemetry::context::WorkSpan;
use crate::telemetry::instruments::HERALD_ITEMS;

/// What is kept with the attempts that the Kingdom's word ends.
const ENDED_BY_KINGDOM: &str = "the Kingdom has ended the computation";

const LONGEST_POLL: Duration = Duration::from_secs(30);

/// A computation that fails is ended however long it takes. What may be the answer is asked for a few minutes.
const ENDINGS: Retries = Retries {
    attempts: u32::MAX,
    limited: 10,
    backoff: Backoff::new(Duration::from_secs(1), 2.0, Duration::from_secs(60)),
};

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
    /// A worker's seed cannot be read or written.
    #[error(transparent)]
    Secret(#[from] ComputationSecretError),
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
    fn class(&self) -> Class {
        match self {
            Self::Status(status) => Class::of(status.code()),
            Self::PrivateKey(error) => Class::transient_if(error.is_transient()),
            Self::Secret(error) => error.class(),
            Self::Convert(_)
            | Self::Herald(_)
            | Self::Step(_)
            | Self::Stored(_)
            | Self::Randomness(_)
            | Self::Overdue { .. } => Class::Permanent,
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
    /// Works on one item to its end: done, or failed at the Kingdom. `permit` is for the first try.
    pub(super) async fn process(&self, computation: Computation, permit: Option<OwnedSemaphorePermit>) {
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
        self.work(&id, state, &computation, permit).instrument(span.start()).await;
    }

    async fn work(
        &self,
        id: &str,
        state: State,
        computation: &Computation,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let end = End::of(state);
        let _open = self.ended.begin(id, end);
        let acted = self.act(id, state, computation, permit).await;
        HERALD_ITEMS.add(1, [state.as_str_name(), if acted.is_ok() { "done" } else { "failed" }]);
        if let Err(error) = acted {
            Span::current().record("otel.status_code", "ERROR");
            tracing::error!(%error, "the computation cannot go on");
            self.give_up(id, &error).await;
        }
        if let Some(end) = end.filter(|end| self.forgets(*end)) {
            self.delete(id, end.reason).await;
        }
    }

    /// Whether computations that have ended so are deleted at once.
    fn forgets(&self, end: End) -> bool {
        self.options.deletable_states.contains(&(end.state as i32))
    }

    /// Ends the computation, if there is one, and forgets it, if that is to be.
    pub(super) async fn end(&self, id: &str, end: End) -> Result<Progressed, ItemError> {
        let ended = self.finish(id, end.reason, ENDED_BY_KINGDOM).await?;
        if self.forgets(end) {
            self.delete(id, end.reason).await;
        }
        Ok(ended)
    }

    /// Tries until the item is done, its local stage is overdue, or an error remains.
    async fn act(
        &self,
        id: &str,
        state: State,
        computation: &Computation,
        mut permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), ItemError> {
        let started = Instant::now();
        let pauses = Backoff::new(self.options.stage_poll, 1.5, LONGEST_POLL);
        let retries = Retries {
            attempts: u32::MAX,
            limited: self.options.item_attempts,
            backoff: Backoff { multiplier: 2.0, ..pauses },
        };
        let (mut polls, mut failures) = (0, 0);
        loop {
            // The permit is held for one try only, so that nobody waits for those that wait.
            let tried = {
                let _permit = match permit.take() {
                    None => Arc::clone(&self.permits).acquire_owned().await.ok(),
                    first => first,
                };
                self.attempt(id, state, computation).await
            };
            let pause = match tried {
                Ok(Progressed::Done) => return Ok(()),
                Ok(Progressed::NotYet(stage)) => {
                    let waited = started.elapsed();
                    if waited >= self.options.stage_patience {
                        // A computation that is over is not failed.
                        return match state {
                            State::Succeeded => Ok(()),
                            _ => Err(ItemError::Overdue { waited, stage }),
                        };
                    }
                    polls += 1;
                    pauses.pause(polls)
                }
                Err(error) => {
                    failures += 1;
                    // Nobody has refused anything while errors are transient: for no server that is started again, and
                    // for no race that is lost, does a computation fail.
                    let overdue = started.elapsed() >= self.options.stage_patience;
                    if overdue || !retries.allow(error.class(), failures) {
                        return Err(error);
                    }
                    tracing::debug!(%error, failures, "trying again");
                    retries.backoff.pause(failures)
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
            State::Failed => self.finish(id, CompletedReason::Failed, ENDED_BY_KINGDOM).await,
            State::Cancelled => self.finish(id, CompletedReason::Canceled, ENDED_BY_KINGDOM).await,
            State::Succeeded => self.succeed(id).await,
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
        let token = self.update(token, details, requisitions).await?;
        self.advance(token, Hosted::stage(&next)).await
    }

    /// Everybody is ready: duchies that wait for the word begin.
    async fn start(&self, id: &str, computation: &Computation) -> Result<Progressed, ItemError> {
        let Some((token, stage)) = self.find(id).await? else { return Ok(Progressed::NotYet("unknown")) };
        match stage.protocol() {
            Protocol::LiquidLegionsV2 => self.begin_confirmed::<llv2::State>(token, stage).await,
            Protocol::ReachOnlyLiquidLegionsV2 => {
                self.begin_confirmed::<reach_only_llv2::State>(token, stage).await
            }
            Protocol::HonestMajorityShareShuffle => {
                let token = self.take_in_nonces(token, stage, computation).await?;
                let opened = self.opened(&token).await?;
                self.begin::<hmss::State>(token, &opened).await
            }
        }
    }

    /// Begins a computation that this duchy has confirmed, or the Kingdom would not ask for it. A database that was put back to
    /// before that cannot get there any more, for the Kingdom takes no confirmation now. Others would wait for the aggregator,
    /// which waits for no word of the Kingdom's, for as long as their attempts last.
    async fn begin_confirmed<C: RingProtocol>(
        &self,
        token: ComputationToken,
        stage: ProtocolStage,
    ) -> Result<Progressed, ItemError> {
        let unconfirmed: ProtocolStage = C::Stage::WAIT_REQUISITIONS_AND_KEY_SET.into();
        if stage.number() <= unconfirmed.number() {
            return Ok(Progressed::NotYet(stage.name()));
        }
        // Its secret key is the mill's: here it is as good in an envelope.
        self.begin::<C>(token.clone(), &token).await
    }

    /// The computation with its secret in the clear.
    async fn opened(&self, token: &ComputationToken) -> Result<ComputationToken, ItemError> {
        let HeraldParts { duchy, secrets, id, .. } = &self.parts;
        let begun = |event, outcome| {
            let entry = Entry::new(event, outcome).duchy(duchy).computation(&token.global_computation_id);
            entry.detail("herald", id.as_str())
        };
        Ok(secrets.open_for_use(token, duchy, begun).await?)
    }

    /// Begins a computation, which `opened` is as the protocol can read it.
    async fn begin<P: Hosted>(
        &self,
        token: ComputationToken,
        opened: &ComputationToken,
    ) -> Result<Progressed, ItemError> {
        let stage = ProtocolStage::of(&token)?;
        let state = P::read(opened, &self.parts.duchy, &self.parts.setup.current())?;
        let Some(waiting) = state.waits_to_start_in() else { return Ok(Progressed::Done) };
        if stage != waiting {
            return Ok(before(stage, waiting));
        }
        let next = self.step::<P>(opened, P::started())?;
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
        self.update(token, details, requisitions).await
    }

    async fn update(
        &self,
        token: ComputationToken,
        details: ComputationDetails,
        requisitions: Vec<RequisitionEntry>,
    ) -> Result<ComputationToken, ItemError> {
        let stage = stage_of(Some(&token));
        let updated = self.parts.internal.update_details(token, details, requisitions);
        Ok(around("database.update", stage, updated).await?)
    }

    async fn finish(&self, id: &str, reason: CompletedReason, why: &str) -> Result<Progressed, ItemError> {
        let Some((token, stage)) = self.find(id).await? else { return Ok(Progressed::Done) };
        if stage.kind() != StageKind::Terminal {
            let terminal = stage.protocol().terminal_stage();
            let finished = self.parts.internal.finish(token, terminal, reason, why);
            around("database.finish", stage.name(), finished).await?;
            tracing::info!(?reason, "ended by the Kingdom");
        }
        Ok(Progressed::Done)
    }

    /// The Kingdom has the result. A mill that is still at work on the last stage is left to end it. A computation that
    /// waits gets no message any more: it was over, and the database has been restored from an older backup.
    async fn succeed(&self, id: &str) -> Result<Progressed, ItemError> {
        let Some((_, stage)) = self.find(id).await? else { return Ok(Progressed::Done) };
        match stage.kind() {
            StageKind::Terminal => Ok(Progressed::Done),
            StageKind::Compute => Ok(Progressed::NotYet(stage.name())),
            StageKind::Wait => self.finish(id, CompletedReason::Succeeded, ENDED_BY_KINGDOM).await,
        }
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
        let left = stage_of(Some(&token));
        let request = advance_request(token, next, Vec::new())?;
        around("database.advance", left, self.parts.internal.advance(request)).await?;
        tracing::info!(entered = next.name(), "the computation goes on");
        Ok(Progressed::Done)
    }

    /// Tells the Kingdom that this duchy cannot take part, and ends the local computation. The item is not done before
    /// both have happened, or have been refused: everybody else would wait for this duchy without end.
    async fn give_up(&self, id: &str, error: &ItemError) {
        let why = format!("the herald of {} gave up: {error}", self.parts.duchy);
        let failure = Failure {
            participant_child_reference_id: self.parts.id.clone(),
            error_message: why.clone(),
            error_time: Some(platform::time().into()),
            stage_attempt: None,
        };
        Entry::new(Event::ComputationFailed, Outcome::Failed)
            .duchy(&self.parts.duchy)
            .computation(id)
            .reason(&error.to_string())
            .detail("herald", self.parts.id.as_str())
            .record();
        let tell = || around("kingdom.fail", "", self.parts.kingdom.fail(id, failure.clone()));
        if let Err(status) = ENDINGS.run(|status: &Status| Class::of(status.code()), tell).await {
            tracing::error!(%status, "the Kingdom is not told of the failure");
        }
        let end = || self.finish(id, CompletedReason::Failed, &why);
        if let Err(error) = ENDINGS.run(ItemError::class, end).await {
            tracing::error!(%error, "the local computation is not ended");
        }
    }

    /// Forgets a computation that has ended at the Kingdom, after ending it here if its mill has not come to that: with the
    /// end goes what does not lie in its row.
    async fn delete(&self, id: &str, reason: CompletedReason) {
        let deleted = async {
            self.finish(id, reason, ENDED_BY_KINGDOM).await?;
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
