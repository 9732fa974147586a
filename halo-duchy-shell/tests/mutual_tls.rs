//! Real TLS on loopback: who gets in, as whom, and who does not.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use halo_duchy_shell::client::{CallPolicy, channel};
use halo_duchy_shell::config::{DuchyDirectory, load_principals};
use halo_duchy_shell::identity::{Authenticate, Caller, Identities, Principals, caller};
use halo_duchy_shell::pki::{Pki, PkiSpec};
use halo_duchy_shell::proto::api::certificates_client::CertificatesClient;
use halo_duchy_shell::proto::api::certificates_server::{Certificates, CertificatesServer};
use halo_duchy_shell::proto::api::{Certificate, GetCertificateRequest};
use halo_duchy_shell::server::{Server, ServerLimits};
use halo_duchy_shell::tls::{TlsError, TlsFiles, TlsIdentity};
use halo_duchy_shell::x509::{TrustedRoots, parse, subject_key_identifier};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

/// Answers with who called.
struct Mirror;

#[tonic::async_trait]
impl Certificates for Mirror {
    async fn get_certificate(
        &self,
        request: Request<GetCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        if request.get_ref().name == "slow" {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(Response::new(Certificate { name: caller(&request)?.to_string(), ..Certificate::default() }))
    }
}

struct World {
    _dir: tempfile::TempDir,
    pki: Pki,
    identities: Identities,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let pki = Pki::create(&PkiSpec::default(), dir.path()).expect("sound spec");
        let directory = DuchyDirectory::load(&pki.duchy_cert_config()).expect("own configuration");
        let principals = load_principals(&directory, Some(&pki.principal_map())).expect("own map");
        Self { _dir: dir, pki, identities: Identities::new(principals) }
    }

    fn tls(&self, party: &str) -> TlsIdentity {
        self.pki.tls(party).load().expect("own files")
    }

    /// Serves as worker1 until the sender is dropped.
    async fn serve(&self, only: Option<Caller>, limits: ServerLimits) -> (SocketAddr, oneshot::Sender<()>) {
        let authenticate = match only {
            Some(caller) => Authenticate::only(self.identities.clone(), caller),
            None => Authenticate::new(self.identities.clone()),
        };
        let server = Server { tls: self.tls("worker1"), authenticate, limits };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let routes = Routes::new(CertificatesServer::new(Mirror));
        tokio::spawn(server.serve(listener, routes, async move { drop(stopped.await) }));
        (address, stop)
    }
}

/// Whom the server takes the client for.
async fn ask(tls: &TlsIdentity, address: SocketAddr) -> Result<String, Status> {
    let mut client =
        CertificatesClient::new(channel(tls, &address.to_string(), Some("localhost")).expect("a target"));
    let asked = client.get_certificate(GetCertificateRequest::default());
    tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .expect("an answer")
        .map(|response| response.into_inner().name)
}

#[tokio::test]
async fn callers_are_who_their_certificates_say() {
    let world = World::new();
    let (address, _stop) = world.serve(None, ServerLimits::default()).await;
    for (party, name) in [
        ("worker2", "duchies/worker2"),
        ("edp1", "dataProviders/edp1"),
        ("mc", "measurementConsumers/mc"),
        ("kingdom", "kingdom"),
    ] {
        assert_eq!(ask(&world.tls(party), address).await.expect("known"), name);
    }
}

#[tokio::test]
async fn a_server_of_one_duchy_refuses_others() {
    let world = World::new();
    let (address, _stop) = world.serve(Some(Caller::Duchy("worker1".into())), ServerLimits::default()).await;
    assert_eq!(ask(&world.tls("worker1"), address).await.expect("itself"), "duchies/worker1");
    for party in ["worker2", "edp1"] {
        assert_eq!(ask(&world.tls(party), address).await.expect_err(party).code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn parties_that_nobody_knows_are_unauthenticated_at_once() {
    let world = World::new();
    let (address, _stop) = world.serve(None, ServerLimits::default()).await;
    let tls = world.tls("edp1");
    assert!(ask(&tls, address).await.is_ok());
    world.identities.replace(Principals::default());
    assert_eq!(ask(&tls, address).await.expect_err("unknown").code(), Code::Unauthenticated);
}

#[tokio::test]
async fn another_ca_is_refused_by_both_sides() {
    let (world, strangers) = (World::new(), World::new());
    let (address, _stop) = world.serve(None, ServerLimits::default()).await;
    // The client does not trust the server.
    assert!(ask(&strangers.tls("edp1"), address).await.is_err());
    // The client trusts the server, but has a certificate of another authority with the right names.
    let stranger = TlsFiles { collection: world.pki.collection(), ..strangers.pki.tls("edp1") };
    assert!(ask(&stranger.load().expect("sound"), address).await.is_err());
    assert!(ask(&world.tls("edp1"), address).await.is_ok(), "the server goes on");
}

#[tokio::test]
async fn a_client_certificate_is_required() {
    let world = World::new();
    let (address, _stop) = world.serve(None, ServerLimits::default()).await;
    let config = anonymous(&world.pki, &[&rustls::version::TLS13]);
    assert!(connect(config, address).await.is_err());
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let world = World::new();
    let (address, _stop) = world.serve(None, ServerLimits::default()).await;
    let config = anonymous(&world.pki, &[&rustls::version::TLS12]);
    assert!(connect(config, address).await.is_err());
}

fn anonymous(pki: &Pki, versions: &[&'static rustls::SupportedProtocolVersion]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(pki.collection()).expect("written");
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).map(|root| root.expect("PEM")));
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("supported")
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Connects and waits for what the server says first; a refused client hears of it only then.
async fn connect(config: rustls::ClientConfig, address: SocketAddr) -> std::io::Result<usize> {
    use tokio::io::AsyncReadExt;
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 9])).await?;
    read.and_then(|count| if count == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) })
}

#[tokio::test]
async fn the_servers_name_is_checked() {
    let world = World::new();
    let (address, _stop) = world.serve(None, ServerLimits::default()).await;
    let call = async |cert_host| {
        let channel = channel(&world.tls("edp1"), &address.to_string(), cert_host).expect("a target");
        CertificatesClient::new(channel).get_certificate(GetCertificateRequest::default()).await
    };
    assert!(call(Some("localhost")).await.is_ok());
    assert!(call(None).await.is_ok(), "the certificate is for 127.0.0.1 too");
    assert!(call(Some("example.com")).await.is_err());
}

/// A data provider's own authority can issue whatever it likes, for instance a certificate that names a duchy's
/// root as its issuer. The chain is accepted, as the data provider's root is trusted; the caller must not be.
#[tokio::test]
async fn a_data_provider_cannot_pose_as_a_duchy() {
    let world = World::new();
    let (address, _stop) = world.serve(None, ServerLimits::default()).await;
    let pem = std::fs::read(world.pki.collection()).expect("written");
    let roots = TrustedRoots::from_pem(&pem).expect("roots");
    let root = |party: &str, file: &str| {
        let path = world.pki.collection().with_file_name(format!("{party}_root.{file}"));
        std::fs::read_to_string(path).expect("written")
    };
    let duchy = CertificateDer::from_pem_slice(root("worker2", "pem").as_bytes()).expect("PEM");
    let duchy_id = subject_key_identifier(&parse(&duchy).expect("a root")).expect("present").to_vec();

    // The issuer's parameters decide the authority key identifier of the leaf; the key decides what it is worth.
    let key = KeyPair::from_pem(&root("edp1", "key")).expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in [
        (rcgen::DnType::OrganizationName, "Halo Duchy development"),
        (rcgen::DnType::CommonName, "edp1 root"),
    ] {
        params.distinguished_name.push(kind, value);
    }
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_identifier_method = KeyIdMethod::PreSpecified(duchy_id);
    let forger = CertifiedIssuer::self_signed(params, key).expect("certificate");
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = params.signed_by(&key, &forger).expect("certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
    let tls = TlsIdentity::new(vec![leaf.der().clone()], key, roots).expect("sound");
    assert_eq!(ask(&tls, address).await.expect_err("forged").code(), Code::Unauthenticated);
}

#[tokio::test]
async fn slow_handshakes_are_cut_and_hold_up_nobody() {
    use tokio::io::AsyncReadExt;
    let world = World::new();
    let limits = ServerLimits { handshake: Duration::from_millis(100), ..ServerLimits::default() };
    let (address, _stop) = world.serve(None, limits).await;
    let mut silent = TcpStream::connect(address).await.expect("listening");
    assert!(ask(&world.tls("edp1"), address).await.is_ok());
    let closed = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut [0; 1])).await.expect("cut");
    assert!(matches!(closed, Ok(0) | Err(_)));
}

#[tokio::test]
async fn rpcs_in_progress_end_before_the_server_does() {
    let world = World::new();
    let (address, stop) = world.serve(None, ServerLimits::default()).await;
    let tls = world.tls("edp1");
    let mut client =
        CertificatesClient::new(channel(&tls, &address.to_string(), Some("localhost")).expect("a target"));
    let slow =
        tokio::spawn(
            async move { client.get_certificate(GetCertificateRequest { name: "slow".into() }).await },
        );
    tokio::time::sleep(Duration::from_millis(150)).await;
    drop(stop);
    assert!(slow.await.expect("no panic").is_ok());
    assert_eq!(ask(&tls, address).await.expect_err("stopped").code(), Code::Unavailable);
}

#[tokio::test]
async fn calls_wait_for_a_server_that_starts_late() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let channel = channel(&world.tls("edp1"), &address.to_string(), Some("localhost")).expect("a target");
    let client = CertificatesClient::new(channel);
    let policy = CallPolicy::default();
    let call = policy.unary(|| {
        let mut client = client.clone();
        async move { client.get_certificate(GetCertificateRequest::default()).await }
    });
    let start = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let server = Server {
            tls: world.tls("worker1"),
            authenticate: Authenticate::new(world.identities.clone()),
            limits: ServerLimits::default(),
        };
        let listener = TcpListener::bind(address).await.expect("still free");
        let routes = Routes::new(CertificatesServer::new(Mirror));
        tokio::spawn(server.serve(listener, routes, std::future::pending()));
    };
    let (answer, ()) = tokio::join!(call, start);
    assert_eq!(answer.expect("in time").name, "dataProviders/edp1");
}

#[tokio::test]
async fn unusable_files_and_targets_are_refused() {
    let world = World::new();
    let good = world.pki.tls("worker1");
    let other_key = TlsFiles { key: Some(world.pki.tls_key("worker2")), ..good.clone() };
    assert!(matches!(other_key.load(), Err(TlsError::Identity(_))));
    let no_roots = TlsFiles { collection: good.cert.clone(), ..good.clone() };
    assert!(matches!(no_roots.load(), Err(TlsError::Roots { .. })));
    let swapped =
        TlsFiles { cert: world.pki.tls_key("worker1"), key: Some(good.cert.clone()), ..good.clone() };
    assert!(matches!(swapped.load(), Err(TlsError::Pem { what: "certificate", .. })));
    let missing = TlsFiles { cert: Path::new("/nonexistent").into(), ..good };
    assert!(matches!(missing.load(), Err(TlsError::Read { .. })));
    for target in ["", "localhost", "localhost:", "localhost:99999", "https://localhost:1", "a b:1"] {
        let refused = channel(&world.tls("worker1"), target, None);
        assert!(matches!(refused, Err(TlsError::Target(found)) if found == target), "{target}");
    }
    assert!(channel(&world.tls("worker1"), "dns:///localhost:8443", None).is_ok());
}
