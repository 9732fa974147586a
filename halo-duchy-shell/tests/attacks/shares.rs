//! A worker of a share shuffle that passes on wrong seeds, or hands the aggregator a wrong share. The computation cannot be
//! saved, but it must end soon, with a reason that names what is wrong and where, and hurt no other.

use halo_duchy_shell::measurement_consumer::MeasurementError;
use halo_duchy_shell::proto::api::measurement::failure::Reason;
use halo_duchy_shell::proto::system::advance_computation_request::header;
use halo_protocols::hmss::Message;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::ShufflePhaseInput;
use prost::Message as _;
use tokio::sync::Mutex;

use crate::relay::Held;
use crate::world::{DATA_PROVIDERS, POPULATION, World};

/// What to send in place of the first fitting message.
struct Corruption {
    what: &'static str,
    /// The body to send instead, if the message fits.
    corrupt: fn(Message, &[u8]) -> Option<Vec<u8>>,
    /// What the failure must tell.
    reason: &'static str,
}

/// Changes seeds that are passed on, if there are some.
fn seeds(message: Message, body: &[u8], change: impl FnOnce(&mut ShufflePhaseInput)) -> Option<Vec<u8>> {
    if message == Message::AggregationPhaseInput {
        return None;
    }
    let mut input = ShufflePhaseInput::decode(body).expect("an honest message");
    if input.secret_seeds.is_empty() {
        return None;
    }
    change(&mut input);
    Some(input.encode_to_vec())
}

fn share(message: Message, body: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
    (message == Message::AggregationPhaseInput).then(|| {
        let mut body = body.to_vec();
        change(&mut body);
        body
    })
}

const CORRUPTIONS: [Corruption; 11] = [
    Corruption {
        what: "bytes that are no message",
        corrupt: |message, body| seeds(message, body, |_| ()).map(|_| vec![0xff; 10]),
        reason: "is no ShufflePhaseInput",
    },
    Corruption {
        what: "a random seed that is too short",
        corrupt: |message, body| seeds(message, body, |input| input.peer_random_seed.truncate(47)),
        reason: "cannot have 47 bytes",
    },
    Corruption {
        what: "a seed that was altered",
        corrupt: |message, body| {
            seeds(message, body, |input| {
                if let Some(byte) = input.secret_seeds[0].secret_seed_ciphertext.last_mut() {
                    *byte ^= 1;
                }
            })
        },
        reason: "the ciphertext is not one of this keyset, or was altered",
    },
    Corruption {
        what: "the name of another data provider",
        corrupt: |message, body| {
            seeds(message, body, |input| {
                let honest = input.secret_seeds[0].data_provider_certificate.clone();
                let others = DATA_PROVIDERS.map(|id| format!("dataProviders/{id}/certificates/1"));
                let other = others.into_iter().find(|other| *other != honest).expect("there are three");
                input.secret_seeds[0].data_provider_certificate = other;
            })
        },
        reason: "signature",
    },
    Corruption {
        what: "a duchy's certificate",
        corrupt: |message, body| {
            seeds(message, body, |input| {
                input.secret_seeds[0].data_provider_certificate = "duchies/worker1/certificates/1".to_owned();
            })
        },
        reason: "`duchies/worker1/certificates/1` is no data provider's certificate",
    },
    Corruption {
        what: "a certificate that there is not",
        corrupt: |message, body| {
            seeds(message, body, |input| {
                input.secret_seeds[0].data_provider_certificate.push('9');
            })
        },
        reason: "the Kingdom did not give certificate",
    },
    Corruption {
        what: "another number of registers",
        corrupt: |message, body| seeds(message, body, |input| input.secret_seeds[0].register_count += 1),
        reason: "registers, expected",
    },
    Corruption {
        what: "a seed twice",
        corrupt: |message, body| {
            seeds(message, body, |input| {
                let seed = input.secret_seeds[0].clone();
                input.secret_seeds.push(seed);
            })
        },
        reason: "has sent two shares",
    },
    Corruption {
        what: "a seed too few",
        corrupt: |message, body| seeds(message, body, |input| drop(input.secret_seeds.pop())),
        reason: "has no share at this worker",
    },
    Corruption {
        what: "a share without its last value",
        corrupt: |message, body| {
            // The values are the first field, with a length of one byte; behind them is the number of registers.
            share(message, body, |body| {
                assert_eq!(body[..2], [0x0a, POPULATION as u8]);
                body[1] -= 1;
                body.remove(2);
            })
        },
        reason: "99 values, expected 100",
    },
    Corruption {
        what: "a value outside the ring",
        corrupt: |message, body| share(message, body, |body| body[2] = 127),
        reason: "value 0 is not below the modulus 127",
    },
];

fn message(held: &Held) -> Message {
    match &held.header.protocol {
        Some(header::Protocol::HonestMajorityShareShuffle(protocol)) => {
            protocol.description.try_into().expect("an honest header")
        }
        other => panic!("another protocol: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrupt_shares_fail_their_own_computation_only() {
    let world = World::of_share_shuffles().await;
    for Corruption { what, corrupt, reason } in CORRUPTIONS {
        let measurement = world.create().await;
        world.fulfill_all().await;
        let corrupted = Mutex::new(false);
        let result = world
            .compute(measurement, async |held: Held| {
                let mut corrupted = corrupted.lock().await;
                let body = if *corrupted { None } else { corrupt(message(&held), &held.body) };
                if let Some(body) = body {
                    *corrupted = true;
                    held.replace(body).await.expect("the receiver cannot know yet");
                } else {
                    // Honest messages may come too late for a computation that has failed.
                    let _ = held.release().await;
                }
            })
            .await;
        let Err(MeasurementError::Failed { reason: found, message }) = result else {
            panic!("{what}: {result:?}")
        };
        assert_eq!(found, Reason::ComputationParticipantFailed, "{what}");
        assert!(message.contains(reason), "{what}: {message}");
    }
    let measurement = world.create().await;
    world.fulfill_all().await;
    let result = world.compute(measurement, async |held: Held| drop(held)).await.expect("a result");
    assert_eq!(result.reach, 50);
    assert_eq!(world.trial.kingdom.violations(), []);
    world.trial.stop().await.expect("everyone stops");
}

/// What one worker hears from the other tells it nothing of a data provider: seeds are sealed for it alone, and the
/// aggregator gets no message but the shuffled shares.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_common_seed_never_reaches_the_aggregator() {
    let world = World::of_share_shuffles().await;
    let measurement = world.create().await;
    world.fulfill_all().await;
    let seen = Mutex::new(Vec::new());
    let result = world
        .compute(measurement, async |held: Held| {
            seen.lock().await.push((held.receiver.clone(), message(&held), held.body.clone()));
            held.release().await.expect("an honest message");
        })
        .await;
    assert_eq!(result.expect("a result").reach, 50);
    let seen = seen.into_inner();
    let random_seeds: Vec<_> = seen
        .iter()
        .filter(|(_, message, _)| *message != Message::AggregationPhaseInput)
        .map(|(_, _, body)| ShufflePhaseInput::decode(&body[..]).expect("honest").peer_random_seed.clone())
        .collect();
    assert_eq!(random_seeds.len(), 2);
    for (_, message, body) in seen.iter().filter(|(receiver, ..)| receiver == "aggregator") {
        assert_eq!(*message, Message::AggregationPhaseInput);
        assert!(random_seeds.iter().all(|seed| !body.windows(16).any(|part| part == &seed[..16])));
    }
    world.trial.stop().await.expect("everyone stops");
}
