//! Everybody's keys and certificates: made once, for all runs of this process.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use halo_protocols::data_provider::VidIndexMap;

use super::plan::POPULATION;
use crate::config::{DuchyDirectory, ProtocolsSetup, load_principals};
use crate::consent::Signer;
use crate::hybrid_encryption::{KeyEncryptionKey, PrivateKeyset, Scheme};
use crate::identity::Identities;
use crate::key_encryption::{FileKey, SharedKey};
use crate::pki::{Pki, PkiSpec};
use crate::tls::TlsIdentity;

/// The duchies; the first aggregates.
pub const DUCHIES: [&str; 3] = ["aggregator", "worker1", "worker2"];

/// As many data providers as any run has.
pub const DATA_PROVIDERS: [&str; 3] = ["edp1", "edp2", "edp3"];

/// The measurement consumer.
pub const CONSUMER: &str = "mc";

/// The parties' keys.
pub struct Keys {
    /// When the keys were made: the time at which every run begins.
    pub epoch: SystemTime,
    pub directory: DuchyDirectory,
    pub identities: Identities,
    pub setups: BTreeMap<&'static str, ProtocolsSetup>,
    /// The certificates of all parties by the names of their owners.
    pub certificates: Vec<(String, Vec<u8>)>,
    signers: BTreeMap<&'static str, Signer>,
    tls: BTreeMap<&'static str, TlsIdentity>,
    key_encryption_keys: BTreeMap<&'static str, Vec<u8>>,
    consumer_keyset: Vec<u8>,
    pub population: Arc<VidIndexMap>,
}

/// The keys of this process.
pub static KEYS: LazyLock<Keys> = LazyLock::new(Keys::make);

impl Keys {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki")).expect("keys");
        let directory = DuchyDirectory::load(&pki.duchy_cert_config()).expect("duchies");
        let principals = load_principals(&directory, Some(&pki.principal_map())).expect("principals");
        let kinds = [
            ("duchies", &DUCHIES[..]),
            ("dataProviders", &DATA_PROVIDERS),
            ("measurementConsumers", &[CONSUMER]),
        ];
        let parties: Vec<(&str, &'static str)> =
            kinds.iter().flat_map(|(kind, ids)| ids.iter().map(move |id| (*kind, *id))).collect();
        let read = |path: &std::path::Path| std::fs::read(path).expect("a file just made");
        Self {
            epoch: SystemTime::now(),
            setups: DUCHIES
                .map(|duchy| {
                    let setup = ProtocolsSetup::load(&pki.protocols_setup(duchy), duchy, &directory);
                    (duchy, setup.expect("roles"))
                })
                .into(),
            certificates: parties
                .iter()
                .map(|(kind, id)| (format!("{kind}/{id}"), read(&pki.consent_certificate(id))))
                .collect(),
            signers: parties
                .iter()
                .map(|(_, id)| {
                    let signer = Signer::load(&pki.consent_certificate(id), &pki.consent_private_key(id));
                    (*id, signer.expect("a signing key"))
                })
                .collect(),
            tls: parties.iter().map(|(_, id)| (*id, pki.tls(id).load().expect("TLS"))).collect(),
            key_encryption_keys: DUCHIES.map(|duchy| (duchy, read(&pki.key_encryption_key(duchy)))).into(),
            consumer_keyset: read(&pki.encryption_private(CONSUMER, Scheme::Hpke)),
            population: Arc::new(VidIndexMap::new(1..=POPULATION).expect("people")),
            identities: Identities::new(principals),
            directory,
        }
    }

    pub fn signer(&self, party: &str) -> Signer {
        self.signers[party].clone()
    }

    pub fn tls(&self, party: &str) -> TlsIdentity {
        self.tls[party].clone()
    }

    pub fn key_encryption_key(&self, duchy: &str) -> SharedKey {
        let keyset = KeyEncryptionKey::parse_file(&self.key_encryption_keys[duchy]).expect("a key");
        Arc::new(FileKey::new(duchy, keyset))
    }

    pub fn consumer_keyset(&self) -> PrivateKeyset {
        PrivateKeyset::parse(&self.consumer_keyset).expect("a keyset")
    }
}
