//! The Kingdom's system API as one duchy calls it (upstream's package
//! `wfa.measurement.system.v1alpha`).

use std::time::Duration;

use tonic::{Code, Request, Status, Streaming};

use crate::client::{CallPolicy, Channel};
use crate::proto::system::computation_log_entries_client::ComputationLogEntriesClient;
use crate::proto::system::computation_participant::{Failure, RequisitionParams, State};
use crate::proto::system::computation_participants_client::ComputationParticipantsClient;
use crate::proto::system::computations_client::ComputationsClient;
use crate::proto::system::{
    Computation, ComputationLogEntry, ComputationParticipant, ConfirmComputationParticipantRequest,
    CreateComputationLogEntryRequest, FailComputationParticipantRequest, GetComputationParticipantRequest,
    GetComputationRequest, SetComputationResultRequest, SetParticipantRequisitionParamsRequest,
    StreamActiveComputationsRequest, StreamActiveComputationsResponse,
};
use crate::retry::{Backoff, Class, Retries};

/// How often a change of the duchy's participation is tried, each time with the etag of the day. Of the Kingdom's
/// `UNKNOWN`, which stands for most refusals, nothing better comes.
const UPDATES: Retries = Retries {
    attempts: 3,
    limited: 1,
    backoff: Backoff::new(Duration::from_millis(100), 2.0, Duration::from_secs(1)),
};

/// A client of the system API.
#[derive(Clone, Debug)]
pub struct SystemApi {
    duchy: String,
    computations: ComputationsClient<Channel>,
    participants: ComputationParticipantsClient<Channel>,
    log_entries: ComputationLogEntriesClient<Channel>,
    policy: CallPolicy,
}

/// The resource name of a computation.
pub fn computation_name(computation: &str) -> String {
    format!("computations/{computation}")
}

/// The resource name of a duchy's part in a computation.
pub fn participant_name(computation: &str, duchy: &str) -> String {
    format!("computations/{computation}/participants/{duchy}")
}

impl SystemApi {
    /// A client over `channel` for the duchy `duchy`.
    pub fn new(duchy: &str, channel: Channel, policy: CallPolicy) -> Self {
        Self {
            duchy: duchy.to_owned(),
            computations: ComputationsClient::new(channel.clone()),
            participants: ComputationParticipantsClient::new(channel.clone()),
            log_entries: ComputationLogEntriesClient::new(channel),
            policy,
        }
    }

    /// Opens the stream of this duchy's computations, from where `continuation_token` says. The Kingdom is told when it is to
    /// end.
    ///
    /// # Errors
    /// The Kingdom's status.
    pub async fn stream_active_computations(
        &self,
        continuation_token: String,
        deadline: Duration,
    ) -> Result<Streaming<StreamActiveComputationsResponse>, Status> {
        let mut request = Request::new(StreamActiveComputationsRequest { continuation_token });
        request.set_timeout(deadline);
        Ok(self.computations.clone().stream_active_computations(request).await?.into_inner())
    }

    /// Reads a computation.
    ///
    /// # Errors
    /// The Kingdom's status.
    pub async fn computation(&self, computation: &str) -> Result<Computation, Status> {
        let request = GetComputationRequest { name: computation_name(computation) };
        self.policy
            .unary(|| {
                let (mut client, request) = (self.computations.clone(), request.clone());
                async move { client.get_computation(request).await }
            })
            .await
    }

    /// Hands in the encrypted result.
    ///
    /// # Errors
    /// The Kingdom's status.
    pub async fn set_result(&self, request: SetComputationResultRequest) -> Result<(), Status> {
        CallPolicy::once(self.policy.deadline)
            .unary(|| {
                let (mut client, request) = (self.computations.clone(), request.clone());
                async move { client.set_computation_result(request).await }
            })
            .await
            .map(drop)
    }

    /// Publishes this duchy's key and signature, unless that has been done.
    ///
    /// # Errors
    /// The Kingdom's status.
    pub async fn set_requisition_params(
        &self,
        computation: &str,
        params: RequisitionParams,
    ) -> Result<(), Status> {
        self.update(
            computation,
            |state| state != State::Created,
            |mut client, name, etag| {
                let requisition_params = Some(params.clone());
                let request = SetParticipantRequisitionParamsRequest { name, requisition_params, etag };
                async move { client.set_participant_requisition_params(request).await }
            },
        )
        .await
    }

    /// Says that this duchy is ready, unless that has been done.
    ///
    /// # Errors
    /// The Kingdom's status.
    pub async fn confirm(&self, computation: &str) -> Result<(), Status> {
        self.update(
            computation,
            |state| state == State::Ready,
            |mut client, name, etag| {
                let request = ConfirmComputationParticipantRequest { name, etag };
                async move { client.confirm_computation_participant(request).await }
            },
        )
        .await
    }

    /// Says that this duchy cannot go on: the computation fails for everyone. One that has ended already is left.
    ///
    /// # Errors
    /// The Kingdom's status.
    pub async fn fail(&self, computation: &str, failure: Failure) -> Result<(), Status> {
        let failed = self
            .update(
                computation,
                |state| state == State::Failed,
                |mut client, name, etag| {
                    let request =
                        FailComputationParticipantRequest { name, failure: Some(failure.clone()), etag };
                    async move { client.fail_computation_participant(request).await }
                },
            )
            .await;
        match failed {
            Err(status) if status.code() == Code::FailedPrecondition => {
                tracing::info!(computation, %status, "the Kingdom has already ended the computation");
                Ok(())
            }
            other => other,
        }
    }

    /// Leaves a log entry at the Kingdom.
    ///
    /// # Errors
    /// The Kingdom's status.
    pub async fn log(&self, computation: &str, entry: ComputationLogEntry) -> Result<(), Status> {
        let request = CreateComputationLogEntryRequest {
            parent: participant_name(computation, &self.duchy),
            computation_log_entry: Some(entry),
        };
        CallPolicy::once(Duration::from_secs(5))
            .unary(|| {
                let (mut client, request) = (self.log_entries.clone(), request.clone());
                async move { client.create_computation_log_entry(request).await }
            })
            .await
            .map(drop)
    }

    /// Reads this duchy's participation, and changes it unless it is `done`; again with a fresh etag if somebody else
    /// changed it in between.
    async fn update<Call, Change>(
        &self,
        computation: &str,
        done: impl Fn(State) -> bool,
        change: Call,
    ) -> Result<(), Status>
    where
        Call: Fn(ComputationParticipantsClient<Channel>, String, String) -> Change,
        Change: Future<Output = Result<tonic::Response<ComputationParticipant>, Status>>,
    {
        let name = participant_name(computation, &self.duchy);
        let once = CallPolicy::once(self.policy.deadline);
        let attempt = async || {
            let request = GetComputationParticipantRequest { name: name.clone() };
            let participant = self
                .policy
                .unary(|| {
                    let (mut client, request) = (self.participants.clone(), request.clone());
                    async move { client.get_computation_participant(request).await }
                })
                .await
                .map_err(Update::Unread)?;
            if done(participant.state()) {
                return Ok(());
            }
            let change = || change(self.participants.clone(), name.clone(), participant.etag.clone());
            once.unary(change).await.map(drop).map_err(Update::Unchanged)
        };
        let updated = UPDATES.run(Update::class, attempt).await;
        updated.map_err(|(Update::Unread(status) | Update::Unchanged(status))| status)
    }
}

/// Which half of an update failed.
#[derive(Debug, thiserror::Error)]
enum Update {
    /// The participation was not read. That call has been repeated already.
    #[error("{0}")]
    Unread(Status),
    /// It was not changed, perhaps because somebody else has changed it.
    #[error("{0}")]
    Unchanged(Status),
}

impl Update {
    fn class(&self) -> Class {
        match self {
            Self::Unread(_) => Class::Permanent,
            Self::Unchanged(status) => Class::of(status.code()),
        }
    }
}
