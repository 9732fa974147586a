//! Fields of stored messages that this program does not know, because a newer one, or upstream's, wrote them: they stay in
//! the row when the message is written again.
//!
//! Prost forgets fields that it does not know. What is kept beside a decoded message is another of the same type that has
//! the unknown fields alone, in their places, encoded: appended to an encoding of the known ones, a decoder merges the
//! two. Unknown fields within a repeated message have no such place, and are lost.

use std::fmt;

use prost::Message;
use prost_reflect::{DynamicMessage, Value};
use zeroize::{Zeroize, Zeroizing};

use super::StoreError;
use super::columns::decode;
use crate::proto::POOL;
use crate::proto::internal::{
    ComputationDetails, ComputationStageDetails, ExternalRequisitionKey, RequisitionDetails,
};

/// What is not known of a computation's messages. Newer versions may keep secrets in it.
#[derive(Clone, Default, PartialEq)]
pub struct Unknown {
    details: Zeroizing<Vec<u8>>,
    /// Of the current stage's.
    stage_details: Zeroizing<Vec<u8>>,
    /// Of those requisitions that have any.
    requisitions: Vec<(ExternalRequisitionKey, Zeroizing<Vec<u8>>)>,
}

impl fmt::Debug for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unknown").finish_non_exhaustive()
    }
}

impl Unknown {
    /// A computation's details as they are stored.
    pub(super) fn details(&mut self, bytes: &[u8]) -> Result<ComputationDetails, StoreError> {
        let details = decode("computation details", bytes)?;
        self.details = unknown(&details, "wfa.measurement.internal.duchy.ComputationDetails", bytes);
        Ok(details)
    }

    /// The current stage's details as they are stored.
    pub(super) fn stage_details(&mut self, bytes: &[u8]) -> Result<ComputationStageDetails, StoreError> {
        let details = decode("stage details", bytes)?;
        self.stage_details =
            unknown(&details, "wfa.measurement.internal.duchy.ComputationStageDetails", bytes);
        Ok(details)
    }

    /// A requisition's details as they are stored.
    pub(super) fn requisition(
        &mut self,
        key: &ExternalRequisitionKey,
        bytes: &[u8],
    ) -> Result<RequisitionDetails, StoreError> {
        let details = decode("requisition details", bytes)?;
        let unknown = unknown(&details, "wfa.measurement.internal.duchy.RequisitionDetails", bytes);
        if !unknown.is_empty() {
            self.requisitions.push((key.clone(), unknown));
        }
        Ok(details)
    }

    /// What is not known of a computation's details.
    pub(super) fn of_details(&self) -> &[u8] {
        &self.details
    }

    /// What is not known of the current stage's details.
    pub(super) fn of_stage_details(&self) -> &[u8] {
        &self.stage_details
    }

    /// What is not known of a requisition's details.
    pub(super) fn of_requisition(&self, key: &ExternalRequisitionKey) -> &[u8] {
        let unknown = self.requisitions.iter().find(|(known, _)| known == key);
        unknown.map_or(&[][..], |(_, unknown)| unknown)
    }
}

/// What of `stored` is not in `known`, which was decoded from it.
fn unknown(known: &impl Message, name: &str, stored: &[u8]) -> Zeroizing<Vec<u8>> {
    // Nearly always there is nothing, and then nothing is looked up.
    if known.encoded_len() == stored.len() {
        return Zeroizing::default();
    }
    let message =
        POOL.get_message_by_name(name).and_then(|descriptor| DynamicMessage::decode(descriptor, stored).ok());
    let unknown = message.and_then(|mut message| keep_unknown(&mut message).then_some(message));
    Zeroizing::new(unknown.map(|message| message.encode_to_vec()).unwrap_or_default())
}

/// Takes out of `message` what is known; whether anything is left.
fn keep_unknown(message: &mut DynamicMessage) -> bool {
    let mut any = message.unknown_fields().next().is_some();
    let known: Vec<_> = message.fields().map(|(field, _)| field).collect();
    for field in known {
        // A field of a list or map is no message by itself.
        let within = match message.get_field_mut(&field) {
            Value::Message(nested) => keep_unknown(nested),
            Value::Bytes(bytes) => {
                // Secret keys and seeds are among them. Nobody else has these bytes: they were copied when they were decoded.
                if let Ok(mut own) = std::mem::take(bytes).try_into_mut() {
                    own.as_mut().zeroize();
                }
                false
            }
            _ => false,
        };
        if !within {
            message.clear_field(&field);
        }
        any |= within;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::internal::computation_details::{KingdomComputationDetails, Protocol};

    /// Field 4000, which no message has: the bytes "new".
    const NEW: [u8; 6] = [0x82, 0xfa, 0x01, 3, b'n', b'e'];

    fn new_field() -> Vec<u8> {
        [&NEW[..], b"w"].concat()
    }

    /// A length-delimited field.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    #[test]
    fn what_is_not_known_stays_where_it_was() {
        let kingdom =
            KingdomComputationDetails { public_api_version: "v2alpha".into(), ..Default::default() };
        let details = ComputationDetails { kingdom_computation: Some(kingdom), ..Default::default() };
        let encoded = details.encode_to_vec();
        let number = encoded[0] >> 3;
        let nested = [&encoded[2..], &new_field()].concat();
        let stored = [field(number, &nested), new_field()].concat();

        let mut unknown = Unknown::default();
        let mut read = unknown.details(&stored).expect("it decodes");
        assert_eq!(read, details);
        read.kingdom_computation.as_mut().expect("it is there").participant_count = 3;
        let written = [&read.encode_to_vec(), unknown.of_details()].concat();

        let mut again = Unknown::default();
        assert_eq!(again.details(&written).expect("it decodes"), read, "what is known is what was written");
        assert_eq!(again.of_details(), [field(number, &new_field()), new_field()].concat());
        assert_eq!(again, unknown, "and so ever after");
    }

    #[test]
    fn there_is_nothing_where_everything_is_known() {
        let details = ComputationDetails {
            protocol: Some(Protocol::LiquidLegionsV2(Default::default())),
            ..Default::default()
        };
        let mut unknown = Unknown::default();
        unknown.details(&details.encode_to_vec()).expect("it decodes");
        assert_eq!(unknown, Unknown::default());
        // The same, spelled as we do not.
        let repeated = [details.encode_to_vec(), details.encode_to_vec()].concat();
        unknown.details(&repeated).expect("it decodes");
        assert_eq!(unknown, Unknown::default());
    }

    #[test]
    fn each_requisition_keeps_its_own() {
        let key =
            |id: &str| ExternalRequisitionKey { external_requisition_id: id.into(), ..Default::default() };
        let mut unknown = Unknown::default();
        unknown.requisition(&key("old"), &[]).expect("it decodes");
        unknown.requisition(&key("new"), &new_field()).expect("it decodes");
        assert_eq!(unknown.of_requisition(&key("new")), new_field());
        assert_eq!(unknown.of_requisition(&key("old")), [0; 0]);
        assert!(!format!("{unknown:?}").contains("110"), "it tells nothing of it");
    }
}
