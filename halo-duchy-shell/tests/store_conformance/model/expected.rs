//! The model: what a store has to answer, by vectors and loops.

use std::collections::BTreeSet;
use std::time::Duration;

use halo_duchy_shell::clock::Timestamp;
use halo_duchy_shell::proto::internal::computation_details::CompletedReason;
use halo_duchy_shell::proto::internal::{
    ComputationDetails, ComputationStageDetails, ExternalRequisitionKey, RequisitionDetails,
    RequisitionEntry, RequisitionMetadata,
};
use halo_duchy_shell::protocol_stages::ProtocolStage;
use halo_duchy_shell::store::{
    Advance, BlobDependency, Claim, Computation, Ended, Expired, Fulfillment, Guard, Lease, NewComputation,
    StageBlob, Stat, StoreError,
};
use halo_protocols::llv2::StageKind;

/// All computations of one protocol.
#[derive(Debug, Default)]
pub struct Model {
    pub kept: Vec<Kept>,
}

/// A computation, with what the store does not show of it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub computation: Computation,
    pub created: Timestamp,
    /// The blobs of all stages before.
    pub left: BTreeSet<String>,
    /// The attempts that have begun, of all stages.
    pub attempts: BTreeSet<(i32, i32)>,
}

type Expected<T> = Result<T, StoreError>;

fn order(requisition: &RequisitionMetadata) -> (String, Vec<u8>) {
    let key = requisition.external_key.clone().unwrap_or_default();
    (key.external_requisition_id, key.requisition_fingerprint)
}

fn unknown(id: i64) -> StoreError {
    StoreError::NotFound { kind: "local", id: id.to_string() }
}

fn no_requisition(key: &ExternalRequisitionKey) -> StoreError {
    StoreError::RequisitionNotFound(key.external_requisition_id.clone())
}

impl Kept {
    /// What a change makes of the version.
    fn changed(&mut self, now: Timestamp) {
        let computation = &mut self.computation;
        computation.version = now.millis().max(computation.version + 1);
    }

    fn paths(&self) -> BTreeSet<String> {
        let stage = self.computation.blobs.iter().filter_map(|blob| blob.path.clone());
        let requisitions = self.computation.requisitions.iter().map(|requisition| requisition.path.clone());
        let paths = self.left.iter().cloned().chain(stage).chain(requisitions);
        paths.filter(|path| !path.is_empty()).collect()
    }

    /// Enters a stage that nobody holds.
    fn enter(&mut self, stage: ProtocolStage, blobs: Vec<StageBlob>, details: ComputationStageDetails) {
        self.left = self.paths();
        let computation = &mut self.computation;
        let works = stage.kind() == StageKind::Compute;
        computation.stage = stage;
        computation.blobs = blobs;
        computation.stage_details = details;
        computation.lock_owner = None;
        computation.attempt = if works { 0 } else { 1 };
        if !works {
            self.attempts.insert((stage.number(), 1));
        }
    }
}

impl Model {
    /// What an id is of.
    fn find(&mut self, id: i64) -> Expected<&mut Kept> {
        self.kept.iter_mut().find(|kept| kept.computation.local_id == id).ok_or_else(|| unknown(id))
    }

    fn guarded(&mut self, guard: &Guard) -> Expected<&mut Kept> {
        let kept = self.find(guard.local_id)?;
        let Computation { local_id, version, ref lock_owner, .. } = kept.computation;
        if version != guard.version {
            return Err(StoreError::VersionMismatch { local_id, token: guard.version, actual: version });
        }
        if *lock_owner != guard.owner {
            return Err(StoreError::LockOwnerMismatch {
                local_id,
                expected: guard.owner.clone(),
                actual: lock_owner.clone(),
            });
        }
        Ok(kept)
    }

    /// Whose requisition it is.
    fn owner(&self, key: &ExternalRequisitionKey) -> Expected<i64> {
        let has = |kept: &&Kept| {
            kept.computation.requisitions.iter().any(|own| own.external_key.as_ref() == Some(key))
        };
        let found = self.kept.iter().find(has).ok_or_else(|| no_requisition(key))?;
        Ok(found.computation.local_id)
    }

    fn foreign(key: &ExternalRequisitionKey, local_id: i64) -> StoreError {
        let requisition = key.external_requisition_id.clone();
        StoreError::ForeignRequisition { requisition, local_id }
    }

    /// All but the local id, which the store draws: it is 0.
    pub fn create(&mut self, new: NewComputation, now: Timestamp) -> Expected<Computation> {
        if self.kept.iter().any(|kept| kept.computation.global_id == new.global_id) {
            return Err(StoreError::AlreadyExists(new.global_id));
        }
        let mut requisitions = Vec::<RequisitionMetadata>::new();
        for entry in new.requisitions {
            let key = entry.key.unwrap_or_default();
            let repeated = requisitions.iter().any(|other| other.external_key.as_ref() == Some(&key));
            if repeated || self.owner(&key).is_ok() {
                return Err(StoreError::DuplicateRequisition(key.external_requisition_id));
            }
            requisitions.push(RequisitionMetadata {
                external_key: Some(key),
                path: String::new(),
                details: Some(entry.value.unwrap_or_default()),
            });
        }
        requisitions.sort_by_key(order);
        let computation = Computation {
            local_id: 0,
            global_id: new.global_id,
            stage: new.protocol.initial_stage(),
            attempt: 0,
            version: now.millis(),
            details: new.details,
            stage_details: ComputationStageDetails::default(),
            blobs: Vec::new(),
            requisitions,
            lock_owner: None,
            lock_expiration: Some(now),
            unknown: Default::default(),
        };
        let (left, attempts) = (BTreeSet::new(), BTreeSet::new());
        self.kept.push(Kept { computation: computation.clone(), created: now, left, attempts });
        Ok(computation)
    }

    pub fn get(&self, global_id: &str) -> Expected<Computation> {
        let found = self.kept.iter().find(|kept| kept.computation.global_id == global_id);
        let missing = || StoreError::NotFound { kind: "global", id: global_id.to_owned() };
        found.map(|kept| kept.computation.clone()).ok_or_else(missing)
    }

    pub fn get_by_requisition(&mut self, key: &ExternalRequisitionKey) -> Expected<Computation> {
        let id = self.owner(key)?;
        Ok(self.find(id)?.computation.clone())
    }

    pub fn claim(&mut self, claim: &Claim, now: Timestamp) -> Option<Computation> {
        let urgency = |kept: &Kept| {
            let Computation { stage, lock_expiration, version, local_id, .. } = kept.computation;
            (!claim.prioritized.contains(&stage), kept.created, lock_expiration, version, local_id)
        };
        let claimable = |kept: &&mut Kept| {
            kept.computation.stage.kind() == StageKind::Compute
                && kept.computation.lock_expiration.is_some_and(|expiration| expiration <= now)
        };
        let kept = self.kept.iter_mut().filter(claimable).min_by_key(|kept| urgency(kept))?;
        kept.computation.attempt += 1;
        kept.computation.lock_owner = Some(claim.owner.clone());
        kept.computation.lock_expiration = Some(now + claim.duration);
        kept.attempts.insert((kept.computation.stage.number(), kept.computation.attempt));
        kept.changed(now);
        Some(kept.computation.clone())
    }

    pub fn extend(&mut self, lease: &Lease, duration: Duration, now: Timestamp) -> Expected<Computation> {
        let computation = &mut self.find(lease.local_id)?.computation;
        let held = computation.stage == lease.stage
            && computation.attempt == lease.attempt
            && computation.lock_owner.as_deref() == Some(&lease.owner);
        if !held {
            let Lease { local_id, stage, attempt, ref owner } = *lease;
            return Err(StoreError::LeaseLost { local_id, stage, attempt, owner: owner.clone() });
        }
        computation.lock_expiration = Some(now + duration);
        Ok(computation.clone())
    }

    pub fn update_details(
        &mut self,
        guard: &Guard,
        details: ComputationDetails,
        updates: Vec<RequisitionEntry>,
        now: Timestamp,
    ) -> Expected<Computation> {
        let mut changed = self.guarded(guard)?.clone();
        for update in updates {
            let key = update.key.unwrap_or_default();
            self.owner(&key)?;
            let own = |one: &&mut RequisitionMetadata| one.external_key.as_ref() == Some(&key);
            let requisition = changed.computation.requisitions.iter_mut().find(own);
            let requisition = requisition.ok_or_else(|| Self::foreign(&key, guard.local_id))?;
            let stored = requisition.details.take().unwrap_or_default();
            let mut new: RequisitionDetails = update.value.unwrap_or_default();
            if new.public_api_version.is_empty() {
                new.public_api_version = stored.public_api_version;
            }
            new.protocol = new.protocol.or(stored.protocol);
            requisition.details = Some(new);
        }
        changed.computation.details = details;
        changed.changed(now);
        let kept = self.guarded(guard)?;
        *kept = changed;
        Ok(kept.computation.clone())
    }

    pub fn record_output(
        &mut self,
        guard: &Guard,
        blob_id: i64,
        path: &str,
        now: Timestamp,
    ) -> Expected<Computation> {
        let kept = self.guarded(guard)?;
        let stage = kept.computation.stage;
        let blob = kept.computation.blobs.iter_mut().find(|blob| blob.id == blob_id);
        let blob = blob.ok_or(StoreError::NoSuchSlot { stage, blob_id })?;
        match &blob.path {
            _ if blob.dependency != BlobDependency::Output => {
                return Err(StoreError::NotAnOutput { stage, blob_id });
            }
            Some(recorded) if recorded == path => return Ok(kept.computation.clone()),
            Some(recorded) => {
                return Err(StoreError::SlotTaken { stage, blob_id, path: recorded.clone() });
            }
            None => blob.path = Some(path.to_owned()),
        }
        kept.changed(now);
        Ok(kept.computation.clone())
    }

    pub fn record_fulfillment(
        &mut self,
        local_id: i64,
        key: &ExternalRequisitionKey,
        fulfillment: Fulfillment,
    ) -> Expected<Computation> {
        self.find(local_id)?;
        if self.owner(key)? != local_id {
            return Err(Self::foreign(key, local_id));
        }
        let computation = &mut self.find(local_id)?.computation;
        for requisition in &mut computation.requisitions {
            if requisition.external_key.as_ref() != Some(key) || requisition.path == fulfillment.path {
                continue;
            }
            if !requisition.path.is_empty() {
                let path = requisition.path.clone();
                let requisition = key.external_requisition_id.clone();
                return Err(StoreError::AlreadyFulfilled { requisition, path });
            }
            requisition.path = fulfillment.path.clone();
            let details = requisition.details.get_or_insert_default();
            details.public_api_version = fulfillment.public_api_version.clone();
            details.protocol = fulfillment.protocol.clone();
        }
        Ok(computation.clone())
    }

    pub fn advance(&mut self, guard: &Guard, advance: &Advance, now: Timestamp) -> Expected<Computation> {
        let kept = self.guarded(guard)?;
        let Computation { stage: from, ref details, ref blobs, .. } = kept.computation;
        let to = advance.next;
        if from.next(details)? != Some(to) {
            return Err(StoreError::IllegalTransition { from, to });
        }
        let missing = |blob: &&StageBlob| blob.dependency == BlobDependency::Output && blob.path.is_none();
        if let Some(blob) = blobs.iter().find(missing) {
            return Err(StoreError::OutputsMissing { stage: from, blob_id: blob.id });
        }
        let (expected, found) = (to.output_slots(details)?, advance.outputs);
        if expected != found {
            return Err(StoreError::WrongOutputs { stage: to, expected, found });
        }
        if to.details(details)?.unwrap_or_default() != advance.stage_details {
            return Err(StoreError::WrongStageDetails { stage: to });
        }
        let mut entered = Vec::new();
        let mut add = |dependency, path| {
            entered.push(StageBlob { id: entered.len() as i64, dependency, path });
        };
        advance.inputs.iter().for_each(|path| add(BlobDependency::Input, Some(path.clone())));
        advance.pass_through.iter().for_each(|path| add(BlobDependency::PassThrough, Some(path.clone())));
        (0..found).for_each(|_| add(BlobDependency::Output, None));
        kept.enter(to, entered, advance.stage_details.clone());
        kept.computation.lock_expiration = (to.kind() == StageKind::Compute).then_some(now);
        kept.changed(now);
        Ok(kept.computation.clone())
    }

    pub fn finish(
        &mut self,
        guard: &Guard,
        reason: CompletedReason,
        now: Timestamp,
    ) -> Expected<Computation> {
        let kept = self.guarded(guard)?;
        let stage = kept.computation.stage;
        if stage.kind() == StageKind::Terminal {
            return match kept.computation.details.ending_state == reason as i32 {
                true => Ok(kept.computation.clone()),
                false => Err(StoreError::IllegalTransition { from: stage, to: stage }),
            };
        }
        kept.computation.details.ending_state = reason as i32;
        kept.enter(stage.protocol().terminal_stage(), Vec::new(), ComputationStageDetails::default());
        kept.computation.lock_expiration = None;
        kept.changed(now);
        Ok(kept.computation.clone())
    }

    pub fn enqueue(
        &mut self,
        guard: &Guard,
        expected_owner: &str,
        delay: Duration,
        now: Timestamp,
    ) -> Expected<()> {
        let Computation { local_id, ref lock_owner, .. } = self.find(guard.local_id)?.computation;
        if lock_owner.as_ref().is_some_and(|owner| owner != expected_owner) {
            let expected = Some(expected_owner.to_owned());
            return Err(StoreError::LockOwnerMismatch { local_id, expected, actual: lock_owner.clone() });
        }
        let kept = self.guarded(guard)?;
        let stage = kept.computation.stage;
        if stage.kind() != StageKind::Compute {
            return Err(StoreError::NotWork { stage });
        }
        kept.computation.lock_owner = None;
        kept.computation.lock_expiration = Some(now + delay);
        kept.changed(now);
        Ok(())
    }

    pub fn blob_paths(&mut self, local_id: i64) -> BTreeSet<String> {
        self.find(local_id).map(|kept| kept.paths()).unwrap_or_default()
    }

    pub fn delete(&mut self, local_id: i64) -> bool {
        let before = self.kept.len();
        self.kept.retain(|kept| kept.computation.local_id != local_id);
        self.kept.len() < before
    }

    pub fn expired(&self, expired: &Expired) -> Vec<Ended> {
        let gone = self.kept.iter().map(|kept| &kept.computation).filter(|computation| {
            expired.stages.contains(&computation.stage)
                && computation.version <= expired.updated_before.millis()
                && computation.local_id > expired.after
        });
        let ended = |computation: &Computation| Ended {
            local_id: computation.local_id,
            global_id: computation.global_id.clone(),
            reason: computation.details.ending_state(),
        };
        let mut gone: Vec<_> = gone.map(ended).collect();
        gone.sort_by_key(|ended| ended.local_id);
        gone.truncate(expired.limit as usize);
        gone
    }

    pub fn ids_in_stages(&self, stages: &[ProtocolStage]) -> Vec<String> {
        let mut kept: Vec<_> =
            self.kept.iter().filter(|kept| stages.contains(&kept.computation.stage)).collect();
        kept.sort_by_key(|kept| (kept.created, kept.computation.local_id));
        kept.into_iter().map(|kept| kept.computation.global_id.clone()).collect()
    }

    pub fn record_stat(&mut self, stat: &Stat) -> Expected<()> {
        let Stat { local_id, stage, attempt, .. } = *stat;
        let begun = self.find(local_id).is_ok_and(|kept| kept.attempts.contains(&(stage.number(), attempt)));
        if begun { Ok(()) } else { Err(StoreError::NoSuchAttempt { local_id, stage, attempt }) }
    }
}
