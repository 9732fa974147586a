//! A development Kingdom in plain text, from its configuration file, as a process.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use halo_duchy_shell::identity::Caller;
use halo_duchy_shell::kingdom::plaintext::{DUCHY_HEADER, Introduce};
use halo_duchy_shell::proto::api::GetCertificateRequest;
use halo_duchy_shell::proto::api::certificates_client::CertificatesClient;
use halo_duchy_shell::proto::system::GetComputationRequest;
use halo_duchy_shell::proto::system::computations_client::ComputationsClient;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::fleet::{GLANCE, PATIENCE, free_ports};
use crate::single::Killed;

const PROGRAM: &str = env!("CARGO_BIN_EXE_halo-duchy");
const CERTIFICATE: &str = "dataProviders/news/certificates/1";

const CONFIG: &str = r#"
duchies { external_duchy_id: "aggregator" }
duchies { external_duchy_id: "worker1" active_start_time { seconds: 1790000000 } }
duchies { external_duchy_id: "worker2" }
protocols {
  protocol { parameters { liquid_legions_v2 { sketch_params { max_size: 1000 } } } }
  required_external_duchy_ids: "aggregator"
  minimum_duchy_participant_count: 2
}
certificates { name: "dataProviders/news/certificates/1" file: "news.der" }
"#;

#[tokio::test]
async fn callers_say_who_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, log) = (folder.path().join("kingdom.textproto"), folder.path().join("log"));
    fs::write(&config, CONFIG).expect("written");
    fs::write(folder.path().join("news.der"), b"a certificate").expect("written");
    let port = free_ports(1)[0];
    let kingdom = Command::new(PROGRAM)
        .args(["kingdom", "--insecure-dev", "--listen-address=127.0.0.1", "--health-port=0"])
        .args([format!("--config={}", config.display()), format!("--port={port}")])
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a log"))
        .spawn();
    let mut kingdom = Killed(kingdom.expect("the program runs"));
    let (begun, said) = (Instant::now(), || fs::read_to_string(&log).unwrap_or_default());
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        let ended = kingdom.0.try_wait().expect("a child can be waited for");
        assert!(ended.is_none() && begun.elapsed() < PATIENCE, "{ended:?}\n{}", said());
        sleep(GLANCE);
    }
    assert!(said().contains("THIS KINGDOM BELIEVES EVERYBODY AND ENCRYPTS NOTHING"), "{}", said());

    let target = format!("127.0.0.1:{port}");
    let channel = Endpoint::from_shared(format!("http://{target}")).expect("an address").connect_lazy();
    let worker = Introduce(Caller::Duchy("worker1".into()));
    let mut certificates = CertificatesClient::with_interceptor(channel.clone(), worker.clone());
    let asked = GetCertificateRequest { name: CERTIFICATE.into() };
    let found = certificates.get_certificate(asked.clone()).await.expect("of the configuration").into_inner();
    assert_eq!((&found.name[..], &found.x509_der[..]), (CERTIFICATE, &b"a certificate"[..]));

    let nobody = CertificatesClient::new(channel.clone()).get_certificate(asked).await;
    let nobody = nobody.expect_err("nobody");
    assert_eq!(nobody.code(), Code::Unauthenticated);
    assert!(nobody.message().contains(DUCHY_HEADER), "{nobody}");
    // Who is no duchy is told so.
    let provider = Introduce(Caller::DataProvider("dataProviders/news".into()));
    let mut computations = ComputationsClient::with_interceptor(channel, provider);
    let request = Request::new(GetComputationRequest { name: "computations/AAAAAAAAAAE".into() });
    let refused = computations.get_computation(request).await.expect_err("no duchy");
    assert_eq!(refused.code(), Code::PermissionDenied);

    let listed = Command::new(PROGRAM)
        .args(["kingdom", "list", "--insecure-dev", &format!("--target={target}")])
        .output()
        .expect("the program runs");
    assert!(listed.status.success() && listed.stdout.is_empty(), "{listed:?}");
}

#[test]
fn a_configuration_that_is_refused_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("kingdom.textproto");
    for (text, told) in [
        ("duchies { external_duchy_id: \"a/b\" }", "`a/b` is not a valid name"),
        ("", "--config: names no duchies"),
        ("what", "not a `halo.dev.kingdom.v1.KingdomConfig`"),
    ] {
        fs::write(&config, text).expect("written");
        let ended = Command::new(PROGRAM)
            .args(["kingdom", "--insecure-dev", &format!("--config={}", config.display()), "--port=0"])
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && said.contains(told), "{said}");
    }
}
