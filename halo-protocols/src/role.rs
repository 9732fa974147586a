//! The parts duchies play in a computation (`RoleInComputation` upstream).

use crate::proto::duchy::config::RoleInComputation;

/// The part a duchy plays in a Liquid Legions protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Collects the sketches, closes each round of the ring and reports the result.
    Aggregator,
    /// Works on what its predecessor in the ring sends and passes it on.
    NonAggregator,
}

/// A role number that is not one of a Liquid Legions protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("role {0} is not a role of a Liquid Legions protocol")]
pub struct UnknownRole(
    /// The number found.
    pub i32,
);

impl TryFrom<i32> for Role {
    type Error = UnknownRole;

    fn try_from(number: i32) -> Result<Self, UnknownRole> {
        match RoleInComputation::try_from(number) {
            Ok(RoleInComputation::Aggregator) => Ok(Self::Aggregator),
            Ok(RoleInComputation::NonAggregator) => Ok(Self::NonAggregator),
            _ => Err(UnknownRole(number)),
        }
    }
}

impl From<Role> for RoleInComputation {
    fn from(role: Role) -> Self {
        match role {
            Role::Aggregator => Self::Aggregator,
            Role::NonAggregator => Self::NonAggregator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_upstream() {
        for role in [Role::Aggregator, Role::NonAggregator] {
            assert_eq!(Role::try_from(RoleInComputation::from(role) as i32), Ok(role));
        }
        assert_eq!(Role::try_from(1), Ok(Role::Aggregator));
        for number in [-1, 0, 3, 4, 5] {
            assert_eq!(Role::try_from(number), Err(UnknownRole(number)));
        }
    }
}
