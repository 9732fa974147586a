//! Configuration files that change under a running server: what they say holds for the next connection or call, calls in
//! progress go on unless their caller's root is gone, and a broken file changes nothing.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use halo_duchy_shell::audit::{self, AuditLog};
use halo_duchy_shell::client::{CallPolicy, Channel, channel};
use halo_duchy_shell::config::{DuchyDirectory, ProtocolsSetup, load_principals};
use halo_duchy_shell::consent::{CertificateNameSource, SigningFiles};
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
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

#[path = "reliability/authority.rs"]
#[allow(dead_code, reason = "it issues more elsewhere")]
mod authority;

use authority::Authority;

const INTERVAL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(86_400);

/// Answers with who called; to who asks for what is `slow`, not at once.
struct Mirror;

const SLOW: &str = "slow";
const SLOWNESS: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl Certificates for Mirror {
    async fn get_certificate(
        &self,
        request: Request<GetCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        if request.get_ref().name == SLOW {
            tokio::time::sleep(SLOWNESS).await;
        }
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
        let files =
            TlsFiles { cert: file("cert"), key: Some(file("key")), key_uri: None, collection: file("roots") };
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

/// The records of this process's audit log, which it keeps from the first call on.
fn audited() -> Vec<Value> {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let file = tempfile::tempdir().expect("a folder").keep().join("audit.log");
        audit::install(AuditLog::open(&file, "test", "worker1").expect("a new log")).expect("the only one");
        file
    });
    let text = fs::read_to_string(file).expect("a log");
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

#[tokio::test]
async fn a_new_authority_is_let_in_beside_the_old_ones() {
    audited();
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
    let authority = hex::encode(Authority::of("edp1", other.path()).key_identifier());
    let is_told = |record: &Value| {
        record["event"] == "caller.unknown"
            && record["outcome"] == "refused"
            && record["principal"] == format!("akid:{authority}")
            && record["details"]["status"] == "UNAUTHENTICATED"
    };
    until(&true, async || audited().iter().any(is_told)).await;
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
    audited();
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

    let refused = |event: &str, file: &str| {
        let file = Value::from(world.file(file).display().to_string());
        let is_of = |record: &Value| {
            record["event"] == event
                && record["outcome"] == "refused"
                && record["details"]["files"].as_array().is_some_and(|files| files.contains(&file))
        };
        audited().iter().any(is_of)
    };
    assert!(refused("configuration.reloaded", "map") && refused("key.reloaded", "roots"));

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
    fs::copy(world.pki.tls_key("worker2"), world.file("key")).expect("copied");
    until(&false, async || world.presented(&client).await == before).await;
}

/// Forwards to `address`, and counts connections.
async fn forward(address: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (own, count) = (listener.local_addr().expect("bound"), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut server = TcpStream::connect(address).await.expect("listening");
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    (own, count)
}

async fn ask_slowly(mut client: CertificatesClient<Channel>) -> Result<String, Code> {
    let answer = client.get_certificate(GetCertificateRequest { name: SLOW.into() }).await;
    answer.map(|response| response.into_inner().name).map_err(|status| status.code())
}

/// A connection, once as the client's certificate is replaced and once as the server's is.
#[tokio::test]
async fn new_certificates_take_new_connections_and_calls_go_on() {
    let mut world = World::start().await;
    let (address, connections) = forward(world.address).await;
    world.address = address;
    let tls = world.pki.tls("edp1").load().expect("own files");
    let mut client = world.connect(&tls);
    let name = || Ok("dataProviders/edp1".to_owned());
    assert_eq!(ask(&mut client).await, name());
    assert_eq!(ask(&mut client).await, name());
    assert_eq!(connections.load(Ordering::Relaxed), 1);

    let pki = world.dir.path().join("pki");
    let mut in_progress = Vec::new();
    for round in 2..5 {
        in_progress.push(tokio::spawn(ask_slowly(client.clone())));
        tokio::time::sleep(SLOWNESS / 10).await;
        if round % 2 == 0 {
            Authority::of("edp1", &pki).renew_tls("edp1", &pki, DAY);
            tls.replace(&world.pki.tls("edp1").load().expect("own files"));
        } else {
            Authority::of("worker1", &pki).renew_tls("worker1", &pki, DAY);
            fs::copy(world.pki.tls("worker1").cert, world.file("cert")).expect("copied");
            fs::copy(world.pki.tls_key("worker1"), world.file("key")).expect("copied");
        }
        until(&round, async || {
            // As everybody calls, who tries again if a call meets the end of a connection.
            let policy = CallPolicy::default();
            let asked = policy.unary(|| {
                let mut client = client.clone();
                async move { client.get_certificate(GetCertificateRequest::default()).await }
            });
            assert_eq!(asked.await.map(|answer| answer.name).map_err(|status| status.code()), name());
            connections.load(Ordering::Relaxed)
        })
        .await;
    }
    for answer in in_progress {
        assert_eq!(answer.await.expect("asked"), name());
    }
    // The same files again are nothing new.
    tls.replace(&world.pki.tls("edp1").load().expect("own files"));
    assert_eq!(ask(&mut client).await, name());
    assert_eq!(connections.load(Ordering::Relaxed), 4, "one for each change");
}

#[tokio::test]
async fn a_party_whose_root_is_removed_is_cut_off_and_named() {
    audited();
    let world = World::start().await;
    let mut peer = world.connect(&world.pki.tls("worker2").load().expect("own files"));
    let mut provider = world.connect(&world.pki.tls("edp1").load().expect("own files"));
    assert_eq!(ask(&mut peer).await.as_deref(), Ok("duchies/worker2"));
    let in_progress = tokio::spawn(ask_slowly(peer.clone()));
    tokio::time::sleep(SLOWNESS / 10).await;

    let root = Authority::of("worker2", &world.dir.path().join("pki"));
    let roots = fs::read_to_string(world.file("roots")).expect("own file");
    fs::write(world.file("roots"), roots.replace(root.pem(), "")).expect("written");
    until(&Err(Code::Unavailable), async || ask(&mut peer).await).await;
    assert_eq!(in_progress.await.expect("asked"), Err(Code::Unavailable), "what was in progress is cut");
    // By no new connection either, and nobody else is.
    assert_eq!(ask(&mut peer).await, Err(Code::Unavailable));
    assert_eq!(ask(&mut provider).await.as_deref(), Ok("dataProviders/edp1"));
    let recorded = audited();
    let cut = recorded.iter().find(|record| record["principal"] == "duchies/worker2").expect("named");
    assert_eq!(cut["event"], "connection.refused", "{cut}");
    assert!(cut["reason"].as_str().is_some_and(|reason| reason.contains("not trusted any more")), "{cut}");
}

#[tokio::test]
async fn a_client_does_not_outlive_its_certificate() {
    let world = World::start().await;
    let pki = world.dir.path().join("pki");
    let authority = Authority::of("edp1", &pki);
    authority.renew_tls("edp1", &pki, Duration::from_secs(3));
    let tls = world.pki.tls("edp1").load().expect("own files");
    let mut client = world.connect(&tls);
    assert_eq!(ask(&mut client).await.as_deref(), Ok("dataProviders/edp1"));
    until(&Err(Code::Unavailable), async || ask(&mut client).await).await;
    authority.renew_tls("edp1", &pki, DAY);
    tls.replace(&world.pki.tls("edp1").load().expect("own files"));
    until(&Ok("dataProviders/edp1".to_owned()), async || ask(&mut client).await).await;
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

/// The key of worker1, then that of another infrastructure, file by file.
#[test]
fn a_signing_key_changes_with_its_certificate_and_its_name() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let create = |name| Pki::create(&PkiSpec::default(), &dir.path().join(name)).expect("sound spec");
    let (old, new) = (create("old"), create("new"));
    let file = |name: &str| dir.path().join(name);
    let (first, second) = ("duchies/worker1/certificates/1", "duchies/worker1/certificates/2");
    let files = |name| SigningFiles {
        duchy: "worker1".into(),
        certificate: file("certificate"),
        key: file("key").into(),
        name,
    };
    let in_file = files(CertificateNameSource::File(file("name")));
    fs::copy(old.consent_certificate("worker1"), file("certificate")).expect("copied");
    fs::copy(old.consent_private_key("worker1"), file("key")).expect("copied");
    fs::write(file("name"), format!("{first}\n")).expect("written");
    let own = Live::new(in_file.load().expect("own files"));
    let mut reloader = Reloader::new(INTERVAL).signing(in_file, &own);
    let given = files(CertificateNameSource::Given(first.into()));
    let fixed = Live::new(given.load().expect("own files"));
    let mut fixed_reloader = Reloader::new(INTERVAL).signing(given, &fixed);
    let before = own.current().signer.certificate().to_vec();
    let mut in_force = || {
        reloader.check();
        fixed_reloader.check();
        let (own, fixed) = (own.current(), fixed.current());
        // Without a file for the name there is never another key.
        assert_eq!((fixed.signer.certificate(), &fixed.certificate_name[..]), (&before[..], first));
        (own.signer.certificate() == before, own.certificate_name.clone())
    };
    assert_eq!(in_force(), (true, first.into()));

    // What lies between: a key of another certificate, then a certificate of another name.
    fs::copy(new.consent_private_key("worker1"), file("key")).expect("copied");
    assert_eq!(in_force(), (true, first.into()));
    fs::copy(new.consent_certificate("worker1"), file("certificate")).expect("copied");
    assert_eq!(in_force(), (true, first.into()));
    // A name that is another duchy's.
    fs::write(file("name"), "duchies/worker2/certificates/2").expect("written");
    assert_eq!(in_force(), (true, first.into()));
    fs::write(file("name"), second).expect("written");
    assert_eq!(in_force(), (false, second.into()));
    // Only the name.
    fs::write(file("name"), first).expect("written");
    assert_eq!(in_force(), (false, second.into()));
}
