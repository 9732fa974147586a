//! One attempt at one stage: load the state, step, persist, carry out the effects, commit.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use halo_crypto::parallel::{Control, Executor};
use halo_protocols::computation::{Computation as _, Step};
use halo_protocols::kernel::KernelContext;
use halo_protocols::llv2::{Event, Setting, Stage, StageInputs, StageKind, State};
use halo_protocols::{Effect, Payload};
use tokio::time::Instant;

use super::lease::Lease;
use super::slot::Slot;
use super::statistics::Statistics;
use super::{Inner, MillError, StageEvent, StageReport};
use crate::blob::Place;
use crate::consent::{ParticipantKey, verify_participant_key};
use crate::convert;
use crate::proto::internal::computation_details::Protocol as StoredProtocol;
use crate::proto::internal::{ComputationBlobDependency, ComputationStageBlobMetadata, ComputationToken};
use crate::protocol_stages::{Protocol, ProtocolError, ProtocolStage, advance_request};
use crate::shutdown::Shutdown;

/// How often a kernel's progress is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Tries of one blob read whose error may pass.
const READ_ATTEMPTS: u32 = 4;

/// An attempt at the stage that was claimed.
pub(super) struct Work {
    pub(super) mill: Arc<Inner>,
    /// The computation as last written or read.
    pub(super) token: ComputationToken,
    /// The stage that was claimed.
    pub(super) stage: Stage,
    pub(super) slot: Slot,
    pub(super) started: Instant,
    pub(super) statistics: Statistics,
    /// Stops the kernel.
    control: Control,
}

impl Work {
    pub(super) fn new(mill: Arc<Inner>, token: ComputationToken, slot: Slot) -> Self {
        Self {
            mill,
            token,
            // Replaced before anything is done; a stage of another protocol is refused there.
            stage: Stage::INITIAL,
            slot,
            started: Instant::now(),
            statistics: Statistics::default(),
            control: Control::default(),
        }
    }

    /// Works until the stage is committed, failed, or given back.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let claimed = self.token.clone();
        let Inner { parts, options, .. } = &*Arc::clone(&self.mill);
        let lease =
            Lease::hold(parts.internal.clone(), claimed.clone(), options.lock_duration, self.control.clone());
        let control = self.control.clone();
        let outcome = tokio::select! {
            biased;
            reason = lease.lost() => Err(MillError::LostLock(reason)),
            () = shutdown.requested() => Err(MillError::Stopped),
            outcome = self.attempt() => outcome,
        };
        drop(lease);
        // A kernel that nobody waits for any more must not go on.
        control.cancel();
        self.statistics.stage = self.started.elapsed();
        match outcome {
            Ok(()) => {
                tracing::info!(
                    duchy = parts.duchy,
                    computation = claimed.global_computation_id,
                    stage = self.stage.name(),
                    attempt = claimed.attempt,
                    elapsed = ?self.statistics.stage,
                    "stage done"
                );
                self.observe(StageEvent::Finished {
                    registers: self.statistics.registers,
                    sent_bytes: self.statistics.sent_bytes,
                    elapsed: self.statistics.stage,
                });
            }
            Err(error) => self.fail(&claimed, error).await,
        }
        self.statistics.record(&parts.internal, &claimed).await;
    }

    pub(super) fn observe(&self, event: StageEvent) {
        self.mill.parts.observer.observe(StageReport {
            duchy: self.mill.parts.duchy.clone(),
            computation: self.token.global_computation_id.clone(),
            stage: self.stage.name(),
            attempt: self.token.attempt,
            event,
        });
    }

    async fn attempt(&mut self) -> Result<(), MillError> {
        let maximum = self.mill.options.max_attempts;
        let stage = self.token.computation_stage.as_ref().ok_or(ProtocolError::UnsupportedStage);
        let ProtocolStage::LiquidLegionsV2(stage) =
            stage.and_then(ProtocolStage::try_from).map_err(convert::ConvertError::from)?;
        self.stage = stage;
        if self.token.attempt > maximum {
            let reason = format!("{maximum} attempts at {} have failed", stage.name());
            return Err(MillError::Permanent { what: "giving up", reason });
        }
        self.observe(StageEvent::Started);
        let state = convert::state(&self.token, &self.mill.parts.duchy)?;
        let setting = state.setting().clone();
        let event = self.event(&state).await?;
        let Step { next, effects } = self.step(state, event).await?;
        self.persist(&next, &effects).await?;
        for effect in effects {
            self.execute(effect, &setting).await?;
        }
        self.commit(&next).await
    }

    /// What the protocol is told so that it works on this stage.
    async fn event(&self, state: &State) -> Result<Event, MillError> {
        match state {
            State::InitializationPhase(_) => Ok(Event::Initialize),
            State::ConfirmationPhase(gathered) => {
                let consent = &self.mill.parts.consent;
                let refused = gathered.ring.participants().iter().filter_map(|participant| {
                    let key = ParticipantKey {
                        duchy: participant.duchy.as_str(),
                        certificate: &participant.certificate_der,
                        key: &participant.el_gamal_public_key,
                        signature: &participant.signature,
                        signature_algorithm_oid: &participant.signature_algorithm_oid,
                    };
                    verify_participant_key(&key, &consent.directory, &consent.roots, SystemTime::now())
                        .err()
                        .map(|error| error.to_string())
                });
                let refused = refused.collect();
                Ok(Event::Confirm(convert::evidence(&self.token, &self.mill.parts.duchy, refused)?))
            }
            _ if self.stage.kind() == StageKind::Compute => Ok(Event::Compute(self.inputs().await?)),
            _ => Err(MillError::LostLock(format!("{} is not work for a mill", self.stage.name()))),
        }
    }

    async fn inputs(&self) -> Result<StageInputs, MillError> {
        let own = if self.stage == Stage::SetupPhase {
            convert::own_requisition_paths(&self.token, &self.mill.parts.duchy)
        } else {
            Vec::new()
        };
        let mut inputs = StageInputs::default();
        for path in own {
            inputs.requisitions.push(self.read(&path).await?);
        }
        for blob in self.blobs(ComputationBlobDependency::Input) {
            inputs.messages.push(self.read(&blob.path).await?);
        }
        if let Some(blob) = self.output().filter(|blob| !blob.path.is_empty()) {
            inputs.kept = Some(self.read(&blob.path).await?);
        }
        Ok(inputs)
    }

    /// The blobs of this stage, by id.
    fn blobs(
        &self,
        dependency: ComputationBlobDependency,
    ) -> impl Iterator<Item = &ComputationStageBlobMetadata> {
        self.token.blobs.iter().filter(move |blob| blob.dependency_type() == dependency)
    }

    /// The stage's own output slot.
    fn output(&self) -> Option<&ComputationStageBlobMetadata> {
        self.blobs(ComputationBlobDependency::Output).next()
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>, MillError> {
        let Inner { parts, options, .. } = &*self.mill;
        let mut attempt = 1;
        loop {
            match parts.blobs.read(path, options.max_blob_bytes).await {
                Err(error) if error.is_transient() && attempt < READ_ATTEMPTS => {
                    tracing::warn!(path, %error, attempt, "reading again");
                    tokio::time::sleep(Duration::from_millis(200 * u64::from(attempt))).await;
                    attempt += 1;
                }
                read => return read.map_err(MillError::blob("reading the stage's input")),
            }
        }
    }

    /// Steps the state on a thread that may be blocked, its kernels on the mill's own threads.
    async fn step(&mut self, state: State, event: Event) -> Result<Step<State>, MillError> {
        let parts = &self.mill.parts;
        let stage = self.stage.name();
        let seed = parts.seeds.seed(&parts.duchy, &self.token.global_computation_id, stage);
        let seed = seed.map_err(|error| MillError::permanent("drawing a seed")(&error))?;
        let executor = Executor::on(Arc::clone(&self.mill.pool)).with_control(self.control.clone());
        let context = KernelContext::new(executor, seed);
        let begun = Instant::now();
        let mut stepping = tokio::task::spawn_blocking(move || state.step(event, &context));
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        ticks.tick().await;
        let stepped = loop {
            tokio::select! {
                stepped = &mut stepping => break stepped,
                _ = ticks.tick() => self.observe(StageEvent::Progressed {
                    records: self.control.done(),
                    elapsed: self.started.elapsed(),
                }),
            }
        };
        self.statistics.crypto = begun.elapsed();
        match stepped {
            Ok(stepped) => Ok(stepped?),
            // A panic is a mistake of ours; the data is still there for another attempt, perhaps of a better version.
            Err(error) => Err(MillError::Transient { what: "computing", reason: error.to_string() }),
        }
    }

    /// Stores what must not be lost before any effect is carried out: what the state has learnt, then the output.
    async fn persist(&mut self, next: &State, effects: &[Effect]) -> Result<(), MillError> {
        let internal = self.mill.parts.internal.clone();
        let mut details = self.token.computation_details.clone().unwrap_or_default();
        let Some(StoredProtocol::LiquidLegionsV2(protocol)) = &mut details.protocol else {
            let mismatch = ProtocolError::DetailsMismatch { expected: Protocol::LiquidLegionsV2 };
            return Err(convert::ConvertError::from(mismatch).into());
        };
        next.write_details(protocol).map_err(convert::ConvertError::from)?;
        if Some(&details) != self.token.computation_details.as_ref() {
            self.token = internal
                .update_details(self.token.clone(), details, Vec::new())
                .await
                .map_err(MillError::internal("storing what the stage found"))?;
        }
        for effect in effects {
            if let Effect::Keep(payload) = effect {
                self.keep(payload).await?;
            }
        }
        Ok(())
    }

    async fn keep(&mut self, payload: &Payload) -> Result<(), MillError> {
        let Some(slot) = self.output() else {
            let reason = format!("{} has no output slot", self.stage.name());
            return Err(MillError::Permanent { what: "keeping the output", reason });
        };
        // An earlier attempt has kept it, and the step has handed it back.
        if !slot.path.is_empty() {
            return Ok(());
        }
        let blob_id = slot.blob_id;
        let place = Place::Stage {
            computation: &self.token.global_computation_id,
            stage: self.stage.name(),
            attempt: self.token.attempt,
        };
        let parts = &self.mill.parts;
        let blob = parts
            .blobs
            .write(place, payload.as_bytes().to_vec())
            .await
            .map_err(MillError::blob("writing the output"))?;
        self.token = parts
            .internal
            .record_output(self.token.clone(), blob_id, blob.path)
            .await
            .map_err(MillError::internal("recording the output"))?;
        Ok(())
    }

    async fn commit(&mut self, next: &State) -> Result<(), MillError> {
        let internal = &self.mill.parts.internal;
        let token = self.token.clone();
        let committed = match next {
            State::Complete(_, outcome) => {
                internal.finish(token, Protocol::LiquidLegionsV2.terminal_stage(), (*outcome).into()).await
            }
            _ => {
                let outputs = self.blobs(ComputationBlobDependency::Output).map(|blob| blob.path.clone());
                let outputs = outputs.collect();
                let stage = ProtocolStage::LiquidLegionsV2(next.stage());
                let request = advance_request(token, stage, outputs).map_err(convert::ConvertError::from)?;
                internal.advance(request).await
            }
        };
        self.token = committed.map_err(MillError::internal("committing the stage"))?;
        Ok(())
    }

    async fn execute(&mut self, effect: Effect, setting: &Setting) -> Result<(), MillError> {
        match effect {
            // Done by `persist`.
            Effect::Keep(_) => Ok(()),
            Effect::PublishKey { el_gamal_public_key } => self.publish_key(el_gamal_public_key).await,
            Effect::ConfirmParticipation => self.confirm_participation().await,
            Effect::Send { to, message, payload } => {
                self.send(to, message, payload, setting.parameters.curve_id).await
            }
            Effect::ReportResult(result) => self.report_result(&result, setting).await,
            Effect::FailParticipation { reason } => self.fail_participation(&reason).await,
            other => {
                let reason = format!("this mill cannot carry out {other:?}");
                Err(MillError::Permanent { what: "carrying out an effect", reason })
            }
        }
    }
}
