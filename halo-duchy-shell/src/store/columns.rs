//! What the columns mean, which is the same in every database.

use prost::Message;
use zeroize::Zeroizing;

use super::rows::Ending;
use super::unknown::Unknown;
use super::{BlobDependency, Computation, StoreError};
#[cfg(any(feature = "postgres", feature = "spanner"))]
use crate::clock::Timestamp;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::internal::{ComputationStageAttemptDetails, RequisitionMetadata};
use crate::protocol_stages::{Protocol, ProtocolStage};

/// 0001-01-01T00:00:00Z, the first millisecond that every database knows.
#[cfg(any(feature = "postgres", feature = "spanner"))]
pub(super) const START_OF_TIME: Timestamp = Timestamp::from_millis(-62_135_596_800_000);
/// 9999-12-31T23:59:59.999Z, the last one.
#[cfg(any(feature = "postgres", feature = "spanner"))]
pub(super) const END_OF_TIME: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// The time nearest to `time` that every database knows: a lease without end lasts to the end of time.
#[cfg(any(feature = "postgres", feature = "spanner"))]
pub(super) fn storable(time: Timestamp) -> Timestamp {
    time.clamp(START_OF_TIME, END_OF_TIME)
}

/// A message from a column of bytes.
pub(super) fn decode<M: Message + Default>(what: &'static str, bytes: &[u8]) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|error| StoreError::corrupt(what)(error.into()))
}

/// What ended computations' details say of the reason, without a copy of anything else in them. A computation goes even if its
/// details cannot be read.
pub(super) fn ended_for(details: &[u8]) -> CompletedReason {
    #[derive(Clone, PartialEq, Message)]
    struct Reason {
        #[prost(enumeration = "CompletedReason", tag = "2")]
        ending_state: i32,
    }
    Reason::decode(details).unwrap_or_default().ending_state()
}

/// A computation's details as they are stored. They hold key material: the copy made for the database is wiped.
pub(super) fn encode(computation: &Computation) -> Zeroizing<Vec<u8>> {
    let (details, unknown) = (&computation.details, computation.unknown.of_details());
    // One that grows would leave a copy behind.
    let mut stored = Zeroizing::new(Vec::with_capacity(details.encoded_len() + unknown.len()));
    // Only a buffer that is too short is an error.
    let _ = details.encode(&mut *stored);
    stored.extend_from_slice(unknown);
    stored
}

/// The current stage's details as they are stored.
pub(super) fn encode_stage(computation: &Computation) -> Vec<u8> {
    let mut stored = computation.stage_details.encode_to_vec();
    stored.extend_from_slice(computation.unknown.of_stage_details());
    stored
}

/// A requisition's details as they are stored.
pub(super) fn encode_requisition(requisition: &RequisitionMetadata, unknown: &Unknown) -> Vec<u8> {
    let mut stored = requisition.details.as_ref().map(Message::encode_to_vec).unwrap_or_default();
    stored.extend_from_slice(
        requisition.external_key.as_ref().map_or(&[][..], |key| unknown.of_requisition(key)),
    );
    stored
}

/// The details of an attempt that has ended so, or has not.
pub(super) fn attempt_details(ending: &Ending) -> Vec<u8> {
    let Ending { reason, error } = ending;
    ComputationStageAttemptDetails { reason_ended: *reason as i32, error_message: error.clone() }
        .encode_to_vec()
}

/// A stage from the numbers of the protocol and of the stage within it.
pub(super) fn stage(protocol: i32, stage: i32) -> Result<ProtocolStage, StoreError> {
    Protocol::try_from(protocol)
        .and_then(|protocol| protocol.stage(stage))
        .map_err(|error| StoreError::corrupt("stage")(error.into()))
}

/// What a stage does with a blob, from its number.
pub(super) fn dependency(number: i32) -> Result<BlobDependency, StoreError> {
    match number {
        1 => Ok(BlobDependency::Input),
        2 => Ok(BlobDependency::Output),
        3 => Ok(BlobDependency::PassThrough),
        _ => Err(StoreError::Corrupt { what: "blob dependency", source: None }),
    }
}

/// The number of what a stage does with a blob.
pub(super) const fn dependency_number(dependency: BlobDependency) -> i32 {
    match dependency {
        BlobDependency::Input => 1,
        BlobDependency::Output => 2,
        BlobDependency::PassThrough => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::internal::ComputationDetails;

    #[test]
    fn details_tell_why_a_computation_ended_if_they_can_be_read() {
        for reason in [CompletedReason::Succeeded, CompletedReason::Failed, CompletedReason::Canceled] {
            let details = ComputationDetails {
                kingdom_computation: Some(Default::default()),
                ending_state: reason as i32,
                ..Default::default()
            };
            assert_eq!(ended_for(&details.encode_to_vec()), reason);
        }
        for unreadable in [&b""[..], b"\x10", b"\x10\x7f", b"\xff"] {
            assert_eq!(ended_for(unreadable), CompletedReason::Unspecified, "{unreadable:?}");
        }
    }
}
