//! Those without a certificate of ours, and those who do not speak TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use halo_duchy_shell::client::channel;
use halo_duchy_shell::pki::{Pki, PkiSpec};
use halo_duchy_shell::proto::api::FulfillRequisitionRequest;
use halo_duchy_shell::proto::api::requisition_fulfillment_client::RequisitionFulfillmentClient;
use halo_duchy_shell::proto::internal::async_computation_control_client::AsyncComputationControlClient;
use halo_duchy_shell::proto::internal::computations_client::ComputationsClient;
use halo_duchy_shell::proto::internal::{GetComputationTokenRequest, GetOutputBlobMetadataRequest};
use halo_duchy_shell::proto::system::computation_control_client::ComputationControlClient;
use halo_duchy_shell::proto::system::computations_client::ComputationsClient as SystemComputationsClient;
use halo_duchy_shell::proto::system::{GetComputationRequest, GetComputationStageRequest};
use halo_duchy_shell::tls::{TlsFiles, TlsIdentity};
use halo_duchy_shell::x509::{TrustedRoots, parse, subject_key_identifier};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyIdMethod, KeyPair,
};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Code;

use crate::world::{DATA_PROVIDERS, DUCHIES, World, refused};

async fn handshake(config: Arc<ClientConfig>, address: SocketAddr) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("listening");
    let name = ServerName::try_from("localhost").expect("a name");
    // In TLS 1.3 the client is done before the server has looked at its certificate.
    TlsConnector::from(config).connect(name, stream).await.expect("the server's part")
}

/// Why the server ends the connection of a client that has sent its certificate, or none.
async fn alert(config: Arc<ClientConfig>, address: SocketAddr) -> AlertDescription {
    let mut stream = handshake(config, address).await;
    let error = loop {
        match stream.read(&mut [0; 64]).await {
            Ok(0) => panic!("closed without an alert"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("{error}"),
    }
}

/// A client that trusts our servers but has no certificate.
fn anonymous(pki: &Pki) -> Arc<ClientConfig> {
    let pem = std::fs::read(pki.collection()).expect("written");
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).map(|root| root.expect("PEM")));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Parties of another public key infrastructure, some with the names of ours.
struct Impostors {
    pki: Pki,
    _folder: tempfile::TempDir,
}

impl Impostors {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let names = |ids: &[&str]| ids.iter().map(|id| String::from(*id)).collect();
        let spec = PkiSpec {
            duchies: names(&[&DUCHIES[..], &["stranger"]].concat()),
            data_providers: names(&DATA_PROVIDERS),
            ..PkiSpec::default()
        };
        Self { pki: Pki::create(&spec, folder.path()).expect("sound"), _folder: folder }
    }

    /// A party that knows whom our servers are signed by.
    fn files(&self, party: &str, world: &World) -> TlsFiles {
        TlsFiles { collection: world.trial.pki.collection(), ..self.pki.tls(party) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_without_a_certificate_of_ours() {
    let world = World::start().await;
    let impostors = Impostors::new();
    let nobody = anonymous(&world.trial.pki);
    // An authority that nobody knows, or one that has the name of a known one but another key.
    let impostors = [
        ("stranger", AlertDescription::UnknownCA),
        ("worker1", AlertDescription::DecryptError),
        ("news", AlertDescription::DecryptError),
        ("kingdom", AlertDescription::DecryptError),
    ]
    .map(|(party, alert)| {
        let tls = impostors.files(party, &world).load().expect("sound");
        (party, tls, alert)
    });
    world
        .withstand(async |world: &World| {
            for (server, address) in world.servers() {
                let found = alert(Arc::clone(&nobody), address).await;
                assert_eq!(found, AlertDescription::CertificateRequired, "{server}");
                for (party, tls, expected) in &impostors {
                    let found = alert(tls.client(), address).await;
                    assert_eq!(found, *expected, "{party} at {server}");
                }
            }
            let address = world.trial.duchies["aggregator"].addresses().control;
            for (party, tls, _) in &impostors {
                let channel = channel(tls, &address.to_string(), Some("localhost")).expect("a target");
                let request = GetComputationStageRequest::default();
                let answer = ComputationControlClient::new(channel).get_computation_stage(request).await;
                let status = answer.expect_err(party);
                // No status of the server: the connection does not come about.
                let cut = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
                assert!(cut && status.metadata().is_empty(), "{party}: {status}");
            }
        })
        .await;
}

/// A certificate by the authority of `issuer` that names the authority of `posed` as its issuer, which is what tells one
/// party from another.
fn forged(pki: &Pki, issuer: &str, posed: &str) -> TlsIdentity {
    let root = |party: &str, file: &str| {
        let path = pki.collection().with_file_name(format!("{party}_root.{file}"));
        std::fs::read_to_string(path).expect("written")
    };
    let duchy = CertificateDer::from_pem_slice(root(posed, "pem").as_bytes()).expect("PEM");
    let duchy_id = subject_key_identifier(&parse(&duchy).expect("a root")).expect("present").to_vec();
    let key = KeyPair::from_pem(&root(issuer, "key")).expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Halo Duchy development");
    params.distinguished_name.push(DnType::CommonName, format!("{issuer} root"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_identifier_method = KeyIdMethod::PreSpecified(duchy_id);
    let forger = CertifiedIssuer::self_signed(params, key).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = params.signed_by(&key, &forger).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
    let roots = TrustedRoots::from_pem(&std::fs::read(pki.collection()).expect("written")).expect("roots");
    TlsIdentity::new(vec![leaf.der().clone()], key, roots).expect("sound")
}

/// TLS accepts the chain, since the data provider's authority is one of ours; but it stands for no duchy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_authority_is_unauthenticated() {
    let world = World::start().await;
    let tls = forged(&world.trial.pki, "news", "worker1");
    world
        .withstand(async |world: &World| {
            let to = |address: SocketAddr| {
                channel(&tls, &address.to_string(), Some("localhost")).expect("a target")
            };
            let addresses = world.trial.duchies["worker1"].addresses();
            let token = GetComputationTokenRequest::default();
            let answer =
                ComputationsClient::new(to(addresses.internal_api)).get_computation_token(token).await;
            refused(answer, Code::Unauthenticated, "the internal API");
            let slot = GetOutputBlobMetadataRequest::default();
            let mut bookkeeping = AsyncComputationControlClient::new(to(addresses.async_control));
            refused(bookkeeping.get_output_blob_metadata(slot).await, Code::Unauthenticated, "async control");
            for duchy in DUCHIES {
                let addresses = world.trial.duchies[duchy].addresses();
                let mut control = ComputationControlClient::new(to(addresses.control));
                let stage = GetComputationStageRequest::default();
                refused(control.get_computation_stage(stage).await, Code::Unauthenticated, "control");
                let mut fulfillment = RequisitionFulfillmentClient::new(to(addresses.fulfillment));
                let stream = tokio_stream::iter([FulfillRequisitionRequest::default()]);
                let answer = fulfillment.fulfill_requisition(stream).await;
                refused(answer, Code::Unauthenticated, "fulfillment");
            }
            let name = world.computation();
            let mut kingdom = SystemComputationsClient::new(to(world.kingdom()));
            let answer = kingdom.get_computation(GetComputationRequest { name }).await;
            refused(answer, Code::Unauthenticated, "the Kingdom");
        })
        .await;
}

/// Bytes that are no TLS: another protocol, the beginning of a handshake, a record that promises more than it may hold.
const GARBAGE: [&[u8]; 4] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\xff\xff\x01",
    &[0xff; 4096],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_on_the_ports_disturbs_nobody() {
    let world = World::start().await;
    let mut stalled = Vec::new();
    world
        .withstand(async |world: &World| {
            for (server, address) in world.servers() {
                for garbage in GARBAGE {
                    let mut stream = TcpStream::connect(address).await.expect("listening");
                    stream.write_all(garbage).await.expect("sent");
                    stream.shutdown().await.expect("sent");
                    // An alert perhaps, then the end.
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
                // A client of ours, but what it speaks is not HTTP/2.
                let tls = world.trial.pki.tls("news").load().expect("own files");
                let mut stream = handshake(tls.client(), address).await;
                stream.write_all(&[0xff; 4096]).await.expect("sent");
                let _ = stream.read_to_end(&mut Vec::new()).await;
                // Nothing, and the beginning of a handshake; both stay open.
                for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
                    let mut stream = TcpStream::connect(address).await.unwrap_or_else(|_| panic!("{server}"));
                    stream.write_all(beginning).await.expect("sent");
                    stalled.push(stream);
                }
            }
        })
        .await;
    assert!(!stalled.is_empty());
}
