use std::path::Path;
use std::sync::LazyLock;

use halo_duchy_shell::config::fuzzing::{MESSAGES, parse, print};
use halo_duchy_shell::config::{
    DuchyDirectory, ProtocolsSetup, SketchSetup, is_valid_id, parse_duration, parse_positive_duration,
    parse_principal_map,
};
use halo_duchy_shell::identity::{Caller, Principals};
use halo_duchy_shell::kingdom::config_file::ConfigFile;
use halo_duchy_shell::kingdom::resource_name::CertificateName;
use halo_duchy_shell::proto::config::{AuthorityKeyToPrincipalMap, DuchyCertConfig};
use halo_duchy_shell::proto::dev_kingdom::KingdomConfig;
use halo_protocols::hmss;
use halo_protocols::proto::duchy::config::ProtocolsSetupConfig;
use halo_protocols::role::Role;
use prost::Message;

use crate::memory::bounded;

const DUCHIES: &str = r#"# As upstream writes it.
duchies {
  duchy_id: "aggregator"
  computation_control_service_cert_host: "localhost"
  root_certificate_skid: "\001\xfe"
}
duchies { duchy_id: "worker1" root_certificate_skid: "\003" }
duchies { duchy_id: "worker2" root_certificate_skid: "\004" }
"#;
const PRINCIPALS: &str = r#"entries {
  authority_key_identifier: "\010"
  principal_resource_name: "dataProviders/abc-1_2"
}
entries < authority_key_identifier: "\011" principal_resource_name: "measurementConsumers/mc" >
entries { authority_key_identifier: "\012" principal_resource_name: "kingdom" }
"#;
pub(crate) const SETUP: &str = r#"liquid_legions_v2 { role: NON_AGGREGATOR external_aggregator_duchy_id: "aggregator" }
reach_only_liquid_legions_v2 { role: NON_AGGREGATOR external_aggregator_duchy_id: "aggregator" }
honest_majority_share_shuffle {
  role: FIRST_NON_AGGREGATOR
  first_non_aggregator_duchy_id: "worker1"
  second_non_aggregator_duchy_id: "worker2"
  aggregator_duchy_id: "aggregator"
}
"#;

/// The duchy that reads a setup.
pub(crate) const OWN: &str = "worker1";
pub(crate) static DIRECTORY: LazyLock<DuchyDirectory> =
    LazyLock::new(|| DuchyDirectory::parse(DUCHIES).expect("well formed"));

/// The development Kingdom's.
const KINGDOM: &str = r#"duchies { external_duchy_id: "aggregator" active_start_time { seconds: 1 } }
duchies { external_duchy_id: "worker1" active_end_time { seconds: 4000000000 nanos: 5 } }
duchies { external_duchy_id: "worker2" }
protocols { protocol { honest_majority_share_shuffle {} } }
protocols { protocol { liquid_legions_v2 {} } minimum_duchy_participant_count: 2 }
certificates { name: "duchies/worker1/certificates/c" file: "worker1.der" }
"#;

/// Any text as one of the configuration files, or as a duration; the first byte chooses.
///
/// What is read survives being written. No two parties have one authority, and no duchy another's role.
pub fn config_files(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let directory = &*DIRECTORY;
    bounded(text.len(), 512, || match choice % 5 {
        0 => duchies(text),
        1 => principals(text),
        2 => setup(text, directory),
        3 => duration(text),
        _ => kingdom(text),
    });
}

/// The message that `text` is, if it is one, written and read again.
fn survives<M: Message + Default + PartialEq>(name: &'static str, text: &str) {
    let Ok(message) = parse::<M>(name, text) else { return };
    let written = print(name, &message).expect("the right name");
    let again: M = parse(name, &written).expect("our own");
    assert!(again == message, "written as {written}");
}

fn duchies(text: &str) {
    survives::<DuchyCertConfig>(MESSAGES[0], text);
    let Ok(directory) = DuchyDirectory::parse(text) else { return };
    let principals = Principals::new(directory.principals()).expect("it was checked");
    for (id, entry) in directory.iter() {
        assert!(is_valid_id(id));
        assert_eq!(directory.get(id), Some(entry));
        assert!(!entry.root_skids.is_empty());
        for root in &entry.root_skids {
            assert_eq!(principals.get(root), Some(&Caller::Duchy(id.to_owned())));
        }
    }
}

fn principals(text: &str) {
    survives::<AuthorityKeyToPrincipalMap>(MESSAGES[1], text);
    let Ok(entries) = parse_principal_map(text) else { return };
    assert!(entries.iter().all(|(_, caller)| !matches!(caller, Caller::Duchy(_))));
    match Principals::new(entries.clone()) {
        Ok(principals) => {
            assert!(entries.iter().all(|(authority, caller)| principals.get(authority) == Some(caller)));
            assert_eq!(principals.get(&[]), None);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn setup(text: &str, directory: &DuchyDirectory) {
    survives::<ProtocolsSetupConfig>(MESSAGES[2], text);
    let Ok(setup) = ProtocolsSetup::parse(text, OWN, directory) else { return };
    for SketchSetup { role, aggregator } in
        [setup.liquid_legions_v2, setup.reach_only_liquid_legions_v2].into_iter().flatten()
    {
        assert_eq!(role == Role::Aggregator, aggregator == OWN);
        assert!(directory.get(&aggregator).is_some());
    }
    if let Some(setup) = setup.honest_majority_share_shuffle {
        let parts = [&setup.first_non_aggregator, &setup.second_non_aggregator, &setup.aggregator];
        let roles = [hmss::Role::FirstNonAggregator, hmss::Role::SecondNonAggregator, hmss::Role::Aggregator];
        let own: Vec<_> = parts.iter().zip(roles).filter(|(duchy, _)| **duchy == OWN).collect();
        assert!(matches!(own[..], [(_, role)] if role == setup.role));
    }
}

fn duration(text: &str) {
    let Ok(duration) = parse_duration(text) else {
        assert!(parse_positive_duration(text).is_err());
        return;
    };
    let written = format!("{}s{}ns", duration.as_secs(), duration.subsec_nanos());
    assert_eq!(parse_duration(&written), Ok(duration));
    assert_eq!(parse_positive_duration(text).is_ok(), !duration.is_zero());
}

fn kingdom(text: &str) {
    survives::<KingdomConfig>("halo.dev.kingdom.v1.KingdomConfig", text);
    let Ok(config) = ConfigFile::parse(text, Path::new("folder")) else { return };
    assert!(config.duchies.keys().all(|duchy| is_valid_id(duchy)));
    for (name, file) in &config.certificates {
        assert!(CertificateName::parse(name).is_some(), "{name}");
        assert!(file.is_absolute() || file.starts_with("folder"), "{file:?}");
    }
}

/// One file of each kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files = [(0, DUCHIES), (1, PRINCIPALS), (2, SETUP), (3, "1h30m"), (3, "5d12ms7ns"), (4, KINGDOM)];
    files.map(|(choice, text)| [&[choice], text.as_bytes()].concat()).to_vec()
}
