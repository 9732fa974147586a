//! Opening the seeds that data providers sealed for this worker of a share shuffle
//! (docs/protocols/hmss.md#what-is-refused).

use std::collections::BTreeSet;

use halo_crypto::Secret;
use halo_protocols::hmss::{SeedShare, Worker, secret_seeds};
use halo_protocols::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;
use prost::Message as _;
use zeroize::Zeroizing;

use super::work::Work;
use super::{MillError, ShareShuffleParts, Specialty};
use crate::audit::{Event, Outcome};
use crate::consent::{self, verify_message};
use crate::convert;
use crate::hybrid_encryption::PrivateKeyset;
use crate::identity::Caller;
use crate::kingdom::resource_name::{CertificateName, single};
use crate::party_certificates::PartyCertificateError;
use crate::proto::api::{RandomSeed, SignedMessage};
use crate::retry::Class;
use crate::x509;

const OPENING: &str = "opening a seed";

impl Work {
    /// The seeds in the other worker's message, each opened and found to be signed by the data provider that its
    /// certificate names, none of which has two shares in the computation.
    pub(super) async fn open_seeds(
        &self,
        worker: &Worker,
        peer_message: &[u8],
    ) -> Result<Vec<SeedShare>, MillError> {
        let Specialty::ShareShuffle(parts) = &self.mill.parts.specialty else {
            return Err(refused("this mill computes no share shuffles"));
        };
        let peer = worker.peer();
        let wrong = |error: &MillError| self.refuse_payload(peer, &error.to_string());
        let sealed = secret_seeds(peer, peer_message).map_err(|error| MillError::refused(&error));
        let sealed = sealed.inspect_err(wrong)?;
        if sealed.is_empty() {
            return Ok(Vec::new());
        }
        let keyset = self.private_keyset(parts, worker).await?;
        self.entry(Event::KeyUsed, Outcome::Done)
            .detail("key", worker.keys.encryption_key_pair.private_key_id.as_str())
            .detail("purpose", "opening seeds of data providers")
            .record();
        let mut data_providers = self.own_data_providers();
        let mut opened = Vec::new();
        for seed in sealed {
            let data_provider = data_provider(&seed).inspect_err(wrong)?;
            let secret = open(parts, &keyset, &seed, &data_provider).await;
            let secret = secret.inspect_err(|error| {
                if matches!(error, MillError::Permanent { .. }) {
                    let entry = self.entry(Event::ConsentRefused, Outcome::Refused);
                    entry.principal(&data_provider).reason(&error.to_string()).record();
                }
            })?;
            if !data_providers.insert(data_provider) {
                let reason = format!(
                    "requisition {}: {} has sent two shares",
                    seed.requisition_id, seed.data_provider_certificate
                );
                return Err(refused(reason)).inspect_err(wrong);
            }
            opened.push(SeedShare { requisition: seed.requisition_id, seed: secret });
        }
        Ok(opened)
    }

    /// The private keyset that this worker made for the computation, as bytes to derive a seed from.
    pub(super) async fn private_key_bytes(&self, worker: &Worker) -> Result<Zeroizing<Vec<u8>>, MillError> {
        let Specialty::ShareShuffle(parts) = &self.mill.parts.specialty else {
            return Err(refused("this mill computes no share shuffles"));
        };
        Ok(self.private_keyset(parts, worker).await?.to_bytes())
    }

    async fn private_keyset(
        &self,
        parts: &ShareShuffleParts,
        worker: &Worker,
    ) -> Result<PrivateKeyset, MillError> {
        let store = parts.private_keys.as_ref();
        let store =
            store.ok_or_else(|| refused("there is no key encryption key to open private keys with"))?;
        let id = worker.keys.encryption_key_pair.private_key_id.as_str();
        let found = store.find(id).await;
        let outcome = if found.is_ok() { Outcome::Done } else { Outcome::Refused };
        let used = self.entry(Event::KeyUsed, outcome).detail("key", store.key_name());
        let used = used.detail("purpose", format!("unwrapping private key {id}"));
        match found {
            Ok(keyset) => {
                used.record();
                Ok(keyset)
            }
            Err(error) => {
                used.reason(&error.to_string()).record();
                Err(match error.is_transient() {
                    true => MillError::transient(OPENING)(&error),
                    false => MillError::permanent(OPENING)(&error),
                })
            }
        }
    }

    /// The data providers that handed their vectors to this worker.
    fn own_data_providers(&self) -> BTreeSet<String> {
        let own = convert::own_requisitions(&self.token, &self.mill.parts.duchy);
        let certificates = own.filter_map(convert::seed_details);
        certificates
            .filter_map(|details| CertificateName::parse(&details.data_provider_certificate))
            .map(|certificate| certificate.owner)
            .collect()
    }
}

/// The data provider whose certificate a seed names.
fn data_provider(seed: &SecretSeed) -> Result<String, MillError> {
    let name = &seed.data_provider_certificate;
    let owner = CertificateName::parse(name).map(|name| name.owner);
    owner.filter(|owner| single(owner, "dataProviders").is_some()).ok_or_else(|| {
        refused(format!("requisition {}: `{name}` is no data provider's certificate", seed.requisition_id))
    })
}

async fn open(
    parts: &ShareShuffleParts,
    keyset: &PrivateKeyset,
    seed: &SecretSeed,
    data_provider: &str,
) -> Result<Secret<Vec<u8>>, MillError> {
    let requisition = &seed.requisition_id;
    let signed = keyset
        .decrypt(&seed.secret_seed_ciphertext)
        .map_err(|error| refused(format!("requisition {requisition}: {error}")))?;
    let signed = SignedMessage::decode(&signed[..])
        .map_err(|_| refused(format!("requisition {requisition}: what was sealed is no signed message")))?;
    let owner = Caller::DataProvider(data_provider.to_owned());
    let certificate = parts.certificates.get(&seed.data_provider_certificate, &owner).await;
    let opened = certificate.map_err(|error| certificate_error(requisition, &error)).and_then(|der| {
        let verified = x509::parse(&der).and_then(|certificate| verify_message(&certificate, &signed));
        let verified = verified.map_err(|error| refused(format!("requisition {requisition}: {error}")))?;
        let seed = RandomSeed::decode(verified)
            .map_err(|_| refused(format!("requisition {requisition}: what was signed is no seed")))?;
        Ok(Secret::new(seed.data))
    });
    consent::wipe(signed);
    opened
}

fn certificate_error(requisition: &str, error: &PartyCertificateError) -> MillError {
    let reason = format!("requisition {requisition}: {error}");
    match error {
        PartyCertificateError::Kingdom { status, .. } if Class::of(status.code()) == Class::Transient => {
            MillError::Transient { what: OPENING, reason }
        }
        _ => refused(reason),
    }
}

fn refused(reason: impl Into<String>) -> MillError {
    MillError::Permanent { what: OPENING, reason: reason.into() }
}
