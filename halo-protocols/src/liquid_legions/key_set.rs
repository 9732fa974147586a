//! The keys of a computation: who takes part, in which ring order, and what their keys add up to.

use halo_crypto::Group;
use halo_crypto::elgamal::{PublicKey, check_unrelated, combine_public_keys};
use prost::Message as _;

use crate::duchy_id::DuchyId;
use crate::proto::duchy::{ElGamalKeyPair, ElGamalPublicKey};
use crate::ring;

/// An ElGamal key as the public API spells it; `elliptic_curve_id` stays unset, as upstream leaves it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PublishedKey {
    /// Not set by upstream.
    #[prost(int32, tag = "1")]
    pub elliptic_curve_id: i32,
    /// The generator, encoded.
    #[prost(bytes = "vec", tag = "2")]
    pub generator: Vec<u8>,
    /// The key, encoded.
    #[prost(bytes = "vec", tag = "3")]
    pub element: Vec<u8>,
}

/// A duchy of the computation and the key it published.
#[derive(Clone, Debug, PartialEq)]
pub struct Participant {
    /// Which duchy.
    pub duchy: DuchyId,
    /// The serialised public key, exactly as the Kingdom delivered it: its bytes decide the ring order.
    pub el_gamal_public_key: Vec<u8>,
    /// The duchy's signature of those bytes.
    pub signature: Vec<u8>,
    /// The signature's algorithm as an OID; empty for that of the certificate.
    pub signature_algorithm_oid: String,
    /// The duchy's consent-signaling certificate.
    pub certificate_der: Vec<u8>,
}

impl Participant {
    /// The key inside the published bytes.
    ///
    /// # Errors
    /// [`KeySetError::Unreadable`] if the bytes are no key message.
    pub fn public_key(&self) -> Result<ElGamalPublicKey, KeySetError> {
        let key = PublishedKey::decode(self.el_gamal_public_key.as_slice())
            .map_err(|_| KeySetError::Unreadable(self.duchy.clone()))?;
        Ok(ElGamalPublicKey { generator: key.generator, element: key.element })
    }
}

/// A key set that cannot be computed with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// The aggregator is not among the participants.
    #[error("the aggregator {0} is not among the participants")]
    AggregatorMissing(DuchyId),
    /// This duchy's role is another than the named aggregator makes it.
    #[error("{0} is named as aggregator, which does not agree with this duchy's role")]
    Role(DuchyId),
    /// This duchy is not among the participants.
    #[error("duchy {0} is not among the participants")]
    SelfMissing(DuchyId),
    /// One duchy is named more than once.
    #[error("duchy {0} is named twice")]
    Repeated(DuchyId),
    /// Another number of participants than the computation has.
    #[error("{found} participants, the computation has {expected}")]
    Count {
        /// Participants named now.
        found: usize,
        /// Participants the computation was created with.
        expected: usize,
    },
    /// A published key is no key message.
    #[error("the published key of {0} cannot be read")]
    Unreadable(DuchyId),
    /// A published key is not usable: not an element, the identity, or for another generator.
    #[error("the published key of {duchy} is refused: {reason}")]
    Refused {
        /// Whose key.
        duchy: DuchyId,
        /// Why.
        reason: String,
    },
    /// The key published for this duchy is not the one it made.
    #[error("the key published for {0} is not the one it made")]
    NotOurs(DuchyId),
    /// The keys do not add up to a usable one: two are equal or opposite, or a sum is the identity.
    #[error("the keys do not combine: {0}")]
    Combination(String),
}

impl KeySetError {
    /// The duchy whose doing it is, if it is somebody's.
    pub fn culprit(&self) -> Option<&DuchyId> {
        match self {
            Self::Unreadable(duchy) | Self::Refused { duchy, .. } | Self::NotOurs(duchy) => Some(duchy),
            Self::AggregatorMissing(_)
            | Self::Role(_)
            | Self::SelfMissing(_)
            | Self::Repeated(_)
            | Self::Count { .. }
            | Self::Combination(_) => None,
        }
    }
}

/// The participants in ring order, the aggregator last.
#[derive(Clone, Debug, PartialEq)]
pub struct Ring {
    participants: Vec<Participant>,
}

impl Ring {
    /// Puts participants in the order that every duchy works out alone: see [`crate::ring`].
    ///
    /// # Errors
    /// If the aggregator is missing, a duchy is named twice, or a published key is no key message.
    pub fn new(
        computation: &str,
        aggregator: &DuchyId,
        mut participants: Vec<Participant>,
    ) -> Result<Self, KeySetError> {
        for (index, participant) in participants.iter().enumerate() {
            if participants.iter().take(index).any(|earlier| earlier.duchy == participant.duchy) {
                return Err(KeySetError::Repeated(participant.duchy.clone()));
            }
            // A ring is kept in a row with its keys read, so it must not hold one that cannot be.
            participant.public_key()?;
        }
        let last = participants
            .iter()
            .position(|participant| participant.duchy == *aggregator)
            .ok_or_else(|| KeySetError::AggregatorMissing(aggregator.clone()))?;
        let aggregator = participants.remove(last);
        participants
            .sort_by_cached_key(|participant| ring::position(&participant.el_gamal_public_key, computation));
        participants.push(aggregator);
        Ok(Self { participants })
    }

    /// Takes over participants that are in ring order already, as they were stored.
    pub fn from_ordered(participants: Vec<Participant>) -> Self {
        Self { participants }
    }

    /// The participants in ring order.
    pub fn participants(&self) -> &[Participant] {
        &self.participants
    }

    /// All but the aggregator, in ring order.
    pub fn non_aggregators(&self) -> &[Participant] {
        self.participants.split_last().map_or(&[], |(_, others)| others)
    }

    /// The aggregator.
    pub fn aggregator(&self) -> Option<&DuchyId> {
        self.participants.last().map(|participant| &participant.duchy)
    }

    /// Where `duchy` stands, counted from 0.
    pub fn index_of(&self, duchy: &DuchyId) -> Option<usize> {
        self.participants.iter().position(|participant| participant.duchy == *duchy)
    }

    /// Whom `duchy` sends to.
    pub fn next(&self, duchy: &DuchyId) -> Option<&DuchyId> {
        let next = (self.index_of(duchy)? + 1) % self.participants.len();
        self.participants.get(next).map(|participant| &participant.duchy)
    }

    /// From whom `duchy` receives.
    pub fn previous(&self, duchy: &DuchyId) -> Option<&DuchyId> {
        let count = self.participants.len();
        let previous = (self.index_of(duchy)? + count - 1) % count;
        self.participants.get(previous).map(|participant| &participant.duchy)
    }
}

/// What a duchy encrypts under.
#[derive(Clone, Debug, PartialEq)]
pub struct CombinedKeys {
    /// The sum of all keys.
    pub composite: ElGamalPublicKey,
    /// The sum of the keys after this duchy's in the ring; for the aggregator the composite key.
    pub partial: ElGamalPublicKey,
}

impl CombinedKeys {
    /// Adds up the keys of `ring` as seen by `duchy`, whose own key pair is `local`.
    ///
    /// Beyond upstream's checks, every key must be for the group's generator, keys must be neither equal nor
    /// opposite to another, and no partial sum may be the identity: whoever publishes last could
    /// make its key of the others'.
    ///
    /// # Errors
    /// [`KeySetError`], naming the duchy whose key is refused where it is one duchy's.
    pub fn combine<G: Group>(
        ring: &Ring,
        duchy: &DuchyId,
        local: &ElGamalKeyPair,
    ) -> Result<Self, KeySetError> {
        let own = ring.index_of(duchy).ok_or_else(|| KeySetError::SelfMissing(duchy.clone()))?;
        let mut keys = Vec::with_capacity(ring.participants.len());
        for (index, participant) in ring.participants.iter().enumerate() {
            let published = participant.public_key()?;
            if index == own && local.public_key.as_ref() != Some(&published) {
                return Err(KeySetError::NotOurs(duchy.clone()));
            }
            let key =
                PublicKey::<G>::from_fields(&published.generator, &published.element).map_err(|error| {
                    KeySetError::Refused { duchy: participant.duchy.clone(), reason: error.to_string() }
                })?;
            keys.push(key);
        }
        check_unrelated(&keys).map_err(|error| KeySetError::Combination(error.to_string()))?;
        let composite = combine(&keys)?;
        let following = keys.get(own + 1..).unwrap_or(&[]);
        let partial = if following.is_empty() { composite.clone() } else { combine(following)? };
        Ok(Self { composite, partial })
    }
}

fn combine<G: Group>(keys: &[PublicKey<G>]) -> Result<ElGamalPublicKey, KeySetError> {
    let combined = combine_public_keys(keys).map_err(|error| KeySetError::Combination(error.to_string()))?;
    Ok(ElGamalPublicKey { generator: PublicKey::<G>::generator_bytes(), element: combined.to_bytes() })
}
