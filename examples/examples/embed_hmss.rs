//! The honest-majority share shuffle inside another service: the state machine driven by hand, without the duchy shell.
//!
//! Two workers and an aggregator run as threads and talk through channels; the main thread plays the data providers and
//! the Kingdom. A real service would carry the same bytes over its own transport, keep [`State`] and every kept payload
//! in its own store in the order that `halo_protocols::computation` asks for, and open and verify the seeds, which are
//! not encrypted here.
//!
//! ```text
//! cargo run --release --example embed_hmss
//! ```

use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_crypto::Secret;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::{PrngSeed, StreamSeed};
use halo_protocols::data_provider::{FrequencyVectorBuilder, VidIndexMap};
use halo_protocols::hmss::{
    AggregationInputs, Effect, Event, Message, Noise, NoisePolicy, Parameters, Role, SeedShare, Setting,
    SetupInputs, ShuffleInputs, Stage, StageKind, State, VectorShare, WorkerKeys, generate_secret_shares,
    secret_seeds,
};
use halo_protocols::kernel::{KernelContext, MAXIMUM_MESSAGE_BYTES};
use halo_protocols::proto::duchy::{
    DifferentialPrivacyParams, EncryptionKeyPair, EncryptionPublicKey, NoiseMechanism,
};
use halo_protocols::proto::frequency_count::{FrequencyVector, SecretShareGeneratorRequest};
use halo_protocols::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;
use halo_protocols::{Computation, DuchyId, MeasurementResult, Payload};
use prost::Message as _;

type AnyError = Box<dyn Error + Send + Sync>;

/// The duchies in the order of [`Role::ALL`].
const DUCHIES: [&str; 3] = ["worker1", "worker2", "aggregator"];
const MAXIMUM_FREQUENCY: u32 = 5;
const RING_MODULUS: u32 = 127;
const POPULATION: i64 = 10_000;

/// What arrives at a duchy.
enum Mail {
    /// The Kingdom: all requisitions are fulfilled. Here is what the data providers handed to this duchy.
    Start { requisitions: Vec<String>, vectors: Vec<VectorShare>, secret_seeds: Vec<SecretSeed> },
    /// Another duchy.
    Peer { from: DuchyId, message: Message, payload: Payload },
    /// The Kingdom: the computation is over.
    Done,
}

/// What a duchy tells the Kingdom.
enum Report {
    Ready,
    Failed(DuchyId, String),
    Result(MeasurementResult),
}

/// One duchy: a state, and what a host has to keep for it.
struct Duchy {
    id: DuchyId,
    state: State,
    context: KernelContext,
    /// Ids of all requisitions, once they are fulfilled.
    requisitions: Option<Vec<String>>,
    vectors: Vec<VectorShare>,
    secret_seeds: Vec<SecretSeed>,
    inbox: Vec<(DuchyId, Vec<u8>)>,
    peers: Vec<(DuchyId, Sender<Mail>)>,
    kingdom: Sender<Report>,
}

impl Duchy {
    /// Works until the Kingdom says that the computation is over.
    fn run(mut self, mail: &Receiver<Mail>) -> Result<(), AnyError> {
        self.step(Event::Initialize)?;
        // What came before the stage that awaits it: peers may be ahead.
        let mut early = Vec::new();
        for mail in mail {
            match mail {
                Mail::Start { requisitions, vectors, secret_seeds } => {
                    self.requisitions = Some(requisitions);
                    self.vectors = vectors;
                    self.secret_seeds = secret_seeds;
                    // The others are started by their peers.
                    if self.state.setting().role == Role::FirstNonAggregator {
                        self.step(Event::Start)?;
                    }
                }
                Mail::Peer { from, message, payload } => early.push((from, message, payload)),
                Mail::Done => break,
            }
            if self.requisitions.is_some() {
                self.work(&mut early)?;
            }
        }
        Ok(())
    }

    /// Takes what is awaited and computes what can be computed, until neither is possible.
    fn work(&mut self, early: &mut Vec<(DuchyId, Message, Payload)>) -> Result<(), AnyError> {
        loop {
            let stage = self.state.stage();
            if let Some(index) = early.iter().position(|(_, message, _)| message.awaited_in() == stage) {
                let (from, message, payload) = early.swap_remove(index);
                self.inbox.push((from.clone(), payload.into_bytes()));
                self.step(Event::PeerMessage { from, message })?;
            } else if stage.kind() == StageKind::Compute {
                let event = self.inputs(stage)?;
                self.step(event)?;
            } else {
                return Ok(());
            }
        }
    }

    /// What the stage works on.
    fn inputs(&mut self, stage: Stage) -> Result<Event, AnyError> {
        Ok(match stage {
            Stage::SetupPhase => {
                let secret_seeds = std::mem::take(&mut self.secret_seeds);
                Event::Setup(SetupInputs { secret_seeds, evidence: None })
            }
            Stage::ShufflePhase => {
                let (peer, peer_message) = self.inbox.pop().ok_or("nothing from the other worker")?;
                let seeds = secret_seeds(&peer, &peer_message)?
                    .into_iter()
                    // A real worker decrypts the seed with its private key and verifies the data provider's signature.
                    .map(|seed| SeedShare {
                        requisition: seed.requisition_id,
                        seed: Secret::new(seed.secret_seed_ciphertext),
                    })
                    .collect();
                let requisitions = self.requisitions.clone().unwrap_or_default();
                let vectors = std::mem::take(&mut self.vectors);
                Event::Shuffle(ShuffleInputs { requisitions, vectors, peer_message, seeds, kept: None })
            }
            _ => {
                // The workers' names are in the order of their parts.
                self.inbox.sort();
                let messages = self.inbox.drain(..).map(|(_, payload)| payload).collect();
                Event::Aggregate(AggregationInputs { messages })
            }
        })
    }

    /// One step: the state moves on, and what it asks for is done.
    fn step(&mut self, event: Event) -> Result<(), AnyError> {
        let name = event.name();
        let step = self.state.clone().step(event, &self.context)?;
        println!("{:<10}  {:<12} {}", self.id, name, step.next.stage().name());
        self.state = step.next;
        for effect in step.effects {
            match effect {
                // A real worker signs its key, and the data providers verify that before they encrypt.
                Effect::PublishEncryptionKey { .. } => self.kingdom.send(Report::Ready)?,
                // A real service keeps the payload before it does anything else with it.
                Effect::Keep(_) => {}
                Effect::Send { to, message, payload } => {
                    let (_, peer) = self.peers.iter().find(|(id, _)| *id == to).ok_or("an unknown peer")?;
                    peer.send(Mail::Peer { from: self.id.clone(), message, payload })?;
                }
                Effect::ReportResult(result) => self.kingdom.send(Report::Result(result))?,
                Effect::FailParticipation { reason } => {
                    self.kingdom.send(Report::Failed(self.id.clone(), reason))?;
                }
                other => return Err(format!("{other:?} is new to this host").into()),
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), AnyError> {
    let (kingdom, reports) = channel();
    let mailboxes: Vec<_> = DUCHIES.iter().map(|id| (DuchyId::from(*id), channel::<Mail>())).collect();
    let peers: Vec<_> = mailboxes.iter().map(|(id, (sender, _))| (id.clone(), sender.clone())).collect();
    let logs = event_logs();
    let threads = mailboxes
        .into_iter()
        .zip(Role::ALL)
        .map(|((id, (_, mail)), role)| {
            let setting = setting(&id, role, logs.len());
            setting.validate(NoisePolicy::Required, MAXIMUM_MESSAGE_BYTES)?;
            let duchy = Duchy {
                id,
                state: State::new(setting, (role != Role::Aggregator).then(worker_keys)),
                context: context(),
                requisitions: None,
                vectors: Vec::new(),
                secret_seeds: Vec::new(),
                inbox: Vec::new(),
                peers: peers.clone(),
                kingdom: kingdom.clone(),
            };
            let kingdom = kingdom.clone();
            Ok(thread::spawn(move || {
                let id = duchy.id.clone();
                if let Err(error) = duchy.run(&mail) {
                    // Nobody is listening any more if the computation has ended already.
                    let _ = kingdom.send(Report::Failed(id, error.to_string()));
                }
            }))
        })
        .collect::<Result<Vec<_>, AnyError>>()?;

    let outcome = measure(&logs, &peers, &reports);
    for (_, mailbox) in &peers {
        // A duchy that failed is gone already.
        let _ = mailbox.send(Mail::Done);
    }
    for thread in threads {
        thread.join().map_err(|_| "a duchy panicked")?;
    }
    let result = outcome?;
    println!("reach: {} (1,500 people were seen)", result.reach);
    for (frequency, share) in result.frequency.unwrap_or_default() {
        println!("frequency {frequency}: {share:.4}");
    }
    Ok(())
}

/// The Kingdom's part: it starts everybody once all have said that they are ready, and waits for the result.
fn measure(
    logs: &[Vec<i64>],
    duchies: &[(DuchyId, Sender<Mail>)],
    reports: &Receiver<Report>,
) -> Result<MeasurementResult, AnyError> {
    let mut ready = 0;
    for report in reports {
        match report {
            Report::Ready => {
                ready += 1;
                if ready == duchies.len() {
                    fulfil(logs, duchies)?;
                }
            }
            Report::Failed(duchy, reason) => return Err(format!("{duchy} failed: {reason}").into()),
            Report::Result(result) => return Ok(result),
        }
    }
    Err("every duchy has gone".into())
}

/// Each data provider counts its impressions and hands one share to a worker, the other, encrypted, through it to the
/// other worker.
fn fulfil(logs: &[Vec<i64>], duchies: &[(DuchyId, Sender<Mail>)]) -> Result<(), AnyError> {
    let population = VidIndexMap::new(0..POPULATION)?;
    let requisitions: Vec<String> = (0..logs.len()).map(|index| format!("requisition{index}")).collect();
    let mut handed_over = vec![(Vec::new(), Vec::new()); duchies.len()];
    for (index, (log, requisition)) in logs.iter().zip(&requisitions).enumerate() {
        let mut builder = FrequencyVectorBuilder::new(&population, 0.0, 1.0, MAXIMUM_FREQUENCY)?;
        log.iter().for_each(|vid| builder.increment(*vid));
        let request = SecretShareGeneratorRequest { ring_modulus: RING_MODULUS, data: builder.build() };
        let register_count = i64::try_from(request.data.len())?;
        let shares = generate_secret_shares(&request, &context())?;
        let seed = shares.share_seed.ok_or("a share without a seed")?;
        let (vectors, secret_seeds) = &mut handed_over[index % 2];
        vectors.push(VectorShare {
            requisition: requisition.clone(),
            register_count,
            frequency_vector: FrequencyVector { data: shares.share_vector }.encode_to_vec(),
        });
        secret_seeds.push(SecretSeed {
            requisition_id: requisition.clone(),
            // A real data provider signs the seed and encrypts it to the other worker.
            secret_seed_ciphertext: [seed.key.as_slice(), &seed.iv].concat(),
            register_count,
            data_provider_certificate: String::new(),
        });
    }
    for ((_, duchy), (vectors, secret_seeds)) in duchies.iter().zip(handed_over) {
        duchy.send(Mail::Start { requisitions: requisitions.clone(), vectors, secret_seeds })?;
    }
    Ok(())
}

/// Randomness from the operating system: a seed of its own for everyone who computes.
fn context() -> KernelContext {
    KernelContext::new(Executor::serial(), StreamSeed::random(&mut UnwrapErr(SysRng)))
}

/// What a worker draws for one computation. A real one keeps the private key of a key pair for hybrid encryption.
fn worker_keys() -> WorkerKeys {
    WorkerKeys {
        random_seed: PrngSeed::random(&mut UnwrapErr(SysRng)),
        encryption_key_pair: EncryptionKeyPair {
            private_key_id: "none".into(),
            public_key: Some(EncryptionPublicKey::default()),
        },
    }
}

/// Three data providers; person `i` of 1,500 is seen by the first if `i` is divisible by 1, by the second if by 2, …
fn event_logs() -> Vec<Vec<i64>> {
    (1..=3).map(|every| (0..1500).step_by(every).collect()).collect()
}

fn setting(duchy: &DuchyId, role: Role, requisition_count: usize) -> Setting {
    let [first, second, aggregator] = DUCHIES.map(DuchyId::from);
    let privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
    Setting {
        computation: "embedded".into(),
        duchy: duchy.clone(),
        role,
        non_aggregators: [first, second],
        aggregator,
        requisition_count,
        parameters: Parameters {
            maximum_frequency: MAXIMUM_FREQUENCY as i32,
            ring_modulus: RING_MODULUS as i32,
            vid_sampling_width: 1.0,
            noise: Some(Noise {
                mechanism: NoiseMechanism::DiscreteGaussian as i32,
                reach: privacy,
                frequency: Some(privacy),
            }),
        },
    }
}
