//! The header of a fulfillment, checked as far as it can be without knowing the requisition.

use tonic::Status;

use crate::config::is_valid_id;
use crate::proto::api::FulfillRequisitionRequest;
use crate::proto::api::fulfill_requisition_request::Payload;
use crate::proto::api::fulfill_requisition_request::header::Protocol as HeaderProtocol;
use crate::proto::api::protocol_config::protocol::Protocol as ConfiguredProtocol;
use crate::proto::system::requisition::FulfillmentContext;

/// A well-formed header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// `dataProviders/{id}`.
    pub data_provider: String,
    /// The external requisition id.
    pub requisition: String,
    pub fingerprint: Vec<u8>,
    pub nonce: u64,
    /// The state of the requisition that the data provider saw at the Kingdom; empty for any.
    pub etag: String,
    pub context: Option<FulfillmentContext>,
    /// What the protocol needs beside the data.
    pub protocol: Option<HeaderProtocol>,
    /// The protocols of the data provider's configuration; empty if it sent none.
    pub configured: Vec<ConfiguredProtocol>,
}

impl Header {
    /// Takes the first message of the stream.
    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    pub fn parse(first: FulfillRequisitionRequest) -> Result<Self, Status> {
        let invalid = |reason: &str| Err(Status::invalid_argument(reason));
        let Some(Payload::Header(header)) = first.payload else {
            return invalid("the first message must be a header");
        };
        let Some((data_provider, requisition)) = parse_name(&header.name) else {
            return invalid("name must be dataProviders/{data_provider}/requisitions/{requisition}");
        };
        if header.nonce == 0 {
            return invalid("nonce must not be 0");
        }
        let configured = header.protocol_config.map(|config| config.protocols).unwrap_or_default();
        Ok(Self {
            data_provider,
            requisition,
            fingerprint: header.requisition_fingerprint,
            nonce: header.nonce,
            etag: header.etag,
            context: header.fulfillment_context.map(|context| FulfillmentContext {
                build_label: context.build_label,
                warnings: context.warnings,
            }),
            protocol: header.protocol,
            configured: configured.into_iter().filter_map(|entry| entry.protocol).collect(),
        })
    }
}

/// The data provider's resource name and the requisition's id.
fn parse_name(name: &str) -> Option<(String, String)> {
    let mut segments = name.split('/');
    let mut id_after = |collection| {
        (segments.next() == Some(collection)).then(|| segments.next()).flatten().filter(|id| is_valid_id(id))
    };
    let (data_provider, requisition) = (id_after("dataProviders")?, id_after("requisitions")?);
    segments.next().is_none().then(|| (format!("dataProviders/{data_provider}"), requisition.to_owned()))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::proto::api::fulfill_requisition_request::{BodyChunk, Header as HeaderMessage};

    fn parse(header: HeaderMessage) -> Result<Header, Code> {
        let first = FulfillRequisitionRequest { payload: Some(Payload::Header(header)) };
        Header::parse(first).map_err(|status| status.code())
    }

    fn named(name: &str) -> HeaderMessage {
        HeaderMessage { name: name.into(), nonce: 1, ..HeaderMessage::default() }
    }

    #[test]
    fn names_are_taken_apart() {
        let header = parse(named("dataProviders/edp1/requisitions/r-_1")).expect("well formed");
        assert_eq!((&header.data_provider[..], &header.requisition[..]), ("dataProviders/edp1", "r-_1"));
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "dataProviders/edp1",
            "dataProviders/edp1/requisitions/",
            "dataProviders//requisitions/r",
            "dataProviders/edp1/requisitions/r/s",
            "dataProviders/edp1/requisitions/../../r",
            "dataProviders/edp1/requisitions/..",
            "computations/edp1/requisitions/r",
            "/dataProviders/edp1/requisitions/r",
        ] {
            assert_eq!(parse(named(name)), Err(Code::InvalidArgument), "{name}");
        }
    }

    #[test]
    fn a_header_with_a_nonce_comes_first() {
        let zero = HeaderMessage { nonce: 0, ..named("dataProviders/edp1/requisitions/r") };
        assert_eq!(parse(zero), Err(Code::InvalidArgument));
        for payload in [None, Some(Payload::BodyChunk(BodyChunk::default()))] {
            let refused = Header::parse(FulfillRequisitionRequest { payload }).expect_err("no header");
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
    }
}
