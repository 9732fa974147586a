//! Measurements by all protocols, with an audit log of all duchies: what it tells, and what it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_duchy_shell::audit::{self, AuditLog, Expected, verify};
use halo_duchy_shell::client::channel;
use halo_duchy_shell::clock::SystemClock;
use halo_duchy_shell::computation_secrets::ComputationSecrets;
use halo_duchy_shell::key_encryption::FileKey;
use halo_duchy_shell::kingdom::config::{LiquidLegionsSettings, Protocol, ShareShuffleSettings};
use halo_duchy_shell::measurement_consumer::{MeasurementRequest, Metric};
use halo_duchy_shell::mill::Silent;
use halo_duchy_shell::proto::api::DifferentialPrivacyParams;
use halo_duchy_shell::proto::api::FulfillRequisitionRequest;
use halo_duchy_shell::proto::api::measurement_spec::VidSamplingInterval;
use halo_duchy_shell::proto::api::requisition_fulfillment_client::RequisitionFulfillmentClient;
use halo_duchy_shell::proto::internal::{ComputationDetails, ComputationToken, computation_details};
use halo_duchy_shell::proto::system::GetComputationStageRequest;
use halo_duchy_shell::proto::system::computation::mpc_protocol_config::NoiseMechanism;
use halo_duchy_shell::proto::system::computation_control_client::ComputationControlClient;
use halo_duchy_shell::protocol_stages::Protocol as StoredProtocol;
use halo_duchy_shell::store::{Store, StoreAddress};
use halo_duchy_shell::trial::{Trial, TrialConfig};
use halo_protocols::llv2::NoisePolicy;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::secrets::Told;

const DUCHIES: [&str; 3] = ["aggregator", "worker1", "worker2"];

fn protocols() -> [Protocol; 3] {
    let noise_mechanism = NoiseMechanism::Geometric;
    let sketch = || LiquidLegionsSettings {
        decay_rate: 2.0,
        sketch_size: 400,
        noise_mechanism,
        ..LiquidLegionsSettings::default()
    };
    let workers = ["worker1", "worker2"].map(str::to_owned);
    let shares = ShareShuffleSettings {
        noise_mechanism,
        ..ShareShuffleSettings::of(workers, "aggregator".to_owned())
    };
    [
        Protocol::LiquidLegionsV2(sketch()),
        Protocol::ReachOnlyLiquidLegionsV2(sketch()),
        Protocol::HonestMajorityShareShuffle(shares),
    ]
}

async fn start(folder: &Path, protocol: Protocol) -> Trial {
    let config = TrialConfig {
        directory: folder.to_owned(),
        blobs: None,
        store: None,
        duchies: DUCHIES.map(str::to_owned).into(),
        data_providers: vec![
            ("news".to_owned(), (1..=30).collect()),
            ("video".to_owned(), (21..=50).collect()),
        ],
        protocol,
        noise_policy: NoisePolicy::Required,
        seed: None,
        sketch_salt: None,
        population: Some(1..=120),
        parallelism: 1,
        observer: Arc::new(Silent),
    };
    Trial::start(config).await.expect("everyone starts")
}

async fn measure(trial: &Trial, metric: Metric) {
    let request = MeasurementRequest {
        data_providers: trial.recipients.clone(),
        metric,
        reach_privacy: DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 },
        vid_sampling_interval: VidSamplingInterval { start: 0.0, width: 1.0 },
        reference_id: "a test".to_owned(),
        request_id: String::new(),
    };
    let measuring = async {
        let name = trial.consumer.create(request, &mut UnwrapErr(SysRng)).await.expect("taken");
        trial.fulfill(1).await.expect("the data providers fulfil");
        trial.consumer.result(&name, Duration::from_millis(50)).await.expect("a result")
    };
    tokio::time::timeout(Duration::from_secs(300), measuring).await.expect("the measurement ends");
}

/// A data provider calls a server for duchies and sends what nobody asked for, and somebody speaks no TLS.
async fn intrude(trial: &Trial) {
    let address = trial.duchies["worker1"].addresses().control;
    let tls = trial.pki.tls("news").load().expect("own files");
    let to = |address: SocketAddr| channel(&tls, &address.to_string(), Some("localhost")).expect("a target");
    let to_worker = to(address);
    let request = GetComputationStageRequest { name: "computations/c/participants/worker1/stage".to_owned() };
    let refused = ComputationControlClient::new(to_worker).get_computation_stage(request).await;
    assert_eq!(refused.expect_err("not a duchy").code(), Code::PermissionDenied);
    let mut fulfillment =
        RequisitionFulfillmentClient::new(to(trial.duchies["worker1"].addresses().fulfillment));
    let nothing = tokio_stream::iter([FulfillRequisitionRequest::default()]);
    let refused = fulfillment.fulfill_requisition(nothing).await;
    assert_eq!(refused.expect_err("no requisition").code(), Code::InvalidArgument);
    let mut stranger = TcpStream::connect(address).await.expect("it listens");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    // The alert and the end of the connection.
    let _ = stranger.read_to_end(&mut Vec::new()).await;
}

/// Every file under `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// The private keys of all parties, and what data providers sent.
fn secrets(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut secrets = Vec::new();
    for path in files(folder) {
        let name = path.display().to_string();
        let is_key =
            [".key", "_private.der", "_private.tink", "_kek.tink"].iter().any(|end| name.ends_with(end));
        let is_payload = name.contains("/blobs/");
        if !is_key && !is_payload {
            continue;
        }
        let content = std::fs::read(&path).expect("a file");
        if name.ends_with(".key") {
            let (label, der) = pem(&content);
            assert!(label.contains("PRIVATE KEY"), "{name}");
            // Without the names of the algorithm.
            secrets.push((name, der[26..].to_vec()));
        } else if content.len() >= 64 {
            secrets.push((name, content));
        }
    }
    secrets
}

/// The secret of a computation at a duchy, while it goes on.
struct Kept {
    /// As its row has it.
    stored: Vec<u8>,
    /// As the mill has it.
    clear: Vec<u8>,
    /// Whether what is stored was found in the files of the database.
    lies: bool,
}

/// The rows of the duchies of a trial, and what opens the secrets in them.
struct Rows {
    folder: PathBuf,
    duchies: Vec<(&'static str, Arc<dyn Store>, ComputationSecrets)>,
}

impl Rows {
    async fn open(folder: &Path) -> Self {
        let mut duchies = Vec::new();
        for duchy in DUCHIES {
            let file = format!("{duchy}_kek.tink");
            let file = files(folder).into_iter().find(|path| path.ends_with(&file)).expect("a key");
            let opener = ComputationSecrets::opened_by(Arc::new(FileKey::load(&file).expect("a keyset")));
            let address = StoreAddress::Sqlite(folder.join(duchy).join("computations.sqlite"));
            let store = address.open(Arc::new(SystemClock)).await.expect("a database");
            duchies.push((duchy, store, opener));
        }
        Self { folder: folder.to_owned(), duchies }
    }

    /// What the rows have while `work` goes on, by duchy and computation: when one has ended, its secret is gone.
    async fn during(&self, work: impl Future<Output = ()>) -> BTreeMap<String, Kept> {
        let mut kept = BTreeMap::new();
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = &mut work => return kept,
                () = tokio::time::sleep(Duration::from_millis(20)) => self.look(&mut kept).await,
            }
        }
    }

    async fn look(&self, kept: &mut BTreeMap<String, Kept>) {
        let stages: Vec<_> = StoredProtocol::ALL.into_iter().flat_map(StoredProtocol::stages).collect();
        for (duchy, store, opener) in &self.duchies {
            for id in store.ids_in_stages(&stages).await.expect("ids") {
                let name = format!("{duchy}: {id}");
                if kept.get(&name).is_some_and(|kept| kept.lies) {
                    continue;
                }
                let computation = store.get(&id).await.expect("it is there");
                let stored = secret(&computation.details);
                if stored.is_empty() {
                    continue;
                }
                let lies = databases(&self.folder).windows(stored.len()).any(|bytes| bytes == stored);
                let token = ComputationToken {
                    global_computation_id: id,
                    computation_details: Some(computation.details),
                    ..ComputationToken::default()
                };
                let opened = opener.open(&token, duchy).await.expect("this duchy's");
                let clear = secret(&opened.token.computation_details.expect("details"));
                kept.insert(name, Kept { stored, clear, lies });
            }
        }
    }
}

fn secret(details: &ComputationDetails) -> Vec<u8> {
    match details.protocol.as_ref().expect("a protocol") {
        computation_details::Protocol::LiquidLegionsV2(details) => {
            details.local_elgamal_key.as_ref().map_or_else(Vec::new, |key| key.secret_key.clone())
        }
        computation_details::Protocol::ReachOnlyLiquidLegionsV2(details) => {
            details.local_elgamal_key.as_ref().map_or_else(Vec::new, |key| key.secret_key.clone())
        }
        computation_details::Protocol::HonestMajorityShareShuffle(details) => details.random_seed.clone(),
        other => panic!("another protocol: {other:?}"),
    }
}

/// All that lies in the files of the duchies' databases, which are in the folders of their names.
fn databases(folder: &Path) -> Vec<u8> {
    let files =
        files(folder).into_iter().filter(|path| path.to_string_lossy().contains("computations.sqlite"));
    let contents: Vec<_> = files.map(|path| std::fs::read(path).expect("a file")).collect();
    assert!(contents.len() >= DUCHIES.len(), "each has one");
    contents.concat()
}

/// What a PEM file is of, and its bytes.
fn pem(text: &[u8]) -> (String, Vec<u8>) {
    use base64::Engine as _;
    let text = std::str::from_utf8(text).expect("text");
    let mut lines = text.lines();
    let label = lines.next().expect("a label").to_owned();
    let body: String = lines.take_while(|line| !line.starts_with("-----")).collect();
    (label, base64::engine::general_purpose::STANDARD.decode(body).expect("base64"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measurements_leave_a_sound_log_that_tells_no_secret() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("audit.log");
    let log = AuditLog::open(&path, "trial", "").expect("a log");
    audit::install(log.clone()).expect("the only one");
    let (mut homes, mut kept) = (Vec::new(), Vec::new());
    for (index, protocol) in protocols().into_iter().enumerate() {
        let home = folder.path().join(index.to_string());
        let metric = match protocol {
            Protocol::ReachOnlyLiquidLegionsV2(_) => Metric::Reach,
            _ => Metric::ReachAndFrequency {
                frequency_privacy: DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 },
                maximum_frequency: 3,
            },
        };
        let trial = start(&home, protocol).await;
        let rows = Rows::open(&home).await;
        kept.push(rows.during(measure(&trial, metric)).await);
        drop(rows);
        intrude(&trial).await;
        trial.stop().await.expect("everyone stops");
        homes.push(home);
    }
    audit::close();

    let expected = Expected { hashes: vec![log.head()], ..Expected::default() };
    verify(std::slice::from_ref(&path), &expected).expect("sound, and no seed is used twice");
    let text = std::fs::read(&path).expect("a log");
    let records: Vec<Value> =
        text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let of = |event: &str| records.iter().filter(|record| record["event"] == event).collect::<Vec<_>>();

    // Everybody's setup, the frequencies of one aggregator and two workers; everybody's setup; two workers.
    let mut noises = BTreeMap::new();
    for record in of("noise.added") {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        *noises.entry(text(&record["details"]["stage"])).or_insert(0) += 1;
        assert!(record["details"]["records"].as_u64().expect("a number") > 0, "{record}");
        assert_eq!(text(&record["details"]["seed"]).len(), 64, "{record}");
        for component in record["details"]["components"].as_array().expect("a list") {
            assert_eq!(component["mechanism"], "GEOMETRIC", "{record}");
            assert!(component["shift"].as_u64().expect("a number") > 0, "{record}");
            assert!(component["epsilon"] == 1.0 && component["draws"].as_u64() >= Some(1), "{record}");
        }
    }
    let stages =
        [("EXECUTION_PHASE_ONE", 1), ("EXECUTION_PHASE_TWO", 2), ("SETUP_PHASE", 6), ("SHUFFLE_PHASE", 2)];
    assert_eq!(noises, stages.map(|(stage, times)| (stage.to_owned(), times)).into());

    let fulfilled: BTreeSet<_> =
        of("requisition.fulfilled").iter().map(|record| record["principal"].to_string()).collect();
    assert_eq!(
        fulfilled.into_iter().collect::<Vec<_>>(),
        [r#""dataProviders/news""#, r#""dataProviders/video""#]
    );
    assert_eq!(of("result.sent").len(), 3);
    assert!(of("result.sent").iter().all(|record| record["duchy"] == "aggregator"));
    assert_eq!(of("key.generated").len(), 3 + 3 + 2);
    let used = |purpose: &str| {
        let is_so = |record: &&&Value| {
            record["details"]["purpose"].as_str().is_some_and(|it| it.starts_with(purpose))
        };
        of("key.used").iter().filter(is_so).count()
    };
    // A key is published in its first stage and unwrapped in all later ones, of which each duchy has two at least.
    assert!(used("unwrapping the computation's secret") >= 2 * (3 + 3) + 2, "{records:?}");
    // A worker draws the seed of its stage from its private key, and opens data providers' seeds if it is sent some.
    assert!((3..=4).contains(&used("unwrapping private key")), "{records:?}");
    assert!(of("key.used").iter().all(|record| record["outcome"] == "done"), "{records:?}");
    assert_eq!(of("requisition.refused").len(), 3);
    for record in of("requisition.refused") {
        assert_eq!(
            (&record["principal"], &record["outcome"]),
            (&"dataProviders/news".into(), &"refused".into())
        );
        let rpc = record["details"]["rpc"].as_str().expect("text");
        assert!(rpc.ends_with("/FulfillRequisition"), "{record}");
        assert_eq!(record["details"]["status"], "INVALID_ARGUMENT", "{record}");
    }
    assert!(of("caller.refused").iter().any(|record| record["principal"] == "dataProviders/news"));
    assert!(of("connection.refused").iter().any(|record| record["principal"] == "ip:127.0.0.1"));
    assert_eq!(of("computation.failed").len(), 0);

    let told = Told::by(&text);
    let (mut looked_for, mut opened) = (0, 0);
    for (home, kept) in homes.iter().zip(kept) {
        for (name, secret) in secrets(home) {
            assert!(!told.tells(&secret), "the log tells something of {name}");
            looked_for += 1;
        }
        let databases = Told::by(&databases(home));
        for (name, Kept { stored, clear, lies }) in kept {
            assert!(!told.tells(&clear), "the log tells something of {name}");
            assert_ne!(stored, clear, "{name}");
            assert!(lies, "{name}: what is stored is not where it is looked for");
            assert!(!databases.tells(&stored), "{name}: it is still there when the computation has ended");
            assert!(!databases.tells(&clear), "{name}: the secret lies in the clear");
            opened += 1;
        }
    }
    // Keys of eight parties and more, payloads, and keys of the computations, three times.
    assert!(looked_for > 3 * 20, "{looked_for}");
    // Secret keys of three duchies twice, and seeds of two workers.
    assert_eq!(opened, 3 + 3 + 2);
}
