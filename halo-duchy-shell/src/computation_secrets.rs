//! What is secret in the details of computations where they are stored: the secret ElGamal keys of the Liquid Legions
//! protocols and the seed that the two workers of a share shuffle have in common
//! (docs/keys.md#secrets-in-the-database).
//!
//! Upstream has them in the clear in the duchy's database. With a key encryption key they lie there in
//! [envelopes](crate::key_encryption::envelope), each bound to its duchy, computation and field. Herald and mills put them
//! in and take them out: the internal API and the database never see more, whosever they are. A secret in the clear, of a
//! row that upstream or an older version has written, is read as it is.

use crate::audit::{Entry, Event, Outcome};
use crate::key_encryption::envelope::{self, EnvelopeError, is_envelope};
use crate::key_encryption::{KeyEncryptionError, SharedKey};
use crate::proto::internal::computation_details::Protocol;
use crate::proto::internal::{ComputationDetails, ComputationToken};
use crate::retry::Class;

/// What the audit log says that the key was used for.
const UNWRAPPING: &str = "unwrapping the computation's secret";

/// How a duchy's programs keep the secrets of computations. The default has no key: it writes them in the clear.
#[derive(Clone, Debug, Default)]
pub struct ComputationSecrets {
    key: Option<SharedKey>,
    write_clear: bool,
}

/// A secret of a computation that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {why}")]
pub struct ComputationSecretError {
    /// Which secret.
    pub field: &'static str,
    /// Why.
    #[source]
    pub why: SecretProblem,
}

/// Why a secret cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretProblem {
    /// It is encrypted, and the program was given no key.
    #[error("it is encrypted, and there is no key encryption key to open it with")]
    NoKey,
    /// The envelope does not open.
    #[error(transparent)]
    Open(EnvelopeError),
    /// It cannot be encrypted.
    #[error(transparent)]
    Seal(KeyEncryptionError),
}

impl ComputationSecretError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match &self.why {
            SecretProblem::Open(EnvelopeError::DataKey(error)) | SecretProblem::Seal(error) => error.class(),
            SecretProblem::NoKey | SecretProblem::Open(_) => Class::Permanent,
        }
    }
}

/// A computation with its secret in the clear, to be read and dropped.
#[derive(Debug)]
pub struct Opened {
    /// As it is stored but for the secret.
    pub token: ComputationToken,
    /// Which key has opened the secret, for the audit log; `None` if it lay in the clear or there is none.
    pub opened_with: Option<String>,
}

impl ComputationSecrets {
    /// Secrets are written in envelopes under `key`.
    pub fn sealed_by(key: SharedKey) -> Self {
        Self { key: Some(key), write_clear: false }
    }

    /// Envelopes are opened by `key`, and secrets written in the clear all the same: for programs that share a database
    /// with upstream's, or with versions that know no envelopes.
    pub fn opened_by(key: SharedKey) -> Self {
        Self { key: Some(key), write_clear: true }
    }

    /// Whether secrets are encrypted when they are written.
    pub fn are_sealed(&self) -> bool {
        self.sealing_key().is_some()
    }

    fn sealing_key(&self) -> Option<&SharedKey> {
        self.key.as_ref().filter(|_| !self.write_clear)
    }

    /// As [`Self::open`], for whoever then works with it: an entry of the audit log, which `begun` begins, tells of an
    /// envelope that was opened or not.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn open_for_use(
        &self,
        token: &ComputationToken,
        duchy: &str,
        begun: impl FnOnce(Event, Outcome) -> Entry,
    ) -> Result<ComputationToken, ComputationSecretError> {
        let entry = |outcome, key: &str| {
            begun(Event::KeyUsed, outcome).detail("key", key).detail("purpose", UNWRAPPING)
        };
        match self.open(token, duchy).await {
            Ok(Opened { token, opened_with }) => {
                if let Some(key) = opened_with {
                    entry(Outcome::Done, &key).record();
                }
                Ok(token)
            }
            Err(error) => {
                let key = self.key.as_ref().map_or("", |key| key.name());
                entry(Outcome::Refused, key).reason(&error.to_string()).record();
                Err(error)
            }
        }
    }

    /// Takes the secret of `duchy`'s computation out of its envelope, if it is in one.
    ///
    /// # Errors
    /// [`ComputationSecretError`].
    pub async fn open(
        &self,
        token: &ComputationToken,
        duchy: &str,
    ) -> Result<Opened, ComputationSecretError> {
        let mut opened = Opened { token: token.clone(), opened_with: None };
        let Some(Secret { field, value }) = opened.token.computation_details.as_mut().and_then(secret) else {
            return Ok(opened);
        };
        if is_envelope(value) {
            let failed = |why| ComputationSecretError { field, why };
            let key = self.key.as_ref().ok_or_else(|| failed(SecretProblem::NoKey))?;
            let bound = associated_data(duchy, &token.global_computation_id, field);
            let clear = envelope::open(&**key, value, &bound).await;
            *value = clear.map_err(|error| failed(SecretProblem::Open(error)))?.to_vec();
            opened.opened_with = Some(key.name().to_owned());
        }
        Ok(opened)
    }

    /// Puts the secret of `duchy`'s computation `id`, which is in the clear, into an envelope, if it is to be.
    ///
    /// # Errors
    /// [`ComputationSecretError`]; `details` are as they were.
    pub async fn seal(
        &self,
        details: &mut ComputationDetails,
        duchy: &str,
        id: &str,
    ) -> Result<(), ComputationSecretError> {
        let (Some(key), Some(Secret { field, value })) = (self.sealing_key(), secret(details)) else {
            return Ok(());
        };
        let sealed = envelope::seal(&**key, value, &associated_data(duchy, id, field)).await;
        let sealed =
            sealed.map_err(|error| ComputationSecretError { field, why: SecretProblem::Seal(error) })?;
        zeroize::Zeroize::zeroize(value);
        *value = sealed;
        Ok(())
    }
}

/// The secret in a computation's details, and what it is called.
struct Secret<'d> {
    field: &'static str,
    value: &'d mut Vec<u8>,
}

/// The secret in these details, if there is one yet.
fn secret(details: &mut ComputationDetails) -> Option<Secret<'_>> {
    let (field, value) = match details.protocol.as_mut()? {
        Protocol::LiquidLegionsV2(details) => {
            ("liquid_legions_v2.local_elgamal_key", &mut details.local_elgamal_key.as_mut()?.secret_key)
        }
        Protocol::ReachOnlyLiquidLegionsV2(details) => (
            "reach_only_liquid_legions_v2.local_elgamal_key",
            &mut details.local_elgamal_key.as_mut()?.secret_key,
        ),
        Protocol::HonestMajorityShareShuffle(details) => {
            ("honest_majority_share_shuffle.random_seed", &mut details.random_seed)
        }
        Protocol::TrusTee(_) => return None,
    };
    (!value.is_empty()).then_some(Secret { field, value })
}

/// Takes the secret out of the details of a computation that has ended. From an ElGamal key the seeds of stages follow:
/// whoever reads the database and kept blobs later is to find neither what decrypts these nor what takes this duchy's noise
/// off a published result.
pub(crate) fn forget(details: &mut ComputationDetails) {
    if let Some(Secret { value, .. }) = secret(details) {
        zeroize::Zeroize::zeroize(value);
    }
}

/// What an envelope is bound to. Each part has its length before it, so that no two places have the same.
fn associated_data(duchy: &str, computation: &str, field: &str) -> Vec<u8> {
    let mut data = b"halo-duchy computation secret v1".to_vec();
    for part in [duchy, computation, field] {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    data
}

#[cfg(test)]
mod tests;
