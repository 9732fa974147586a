//! Which data providers still set fields that upstream's API marks as deprecated. Our copy of the API has no options,
//! so the fields of the request that upstream marks are named here; it marks none as deprecated or required in future.

use crate::proto::api::fulfill_requisition_request::Payload;
use crate::proto::api::protocol_config::{Protocol, ProtocolOneOf, protocol};
use crate::proto::api::{FulfillRequisitionRequest, ProtocolConfig};
use crate::telemetry::instruments::DEPRECATED_FIELD_SET;

const SERVICE: &str = "wfa.measurement.api.v2alpha.RequisitionFulfillment";
const METHOD: &str = "FulfillRequisition";

/// Counts the deprecated fields that are set in a request.
pub(super) fn count(request: &FulfillRequisitionRequest, principal: &str) {
    let Some(Payload::Header(header)) = &request.payload else { return };
    for path in header.protocol_config.iter().flat_map(paths) {
        let attributes = [SERVICE.to_owned(), METHOD.to_owned(), path.to_owned(), principal.to_owned()];
        DEPRECATED_FIELD_SET.add(1, attributes);
    }
}

/// The paths of the deprecated fields that are set, each once.
fn paths(config: &ProtocolConfig) -> Vec<&'static str> {
    let mut paths = Vec::new();
    if !config.name.is_empty() {
        paths.push("header.protocol_config.name");
    }
    if let Some(ProtocolOneOf::LiquidLegionsV2(config)) = &config.protocol {
        paths.push("header.protocol_config.liquid_legions_v2");
        if config.maximum_frequency != 0 {
            paths.push("header.protocol_config.liquid_legions_v2.maximum_frequency");
        }
    }
    let sets_maximum = |protocol: &Protocol| match &protocol.protocol {
        Some(protocol::Protocol::LiquidLegionsV2(config)) => config.maximum_frequency != 0,
        _ => false,
    };
    if config.protocols.iter().any(sets_maximum) {
        paths.push("header.protocol_config.protocols.liquid_legions_v2.maximum_frequency");
    }
    paths
}
