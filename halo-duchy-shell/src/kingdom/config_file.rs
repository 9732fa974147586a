//! The configuration file of a development Kingdom: a `halo.dev.kingdom.v1.KingdomConfig` in protobuf text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use prost::Message;

use super::certificate_name;
use super::config::{ActiveWindow, DuchySelection, LiquidLegionsSettings, Protocol, ShareShuffleSettings};
use super::error::KingdomError;
use crate::clock::{Timestamp, TimestampError};
use crate::config::{ConfigError, is_valid_id, parse_textproto, read};
use crate::proto::dev_kingdom;
use crate::proto::dev_kingdom::kingdom_config::{Duchy, ProtocolConfig};
use crate::proto::system::computation::mpc_protocol_config::Protocol as Parameters;

const KINGDOM_CONFIG: &str = "halo.dev.kingdom.v1.KingdomConfig";

/// The duchies of upstream's test configuration: the workers of share shuffles and the aggregator.
const WORKERS: [&str; 2] = ["worker1", "worker2"];
const AGGREGATOR: &str = "aggregator";

/// Why a configuration file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFileError {
    /// It cannot be read, or is no such message.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A field has a value it must not have.
    #[error(transparent)]
    Field(#[from] KingdomError),
    /// The window of a duchy begins or ends at no time.
    #[error("the window of duchy {duchy}")]
    Time {
        /// Which duchy.
        duchy: String,
        /// What is wrong.
        #[source]
        source: TimestampError,
    },
}

/// What a configuration file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigFile {
    /// The duchies, if it names any.
    pub duchies: BTreeMap<String, ActiveWindow>,
    /// The protocols in their order, if it names any.
    pub protocols: Vec<Protocol>,
    /// The duchies of computations of Liquid Legions v2.
    pub liquid_legions_v2: DuchySelection,
    /// The duchies of computations of reach-only Liquid Legions v2.
    pub reach_only_liquid_legions_v2: DuchySelection,
    /// Certificates by their resource names, and the files that they are in.
    pub certificates: Vec<(String, PathBuf)>,
}

impl ConfigFile {
    /// Reads the file at `path`. Files that it names are beside it.
    ///
    /// # Errors
    /// [`ConfigFileError`].
    pub fn load(path: &Path) -> Result<Self, ConfigFileError> {
        Self::parse(&read(path)?, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads the text of a file in `folder`.
    ///
    /// # Errors
    /// [`ConfigFileError`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigFileError> {
        let message: dev_kingdom::KingdomConfig =
            parse_textproto(KINGDOM_CONFIG, text).map_err(ConfigError::from)?;
        let mut config = Self::default();
        for duchy in message.duchies {
            let window = window(&duchy)?;
            let id = duchy.external_duchy_id;
            if !is_valid_id(&id) {
                return Err(ConfigError::MalformedName(id).into());
            }
            if config.duchies.insert(id.clone(), window).is_some() {
                return Err(ConfigError::DuplicateDuchy(id).into());
            }
        }
        for protocol in message.protocols {
            config.add(protocol)?;
        }
        for certificate in message.certificates {
            let name = certificate_name("certificates.name", &certificate.name)?.to_string();
            if certificate.file.is_empty() {
                return Err(KingdomError::invalid("certificates.file", format!("missing for {name}")).into());
            }
            config.certificates.push((name, folder.join(certificate.file)));
        }
        Ok(config)
    }

    fn add(&mut self, config: ProtocolConfig) -> Result<(), ConfigFileError> {
        let protocol = Protocol::try_from(with_defaults(config.protocol.unwrap_or_default())?)?;
        if self.protocols.iter().any(|other| other.name() == protocol.name()) {
            let problem = format!("{} is given twice", protocol.name());
            return Err(KingdomError::invalid("protocols.protocol", problem).into());
        }
        let minimum = config.minimum_duchy_participant_count as usize;
        let given = config.required_external_duchy_ids;
        let required: BTreeSet<_> = given.iter().cloned().collect();
        if required.len() < given.len() {
            return Err(
                KingdomError::invalid("protocols.required_external_duchy_ids", "one comes twice").into()
            );
        }
        let chooses = minimum > 0 || !required.is_empty();
        let known = |id: &&String| self.duchies.is_empty() || self.duchies.contains_key(*id);
        let named = protocol.named_duchies();
        if let Some(stranger) = required.iter().chain(named).find(|id| !known(id)) {
            return Err(
                ConfigError::UnknownDuchy { protocol: protocol.name(), duchy: stranger.clone() }.into()
            );
        }
        let selection = match chooses {
            true => DuchySelection::Chosen { required, minimum },
            false => DuchySelection::All,
        };
        match protocol {
            Protocol::LiquidLegionsV2(_) => self.liquid_legions_v2 = selection,
            Protocol::ReachOnlyLiquidLegionsV2(_) => self.reach_only_liquid_legions_v2 = selection,
            Protocol::HonestMajorityShareShuffle(_) if chooses => {
                let problem = "a share shuffle names its three duchies itself, as workers and aggregator";
                return Err(KingdomError::invalid("protocols.required_external_duchy_ids", problem).into());
            }
            Protocol::HonestMajorityShareShuffle(_) => {}
        }
        self.protocols.push(protocol);
        Ok(())
    }
}

fn window(duchy: &Duchy) -> Result<ActiveWindow, ConfigFileError> {
    let time = |time: &Option<prost_types::Timestamp>| {
        let read = time.as_ref().map(Timestamp::try_from).transpose();
        read.map_err(|source| ConfigFileError::Time { duchy: duchy.external_duchy_id.clone(), source })
    };
    let window = ActiveWindow { start: time(&duchy.active_start_time)?, end: time(&duchy.active_end_time)? };
    if let (Some(start), Some(end)) = (window.start, window.end)
        && end < start
    {
        let problem = format!("the window of {} ends before it begins", duchy.external_duchy_id);
        return Err(KingdomError::invalid("duchies.active_end_time", problem).into());
    }
    Ok(window)
}

/// Upstream's test configuration with what `given` says otherwise.
fn with_defaults(given: dev_kingdom::Protocol) -> Result<dev_kingdom::Protocol, KingdomError> {
    let parameters = given.parameters.as_ref().and_then(|parameters| parameters.protocol.as_ref());
    let sketch = LiquidLegionsSettings::default;
    let default = match parameters {
        Some(Parameters::LiquidLegionsV2(_)) => Protocol::LiquidLegionsV2(sketch()),
        Some(Parameters::ReachOnlyLiquidLegionsV2(_)) => Protocol::ReachOnlyLiquidLegionsV2(sketch()),
        Some(Parameters::HonestMajorityShareShuffle(_)) => Protocol::HonestMajorityShareShuffle(
            ShareShuffleSettings::of(WORKERS.map(str::to_owned), AGGREGATOR.to_owned()),
        ),
        // Refused by whoever reads it.
        Some(Parameters::TrusTee(_)) | None => return Ok(given),
    };
    let mut message = dev_kingdom::Protocol::from(&default);
    if !given.workers.is_empty() {
        // Lists would be joined.
        message.workers.clear();
    }
    // What is given takes the place of a default, field by field and message in message.
    let merged = message.merge(given.encode_to_vec().as_slice());
    merged.map_err(|error| KingdomError::invalid("protocols.protocol", error.to_string()))?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kingdom::config::Privacy;
    use crate::proto::system::computation::mpc_protocol_config::NoiseMechanism;

    fn parse(text: &str) -> Result<ConfigFile, ConfigFileError> {
        ConfigFile::parse(text, Path::new("folder"))
    }

    #[test]
    fn what_is_not_given_is_upstreams_test_configuration() {
        let config = parse(
            "protocols { protocol { parameters { liquid_legions_v2 {} } } }
             protocols { protocol { parameters { reach_only_liquid_legions_v2 {} } } }
             protocols { protocol { parameters { honest_majority_share_shuffle {} } } }",
        );
        let workers = ["worker1".to_owned(), "worker2".to_owned()];
        let expected = [
            Protocol::LiquidLegionsV2(LiquidLegionsSettings::default()),
            Protocol::ReachOnlyLiquidLegionsV2(LiquidLegionsSettings::default()),
            Protocol::HonestMajorityShareShuffle(ShareShuffleSettings::of(workers, "aggregator".into())),
        ];
        assert_eq!(
            config.expect("sound"),
            ConfigFile { protocols: expected.into(), ..ConfigFile::default() }
        );
    }

    #[test]
    fn every_field_is_read() {
        let text = r#"
            duchies { external_duchy_id: "a" active_start_time { seconds: 5 nanos: 7000000 } }
            duchies { external_duchy_id: "b" active_end_time { seconds: 9 } }
            duchies { external_duchy_id: "c" }
            protocols {
              protocol {
                parameters {
                  liquid_legions_v2 {
                    sketch_params { max_size: 1000 }
                    mpc_noise { publisher_noise { epsilon: 0.5 } }
                    noise_mechanism: GEOMETRIC
                  }
                }
              }
              required_external_duchy_ids: "c"
              minimum_duchy_participant_count: 2
            }
            protocols {
              protocol {
                parameters { honest_majority_share_shuffle { reach_ring_modulus: 11 } }
                workers: ["c", "a"]
                aggregator: "b"
              }
            }
            certificates { name: "duchies/a/certificates/1" file: "a.der" }
            certificates { name: "dataProviders/p/certificates/2" file: "/elsewhere/p.der" }
        "#;
        let config = parse(text).expect("sound");
        let window = |start, end| ActiveWindow { start, end };
        let at = |millis| Some(Timestamp::from_millis(millis));
        let duchies =
            [("a", window(at(5007), None)), ("b", window(None, at(9000))), ("c", window(None, None))];
        assert_eq!(config.duchies, duchies.map(|(id, window)| (id.to_owned(), window)).into());
        let sketch = LiquidLegionsSettings {
            sketch_size: 1000,
            publisher_noise: Privacy { epsilon: 0.5, delta: 1.0 },
            noise_mechanism: NoiseMechanism::Geometric,
            ..LiquidLegionsSettings::default()
        };
        let shuffle = ShareShuffleSettings {
            reach_ring_modulus: 11,
            ..ShareShuffleSettings::of(["c".to_owned(), "a".to_owned()], "b".to_owned())
        };
        let protocols = [Protocol::LiquidLegionsV2(sketch), Protocol::HonestMajorityShareShuffle(shuffle)];
        assert_eq!(config.protocols, protocols);
        assert_eq!(
            config.liquid_legions_v2,
            DuchySelection::Chosen { required: ["c".to_owned()].into(), minimum: 2 }
        );
        assert_eq!(config.reach_only_liquid_legions_v2, DuchySelection::All);
        assert_eq!(
            config.certificates,
            [
                ("duchies/a/certificates/1".to_owned(), PathBuf::from("folder/a.der")),
                ("dataProviders/p/certificates/2".to_owned(), PathBuf::from("/elsewhere/p.der")),
            ]
        );
    }

    #[test]
    fn the_example_of_the_page_is_sound() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/development-kingdom.md");
        let page = std::fs::read_to_string(page).expect("the page");
        let example = page.split_once("```textproto\n").and_then(|(_, rest)| rest.split_once("```"));
        let config = parse(example.expect("an example").0).expect("sound");
        let names: Vec<_> = config.protocols.iter().map(Protocol::name).collect();
        assert_eq!((config.duchies.len(), names), (4, vec!["llv2", "hmss"]));
    }

    #[test]
    fn contradictions_are_refused() {
        let sketch = "protocol { parameters { liquid_legions_v2 {} } }";
        let shuffle = "protocol { parameters { honest_majority_share_shuffle {} } }";
        let duchy = r#"duchies { external_duchy_id: "a" }"#;
        for (text, problem) in [
            ("what", "not a `halo.dev.kingdom.v1.KingdomConfig`"),
            (r#"duchies { external_duchy_id: "a/b" }"#, "`a/b` is not a valid name"),
            ("duchies {}", "`` is not a valid name"),
            (&format!("{duchy} {duchy}"), "duchy a is listed twice"),
            (
                r#"duchies { external_duchy_id: "a" active_start_time { seconds: 2 } active_end_time { seconds: 1 } }"#,
                "ends before it begins",
            ),
            (
                r#"duchies { external_duchy_id: "a" active_start_time { nanos: -1 } }"#,
                "the window of duchy a",
            ),
            ("protocols {}", "no parameters"),
            ("protocols { protocol { parameters { trus_tee {} } } }", "TrusTEE"),
            (&format!("protocols {{ {sketch} }} protocols {{ {sketch} }}"), "llv2 is given twice"),
            (
                &format!(r#"{duchy} protocols {{ {sketch} required_external_duchy_ids: "b" }}"#),
                "names the duchy `b`",
            ),
            (&format!("{duchy} protocols {{ {shuffle} }}"), "names the duchy `worker1`"),
            (
                &format!(r#"protocols {{ {sketch} required_external_duchy_ids: ["b", "b"] }}"#),
                "one comes twice",
            ),
            (
                &format!("protocols {{ {shuffle} minimum_duchy_participant_count: 3 }}"),
                "names its three duchies itself",
            ),
            (
                "protocols { protocol { parameters { liquid_legions_v2 { sketch_params { max_size: -1 } } } } }",
                "-1 registers",
            ),
            (r#"certificates { name: "a" file: "b" }"#, "certificates.name"),
            (r#"certificates { name: "duchies/a/certificates/1" }"#, "missing for duchies/a"),
        ] {
            let refused = parse(text).expect_err(text).to_string();
            assert!(refused.contains(problem), "{text}: {refused}");
        }
    }
}
