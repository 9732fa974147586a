//! The roles of a duchy in the protocols it takes part in.

use std::path::Path;

use halo_protocols::hmss;
use halo_protocols::proto::duchy::config::{
    HonestMajorityShareShuffleSetupConfig, LiquidLegionsV2SetupConfig, ProtocolsSetupConfig,
    RoleInComputation,
};
use halo_protocols::role::Role;

use super::{ConfigError, DuchyDirectory, PROTOCOLS_SETUP, read, textproto};

/// A duchy's part in a Liquid Legions protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SketchSetup {
    /// The duchy's own role.
    pub role: Role,
    /// The duchy that aggregates.
    pub aggregator: String,
}

/// A duchy's part in Honest Majority Share Shuffle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareShuffleSetup {
    /// The duchy's own role.
    pub role: hmss::Role,
    /// The non-aggregator that speaks first.
    pub first_non_aggregator: String,
    /// The other non-aggregator.
    pub second_non_aggregator: String,
    /// The duchy that aggregates.
    pub aggregator: String,
}

/// A duchy's parts in all protocols; `None` for those it takes no part in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolsSetup {
    /// Liquid Legions v2.
    pub liquid_legions_v2: Option<SketchSetup>,
    /// Reach-only Liquid Legions v2.
    pub reach_only_liquid_legions_v2: Option<SketchSetup>,
    /// Honest Majority Share Shuffle.
    pub honest_majority_share_shuffle: Option<ShareShuffleSetup>,
}

impl ProtocolsSetup {
    /// Whether the duchy is one of the workers of share shuffles, to whom data providers encrypt seeds.
    pub fn is_share_shuffle_worker(&self) -> bool {
        let setup = self.honest_majority_share_shuffle.as_ref();
        setup.is_some_and(|setup| setup.role != hmss::Role::Aggregator)
    }

    /// Reads a `ProtocolsSetupConfig` in protobuf text, the configuration of the duchy `own`.
    ///
    /// # Errors
    /// If it is malformed, names duchies that `directory` lacks, or gives `own` a role that is another's.
    pub fn parse(text: &str, own: &str, directory: &DuchyDirectory) -> Result<Self, ConfigError> {
        let config: ProtocolsSetupConfig = textproto::parse(PROTOCOLS_SETUP, text)?;
        let sketch = |protocol, section: Option<LiquidLegionsV2SetupConfig>| {
            section.map(|section| sketch_setup(protocol, section, own, directory)).transpose()
        };
        Ok(Self {
            liquid_legions_v2: sketch("liquid_legions_v2", config.liquid_legions_v2)?,
            reach_only_liquid_legions_v2: sketch(
                "reach_only_liquid_legions_v2",
                config.reach_only_liquid_legions_v2,
            )?,
            honest_majority_share_shuffle: config
                .honest_majority_share_shuffle
                .map(|section| share_shuffle_setup(section, own, directory))
                .transpose()?,
        })
    }

    /// Reads the file at `path`, as [`Self::parse`].
    ///
    /// # Errors
    /// As [`Self::parse`], and if the file cannot be read.
    pub fn load(path: &Path, own: &str, directory: &DuchyDirectory) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, own, directory)
    }
}

fn sketch_setup(
    protocol: &'static str,
    section: LiquidLegionsV2SetupConfig,
    own: &str,
    directory: &DuchyDirectory,
) -> Result<SketchSetup, ConfigError> {
    let aggregator = section.external_aggregator_duchy_id;
    known(protocol, &aggregator, directory)?;
    known(protocol, own, directory)?;
    let expected = if aggregator == own { Role::Aggregator } else { Role::NonAggregator };
    match Role::try_from(section.role) {
        Ok(role) if role == expected => Ok(SketchSetup { role, aggregator }),
        _ => Err(wrong_role(protocol, own, section.role)),
    }
}

fn share_shuffle_setup(
    section: HonestMajorityShareShuffleSetupConfig,
    own: &str,
    directory: &DuchyDirectory,
) -> Result<ShareShuffleSetup, ConfigError> {
    let protocol = "honest_majority_share_shuffle";
    let parts = [
        (hmss::Role::FirstNonAggregator, &section.first_non_aggregator_duchy_id),
        (hmss::Role::SecondNonAggregator, &section.second_non_aggregator_duchy_id),
        (hmss::Role::Aggregator, &section.aggregator_duchy_id),
    ];
    for (index, (_, duchy)) in parts.iter().enumerate() {
        known(protocol, duchy, directory)?;
        if parts[..index].iter().any(|(_, earlier)| earlier == duchy) {
            return Err(ConfigError::SharedRole { protocol, duchy: String::clone(duchy) });
        }
    }
    let role = parts
        .iter()
        .find(|(role, duchy)| *duchy == own && hmss::Role::try_from(section.role) == Ok(*role))
        .map(|(role, _)| *role)
        .ok_or_else(|| wrong_role(protocol, own, section.role))?;
    Ok(ShareShuffleSetup {
        role,
        first_non_aggregator: section.first_non_aggregator_duchy_id,
        second_non_aggregator: section.second_non_aggregator_duchy_id,
        aggregator: section.aggregator_duchy_id,
    })
}

fn known(protocol: &'static str, duchy: &str, directory: &DuchyDirectory) -> Result<(), ConfigError> {
    match directory.get(duchy) {
        Some(_) => Ok(()),
        None => Err(ConfigError::UnknownDuchy { protocol, duchy: duchy.to_owned() }),
    }
}

fn wrong_role(protocol: &'static str, duchy: &str, role: i32) -> ConfigError {
    let role = RoleInComputation::try_from(role)
        .map_or_else(|_| format!("the unknown number {role}"), |role| role.as_str_name().to_owned());
    ConfigError::Role { protocol, duchy: duchy.to_owned(), role }
}
