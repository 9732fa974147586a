//! Requisitions of the share shuffle: which worker gets what, and what can go wrong.

use std::collections::BTreeMap;

use halo_crypto::prg::PrngSeed;
use halo_crypto::ring::RingModulus;
use halo_crypto::secret_sharing::expand;
use halo_protocols::data_provider::VidIndexMap;
use halo_protocols::proto::frequency_count::FrequencyVector;

use super::*;
use crate::data_provider::consent_check::ShareOrder;
use crate::kingdom::config::ShareShuffleSettings;
use crate::proto::api::fulfill_requisition_request::header;
use crate::proto::api::requisition::{DuchyEntry, duchy_entry};
use crate::proto::api::{EncryptionPublicKey, RandomSeed, SignedMessage, encryption_public_key};

const WORKERS: [&str; 2] = ["worker0", "worker1"];
const POPULATION: i64 = 50;
const MODULUS: u32 = 127;

/// A measurement whose duchies have published their keys, and the workers' keysets.
async fn world(metric: Metric) -> (World, BTreeMap<&'static str, PrivateKeyset>) {
    let settings = ShareShuffleSettings::of(WORKERS.map(str::to_owned), "aggregator".to_owned());
    let protocol = Protocol::HonestMajorityShareShuffle(settings);
    let world =
        World::of(protocol, &["worker0", "worker1", "aggregator"], &["edp1"], 1, Code::Unavailable).await;
    let (_, computation) = world.create(&["edp1"], metric).await;
    let mut keysets = BTreeMap::new();
    for duchy in WORKERS {
        let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut UnwrapErr(SysRng));
        let key = EncryptionPublicKey {
            format: encryption_public_key::Format::TinkKeyset.into(),
            data: keyset.public().to_bytes(),
        };
        let tink_public_key = prost::Message::encode_to_vec(&key);
        let signature = world.signer(duchy).sign(&tink_public_key).unwrap();
        let params = requisition_params::HonestMajorityShareShuffle {
            tink_public_key,
            tink_public_key_signature: signature.bytes,
            tink_public_key_signature_algorithm_oid: signature.algorithm_oid,
        };
        let params = requisition_params::Protocol::HonestMajorityShareShuffle(params);
        world.set_params(&computation, duchy, params).await;
        keysets.insert(duchy, keyset);
    }
    let params = requisition_params::Protocol::HonestMajorityShareShuffle(Default::default());
    world.set_params(&computation, "aggregator", params).await;
    (world, keysets)
}

fn reach_and_frequency() -> Metric {
    Metric::ReachAndFrequency { frequency_privacy: PRIVACY, maximum_frequency: 5 }
}

fn side(world: &World) -> ShareShuffleSide {
    let worker = |duchy: &str| {
        (duchy.to_owned(), client::channel(&world.tls("edp1"), &world.duchy_target, None).unwrap())
    };
    ShareShuffleSide {
        population: Arc::new(VidIndexMap::new(1..=POPULATION).unwrap()),
        signer: world.signer("edp1"),
        certificate: "dataProviders/edp1/certificates/1".to_owned(),
        workers: WORKERS.map(worker).into(),
    }
}

/// Person `vid` is seen as many times as its number says; person 1000 is not of the population.
fn provider(world: &World) -> DataProvider {
    let impressions: Vec<Vid> = (1..=9).flat_map(|vid| vec![vid; vid as usize]).chain([1000]).collect();
    world.data_provider("edp1", &impressions).with_share_shuffle(Some(side(world)))
}

fn header_of(messages: &[FulfillRequisitionRequest]) -> header::HonestMajorityShareShuffle {
    let Some(fulfill_requisition_request::Payload::Header(header)) = messages[0].payload.clone() else {
        panic!("no header");
    };
    match header.protocol {
        Some(header::Protocol::HonestMajorityShareShuffle(header)) => header,
        other => panic!("{other:?}"),
    }
}

/// The key's owner, of the two entries.
fn keyed(duchies: &[DuchyEntry]) -> &'static str {
    let has_key = |entry: &&DuchyEntry| match entry.value.as_ref().unwrap().protocol.as_ref().unwrap() {
        duchy_entry::value::Protocol::HonestMajorityShareShuffle(entry) => entry.public_key.is_some(),
        other => panic!("{other:?}"),
    };
    let key = &duchies.iter().find(has_key).unwrap().key;
    WORKERS.into_iter().find(|duchy| key.ends_with(duchy)).unwrap()
}

/// What the two workers can put together.
fn recombined(keyset: &PrivateKeyset, messages: &[FulfillRequisitionRequest]) -> Vec<u32> {
    let header = header_of(messages);
    let plaintext = keyset.decrypt(&header.secret_seed.unwrap().ciphertext).unwrap();
    let signed: SignedMessage = prost::Message::decode(&plaintext[..]).unwrap();
    let seed: RandomSeed = prost::Message::decode(consent::signed_bytes(&signed)).unwrap();
    let vector: FrequencyVector = prost::Message::decode(&body(messages)[..]).unwrap();
    assert_eq!(header.register_count as usize, vector.data.len());
    let seed = PrngSeed::from_bytes(&seed.data).unwrap();
    let other = expand(&seed, vector.data.len(), RingModulus::new(MODULUS).unwrap()).unwrap();
    vector.data.iter().zip(other.expose()).map(|(one, other)| (one + other) % MODULUS).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_workers_shares_add_up_to_capped_counts() {
    for (metric, maximum) in [(reach_and_frequency(), 5), (Metric::Reach, 1)] {
        let (world, keysets) = world(metric).await;
        let provider = provider(&world);
        let [requisition] = provider.waiting().await.unwrap().try_into().unwrap();
        let outcomes = provider.fulfill_waiting().await.unwrap();
        let [Outcome::Fulfilled(fulfilled)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        assert_eq!(fulfilled.registers as i64, POPULATION);

        // The first call was answered with UNAVAILABLE: the second brings the same shares.
        let received = world.duchy.received.lock().unwrap().clone();
        let [refused, taken] = received.as_slice() else { panic!("{} calls", received.len()) };
        assert_eq!(body(refused), body(taken));
        let header = header_of(taken);
        assert_eq!(header.data_provider_certificate, "dataProviders/edp1/certificates/1");
        let keyset = &keysets[keyed(&requisition.duchies)];
        let found = recombined(keyset, taken);
        let index = VidIndexMap::new(1..=POPULATION).unwrap();
        for vid in 1..=POPULATION {
            let expected = if vid <= 9 { vid.min(maximum) } else { 0 };
            assert_eq!(i64::from(found[index.index(vid).unwrap()]), expected, "person {vid}");
        }
        let other = keysets.iter().find(|(duchy, _)| **duchy != keyed(&requisition.duchies)).unwrap().1;
        let sealed = header.secret_seed.unwrap().ciphertext;
        assert!(other.decrypt(&sealed).is_err(), "who has the vector must not have the seed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_leave_it_open_who_gets_what_are_refused() {
    use DataProviderError as E;
    let (world, _) = world(reach_and_frequency()).await;
    let provider = provider(&world);
    let original = provider.waiting().await.unwrap().remove(0);
    assert!(provider.check(&original).await.is_ok());
    let with_key = original.duchies.iter().position(|entry| entry.key.ends_with(keyed(&original.duchies)));
    let with_key = with_key.unwrap();

    type Change = Box<dyn Fn(&mut Requisition)>;
    type Expected = fn(&DataProviderError) -> bool;
    let cases: Vec<(Change, Expected)> = vec![
        (Box::new(|found| found.duchies.clear()), |error| {
            matches!(error, E::Workers { duchies: 0, keys: 0 })
        }),
        (Box::new(|found| found.duchies.truncate(1)), |error| matches!(error, E::Workers { duchies: 1, .. })),
        (Box::new(move |found| shown(found, with_key).public_key = None), |error| {
            matches!(error, E::Workers { duchies: 2, keys: 0 })
        }),
        (
            Box::new(move |found| {
                let key = shown(found, with_key).public_key.clone();
                shown(found, 1 - with_key).public_key = key;
            }),
            |error| matches!(error, E::Workers { duchies: 2, keys: 2 }),
        ),
        (
            Box::new(move |found| found.duchies[with_key].key = found.duchies[1 - with_key].key.clone()),
            |error| matches!(error, E::Workers { .. }),
        ),
        (
            Box::new(move |found| {
                let signed = shown(found, with_key).public_key.as_mut().unwrap();
                signed.message.as_mut().unwrap().value[20] ^= 1;
            }),
            |error| matches!(error, E::Signature { .. }),
        ),
        (
            Box::new(move |found| {
                found.duchies[with_key].value.as_mut().unwrap().duchy_certificate =
                    "duchies/aggregator/certificates/1".to_owned();
            }),
            |error| matches!(error, E::Certificate(_)),
        ),
    ];
    for (case, (change, expected)) in cases.into_iter().enumerate() {
        let mut requisition = original.clone();
        change(&mut requisition);
        let Err(error) = provider.check(&requisition).await else { panic!("case {case}: accepted") };
        assert!(expected(&error), "case {case}: {error:?}");
        assert!(error.justification().is_some(), "case {case}");
    }
}

fn shown(requisition: &mut Requisition, index: usize) -> &mut duchy_entry::HonestMajorityShareShuffle {
    match requisition.duchies[index].value.as_mut().unwrap().protocol.as_mut() {
        Some(duchy_entry::value::Protocol::HonestMajorityShareShuffle(entry)) => entry,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_population_the_requisition_is_refused() {
    let (world, _) = world(Metric::Reach).await;
    let outcomes = world.data_provider("edp1", &[1]).fulfill_waiting().await.unwrap();
    let [Outcome::Refused { error, .. }] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!(matches!(error, DataProviderError::NoShareShuffle), "{error:?}");
    assert!(world.duchy.received.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_nowhere_leaves_the_requisition_waiting() {
    let (world, _) = world(Metric::Reach).await;
    let side = ShareShuffleSide { workers: BTreeMap::new(), ..side(&world) };
    let provider = provider(&world).with_share_shuffle(Some(side));
    let outcomes = provider.fulfill_waiting().await.unwrap();
    let [Outcome::Waits { error: DataProviderError::UnknownDuchy(_), .. }] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    assert_eq!(provider.waiting().await.unwrap().len(), 1);
}

/// A Kingdom that names one worker and later the other would give each the seed of what the other has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_what_decides_the_seed() {
    let (world, keysets) = world(Metric::Reach).await;
    let provider = provider(&world);
    let requisition = provider.waiting().await.unwrap().remove(0);
    let order = async || match provider.check(&requisition).await.unwrap().data {
        DataOrder::Shares(order) => order,
        DataOrder::Sketch(_) => panic!("a sketch"),
    };
    let vector = async |order: &ShareOrder| provider.shares(&requisition.name, order).await.unwrap().body;
    let original = order().await;
    let sent = vector(&original).await;
    assert_eq!(vector(&order().await).await, sent, "the same again");

    let peer = keyed(&requisition.duchies);
    let other_worker = ShareOrder { worker: peer.to_owned(), ..order().await };
    let other_key = ShareOrder { peer_key: keysets[original.worker.as_str()].public(), ..order().await };
    let neither = ShareOrder { worker: peer.to_owned(), ..other_key.clone() };
    for changed in [other_worker, other_key, neither] {
        assert_ne!(vector(&changed).await, sent, "{:?} is to get the vector", changed.worker);
    }
}
