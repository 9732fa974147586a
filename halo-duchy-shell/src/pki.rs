//! A public key infrastructure for development: what an operator would get from certificate authorities, made at
//! once for every party of a trial.
//!
//! Each party has a root of its own, as in production, because the root is the party's identity. File names are
//! those that upstream mounts into its processes:
//!
//! | file | what |
//! |---|---|
//! | `all_root_certs.pem` | every party's root: the trusted collection |
//! | `{party}_root.pem`, `{party}_root.key` | the party's root and its key |
//! | `{party}_tls.pem`, `{party}_tls.key` | for TLS, as client and as server |
//! | `{party}_cs_cert.der`, `{party}_cs_private.der` | for consent signaling: signing what others must believe |
//! | `{consumer}_enc_{hpke,ecies}_{public,private}.tink` | the measurement consumer's keysets for results |
//! | `duchy_cert_config.textproto` | the duchies by their roots |
//! | `authority_key_identifier_to_principal_map.textproto` | the other parties by their roots |
//! | `{duchy}_protocols_setup_config.textproto` | the duchy's roles |
//! | `{duchy}_kek.tink` | the keyset that encrypts the duchy's private keys at rest |
//!
//! Private keys can be read by their owner only, and nothing is overwritten.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_protocols::proto::duchy::config::{
    HonestMajorityShareShuffleSetupConfig, LiquidLegionsV2SetupConfig, ProtocolsSetupConfig,
    RoleInComputation,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::config::{
    ConfigError, DUCHY_CERT_CONFIG, PRINCIPAL_MAP, PROTOCOLS_SETUP, TextprotoError, is_valid_id,
    print_textproto,
};
use crate::hybrid_encryption::{KeyEncryptionKey, PrivateKeyset, Scheme};
use crate::proto::config::authority_key_to_principal_map::Entry;
use crate::proto::config::duchy_cert_config::Duchy;
use crate::proto::config::{AuthorityKeyToPrincipalMap, DuchyCertConfig};
use crate::tls::TlsFiles;

/// What the Kingdom's files are named after.
pub const KINGDOM: &str = "kingdom";

/// Which parties to make keys for.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct PkiSpec {
    /// The ids of the duchies; the first one aggregates.
    #[arg(long, value_name = "ID", value_delimiter = ',', default_value = "aggregator,worker1,worker2")]
    pub duchies: Vec<String>,
    /// The ids of the data providers (`dataProviders/ID`).
    #[arg(long, value_name = "ID", value_delimiter = ',', default_value = "edp1,edp2,edp3")]
    pub data_providers: Vec<String>,
    /// The id of the measurement consumer (`measurementConsumers/ID`).
    #[arg(long, value_name = "ID", default_value = "mc")]
    pub measurement_consumer: String,
    /// Names and addresses that servers are reached by, besides localhost and 127.0.0.1.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// Days until the certificates expire.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..))]
    pub valid_days: u16,
}

impl Default for PkiSpec {
    fn default() -> Self {
        let ids = |names: &[&str]| names.iter().map(|name| String::from(*name)).collect();
        Self {
            duchies: ids(&["aggregator", "worker1", "worker2"]),
            data_providers: ids(&["edp1", "edp2", "edp3"]),
            measurement_consumer: "mc".into(),
            hosts: Vec::new(),
            valid_days: 365,
        }
    }
}

/// Why no infrastructure was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file or the folder cannot be written, for instance because it exists.
    #[error("cannot write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An id has characters that may not be part of a resource name.
    #[error(transparent)]
    Id(ConfigError),
    /// Two parties would share their files.
    #[error("two parties have the id `{0}`")]
    DuplicateId(String),
    /// There are no duchies.
    #[error("a computation takes at least one duchy")]
    NoDuchies,
    /// A certificate cannot be made, for instance for a malformed host.
    #[error("cannot make a certificate for {party}")]
    Certificate {
        /// For whom.
        party: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A configuration cannot be written as text.
    #[error(transparent)]
    Textproto(#[from] TextprotoError),
}

/// A folder with the files of an infrastructure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// Makes keys, certificates and configuration for the parties of `spec` in `dir`, which is created if need be.
    ///
    /// # Errors
    /// If an id is malformed or used twice, or a file exists already or cannot be written.
    pub fn create(spec: &PkiSpec, dir: &Path) -> Result<Self, PkiError> {
        let pki = Self::at(dir);
        spec.check_ids()?;
        std::fs::create_dir_all(dir).map_err(|source| PkiError::Write { path: dir.to_owned(), source })?;

        let mut collection = String::new();
        let mut duchies = DuchyCertConfig::default();
        let mut principals = AuthorityKeyToPrincipalMap::default();
        for (party, principal) in spec.parties() {
            let root = pki.create_party(spec, party)?;
            collection.push_str(&root.pem);
            match principal {
                Some(principal_resource_name) => principals
                    .entries
                    .push(Entry { authority_key_identifier: root.key_identifier, principal_resource_name }),
                None => duchies.duchies.push(Duchy {
                    duchy_id: party.to_owned(),
                    computation_control_service_cert_host: "localhost".into(),
                    root_certificate_skid: root.key_identifier,
                }),
            }
        }
        write(&pki.collection(), collection.as_bytes())?;
        write(&pki.duchy_cert_config(), print_textproto(DUCHY_CERT_CONFIG, &duchies)?.as_bytes())?;
        write(&pki.principal_map(), print_textproto(PRINCIPAL_MAP, &principals)?.as_bytes())?;
        for duchy in &spec.duchies {
            let setup = print_textproto(PROTOCOLS_SETUP, &protocols_setup(&spec.duchies, duchy))?;
            write(&pki.protocols_setup(duchy), setup.as_bytes())?;
            let key = KeyEncryptionKey::generate_keyset(&mut UnwrapErr(SysRng));
            write_secret(&pki.key_encryption_key(duchy), &key)?;
        }
        for party in spec.data_providers.iter().chain([&spec.measurement_consumer]) {
            for scheme in [Scheme::Hpke, Scheme::Ecies] {
                let keyset = PrivateKeyset::generate(scheme, &mut UnwrapErr(SysRng));
                write(&pki.encryption_public(party, scheme), &keyset.public().to_bytes())?;
                write_secret(&pki.encryption_private(party, scheme), &keyset.to_bytes())?;
            }
        }
        Ok(pki)
    }

    /// The infrastructure made in `dir` earlier.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The roots of all parties.
    pub fn collection(&self) -> PathBuf {
        self.dir.join("all_root_certs.pem")
    }

    /// The certificate and key by which `party` serves and calls.
    pub fn tls(&self, party: &str) -> TlsFiles {
        TlsFiles {
            cert: self.dir.join(format!("{party}_tls.pem")),
            key: Some(self.tls_key(party)),
            key_uri: None,
            collection: self.collection(),
        }
    }

    /// The key by which `party` serves and calls.
    pub fn tls_key(&self, party: &str) -> PathBuf {
        self.dir.join(format!("{party}_tls.key"))
    }

    /// The certificate, in DER, of the key by which `party` signs.
    pub fn consent_certificate(&self, party: &str) -> PathBuf {
        self.dir.join(format!("{party}_cs_cert.der"))
    }

    /// The key, in DER (PKCS#8), by which `party` signs.
    pub fn consent_private_key(&self, party: &str) -> PathBuf {
        self.dir.join(format!("{party}_cs_private.der"))
    }

    /// The public keyset of `party`: results are encrypted to a measurement consumer's, requisition specs to a data
    /// provider's.
    pub fn encryption_public(&self, party: &str, scheme: Scheme) -> PathBuf {
        self.dir.join(format!("{party}_enc_{}_public.tink", scheme_name(scheme)))
    }

    /// The keyset by which `party` decrypts them.
    pub fn encryption_private(&self, party: &str, scheme: Scheme) -> PathBuf {
        self.dir.join(format!("{party}_enc_{}_private.tink", scheme_name(scheme)))
    }

    /// The duchies by their roots.
    pub fn duchy_cert_config(&self) -> PathBuf {
        self.dir.join("duchy_cert_config.textproto")
    }

    /// The parties that are no duchies, by their roots.
    pub fn principal_map(&self) -> PathBuf {
        self.dir.join("authority_key_identifier_to_principal_map.textproto")
    }

    /// The roles of `duchy`.
    pub fn protocols_setup(&self, duchy: &str) -> PathBuf {
        self.dir.join(format!("{duchy}_protocols_setup_config.textproto"))
    }

    /// The keyset under which `duchy` encrypts its private keys at rest.
    pub fn key_encryption_key(&self, duchy: &str) -> PathBuf {
        self.dir.join(format!("{duchy}_kek.tink"))
    }

    /// Makes the root of `party` and the leaves below it.
    fn create_party(&self, spec: &PkiSpec, party: &str) -> Result<Root, PkiError> {
        let refused = |source| PkiError::Certificate { party: party.to_owned(), source };
        let (issuer, key_identifier) = root(spec, party).map_err(refused)?;
        let pem = issuer.pem();
        write(&self.dir.join(format!("{party}_root.pem")), pem.as_bytes())?;
        write_secret(&self.dir.join(format!("{party}_root.key")), &key_pem(issuer.key()))?;

        let (certificate, key) = tls_leaf(spec, party, &issuer).map_err(refused)?;
        let files = self.tls(party);
        write(&files.cert, certificate.pem().as_bytes())?;
        write_secret(&self.tls_key(party), &key_pem(&key))?;

        let (certificate, key) = consent_leaf(spec, party, &issuer).map_err(refused)?;
        write(&self.consent_certificate(party), certificate.der())?;
        write_secret(&self.consent_private_key(party), &Zeroizing::new(key.serialize_der()))?;
        Ok(Root { pem, key_identifier })
    }
}

impl PkiSpec {
    /// Every party's id, with its resource name unless it is a duchy.
    fn parties(&self) -> impl Iterator<Item = (&str, Option<String>)> {
        let duchies = self.duchies.iter().map(|id| (id.as_str(), None));
        let providers =
            self.data_providers.iter().map(|id| (id.as_str(), Some(format!("dataProviders/{id}"))));
        let consumer = &self.measurement_consumer;
        duchies
            .chain(providers)
            .chain([(consumer.as_str(), Some(format!("measurementConsumers/{consumer}")))])
            .chain([(KINGDOM, Some(KINGDOM.to_owned()))])
    }

    fn check_ids(&self) -> Result<(), PkiError> {
        if self.duchies.is_empty() {
            return Err(PkiError::NoDuchies);
        }
        let mut ids = BTreeSet::new();
        for (id, _) in self.parties() {
            if !is_valid_id(id) {
                return Err(PkiError::Id(ConfigError::MalformedName(id.to_owned())));
            }
            if !ids.insert(id) {
                return Err(PkiError::DuplicateId(id.to_owned()));
            }
        }
        Ok(())
    }
}

/// What others need to know of a root.
struct Root {
    pem: String,
    key_identifier: Vec<u8>,
}

fn params(spec: &PkiSpec, name: String, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Halo Duchy development");
    params.distinguished_name.push(DnType::CommonName, name);
    // Clocks of other machines may be behind.
    params.not_before = OffsetDateTime::now_utc() - time::Duration::hours(1);
    params.not_after = OffsetDateTime::now_utc() + time::Duration::days(spec.valid_days.into());
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A root for `party`, with its key identifier.
fn root(spec: &PkiSpec, party: &str) -> Result<(CertifiedIssuer<'static, KeyPair>, Vec<u8>), rcgen::Error> {
    let mut params = params(spec, format!("{party} root"), Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let key_identifier = params.key_identifier(&key);
    Ok((CertifiedIssuer::self_signed(params, key)?, key_identifier))
}

type Leaf = Result<(rcgen::Certificate, KeyPair), rcgen::Error>;

fn tls_leaf(spec: &PkiSpec, party: &str, issuer: &CertifiedIssuer<'_, KeyPair>) -> Leaf {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    hosts.extend(spec.hosts.iter().cloned());
    let mut params = params(spec, format!("{party} TLS"), hosts)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?, key))
}

fn consent_leaf(spec: &PkiSpec, party: &str, issuer: &CertifiedIssuer<'_, KeyPair>) -> Leaf {
    let mut params = params(spec, format!("{party} consent signaling"), Vec::new())?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?, key))
}

fn protocols_setup(duchies: &[String], own: &str) -> ProtocolsSetupConfig {
    let aggregator = &duchies[0];
    let role =
        if own == aggregator { RoleInComputation::Aggregator } else { RoleInComputation::NonAggregator };
    let sketch =
        LiquidLegionsV2SetupConfig { role: role.into(), external_aggregator_duchy_id: aggregator.clone() };
    let mut setup = ProtocolsSetupConfig {
        liquid_legions_v2: Some(sketch.clone()),
        reach_only_liquid_legions_v2: Some(sketch),
        ..ProtocolsSetupConfig::default()
    };
    // Share shuffle is a matter of exactly three duchies; further ones take no part.
    if let [aggregator, first, second, ..] = duchies {
        let role = match own {
            own if own == aggregator => Some(RoleInComputation::Aggregator),
            own if own == first => Some(RoleInComputation::FirstNonAggregator),
            own if own == second => Some(RoleInComputation::SecondNonAggregator),
            _ => None,
        };
        setup.honest_majority_share_shuffle = role.map(|role| HonestMajorityShareShuffleSetupConfig {
            role: role.into(),
            first_non_aggregator_duchy_id: first.clone(),
            second_non_aggregator_duchy_id: second.clone(),
            aggregator_duchy_id: aggregator.clone(),
        });
    }
    setup
}

fn scheme_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Hpke => "hpke",
        Scheme::Ecies => "ecies",
    }
}

fn key_pem(key: &KeyPair) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(key.serialize_pem().into_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    create(path, 0o644, bytes)
}

fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    create(path, 0o600, bytes)
}

fn create(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), PkiError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|source| PkiError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
