use halo_protocols::llv2::Parameters;
use halo_protocols::proto::any_sketch::crypto::ElGamalPublicKey;
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use halo_protocols::testing::{Cluster, Fulfilment};
use tonic::Code;

use super::*;
use crate::data_provider::tests::{CONSUMER_CERTIFICATE, DUCHIES, World, body, keys};
use crate::events::EventLog;
use crate::proto::api::measurement::Result as ResultMessage;
use crate::proto::api::measurement::result::{Frequency, Reach as ReachResult};
use crate::proto::system::SetComputationResultRequest;
use crate::proto::system::computations_client::ComputationsClient;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;

const PAUSE: Duration = Duration::from_millis(5);

fn result(reach: i64, frequency: Option<BTreeMap<i64, f64>>) -> ResultMessage {
    ResultMessage {
        reach: Some(ReachResult { value: reach, ..Default::default() }),
        frequency: frequency.map(|relative_frequency_distribution| Frequency {
            relative_frequency_distribution,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Sends `result` to the Kingdom as the aggregator, signed by `signer` and encrypted for `reader`.
async fn send(world: &World, computation: &str, result: &ResultMessage, signer: &str, reader: &str) {
    let keyset = world.public_keyset(reader);
    let encrypted_result =
        consent::seal_result(result, &world.signer(signer), &keyset, &mut UnwrapErr(SysRng)).unwrap();
    let request = SetComputationResultRequest {
        name: computation.to_owned(),
        aggregator_certificate: "duchies/aggregator/certificates/1".into(),
        result_public_key: keyset.to_bytes(),
        encrypted_result,
        public_api_version: "v2alpha".into(),
    };
    let mut client = ComputationsClient::new(world.to_kingdom("aggregator"));
    client.set_computation_result(request).await.unwrap();
}

/// The first 400 departures of the bundled log, from three data providers through the duchies' state machines to the
/// consumer, everything but the duchies' own talk over mutual TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_measurement_ends_in_the_true_reach_and_frequency() {
    let providers = ["EWR", "JFK", "LGA"];
    let world = World::start(&providers, 0, Code::Ok).await;
    let (name, computation) = world.create_measurement(&providers).await;
    let parameters = Parameters {
        curve_id: 415,
        maximum_frequency: 5,
        sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 },
        vid_sampling_width: 1.0,
        noise: None,
    };
    let cluster = Cluster::new(&parameters, DUCHIES.len(), providers.len(), [3; 32]).unwrap();
    for (duchy, key) in DUCHIES.into_iter().zip(cluster.published_keys()) {
        let key = ElGamalPublicKey { generator: key.generator.clone(), element: key.element.clone() };
        world.set_key(&computation, duchy, &key, duchy).await;
    }

    let whole = EventLog::bundled().unwrap();
    let mut csv = String::from("event_time,publisher,id\n");
    let mut sample = Vec::new();
    for (publisher, vids) in whole.publishers() {
        for vid in &vids[..130] {
            csv += &format!("2013-01-01,{publisher},{vid}\n");
        }
        sample.push((publisher, vids[..130].to_vec()));
    }
    let truth = EventLog::from_reader("sample", csv.as_bytes()).unwrap().truth(5, |_| true);
    for (publisher, vids) in &sample {
        world.data_provider(publisher, vids).fulfill_waiting().await.unwrap();
    }
    world.confirm(&computation).await;

    let received = world.duchy.received.lock().unwrap().clone();
    let fulfilments: Vec<_> =
        received.iter().map(|messages| Fulfilment { duchy: 0, data: body(messages) }).collect();
    let measured = cluster.run(&fulfilments).unwrap();
    send(&world, &computation, &result(measured.reach, measured.frequency), "aggregator", "mc").await;

    let found = world.consumer().result(&name, PAUSE).await.unwrap();
    assert_eq!(found.aggregator_certificate, "duchies/aggregator/certificates/1");
    assert!(found.reach.abs_diff(truth.reach as i64) <= truth.reach / 50, "{found:?} {truth:?}");
    for (frequency, share) in &truth.frequency {
        let estimate = found.frequency.get(&i64::from(*frequency)).copied().unwrap_or_default();
        assert!((estimate - share).abs() < 0.03, "{frequency}: {found:?} {truth:?}");
    }
    assert_eq!(world.kingdom.violations(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn result_of_a_liar_is_not_believed() {
    let right = result(5, Some([(1, 1.0)].into()));
    for (case, message, signer, reader) in [
        ("signed by another duchy", &right, "worker0", "mc"),
        ("encrypted for another", &right, "aggregator", "edp1"),
    ] {
        let world = World::start(&["edp1"], 0, Code::Ok).await;
        let (name, computation) = world.create_measurement(&["edp1"]).await;
        send(&world, &computation, message, signer, reader).await;
        let error = world.consumer().result(&name, PAUSE).await.unwrap_err();
        assert!(matches!(error, MeasurementError::Result(_)), "{case}: {error:?}");
    }
    for message in [result(5, None), ResultMessage::default()] {
        let world = World::start(&["edp1"], 0, Code::Ok).await;
        let (name, computation) = world.create_measurement(&["edp1"]).await;
        send(&world, &computation, &message, "aggregator", "mc").await;
        let error = world.consumer().result(&name, PAUSE).await.unwrap_err();
        assert!(matches!(error, MeasurementError::NoResult(_)), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_and_cancellation_are_told() {
    let world = World::start(&["edp1"], 0, Code::Ok).await;
    let (name, computation) = world.create_measurement(&["edp1"]).await;
    let consumer = world.consumer();
    let waiting = tokio::spawn(async move { consumer.result(&name, PAUSE).await });
    let [first, second] = keys();
    world.set_key(&computation, "worker0", &first, "worker0").await;
    world.set_key(&computation, "aggregator", &second, "worker0").await;
    world.data_provider("edp1", &[]).fulfill_waiting().await.unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, MeasurementError::Failed { reason: Reason::RequisitionRefused, .. }),
        "{error:?}"
    );

    let world = World::start(&["edp1"], 0, Code::Ok).await;
    let (name, _) = world.create_measurement(&["edp1"]).await;
    world.kingdom.cancel_measurement(&name).unwrap();
    let error = world.consumer().result(&name, PAUSE).await.unwrap_err();
    assert!(matches!(error, MeasurementError::Cancelled), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonces_differ_and_only_their_hashes_are_public() {
    let world = World::start(&["edp1", "edp2"], 0, Code::Ok).await;
    let (_, computation) = world.create_measurement(&["edp1", "edp2"]).await;
    let found = world.kingdom.computation(&computation).unwrap();
    let spec = MeasurementSpec::decode(found.measurement_spec.as_slice()).unwrap();
    let mut hashes: Vec<_> = found.requisitions.iter().map(|found| found.nonce_hash.clone()).collect();
    hashes.sort_unstable();
    let mut listed = spec.nonce_hashes;
    listed.sort_unstable();
    assert_eq!(hashes, listed);
    listed.dedup();
    assert_eq!(listed.len(), 2);
    assert!(found.requisitions.iter().all(|found| found.nonce == 0));
    assert!(CertificateName::parse(CONSUMER_CERTIFICATE).is_some());
}
