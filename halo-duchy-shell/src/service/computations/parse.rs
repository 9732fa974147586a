//! Requests of the internal API as the store's terms: whatever makes no sense is refused here.

use std::time::Duration;

use halo_protocols::llv2::StageKind;

use crate::clock::Timestamp;
use crate::config::is_valid_id;
use crate::error::ShellError;
use crate::proto::internal::advance_computation_stage_request::AfterTransition;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::{
    AdvanceComputationStageRequest, ClaimWorkRequest, ComputationStage, ComputationToken,
    CreateComputationRequest, ExtendWorkLockRequest, ExternalRequisitionKey, FinishComputationRequest,
    PurgeComputationsRequest, RecordRequisitionFulfillmentRequest, RequisitionEntry, SweepBlobsRequest,
};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::service::{not_blank, required};
use crate::store::{Advance, Claim, Expired, Fulfillment, Guard, Lease, NewComputation};
use crate::sweep::SweepOptions;

/// How long a claim lasts that does not say.
const DEFAULT_LOCK: Duration = Duration::from_secs(5 * 60);

/// The longest claim.
const MAX_LOCK: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest measurement spec; the Kingdom decides its size, the row holds it.
const MAX_MEASUREMENT_SPEC: usize = 1 << 20;

pub(super) fn guard(token: Option<ComputationToken>) -> Result<Guard, ShellError> {
    Ok(Guard::from(&required(token, "token")?))
}

pub(super) fn stages(stages: &[ComputationStage]) -> Result<Vec<ProtocolStage>, ShellError> {
    let stages: Vec<_> = stages.iter().map(ProtocolStage::try_from).collect::<Result<_, _>>()?;
    if stages.windows(2).any(|pair| pair[0].protocol() != pair[1].protocol()) {
        return Err(ShellError::invalid("stages", "are of several protocols"));
    }
    Ok(stages)
}

pub(super) fn new_computation(request: CreateComputationRequest) -> Result<NewComputation, ShellError> {
    let protocol = Protocol::try_from(request.computation_type)?;
    let details = required(request.computation_details, "computation_details")?;
    if Protocol::of(&details) != Some(protocol) {
        return Err(ShellError::invalid("computation_details", "are not of the computation type"));
    }
    let spec = details.kingdom_computation.as_ref().map_or(0, |kingdom| kingdom.measurement_spec.len());
    if spec > MAX_MEASUREMENT_SPEC {
        let why = format!("has {spec} bytes, more than {MAX_MEASUREMENT_SPEC}");
        return Err(ShellError::invalid("measurement_spec", why));
    }
    if let Some(stage) = &request.computation_stage
        && ProtocolStage::try_from(stage)? != protocol.initial_stage()
    {
        return Err(ShellError::invalid("computation_stage", "is not the initial stage"));
    }
    if request.stage_details.is_some_and(|details| details.detail.is_some()) {
        return Err(ShellError::invalid("stage_details", "are not those of the initial stage"));
    }
    check_requisitions(&request.requisitions)?;
    // It becomes part of the names of blobs.
    if !is_valid_id(&request.global_computation_id) {
        return Err(ShellError::invalid(
            "global_computation_id",
            "is empty or has other characters than letters, digits, - and _",
        ));
    }
    Ok(NewComputation {
        protocol,
        global_id: request.global_computation_id,
        details,
        requisitions: request.requisitions,
    })
}

pub(super) fn check_requisitions(requisitions: &[RequisitionEntry]) -> Result<(), ShellError> {
    for requisition in requisitions {
        let key = requisition.key.as_ref().filter(|key| !key.external_requisition_id.is_empty());
        if key.is_none() {
            return Err(ShellError::invalid("requisitions.key", "is missing"));
        }
        if requisition.value.is_none() {
            return Err(ShellError::invalid("requisitions.value", "is missing"));
        }
    }
    Ok(())
}

pub(super) fn claim(request: ClaimWorkRequest) -> Result<Claim, ShellError> {
    Ok(Claim {
        protocol: Protocol::try_from(request.computation_type)?,
        owner: not_blank(request.owner, "owner")?,
        duration: lock_duration(request.lock_duration)?,
        prioritized: stages(&request.prioritized_stages)?,
    })
}

pub(super) fn lease(request: ExtendWorkLockRequest) -> Result<(Lease, Duration), ShellError> {
    let token = required(request.token, "token")?;
    let lease = Lease {
        local_id: token.local_computation_id,
        stage: ProtocolStage::try_from(&required(token.computation_stage, "token.computation_stage")?)?,
        attempt: token.attempt,
        owner: not_blank(token.lock_owner, "token.lock_owner")?,
    };
    Ok((lease, lock_duration(request.lock_duration)?))
}

fn lock_duration(duration: Option<prost_types::Duration>) -> Result<Duration, ShellError> {
    let Some(duration) = duration else { return Ok(DEFAULT_LOCK) };
    let positive = Duration::try_from(duration).ok().filter(|duration| !duration.is_zero());
    positive
        .filter(|duration| *duration <= MAX_LOCK)
        .ok_or_else(|| ShellError::invalid("lock_duration", "is not between 0 and 24 hours"))
}

pub(super) fn fulfillment(
    request: RecordRequisitionFulfillmentRequest,
) -> Result<(i64, ExternalRequisitionKey, Fulfillment), ShellError> {
    let local_id = required(request.token, "token")?.local_computation_id;
    let key = required(request.key, "key")?;
    let fulfillment = Fulfillment {
        path: not_blank(request.blob_path, "blob_path")?,
        public_api_version: not_blank(request.public_api_version, "public_api_version")?,
        protocol: request.protocol_details,
    };
    Ok((local_id, key, fulfillment))
}

pub(super) fn advance(request: AdvanceComputationStageRequest) -> Result<(Guard, Advance), ShellError> {
    let next = ProtocolStage::try_from(&required(request.next_computation_stage, "next_computation_stage")?)?;
    match AfterTransition::try_from(request.after_transition) {
        Ok(after) if after == next.after_transition() => {}
        _ => return Err(ShellError::invalid("after_transition", "is not that of the next stage")),
    }
    let outputs = usize::try_from(request.output_blobs)
        .map_err(|_| ShellError::invalid("outputBlobs", "is negative"))?;
    let advance = Advance {
        next,
        inputs: paths(request.input_blobs, "input_blobs")?,
        pass_through: paths(request.pass_through_blobs, "pass_through_blobs")?,
        outputs,
        stage_details: request.stage_details.unwrap_or_default(),
    };
    Ok((guard(request.token)?, advance))
}

fn paths(paths: Vec<String>, name: &'static str) -> Result<Vec<String>, ShellError> {
    paths.into_iter().map(|path| not_blank(path, name)).collect()
}

pub(super) fn finish(
    request: FinishComputationRequest,
) -> Result<(Guard, CompletedReason, String), ShellError> {
    let token = required(request.token, "token")?;
    let ending =
        ProtocolStage::try_from(&required(request.ending_computation_stage, "ending_computation_stage")?)?;
    if ending.kind() != StageKind::Terminal {
        return Err(ShellError::invalid("ending_computation_stage", "is not terminal"));
    }
    if let Some(stage) = &token.computation_stage
        && ProtocolStage::try_from(stage)?.protocol() != ending.protocol()
    {
        return Err(ShellError::invalid("ending_computation_stage", "is of another protocol"));
    }
    let reason = completed_reason(request.reason, "reason")?;
    Ok((Guard::from(&token), reason, request.error_message))
}

fn completed_reason(number: i32, name: &'static str) -> Result<CompletedReason, ShellError> {
    match CompletedReason::try_from(number) {
        Ok(CompletedReason::Unspecified) | Err(_) => Err(ShellError::invalid(name, "is missing")),
        Ok(reason) => Ok(reason),
    }
}

pub(super) fn sweep(request: SweepBlobsRequest) -> Result<SweepOptions, ShellError> {
    let ttl = |ttl: Option<prost_types::Duration>, name| {
        let ttl = Duration::try_from(required(ttl, name)?);
        ttl.map_err(|_| ShellError::invalid(name, "is negative"))
    };
    Ok(SweepOptions {
        intermediate_ttl: ttl(request.intermediate_ttl, "intermediate_ttl")?,
        orphan_ttl: ttl(request.orphan_ttl, "orphan_ttl")?,
        force: request.force,
    })
}

/// Which computations to purge: their stages, and the reasons of their end, if not all will do.
pub(super) fn expired(
    request: PurgeComputationsRequest,
    limit: u32,
) -> Result<(Expired, Vec<CompletedReason>), ShellError> {
    let mut stages = stages(&request.stages)?;
    let mut reasons = Vec::new();
    if let Some(ended) = request.ended {
        if !stages.is_empty() {
            return Err(ShellError::invalid("ended", "stands beside stages"));
        }
        stages.push(ProtocolStage::try_from(&required(ended.stage, "ended.stage")?)?);
        for reason in ended.reasons {
            reasons.push(completed_reason(reason, "ended.reasons")?);
        }
        if reasons.is_empty() {
            return Err(ShellError::invalid("ended.reasons", "is missing"));
        }
    }
    if stages.iter().any(|stage| stage.kind() != StageKind::Terminal) {
        return Err(ShellError::invalid("stages", "are not all terminal"));
    }
    let updated_before = Timestamp::try_from(&required(request.updated_before, "updated_before")?)
        .map_err(|error| ShellError::invalid("updated_before", error.to_string()))?;
    Ok((Expired { stages, updated_before, after: 0, limit }, reasons))
}
