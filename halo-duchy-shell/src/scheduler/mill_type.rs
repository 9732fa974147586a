use std::fmt;

use crate::protocol_stages::Protocol;

/// A kind of mill: what one PodTemplate runs, under one limit of concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MillType {
    /// `llv2-mill`: Liquid Legions v2, with frequencies or without.
    LiquidLegionsV2,
    /// `hmss-mill`: the honest-majority share shuffle.
    HonestMajorityShareShuffle,
}

impl MillType {
    /// Both.
    pub const ALL: [Self; 2] = [Self::LiquidLegionsV2, Self::HonestMajorityShareShuffle];

    /// The value of a Job's label `mill-type`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::LiquidLegionsV2 => "LIQUID_LEGIONS_V2",
            Self::HonestMajorityShareShuffle => "HONEST_MAJORITY_SHARE_SHUFFLE",
        }
    }

    /// The type with this label.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mill_type| mill_type.label() == label)
    }

    /// What names of Jobs say of it.
    pub(super) const fn abbreviation(self) -> &'static str {
        match self {
            Self::LiquidLegionsV2 => "llv2",
            Self::HonestMajorityShareShuffle => "hmss",
        }
    }

    /// The protocols that such a mill computes.
    pub const fn protocols(self) -> &'static [Protocol] {
        match self {
            Self::LiquidLegionsV2 => &[Protocol::LiquidLegionsV2, Protocol::ReachOnlyLiquidLegionsV2],
            Self::HonestMajorityShareShuffle => &[Protocol::HonestMajorityShareShuffle],
        }
    }
}

impl fmt::Display for MillType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
