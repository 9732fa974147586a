//! One attempt at one stage: load the state, step, persist, carry out the effects, commit.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halo_crypto::parallel::{Control, Executor};
use halo_crypto::prg::StreamSeed;
use halo_protocols::kernel::KernelContext;
use halo_protocols::llv2::StageKind;
use halo_protocols::{DuchyId, Effect, Payload, Refusal as _, Step, hmss, llv2, reach_only_llv2};
use tokio::time::{Instant, sleep};
use tracing::{Instrument as _, Span};

use super::failure::is_one_too_many;
use super::lease::Lease;
use super::milled::Milled;
use super::noise::Given;
use super::slot::Slot;
use super::statistics::{Statistics, record_progress};
use super::{Inner, MillError, StageEvent, StageReport};
use crate::audit::{Entry, Event, Outcome};
use crate::blob::{BlobError, Place};
use crate::convert;
use crate::fail_point::{Side, around, pass};
use crate::platform;
use crate::proto::internal::{
    ComputationBlobDependency, ComputationDetails, ComputationStageBlobMetadata, ComputationToken,
};
use crate::protocol_stages::{Protocol, ProtocolStage, advance_request};
use crate::seeds::Commitment;
use crate::shutdown::Shutdown;
use crate::telemetry::context::WorkSpan;

/// How often a kernel's progress is reported to whoever watches.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// How often it is recorded in the duchy's database.
const RECORDED_PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

const READING_INPUT: &str = "reading the stage's input";

/// An attempt at the stage that was claimed.
pub(super) struct Work {
    pub(super) mill: Arc<Inner>,
    /// The computation as last written or read.
    pub(super) token: ComputationToken,
    /// The stage that was claimed; `None` if this duchy does not know it.
    stage: Option<ProtocolStage>,
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
            stage: ProtocolStage::of(&token).ok(),
            token,
            slot,
            started: Instant::now(),
            statistics: Statistics::default(),
            control: Control::default(),
        }
    }

    /// Works until the stage is committed, failed, or given back, in a span of the computation's trace.
    pub(super) async fn run(self, shutdown: Shutdown) {
        let span = WorkSpan {
            name: "mill.stage",
            computation: &self.token.global_computation_id,
            protocol: self.stage.map_or("", |stage| stage.protocol().type_name()),
            stage: self.stage_name(),
            attempt: self.token.attempt,
            owner: &self.mill.options.id,
            duchy: &self.mill.parts.duchy,
        };
        let span = span.start();
        self.work(shutdown).instrument(span).await;
    }

    async fn work(mut self, shutdown: Shutdown) {
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
        if let Some(stage) = self.stage {
            self.statistics.count(stage, outcome.as_ref().err());
        }
        match outcome {
            Ok(()) => {
                tracing::info!(elapsed = ?self.statistics.stage, "stage done");
                self.observe(StageEvent::Finished {
                    registers: self.statistics.registers,
                    sent_bytes: self.statistics.sent_bytes,
                    computing: self.statistics.crypto,
                    elapsed: self.statistics.stage,
                });
            }
            Err(error) => {
                Span::current().record("otel.status_code", "ERROR");
                self.fail(&claimed, error).await;
            }
        }
        self.statistics.record(&parts.internal, &claimed).await;
    }

    /// The stage's name, for people and as part of names.
    pub(super) fn stage_name(&self) -> &'static str {
        self.stage.map_or("an unknown stage", ProtocolStage::name)
    }

    /// An entry of the audit log about this work.
    pub(super) fn entry(&self, event: Event, outcome: Outcome) -> Entry {
        Entry::new(event, outcome)
            .duchy(&self.mill.parts.duchy)
            .computation(&self.token.global_computation_id)
            .detail("stage", self.stage_name())
            .detail("attempt", self.token.attempt)
            .detail("mill", self.mill.options.id.as_str())
    }

    pub(super) fn observe(&self, event: StageEvent) {
        self.mill.parts.observer.observe(StageReport {
            duchy: self.mill.parts.duchy.clone(),
            computation: self.token.global_computation_id.clone(),
            stage: self.stage_name(),
            attempt: self.token.attempt,
            event,
        });
    }

    /// Where the protocol is chosen: what follows is the same for all of them.
    async fn attempt(&mut self) -> Result<(), MillError> {
        let stage = ProtocolStage::of(&self.token).map_err(convert::ConvertError::from)?;
        if is_one_too_many(&self.token, self.mill.options.max_attempts) {
            let reason = format!("attempt {} at {} is one too many", self.token.attempt, stage.name());
            return Err(MillError::Permanent { what: "giving up", reason });
        }
        self.observe(StageEvent::Started);
        match stage.protocol() {
            Protocol::LiquidLegionsV2 => self.attempt_as::<llv2::State>().await,
            Protocol::ReachOnlyLiquidLegionsV2 => self.attempt_as::<reach_only_llv2::State>().await,
            Protocol::HonestMajorityShareShuffle => self.attempt_as::<hmss::State>().await,
        }
    }

    async fn attempt_as<P: Milled>(&mut self) -> Result<(), MillError> {
        let opened = self.opened().await?;
        let parts = &self.mill.parts;
        let state = P::read(&opened, &parts.duchy, &parts.specialty.setup())?;
        if state.stage().kind() != StageKind::Compute {
            return Err(MillError::LostLock(format!("{} is not work for a mill", self.stage_name())));
        }
        let noise = state.noise()?;
        self.require_noise(&noise)?;
        let event = state.event(self).await?;
        let given = P::given(&event);
        let seed = self.seed(&state, given).await?;
        let commitment = Commitment::of(&seed);
        let Step { next, effects } = self.step(state, event, seed).await?;
        self.account_for_noise(&noise, commitment, given, &effects)?;
        self.persist(&next, &effects, opened.computation_details.unwrap_or_default()).await?;
        for effect in effects {
            self.execute(effect, &next).await?;
        }
        self.commit(&next).await
    }

    /// The computation with its secret in the clear.
    async fn opened(&self) -> Result<ComputationToken, MillError> {
        let parts = &self.mill.parts;
        let begun = |event, outcome| self.entry(event, outcome);
        let opened = parts.secrets.open_for_use(&self.token, &parts.duchy, begun).await;
        opened.map_err(|error| MillError::secret("reading the computation")(&error))
    }

    /// The messages that peers sent for this stage, in the order of their blobs.
    pub(super) async fn messages(&self) -> Result<Vec<Vec<u8>>, MillError> {
        let mut messages = Vec::new();
        for blob in self.blobs(ComputationBlobDependency::Input) {
            messages.push(self.read(&blob.path).await?);
        }
        Ok(messages)
    }

    /// What `peer`, and nobody else, sent for this stage, which has at most `limit` bytes if it is honest.
    pub(super) async fn short_message(&self, peer: &DuchyId, limit: u64) -> Result<Vec<u8>, MillError> {
        let Some(blob) = self.blobs(ComputationBlobDependency::Input).next() else { return Ok(Vec::new()) };
        let read = self.mill.parts.blobs.read(&blob.path, limit).await;
        if let Err(error @ BlobError::TooLarge { .. }) = &read {
            self.refuse_payload(peer, &error.to_string());
        }
        read.map_err(MillError::blob(READING_INPUT))
    }

    /// What an earlier attempt at this stage kept.
    pub(super) async fn kept(&self) -> Result<Option<Vec<u8>>, MillError> {
        match self.output().filter(|blob| !blob.path.is_empty()) {
            Some(blob) => self.read(&blob.path).await.map(Some),
            None => Ok(None),
        }
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

    /// Reads a blob.
    pub(super) async fn read(&self, path: &str) -> Result<Vec<u8>, MillError> {
        let read = self.mill.parts.blobs.read(path, self.mill.options.max_blob_bytes).await;
        read.map_err(MillError::blob(READING_INPUT))
    }

    /// The seed of the stage's random choices: the same for every attempt, once the computation has a secret.
    async fn seed<P: Milled>(&self, state: &P, given: Given) -> Result<StreamSeed, MillError> {
        let secret = match given.kept {
            // Nothing is drawn any more.
            true => None,
            false => state.stage_secret(self).await?,
        };
        let parts = &self.mill.parts;
        let (duchy, computation, stage) =
            (&parts.duchy, &self.token.global_computation_id, self.stage_name());
        match secret {
            Some(secret) => Ok(parts.seeds.of_stage(&secret, duchy, computation, stage)),
            None => {
                let seed = parts.seeds.seed(duchy, computation, stage);
                seed.map_err(|error| MillError::permanent("drawing a seed")(&error))
            }
        }
    }

    /// Steps the state on a thread that may be blocked, its kernels on the mill's own threads.
    async fn step<P: Milled>(
        &mut self,
        state: P,
        event: P::Event,
        seed: StreamSeed,
    ) -> Result<Step<P>, MillError> {
        let executor = Executor::on(Arc::clone(&self.mill.pool)).with_control(self.control.clone());
        let context = KernelContext::new(executor, seed);
        let begun = Instant::now();
        let (meter, span, stage) = (Arc::clone(&self.mill.meter), Span::current(), self.stage_name());
        let mut stepping = platform::blocking(move || {
            let _entered = span.entered();
            pass(Side::Before, "compute", stage);
            let stepped = meter.measure(|| state.step(event, &context));
            pass(Side::After, "compute", stage);
            stepped
        });
        let stepped = tokio::select! {
            stepped = &mut stepping => stepped,
            never = self.tell_progress() => match never {},
        };
        self.statistics.crypto = begun.elapsed();
        match stepped {
            Ok((stepped, cpu)) => {
                self.statistics.crypto_cpu = cpu;
                stepped.map_err(|error| {
                    if let Some(culprit) = error.culprit() {
                        self.refuse_payload(culprit, &error.to_string());
                    }
                    MillError::refused(&error)
                })
            }
            // A panic is a mistake of ours; the data is still there for another attempt, perhaps of a better version.
            Err(error) => Err(MillError::Transient { what: "computing", reason: error.to_string() }),
        }
    }

    /// Records that what `peer` sent is refused.
    pub(super) fn refuse_payload(&self, peer: &DuchyId, reason: &str) {
        let entry = self.entry(Event::PayloadRefused, Outcome::Refused);
        entry.principal(&format!("duchies/{peer}")).reason(reason).record();
    }

    /// Tells from time to time how far the kernel is: whoever watches the mill, and the duchy's database.
    async fn tell_progress(&self) -> Infallible {
        let internal = &self.mill.parts.internal;
        let mut recorded = Instant::now();
        loop {
            sleep(PROGRESS_INTERVAL).await;
            let progress = self.control.progress();
            self.observe(StageEvent::Progressed { progress, elapsed: self.started.elapsed() });
            if recorded.elapsed() >= RECORDED_PROGRESS_INTERVAL {
                record_progress(progress, internal, &self.token).await;
                recorded = Instant::now();
            }
        }
    }

    /// Stores what must not be lost before any effect is carried out: what the state has learnt beyond `known`, then the
    /// output.
    async fn persist<P: Milled>(
        &mut self,
        next: &P,
        effects: &[Effect<P::Message>],
        known: ComputationDetails,
    ) -> Result<(), MillError> {
        let parts = &self.mill.parts;
        let internal = parts.internal.clone();
        let mut details = known.clone();
        next.write(&mut details)?;
        if details != known {
            let sealed = parts.secrets.seal(&mut details, &parts.duchy, &self.token.global_computation_id);
            sealed.await.map_err(|error| MillError::secret("storing what the stage found")(&error))?;
            let updated = internal.update_details(self.token.clone(), details, Vec::new());
            self.token = around("database.update", self.stage_name(), updated)
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
            let reason = format!("{} has no output slot", self.stage_name());
            return Err(MillError::Permanent { what: "keeping the output", reason });
        };
        // An earlier attempt has kept it, and the step has handed it back.
        if !slot.path.is_empty() {
            return Ok(());
        }
        let blob_id = slot.blob_id;
        let place = Place::Stage {
            computation: &self.token.global_computation_id,
            stage: self.stage_name(),
            attempt: self.token.attempt,
        };
        let parts = &self.mill.parts;
        let written = parts.blobs.write(place, Bytes::from_owner(payload.clone()));
        let blob = around("blob.write", self.stage_name(), written)
            .await
            .map_err(MillError::blob("writing the output"))?;
        let recorded = parts.internal.record_output(self.token.clone(), blob_id, blob.path);
        self.token = around("database.record", self.stage_name(), recorded)
            .await
            .map_err(MillError::internal("recording the output"))?;
        Ok(())
    }

    async fn commit<P: Milled>(&mut self, next: &P) -> Result<(), MillError> {
        let internal = &self.mill.parts.internal;
        let token = self.token.clone();
        let stage = next.stage();
        let committed = match next.outcome() {
            Some(outcome) => {
                let finished = internal.finish(token, stage, outcome.into(), "");
                around("database.finish", self.stage_name(), finished).await
            }
            None => {
                let handed_on = match self.stage {
                    Some(stage) if stage.hands_inputs_on() => ComputationBlobDependency::Input,
                    _ => ComputationBlobDependency::Output,
                };
                let inputs = self.blobs(handed_on).map(|blob| blob.path.clone()).collect();
                let request = advance_request(token, stage, inputs).map_err(convert::ConvertError::from)?;
                around("database.advance", self.stage_name(), internal.advance(request)).await
            }
        };
        self.token = committed.map_err(MillError::internal("committing the stage"))?;
        Ok(())
    }

    async fn execute<P: Milled>(&mut self, effect: Effect<P::Message>, next: &P) -> Result<(), MillError> {
        match effect {
            // Done by `persist`.
            Effect::Keep(_) => Ok(()),
            Effect::PublishKey { el_gamal_public_key } => {
                self.entry(Event::KeyGenerated, Outcome::Done).detail("key", "ElGamal").record();
                self.publish::<P>(Some(el_gamal_public_key)).await
            }
            Effect::PublishEncryptionKey { encryption_public_key } => {
                self.publish::<P>(encryption_public_key).await
            }
            Effect::ConfirmParticipation => self.confirm_participation().await,
            Effect::Send { to, message, payload } => {
                self.statistics.registers = next.record_count(message, payload.as_bytes()) as u64;
                self.send(to, message.into(), payload).await
            }
            Effect::ReportResult(result) => self.report_result(&next.measurement_result(&result)).await,
            Effect::FailParticipation { reason } => self.fail_participation(&reason).await,
            other => {
                let reason = format!("this mill cannot carry out {other:?}");
                Err(MillError::Permanent { what: "carrying out an effect", reason })
            }
        }
    }
}
