//! Configuration files that change under a running server: what they say holds for the next connection or call,
//! connections are not cut, and a broken file changes nothing.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use halo_duchy_shell::client::{Channel, channel};
use halo_duchy_shell::config::{DuchyDirectory, ProtocolsSetup, load_principals};
use halo_duchy_shell::identity::{Authenticate, Identities, caller};
use halo_duchy_shell::live::Live;
use halo_duchy_shell::pki::{Pki, PkiSpec};
use halo_duchy_shell::proto::api::certificates_client::CertificatesClient;
use halo_duchy_shell::proto::api::certificates_server::{Certificates, CertificatesServer};
use halo_duchy_shell::proto::api::{Certificate, GetCertificateRequest};
use halo_duchy_shell::reload::Reloader;
use halo_duchy_shell::server::{Server, ServerLimits};
use halo_duchy_shell::shutdown::{self, Trigger};
use halo_duchy_shell::tls::{TlsFiles, TlsIdentity};
use rustls_pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

const INTERVAL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers with who called.
struct Mirror;

#[tonic::async_trait]
impl Certificates for Mirror {
    async fn get_certificate(
        &self,
        request: Request<GetCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        Ok(Response::new(Certificate { name: caller(&request)?.to_string(), ..Certificate::default() }))
    }
}

/// A server of worker1 with files of its own.
struct World {
    dir: tempfile::TempDir,
    pki: Pki,
    files: TlsFiles,
    address: SocketAddr,
    _stop: Trigger,
}

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let pki = Pki::create(&PkiSpec::default(), &dir.path().join("pki")).expect("sound spec");
        let own = pki.tls("worker1");
        let file = |name: &str| dir.path().join(name);
        let files = TlsFiles { cert: file("cert"), key: file("key"), collection: file("roots") };
        for (from, to) in own.paths().into_iter().zip(files.paths()) {
            fs::copy(from, to).expect("copied");
        }
        let (duchies, map) = (file("duchies"), file("map"));
        fs::copy(pki.duchy_cert_config(), &duchies).expect("copied");
        fs::copy(pki.principal_map(), &map).expect("copied");

        let tls = files.load().expect("own files");
        let directory = DuchyDirectory::load(&duchies).expect("own configuration");
        let identities = Identities::new(load_principals(&directory, Some(&map)).expect("own map"));
        let (stop, stopped) = shutdown::channel();
        let reloader = Reloader::new(INTERVAL).tls(&files, &tls);
        let reloader = reloader.principals("worker1", &duchies, Some(&map), &identities);
        tokio::spawn(reloader.run(stopped.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server =
            Server { tls, authenticate: Authenticate::new(identities), limits: ServerLimits::default() };
        let routes = Routes::new(CertificatesServer::new(Mirror));
        tokio::spawn(server.serve(listener, routes, async move { stopped.requested().await }));
        Self { dir, pki, files, address, _stop: stop }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn connect(&self, tls: &TlsIdentity) -> CertificatesClient<Channel> {
        CertificatesClient::new(channel(tls, &self.address.to_string(), Some("localhost")).expect("a target"))
    }

    /// The certificate that the server presents.
    async fn presented(&self, client: &TlsIdentity) -> Vec<u8> {
        let stream = TcpStream::connect(self.address).await.expect("listening");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(client.client()).connect(name, stream).await.expect("trusted");
        let (_, connection) = stream.get_ref();
        connection.peer_certificates().and_then(|chain| chain.first()).expect("presented").to_vec()
    }
}

async fn ask(client: &mut CertificatesClient<Channel>) -> Result<String, Code> {
    let answer = client.get_certificate(GetCertificateRequest::default()).await;
    answer.map(|response| response.into_inner().name).map_err(|status| status.code())
}

/// Asks until the answer is `expected`.
async fn until<T: PartialEq + std::fmt::Debug>(expected: &T, mut ask: impl AsyncFnMut() -> T) {
    let mut last = None;
    let waiting = async {
        loop {
            let found = ask().await;
            if found == *expected {
                return;
            }
            last = Some(found);
            tokio::time::sleep(INTERVAL).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("{last:?} instead of {expected:?}");
    }
}

/// Long enough for the files to be looked at several times.
async fn settle() {
    tokio::time::sleep(INTERVAL * 20).await;
}

fn append(path: &std::path::Path, other: &std::path::Path) {
    let text = [fs::read(path).expect("own file"), fs::read(other).expect("own file")].concat();
    fs::write(path, text).expect("written");
}

#[tokio::test]
async fn a_new_authority_is_let_in_beside_the_old_ones() {
    let world = World::start().await;
    let mut old = world.connect(&world.pki.tls("edp2").load().expect("own files"));
    assert_eq!(ask(&mut old).await.as_deref(), Ok("dataProviders/edp2"));

    // A data provider that moved to another authority; it trusts the server.
    let other = tempfile::tempdir().expect("temporary folder");
    let newcomers = Pki::create(&PkiSpec::default(), other.path()).expect("sound spec");
    let newcomer = TlsFiles { collection: world.pki.collection(), ..newcomers.tls("edp1") };
    let newcomer = newcomer.load().expect("sound");
    assert!(ask(&mut world.connect(&newcomer)).await.is_err());

    append(&world.file("roots"), &newcomers.collection());
    until(&Err(Code::Unauthenticated), async || ask(&mut world.connect(&newcomer)).await).await;
    append(&world.file("map"), &newcomers.principal_map());
    until(&Ok("dataProviders/edp1".to_owned()), async || ask(&mut world.connect(&newcomer)).await).await;
    assert_eq!(ask(&mut old).await.as_deref(), Ok("dataProviders/edp2"), "on the connection of before");
}

#[tokio::test]
async fn a_removed_principal_is_refused_on_its_open_connection() {
    let world = World::start().await;
    let mut provider = world.connect(&world.pki.tls("edp1").load().expect("own files"));
    let mut peer = world.connect(&world.pki.tls("worker2").load().expect("own files"));
    assert_eq!(ask(&mut provider).await.as_deref(), Ok("dataProviders/edp1"));
    fs::write(world.file("map"), "").expect("written");
    until(&Err(Code::Unauthenticated), async || ask(&mut provider).await).await;
    assert_eq!(ask(&mut peer).await.as_deref(), Ok("duchies/worker2"));
}

#[tokio::test]
async fn broken_files_change_nothing() {
    let world = World::start().await;
    let tls = world.pki.tls("edp1").load().expect("own files");
    let before = world.presented(&tls).await;
    let duchies = fs::read(world.file("duchies")).expect("own file");
    fs::write(world.file("map"), "entries {").expect("written");
    fs::write(world.file("roots"), "-----BEGIN CERTIFICATE-----").expect("written");
    fs::remove_file(world.file("cert")).expect("removed");
    settle().await;
    // A new connection, to which everything above applies.
    assert_eq!(ask(&mut world.connect(&tls)).await.as_deref(), Ok("dataProviders/edp1"));
    assert_eq!(world.presented(&tls).await, before);

    // The map is sound again, but the duchies lack this one.
    fs::write(world.file("map"), "").expect("written");
    fs::write(world.file("duchies"), "").expect("written");
    settle().await;
    assert_eq!(ask(&mut world.connect(&tls)).await.as_deref(), Ok("dataProviders/edp1"));
    fs::write(world.file("duchies"), duchies).expect("written");
    until(&Err(Code::Unauthenticated), async || ask(&mut world.connect(&tls)).await).await;
}

#[tokio::test]
async fn a_certificate_is_replaced_together_with_its_key() {
    let world = World::start().await;
    let client = world.pki.tls("edp1").load().expect("own files");
    let before = world.presented(&client).await;
    let newer = world.pki.tls("worker2");
    fs::copy(&newer.cert, &world.files.cert).expect("copied");
    settle().await;
    assert_eq!(world.presented(&client).await, before, "the key does not match yet");
    fs::copy(&newer.key, &world.files.key).expect("copied");
    until(&false, async || world.presented(&client).await == before).await;
}

#[test]
fn roles_follow_their_file() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let pki = Pki::create(&PkiSpec::default(), &dir.path().join("pki")).expect("sound spec");
    let directory = DuchyDirectory::load(&pki.duchy_cert_config()).expect("own configuration");
    let path = dir.path().join("setup");
    fs::copy(pki.protocols_setup("worker1"), &path).expect("copied");
    let setup = Live::new(ProtocolsSetup::load(&path, "worker1", &directory).expect("own setup"));
    let before = setup.current();
    let mut reloader = Reloader::new(INTERVAL).setup("worker1", &path, &pki.duchy_cert_config(), &setup);
    reloader.check();
    assert_eq!(*setup.current(), *before);
    // The roles of another duchy contradict the name of this one.
    fs::copy(pki.protocols_setup("aggregator"), &path).expect("copied");
    reloader.check();
    assert_eq!(*setup.current(), *before);
    fs::write(&path, "").expect("written");
    reloader.check();
    assert_ne!(*setup.current(), *before);
}

#[test]
fn the_known_duchies_are_those_of_the_day() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let pki = Pki::create(&PkiSpec::default(), &dir.path().join("pki")).expect("sound spec");
    let path = dir.path().join("duchies");
    let text = fs::read_to_string(pki.duchy_cert_config()).expect("own configuration");
    fs::write(&path, &text).expect("written");
    let known = Live::new(DuchyDirectory::load(&path).expect("own configuration"));
    let mut reloader = Reloader::new(INTERVAL).directory("worker1", &path, &known);
    let knows = |duchy| known.current().get(duchy).is_some();
    reloader.check();
    assert!(knows("worker2") && !knows("worker3"));

    fs::write(&path, text.replace("\"worker2\"", "\"worker3\"")).expect("written");
    reloader.check();
    assert!(!knows("worker2") && knows("worker3"));

    // Without the duchy itself it is refused, and what was known stays.
    fs::write(&path, text.replace("\"worker1\"", "\"worker4\"")).expect("written");
    reloader.check();
    assert!(knows("worker3") && knows("worker1"));
}
