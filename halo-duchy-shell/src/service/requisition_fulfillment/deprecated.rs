//! Which data providers still set fields that upstream's API marks as deprecated, now or in future. Our copy of the API has
//! no options, so the fields of the request that upstream marks are named here; it marks none as required in future.

use crate::proto::api::fulfill_requisition_request::Payload;
use crate::proto::api::protocol_config::{Protocol, ProtocolOneOf, protocol};
use crate::proto::api::{FulfillRequisitionRequest, ProtocolConfig};
use crate::telemetry::instruments::{DEPRECATED_FIELD_SET, FUTURE_DEPRECATED_FIELD_SET};

const SERVICE: &str = "wfa.measurement.api.v2alpha.RequisitionFulfillment";
const METHOD: &str = "FulfillRequisition";

/// Counts the deprecated fields that are set in a request, and those that are going to be.
pub(super) fn count(request: &FulfillRequisitionRequest, principal: &str) {
    let Some(Payload::Header(header)) = &request.payload else { return };
    let attributes =
        |path: &str| [SERVICE.to_owned(), METHOD.to_owned(), path.to_owned(), principal.to_owned()];
    let Some(config) = &header.protocol_config else { return };
    for path in paths(config) {
        DEPRECATED_FIELD_SET.add(1, attributes(path));
    }
    for path in future_paths(config) {
        FUTURE_DEPRECATED_FIELD_SET.add(1, attributes(path));
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

/// The paths of the fields that are set and marked as deprecated in future, each once.
fn future_paths(config: &ProtocolConfig) -> Vec<&'static str> {
    let has = |is_it: fn(&protocol::Protocol) -> bool| {
        config.protocols.iter().filter_map(|protocol| protocol.protocol.as_ref()).any(is_it)
    };
    let mut paths = Vec::new();
    if !config.protocols.is_empty() {
        paths.push("header.protocol_config.protocols");
    }
    if has(|protocol| matches!(protocol, protocol::Protocol::LiquidLegionsV2(_))) {
        paths.push("header.protocol_config.protocols.liquid_legions_v2");
    }
    if has(|protocol| matches!(protocol, protocol::Protocol::ReachOnlyLiquidLegionsV2(_))) {
        paths.push("header.protocol_config.protocols.reach_only_liquid_legions_v2");
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::api::protocol_config::{
        HonestMajorityShareShuffle, LiquidLegionsV2, ReachOnlyLiquidLegionsV2,
    };

    const SKETCH: &str = "header.protocol_config.protocols.liquid_legions_v2";

    fn config(protocols: Vec<protocol::Protocol>) -> ProtocolConfig {
        let protocols = protocols.into_iter().map(|protocol| Protocol { protocol: Some(protocol) }).collect();
        ProtocolConfig { protocols, ..ProtocolConfig::default() }
    }

    fn sketch(maximum_frequency: i32) -> LiquidLegionsV2 {
        LiquidLegionsV2 { maximum_frequency, ..LiquidLegionsV2::default() }
    }

    #[test]
    fn nothing_set_is_nothing_counted() {
        assert_eq!(paths(&ProtocolConfig::default()), [""; 0]);
        assert_eq!(future_paths(&ProtocolConfig::default()), [""; 0]);
    }

    #[test]
    fn deprecated_fields_are_found() {
        let old = ProtocolConfig {
            name: "protocolConfigs/x".into(),
            protocol: Some(ProtocolOneOf::LiquidLegionsV2(sketch(3))),
            ..ProtocolConfig::default()
        };
        let expected = ["name", "liquid_legions_v2", "liquid_legions_v2.maximum_frequency"];
        assert_eq!(paths(&old), expected.map(|field| format!("header.protocol_config.{field}")));
        let newer = config(vec![protocol::Protocol::LiquidLegionsV2(sketch(3))]);
        assert_eq!(paths(&newer), [format!("{SKETCH}.maximum_frequency")]);
        assert_eq!(paths(&config(vec![protocol::Protocol::LiquidLegionsV2(sketch(0))])), [""; 0]);
    }

    #[test]
    fn fields_that_will_be_deprecated_are_found() {
        let all = "header.protocol_config.protocols";
        let shuffle = protocol::Protocol::HonestMajorityShareShuffle(HonestMajorityShareShuffle::default());
        assert_eq!(future_paths(&config(vec![shuffle])), [all]);
        let reach_only = protocol::Protocol::ReachOnlyLiquidLegionsV2(ReachOnlyLiquidLegionsV2::default());
        let sketches = config(vec![reach_only, protocol::Protocol::LiquidLegionsV2(sketch(0))]);
        let expected = [all, SKETCH, "header.protocol_config.protocols.reach_only_liquid_legions_v2"];
        assert_eq!(future_paths(&sketches), expected);
    }
}
