//! [`Role`]: the parts duchies play in a share shuffle (`RoleInComputation` upstream).

use crate::proto::duchy::config::RoleInComputation;

/// The part a duchy plays. Roles are configured, not computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The worker that starts.
    FirstNonAggregator,
    /// The worker that answers.
    SecondNonAggregator,
    /// Adds the workers' shuffled shares and reports the result.
    Aggregator,
}

/// A role number that is not one of the share shuffle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("role {0} is not a role of the honest-majority share shuffle")]
pub struct UnknownRole(
    /// The number found.
    pub i32,
);

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::FirstNonAggregator, Self::SecondNonAggregator, Self::Aggregator];
}

impl TryFrom<i32> for Role {
    type Error = UnknownRole;

    fn try_from(number: i32) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| RoleInComputation::from(*role) as i32 == number)
            .ok_or(UnknownRole(number))
    }
}

impl From<Role> for RoleInComputation {
    fn from(role: Role) -> Self {
        match role {
            Role::FirstNonAggregator => Self::FirstNonAggregator,
            Role::SecondNonAggregator => Self::SecondNonAggregator,
            Role::Aggregator => Self::Aggregator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_upstream() {
        let numbers = [3, 4, 1];
        for (role, number) in Role::ALL.into_iter().zip(numbers) {
            assert_eq!(RoleInComputation::from(role) as i32, number);
            assert_eq!(Role::try_from(number), Ok(role));
        }
        for number in [-1, 0, 2, 5] {
            assert_eq!(Role::try_from(number), Err(UnknownRole(number)));
        }
    }
}
