//! The shares that a worker combines: exactly one for each requisition, all of one length.

use std::collections::BTreeMap;

use halo_crypto::prg::{PrngSeed, PrngSeedError};

use super::ShareShuffleError;
use super::event::{SeedShare, VectorShare};
use super::share::{Share, Values};
use crate::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;

/// What is wrong with the share of one requisition, or with the set of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequisitionError {
    /// The host names another number of requisitions than the computation was created with.
    #[error("{found} requisitions, the computation was created with {expected}")]
    Count {
        /// Requisitions named now.
        found: usize,
        /// Requisitions at creation.
        expected: usize,
    },
    /// There is a share for a requisition that the computation does not have.
    #[error("requisition {0} is none of this computation")]
    Unknown(String),
    /// There are two shares, or two entries, for one requisition.
    #[error("requisition {0} has more than one share at this worker")]
    Repeated(String),
    /// There is neither a vector nor a seed.
    #[error("requisition {0} has no share at this worker")]
    Missing(String),
    /// The data provider encrypted no seed to the other worker.
    #[error("requisition {0} has no seed for the other worker")]
    NoSeed(String),
    /// The peer sent a seed that the host did not open, or the host opened one that the peer did not send.
    #[error("requisition {0}: its seed is not both sent by the other worker and opened")]
    NotOpened(String),
    /// A vector has no registers, or not as many as that of another requisition.
    #[error("requisition {requisition} has {found} registers, expected {expected}")]
    RegisterCount {
        /// The requisition.
        requisition: String,
        /// Registers that its data provider says there are.
        found: i64,
        /// Registers of the first requisition; at least 1.
        expected: i64,
    },
    /// A seed has another length than a seed.
    #[error("requisition {requisition}: {reason}")]
    Seed {
        /// The requisition.
        requisition: String,
        /// What is wrong with it.
        #[source]
        reason: PrngSeedError,
    },
    /// Two seeds are one: the difference of the two vectors would be in the clear.
    #[error("requisition {requisition} has the seed of requisition {other}")]
    EqualSeeds {
        /// The requisition.
        requisition: String,
        /// Another one.
        other: String,
    },
    /// The data of a share is refused.
    #[error("requisition {requisition}: {reason}")]
    Share {
        /// The requisition.
        requisition: String,
        /// What the kernel found.
        #[source]
        reason: ShareShuffleError,
    },
}

impl RequisitionError {
    /// The requisition whose share is refused, if it is one.
    pub fn requisition(&self) -> Option<&str> {
        match self {
            Self::Count { .. } => None,
            Self::Unknown(requisition)
            | Self::Repeated(requisition)
            | Self::Missing(requisition)
            | Self::NoSeed(requisition)
            | Self::NotOpened(requisition)
            | Self::RegisterCount { requisition, .. }
            | Self::Seed { requisition, .. }
            | Self::EqualSeeds { requisition, .. }
            | Self::Share { requisition, .. } => Some(requisition),
        }
    }
}

/// The shares of a worker, by requisition in ascending order.
#[derive(Debug)]
pub(super) struct RequisitionShares<'a> {
    shares: BTreeMap<&'a str, Share<'a>>,
    register_count: i64,
}

impl<'a> RequisitionShares<'a> {
    /// Brings together what data providers handed to this worker and what they encrypted to it.
    pub(super) fn gather(
        requisitions: &'a [String],
        vectors: &'a [VectorShare],
        sent: &'a [SecretSeed],
        opened: &'a [SeedShare],
    ) -> Result<Self, RequisitionError> {
        let opened = opened_seeds(opened)?;
        let mut gathering = Gathering { requisitions, shares: BTreeMap::new(), register_count: None };
        for vector in vectors {
            let share = Share::Vector(Values::serialised(&vector.frequency_vector));
            gathering.add(&vector.requisition, vector.register_count, share)?;
        }
        for seed in sent {
            let requisition = &seed.requisition_id;
            let opened = opened
                .get(requisition.as_str())
                .ok_or_else(|| RequisitionError::NotOpened(requisition.clone()))?;
            gathering.add(requisition, seed.register_count, Share::Seed(opened.clone()))?;
        }
        if let Some(surplus) = opened.keys().find(|id| sent.iter().all(|seed| seed.requisition_id != **id)) {
            return Err(RequisitionError::NotOpened((*surplus).to_owned()));
        }
        let Gathering { shares, register_count, .. } = gathering;
        if let Some(missing) = requisitions.iter().find(|id| !shares.contains_key(id.as_str())) {
            return Err(RequisitionError::Missing(missing.clone()));
        }
        Ok(Self { shares, register_count: register_count.unwrap_or_default() })
    }

    /// Registers of every vector.
    pub(super) const fn register_count(&self) -> i64 {
        self.register_count
    }

    /// The shares in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Share<'a>> {
        self.shares.values().cloned()
    }

    /// Names the requisition of the share that a kernel refused.
    pub(super) fn name(&self, reason: ShareShuffleError) -> Result<RequisitionError, ShareShuffleError> {
        match reason.share().and_then(|share| self.shares.keys().nth(share)) {
            Some(requisition) => {
                Ok(RequisitionError::Share { requisition: (*requisition).to_owned(), reason })
            }
            None => Err(reason),
        }
    }
}

struct Gathering<'a> {
    requisitions: &'a [String],
    shares: BTreeMap<&'a str, Share<'a>>,
    register_count: Option<i64>,
}

impl<'a> Gathering<'a> {
    fn add(
        &mut self,
        requisition: &'a str,
        register_count: i64,
        share: Share<'a>,
    ) -> Result<(), RequisitionError> {
        if !self.requisitions.iter().any(|id| id == requisition) {
            return Err(RequisitionError::Unknown(requisition.to_owned()));
        }
        let expected = *self.register_count.get_or_insert(register_count.max(1));
        if register_count != expected {
            return Err(RequisitionError::RegisterCount {
                requisition: requisition.to_owned(),
                found: register_count,
                expected,
            });
        }
        match self.shares.insert(requisition, share) {
            None => Ok(()),
            Some(_) => Err(RequisitionError::Repeated(requisition.to_owned())),
        }
    }
}

fn opened_seeds(opened: &[SeedShare]) -> Result<BTreeMap<&str, PrngSeed>, RequisitionError> {
    let mut seeds = BTreeMap::<&str, PrngSeed>::new();
    for SeedShare { requisition, seed } in opened {
        let seed = PrngSeed::from_bytes(seed.expose())
            .map_err(|reason| RequisitionError::Seed { requisition: requisition.clone(), reason })?;
        if let Some((other, _)) = seeds.iter().find(|(_, other)| **other == seed) {
            return Err(RequisitionError::EqualSeeds {
                requisition: requisition.clone(),
                other: (*other).to_owned(),
            });
        }
        if seeds.insert(requisition.as_str(), seed).is_some() {
            return Err(RequisitionError::Repeated(requisition.clone()));
        }
    }
    Ok(seeds)
}
