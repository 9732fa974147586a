//! What processes tell of a measurement: their spans and metrics, at a collector, and what they do not tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use halo_crypto::P256;
use halo_crypto::elgamal::{KeyPair, PublicKey};
use halo_duchy_shell::clock::SystemClock;
use halo_duchy_shell::computation_secrets::ComputationSecrets;
use halo_duchy_shell::key_encryption::FileKey;
use halo_duchy_shell::pki::{Pki, PkiSpec};
use halo_duchy_shell::proto::internal::ComputationToken;
use halo_duchy_shell::proto::internal::computation_details::Protocol as Details;
use halo_duchy_shell::protocol_stages::Protocol as StoredProtocol;
use halo_duchy_shell::store::{SqliteStore, Store};
use halo_duchy_shell::telemetry::context::trace_id;
use halo_duchy_shell::telemetry::instruments::{Kind, definitions};

use tonic::transport::Identity;

use crate::collector::{Collector, Series, Span};
use crate::fleet::{DUCHIES, Extras, Fleet, GLANCE, PATIENCE};
use crate::settings::{Noise, Protocol, Settings};
use crate::single::{Killed, internal_api, lost_herald};
use crate::{PUBLISHERS, REACH_AND_FREQUENCY, events};

const CLIENT: i32 = 3;
const SERVER: i32 = 2;
/// Bytes of a key that are looked for in logs.
const WINDOW: usize = 24;
const LLV2: &str = "LIQUID_LEGIONS_SKETCH_AGGREGATION_V2";

#[test]
fn a_measurement_is_one_trace_and_its_metrics_are_upstreams() {
    let collector = Collector::start();
    let settings = Settings { protocol: Protocol::Llv2, noise: Noise::DiscreteGaussian };
    let mut environment = collector.environment();
    // More than anybody logs in production.
    environment.push(("RUST_LOG", "halo_duchy_shell=trace,tonic=debug,h2=debug,tower=debug".into()));
    let extras = Extras { environment, ..Extras::default() };
    let mut fleet = Fleet::start_with(extras, settings, &events(), &PUBLISHERS, None);
    let measurement = fleet.create(0, REACH_AND_FREQUENCY);
    let keys = computation_keys(&fleet);
    fleet.watch(&measurement);
    fleet.stop();
    fleet.stop_kingdom();

    let spans = collector.spans();
    let computation = the_computation(&spans);
    one_trace(&spans, &computation);
    series_are_as_defined(&collector.series());
    stages_are_measured(&collector.series());
    secrets_are_not_logged(&fleet, &computation, keys);
}

#[test]
fn only_shuffles_have_a_transmission_time() {
    let collector = Collector::start();
    let settings = Settings { protocol: Protocol::ShareShuffle, noise: Noise::DiscreteGaussian };
    // One duchy is a single process, which tells of all its parts.
    let extras = Extras { environment: collector.environment(), ..Extras::default() };
    let mut fleet = Fleet::start_with(extras, settings, &events(), &PUBLISHERS, Some("worker2"));
    let measurement = fleet.create(0, REACH_AND_FREQUENCY);
    fleet.watch(&measurement);
    fleet.stop();
    one_trace_of_all(&collector.spans(), &the_computation(&collector.spans()));
    series_are_as_defined(&collector.series());
    let all = collector.series().into_iter().filter(|series| series.name.ends_with(".transmission.time"));
    let found: BTreeSet<_> =
        all.map(|series| (series.service, series.attributes["halo_cmm.computation.stage"].clone())).collect();
    // Of the workers; the aggregator sends nothing.
    let expected = ["halo-duchy-hmss-mill", "halo-duchy-serve"];
    assert_eq!(found, expected.map(|service| (service.to_owned(), "SHUFFLE_PHASE".to_owned())).into());
}

#[test]
fn a_job_exports_before_it_ends() {
    let collector = Collector::start();
    let settings = Settings { protocol: Protocol::Llv2, noise: Noise::DiscreteGaussian };
    let extras = Extras { environment: collector.environment(), ..Extras::default() };
    let fleet = Fleet::start_with(extras, settings, &events(), &PUBLISHERS, None);
    let ended = fleet.mill_job("worker1", None, &[("OTEL_SERVICE_NAME", "job")]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let of = |service: &'static str| {
        let series = collector.series().into_iter().filter(move |series| series.service == service);
        series.map(|series| (series.name, series.attributes)).collect::<Vec<_>>()
    };
    let claims = of("job").into_iter().find(|(name, _)| name == "halo_cmm.duchy.claims");
    assert_eq!(claims.expect("claims").1["result"], "none");
    assert!(collector.spans().iter().any(|span| span.service == "job" && span.name.ends_with("/ClaimWork")));

    // Nobody listens there any more.
    let ended = fleet.mill_job("worker1", Some(free_port()), &[("OTEL_SERVICE_NAME", "failing-job")]);
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
    let calls = of("failing-job").into_iter().find(|(name, _)| name == "rpc.client.duration");
    let calls = calls.expect("calls").1;
    let unavailable = (tonic::Code::Unavailable as i32).to_string();
    assert_eq!(
        (&calls["rpc.method"][..], &calls["rpc.grpc.status_code"]),
        ("GetComputationToken", &unavailable)
    );
}

#[test]
fn a_collector_may_be_reached_by_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let create = |name| Pki::create(&PkiSpec::default(), &folder.path().join(name)).expect("a sound spec");
    let (pki, strangers) = (create("pki"), create("strangers"));
    let own = pki.tls("kingdom");
    let read = |path: &Path| fs::read(path).expect("own file");
    let collector =
        Collector::start_by_tls(Identity::from_pem(read(&own.cert), read(&pki.tls_key("kingdom"))));
    // What a herald says that ends by itself, with the authorities that it believes.
    let said = |authorities: Option<PathBuf>| {
        let ended = lost_herald(&pki)
            .envs(collector.environment())
            .envs(authorities.map(|path| ("OTEL_EXPORTER_OTLP_CERTIFICATE", path)))
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "5000")
            .output();
        String::from_utf8_lossy(&ended.expect("the program runs").stderr).into_owned()
    };
    let without = said(None);
    assert!(without.contains("OTEL_EXPORTER_OTLP_CERTIFICATE") && without.contains("https://"), "{without}");
    let refused = said(Some(strangers.collection()));
    assert!(refused.contains("the last metrics are not exported"), "{refused}");
    assert_eq!(collector.series().len(), 0, "exported to a stranger");
    let exported = said(Some(pki.collection()));
    assert!(!exported.contains("not exported"), "{exported}");
    assert!(collector.series().iter().any(|series| series.name == "rpc.client.duration"), "{exported}");
    assert!(collector.spans().iter().any(|span| span.name.ends_with("/getContinuationToken")), "{exported}");
}

#[test]
fn prometheus_comes_for_metrics() {
    let folder = tempfile::tempdir().expect("a folder");
    let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki")).expect("a sound spec");
    let port = free_port();
    let scraped = |port: &str| scraped(&pki, folder.path(), port);
    let _server = Killed(scraped(&port.to_string()).spawn().expect("the program runs"));
    let begun = Instant::now();
    let answer = loop {
        match scrape(port) {
            Some(answer) if answer.contains("halo_cmm_duchy_queue_depth{") => break answer,
            other => assert!(begun.elapsed() < PATIENCE, "{other:?}"),
        }
        sleep(GLANCE);
    };
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(
        answer.contains("\ntarget_info{")
            && answer.contains("service_name=\"halo-duchy-internal-api-server\""),
        "{answer}"
    );
    let nothing = ask(port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("an answer");
    assert!(nothing.starts_with("HTTP/1.1 404"), "{nothing}");
    // A second process needs a port of its own, and says so.
    let second = scraped(&port.to_string()).output().expect("the program runs");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        !second.status.success() && said.contains("OTEL_EXPORTER_PROMETHEUS_HOST and _PORT of its own"),
        "{said}"
    );
    let refused = scraped("many").output().expect("the program runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("OTEL_EXPORTER_PROMETHEUS_PORT: `many`"), "{said}");
}

#[test]
fn metrics_tell_when_the_certificates_in_use_expire() {
    for knows_duchies in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let create = |name, valid_days| {
            let spec = PkiSpec { valid_days, ..PkiSpec::default() };
            Pki::create(&spec, &folder.path().join(name)).expect("a sound spec")
        };
        let (pki, newer) = (create("pki", 365), create("newer", 30));
        let port = free_port();
        let mut server = scraped(&pki, folder.path(), &port.to_string());
        server.arg("--config-poll-interval=100ms");
        if knows_duchies {
            server.arg(format!("--duchy-info-config={}", pki.duchy_cert_config().display()));
        }
        let _server = Killed(server.spawn().expect("the program runs"));
        expires_in(365, port);
        let files = |pki: &Pki| {
            let tls = pki.tls("worker1");
            tls.paths().into_iter().map(Path::to_owned).chain([pki.duchy_cert_config()]).collect::<Vec<_>>()
        };
        for (from, to) in files(&newer).into_iter().zip(files(&pki)) {
            fs::copy(from, to).expect("copied");
        }
        expires_in(30, port);
    }
}

/// Waits until the metrics at `port` tell of a certificate for TLS and of roots that last for so many days more.
fn expires_in(days: u64, port: u16) {
    let begun = Instant::now();
    loop {
        let answer = scrape(port);
        let left =
            ["tls", "roots"].map(|certificate| days_left(answer.as_deref().unwrap_or_default(), certificate));
        if left == [Some(days); 2] {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{left:?} days in place of {days}: {answer:?}");
        sleep(GLANCE);
    }
}

fn days_left(metrics: &str, certificate: &str) -> Option<u64> {
    let series =
        format!("halo_cmm_duchy_certificate_expiration_timestamp_seconds{{certificate=\"{certificate}\"}} ");
    let end: f64 = metrics.lines().find_map(|line| line.strip_prefix(&series))?.parse().expect("a number");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Some(((end - now.as_secs_f64()) / 86_400.0).round() as u64)
}

/// An internal API server whose metrics Prometheus comes for at this port.
fn scraped(pki: &Pki, folder: &Path, port: &str) -> Command {
    let mut server = internal_api(pki, folder);
    server.envs([("OTEL_METRICS_EXPORTER", "prometheus"), ("OTEL_EXPORTER_PROMETHEUS_PORT", port)]);
    server.env("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1").stderr(Stdio::piped());
    server
}

fn scrape(port: u16) -> Option<String> {
    ask(port, "GET /metrics HTTP/1.1\r\nHost: internal-api.worker1.svc:9464\r\n\r\n")
}

fn ask(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// The id of the only computation.
fn the_computation(spans: &[Span]) -> String {
    let work = spans.iter().filter(|span| span.name == "mill.stage");
    let ids: BTreeSet<_> = work.map(|span| &span.attributes["computation_id"]).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids.into_iter().next().expect("one").clone()
}

/// The computation's trace has the work of all duchies.
fn one_trace_of_all(spans: &[Span], computation: &str) {
    let trace = trace_id(computation).to_string();
    for span in spans.iter().filter(|span| span.name == "mill.stage" || span.name == "herald.item") {
        assert_eq!(span.trace, trace, "{span:?}");
        for name in ["protocol", "stage", "attempt", "owner"] {
            assert!(span.attributes.contains_key(name), "{span:?}");
        }
    }
    for duchy in DUCHIES {
        for name in ["mill.stage", "herald.item"] {
            let here = |span: &&Span| span.name == name && span.attributes["duchy"] == duchy;
            assert!(spans.iter().any(|span| here(&span)), "no {name} of {duchy}");
        }
    }
}

/// It also has the calls from one duchy to another, of which each makes one, and those to the Kingdom.
fn one_trace(spans: &[Span], computation: &str) {
    one_trace_of_all(spans, computation);
    let trace = trace_id(computation).to_string();
    // From the server's span up to the work that called.
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (&span.id, span)).collect();
    let mut callers = BTreeSet::new();
    let method = "wfa.measurement.system.v1alpha.ComputationControl/AdvanceComputation";
    for taken in spans.iter().filter(|span| span.name == method && span.kind == SERVER) {
        assert_eq!(taken.trace, trace, "{taken:?}");
        let call = by_id[&taken.parent];
        assert_eq!((&call.name[..], call.kind), (method, CLIENT));
        let work = by_id[&call.parent];
        assert_eq!(work.name, "mill.stage", "{work:?}");
        callers.insert(work.attributes["duchy"].clone());
        // What the peer's server calls in turn goes on in the same trace.
        assert!(spans.iter().any(|span| span.parent == taken.id && span.kind == CLIENT), "{taken:?}");
    }
    assert_eq!(callers, DUCHIES.map(str::to_owned).into());
    let kingdom = spans.iter().filter(|span| span.service == "halo-duchy-kingdom" && span.trace == trace);
    assert!(kingdom.count() > 0, "nothing of the Kingdom");
}

/// Each series has the unit, the kind and the attributes that the definitions, and so the documentation, say.
fn series_are_as_defined(series: &[Series]) {
    let definitions: BTreeMap<_, _> = definitions().into_iter().map(|metric| (metric.name, metric)).collect();
    for series in series {
        let defined = definitions.get(&series.name[..]).unwrap_or_else(|| panic!("{series:?}"));
        let kind = match defined.kind {
            Kind::Counter => "counter",
            Kind::UpDownCounter => "up-down counter",
            Kind::Histogram => "histogram",
            Kind::Gauge => "gauge",
        };
        assert_eq!((series.kind, &series.unit[..]), (kind, defined.unit), "{series:?}");
        let attributes: BTreeSet<_> = series.attributes.keys().map(|name| &name[..]).collect();
        assert_eq!(attributes, defined.attributes.iter().copied().collect(), "{series:?}");
    }
}

fn stages_are_measured(series: &[Series]) {
    let has = |name: &str, expected: &[(&str, &str)]| {
        let matches = |series: &&Series| {
            series.name == name && expected.iter().all(|(name, value)| series.attributes[*name] == *value)
        };
        assert!(series.iter().any(|series| matches(&series)), "no {name} with {expected:?}");
    };
    let (kind, stage) = ("halo_cmm.computation.type", "halo_cmm.computation.stage");
    for name in ["time", "crypto.time", "crypto.cpu.time"] {
        for phase in ["INITIALIZATION_PHASE", "CONFIRMATION_PHASE", "SETUP_PHASE", "EXECUTION_PHASE_ONE"] {
            has(&format!("halo_cmm.computation.stage.{name}"), &[(kind, LLV2), (stage, phase)]);
        }
    }
    assert!(!series.iter().any(|series| series.name.ends_with("transmission.time")), "not a share shuffle");
    has("halo_cmm.duchy.stage_attempts", &[(kind, LLV2), (stage, "SETUP_PHASE"), ("outcome", "succeeded")]);
    has("halo_cmm.duchy.claims", &[(kind, LLV2), ("result", "work")]);
    has("halo_cmm.duchy.herald.items", &[("state", "PENDING_COMPUTATION"), ("result", "done")]);
    has("halo_cmm.duchy.herald_lag_seconds", &[]);
    has("halo_cmm.duchy.herald.last_contact_timestamp", &[]);
    for certificate in ["tls", "roots", "consent_signaling"] {
        has("halo_cmm.duchy.certificate.expiration_timestamp", &[("certificate", certificate)]);
    }
    has("halo_cmm.duchy.blob.bytes", &[("operation", "write")]);
    has("halo_cmm.duchy.blob.duration", &[("operation", "read"), ("result", "ok")]);
    has("halo_cmm.duchy.fulfillment.bytes", &[]);
    has("halo_cmm.duchy.queue.depth", &[(kind, LLV2)]);
    has("halo_cmm.duchy.queue.oldest_age", &[(kind, LLV2)]);
    has("halo_cmm.thread_pool.size", &[("halo_cmm.thread_pool.name", "grpc-services")]);
    has("halo_cmm.thread_pool.active_count", &[("halo_cmm.thread_pool.name", "grpc-services")]);
    let ok = ("rpc.grpc.status_code", "0");
    let service = ("rpc.service", "wfa.measurement.internal.duchy.Computations");
    for name in ["rpc.server.duration", "rpc.client.duration"] {
        has(name, &[("rpc.system", "grpc"), service, ("rpc.method", "ClaimWork"), ok]);
    }
}

/// The secret keys that the duchies have made for the only computation, which has just begun: when it ends, they are gone.
fn computation_keys(fleet: &Fleet) -> Vec<Vec<u8>> {
    let files = fleet.secret_files();
    let stages: Vec<_> = StoredProtocol::LiquidLegionsV2.stages().collect();
    let mut keys = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for duchy in DUCHIES {
        let store = SqliteStore::open(&fleet.database(duchy), Arc::new(SystemClock)).expect("a database");
        let with_key = async {
            loop {
                for id in store.ids_in_stages(&stages).await.expect("ids") {
                    let found = store.get(&id).await.expect("the computation");
                    if let Some(Details::LiquidLegionsV2(details)) = &found.details.protocol
                        && details.local_elgamal_key.is_some()
                    {
                        return ComputationToken {
                            global_computation_id: id,
                            computation_details: Some(found.details),
                            ..ComputationToken::default()
                        };
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let token = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), with_key).await });
        let token = token.expect("a key is made at once");
        let file = format!("{duchy}_kek.tink");
        let file = files.iter().find(|path| path.ends_with(&file)).expect("a key encryption key");
        let key = FileKey::load(file).expect("a keyset");
        let opened = ComputationSecrets::opened_by(Arc::new(key));
        let opened = runtime.block_on(opened.open(&token, duchy)).expect("the duchy's");
        assert!(opened.opened_with.is_some(), "it lay in the clear");
        let details =
            opened.token.computation_details.and_then(|details| details.protocol).expect("a protocol");
        let Details::LiquidLegionsV2(details) = details else {
            panic!("another protocol");
        };
        let pair = details.local_elgamal_key.expect("a key");
        let element = pair.public_key.as_ref().expect("its public key").element.clone();
        let public = PublicKey::<P256>::from_bytes(&element).expect("a point");
        // Whole, though one of 256 is shorter than 32 bytes: upstream's form has no leading zeros.
        let key = pair.secret_key.clone();
        KeyPair::from_parts(&key, public).expect("the key in the clear");
        keys.push(key[..WINDOW].to_vec());
    }
    keys
}

/// Neither the keys that the parties were given nor `keys`, which the duchies made, are in any log, however they are written.
fn secrets_are_not_logged(fleet: &Fleet, computation: &str, keys: Vec<Vec<u8>>) {
    let files = fleet.secret_files();
    assert!(files.len() > 10, "only {}", files.len());
    let secrets = files.iter().flat_map(|path| key_windows(path)).chain(keys);
    let logs = fleet.whole_logs();
    assert!(logs.contains("stage done") && logs.contains(computation), "the logs are not there");
    // The messages that have them were told of.
    let message = "message_type=\"wfa.measurement.internal.duchy.UpdateComputationDetailsRequest\"";
    let id = format!("token.global_computation_id={computation:?}");
    assert!(logs.lines().any(|line| line.contains(message) && line.contains(&id)), "no messages are told of");
    for secret in secrets {
        // Base64 hides where its groups of three bytes begin.
        let base64 = |skip: usize| STANDARD.encode(&secret[skip..skip + (WINDOW - skip) / 3 * 3]);
        let decimal = secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let forms =
            [hex::encode(&secret), hex::encode_upper(&secret), decimal, base64(0), base64(1), base64(2)];
        for form in forms {
            assert!(!logs.contains(&form), "a secret is logged as {form}");
        }
    }
}

/// Parts of the keys in a file: behind the beginning of PKCS#8, and before the end of a Tink keyset.
fn key_windows(path: &Path) -> Vec<Vec<u8>> {
    const PKCS8_HEADER: usize = 36;
    const KEYSET_TRAILER: usize = 16;
    let mut bytes = fs::read(path).expect("a key");
    if let Ok(pem) = std::str::from_utf8(&bytes)
        && pem.starts_with("-----BEGIN")
    {
        let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        bytes = STANDARD.decode(lines).expect("base64");
    }
    let starts = [PKCS8_HEADER, bytes.len() - KEYSET_TRAILER - WINDOW];
    starts.map(|start| bytes[start..start + WINDOW].to_vec()).into()
}
