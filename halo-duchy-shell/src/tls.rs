//! Mutual TLS: TLS 1.3 only, both sides with certificates, both sides trusting the roots of one collection and
//! nothing else.
//!
//! Sessions are never resumed: each connection proves possession of its key against the roots of the day. Connections
//! that are open when the day changes are ended (`standing`).

pub(crate) mod standing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::key_location::{KeyLocation, key_uri};
use crate::live::Live;
use crate::pkcs11::{self, Pkcs11Error, Pkcs11Uri, UriError};
use crate::telemetry::instruments::CERTIFICATE_EXPIRATION;
use crate::x509::{self, CertificateError, TrustedRoots};

const HTTP_2: &[u8] = b"h2";

/// Gives HTTP clients, whose libraries come without one, the TLS implementation that everything else uses.
#[cfg(any(
    feature = "aws-kms",
    feature = "aws-secrets",
    feature = "gcp-kms",
    feature = "gcs",
    feature = "s3",
    feature = "spanner"
))]
pub(crate) fn provide_ring() {
    // An error means that there is one already.
    let _ = ring::default_provider().install_default();
}

/// Where the certificate, the key and the trusted roots of a process are; upstream's flags.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct TlsFiles {
    /// The certificate to present, in PEM.
    #[arg(long = "tls-cert-file", value_name = "FILE")]
    pub cert: PathBuf,
    /// Its private key, in PEM (PKCS#8). This or --tls-key-uri.
    #[arg(long = "tls-key-file", value_name = "FILE", required_unless_present = "key_uri")]
    pub key: Option<PathBuf>,
    /// Its private key in a token, in place of the file: P-256 or RSA.
    #[arg(long = "tls-key-uri", value_name = "PKCS11-URI", conflicts_with = "key", value_parser = key_uri)]
    pub key_uri: Option<Result<Pkcs11Uri, UriError>>,
    /// The root certificates of everyone that may be talked to, in PEM.
    #[arg(long = "cert-collection-file", value_name = "FILE")]
    pub collection: PathBuf,
}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should, in PEM.
    #[error("{path} does not hold a {what} in PEM")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A URI does not name a key in a token.
    #[error("--tls-key-uri: {0}")]
    Uri(#[from] UriError),
    /// The key in a token cannot be used.
    #[error("the TLS key: {0}")]
    Token(#[from] Pkcs11Error),
    /// The certificate is malformed.
    #[error("{path}: {source}")]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: CertificateError,
    },
    /// The roots were refused.
    #[error("{path}: {source}")]
    Roots {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: CertificateError,
    },
    /// The certificate and the key do not belong together, or are of no supported kind.
    #[error("the TLS certificate and its key cannot be used")]
    Identity(#[source] rustls::Error),
    /// The roots cannot be used for verification.
    #[error("the root certificates cannot be used")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// A target is not `host:port`.
    #[error("`{0}` is not a target: host:port is expected")]
    Target(String),
}

/// What a process needs to serve and to call over TLS. Clones share it; [`Self::replace`] changes it for all of them.
#[derive(Clone, Debug)]
pub struct TlsIdentity(Live<Material>);

/// What is in force for the connections that begin now.
#[derive(Debug)]
struct Material {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    roots: Arc<TrustedRoots>,
    chain: Vec<CertificateDer<'static>>,
    /// How often it was replaced before.
    version: u64,
}

impl TlsFiles {
    /// The files.
    pub fn paths(&self) -> Vec<&Path> {
        let key = self.key.as_deref();
        [Some(self.cert.as_path()), key, Some(self.collection.as_path())].into_iter().flatten().collect()
    }

    /// Loads and checks the files.
    ///
    /// # Errors
    /// If a file is missing or malformed, certificate and key do not match, a token has not the certificate's key, or a
    /// trusted certificate is no root.
    pub fn load(&self) -> Result<TlsIdentity, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(&self.cert)?)
            .collect::<Result<_, _>>()
            .ok()
            .filter(|chain: &Vec<_>| !chain.is_empty())
            .ok_or_else(|| TlsError::Pem { path: self.cert.clone(), what: "certificate" })?;
        let roots = TrustedRoots::from_pem(&read(&self.collection)?)
            .map_err(|source| TlsError::Roots { path: self.collection.clone(), source })?;
        match KeyLocation::of_flags(self.key.as_ref(), self.key_uri.as_ref())? {
            KeyLocation::File(path) => {
                let key = PrivateKeyDer::from_pem_slice(&zeroize::Zeroizing::new(read(&path)?))
                    .map_err(|_| TlsError::Pem { path, what: "private key" })?;
                TlsIdentity::new(chain, key, roots)
            }
            KeyLocation::Token(uri) => {
                let leaf = x509::parse(chain.first().map_or(&[], |leaf| leaf))
                    .map_err(|source| TlsError::Certificate { path: self.cert.clone(), source })?;
                let key = Arc::new(pkcs11::SigningKey::open(&uri, leaf.public_key())?).for_tls();
                TlsIdentity::of(CertifiedKey::new(chain, key), roots)
            }
        }
    }
}

impl TlsIdentity {
    /// Presents `chain`, of which `key` is the key, and trusts `roots`.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: TrustedRoots,
    ) -> Result<Self, TlsError> {
        let key =
            CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(TlsError::Identity)?;
        Self::of(key, roots)
    }

    /// Presents the chain of `key`, which matches, and trusts `roots`.
    fn of(key: CertifiedKey, roots: TrustedRoots) -> Result<Self, TlsError> {
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let versions = &[&rustls::version::TLS13];
        let mut store = RootCertStore::empty();
        for root in roots.iter() {
            store.add(root.clone()).map_err(TlsError::Identity)?;
        }
        let store = Arc::new(store);
        let chain = key.cert.clone();
        let own = Arc::new(SingleCertAndKey::from(key));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&store), Arc::clone(&provider))
            .build()
            .map_err(TlsError::Verifier)?;

        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(TlsError::Identity)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&own) as Arc<_>);
        server.alpn_protocols = vec![HTTP_2.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(TlsError::Identity)?
            .with_root_certificates(store)
            .with_client_cert_resolver(own);
        client.alpn_protocols = vec![HTTP_2.to_vec()];
        client.resumption = Resumption::disabled();

        Ok(Self(Live::new(Material {
            server: Arc::new(server),
            client: Arc::new(client),
            roots: Arc::new(roots),
            chain,
            version: 0,
        })))
    }

    /// The key identifier of the root that issued our own certificate, by which others know us.
    ///
    /// # Errors
    /// If the certificate is malformed or its issuer is not among the trusted roots.
    pub fn authority(&self) -> Result<Vec<u8>, CertificateError> {
        let material = self.0.current();
        let leaf = x509::parse(material.chain.first().map_or(&[], |leaf| leaf))?;
        material.roots.issuer(&leaf).map(<[u8]>::to_vec)
    }

    /// Takes over certificate, key and roots from `newer`, for connections that begin from now on. Those of before are
    /// ended when their calls are, or at once if their peer's root is not trusted any more. Nothing happens if certificate
    /// and roots are the same; a key is its certificate's.
    pub fn replace(&self, newer: &Self) {
        let newer = newer.0.current();
        self.0.replace_by(|own| {
            let Material { server, client, roots, chain, .. } = &*newer;
            (own.chain != *chain || own.roots != *roots).then(|| Material {
                server: Arc::clone(server),
                client: Arc::clone(client),
                roots: Arc::clone(roots),
                chain: chain.clone(),
                version: own.version + 1,
            })
        });
        self.measure();
    }

    /// Has the metrics tell when the certificate and the first of the roots expire.
    pub(crate) fn measure(&self) {
        let material = self.0.current();
        let chain = material.chain.iter().filter_map(|one| x509::not_after(one)).min();
        let roots = material.roots.iter().filter_map(|root| x509::not_after(root)).min();
        for (end, certificate) in [(chain, "tls"), (roots, "roots")] {
            if let Some(end) = end {
                CERTIFICATE_EXPIRATION.set(end as f64, [certificate]);
            }
        }
    }

    /// How often certificate, key or roots were replaced.
    pub(crate) fn version(&self) -> u64 {
        self.0.current().version
    }

    /// The configuration of a server with the roots that it trusts, of one moment, and the version that they are.
    pub(crate) fn acceptor(&self) -> (Arc<ServerConfig>, Arc<TrustedRoots>, u64) {
        let material = self.0.current();
        (Arc::clone(&material.server), Arc::clone(&material.roots), material.version)
    }

    /// The configuration of a client, and the version that it is.
    pub(crate) fn connector(&self) -> (Arc<ClientConfig>, u64) {
        let material = self.0.current();
        (Arc::clone(&material.client), material.version)
    }

    /// The configuration of a server.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.current().server)
    }

    /// The configuration of a client.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.current().client)
    }

    /// The roots trusted; the signatures of other parties are checked against the same ones.
    pub fn roots(&self) -> Arc<TrustedRoots> {
        Arc::clone(&self.0.current().roots)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}
