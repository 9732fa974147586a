//! A share shuffle in memory.

use std::collections::{BTreeMap, VecDeque};

use halo_crypto::Secret;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::{PrngSeed, StreamSeed};
use prost::Message as _;

use crate::computation::Computation;
use crate::duchy_id::DuchyId;
use crate::effect::{Effect, MeasurementResult};
use crate::hmss::{
    AggregationInputs, Event, Message, Parameters, Role, SeedShare, Setting, SetupInputs, ShuffleInputs,
    Stage, StageKind, State, StepError, Surroundings, VectorShare, WorkerKeys, generate_secret_shares,
    secret_seeds,
};
use crate::kernel::{KernelContext, KernelError};
use crate::proto::duchy::{EncryptionKeyPair, EncryptionPublicKey};
use crate::proto::frequency_count::{FrequencyVector, SecretShareGeneratorRequest};
use crate::proto::protocol::honest_majority_share_shuffle::ComputationDetails;
use crate::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;

/// The duchies, each at the index of its [`Role`] in [`Role::ALL`].
const DUCHIES: [&str; 3] = ["worker1", "worker2", "aggregator"];

/// A payload on its way, open to change by an [`Interceptor`].
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Who sends.
    pub from: DuchyId,
    /// Who receives.
    pub to: DuchyId,
    /// What it is.
    pub message: Message,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Sees every payload between duchies and may change it.
pub type Interceptor = Box<dyn FnMut(&mut Delivery)>;

/// What a data provider handed over.
#[derive(Clone)]
pub struct Fulfilment {
    /// The requisition.
    pub requisition: String,
    /// Index of the worker that has the vector; the other has the seed.
    pub worker: usize,
    /// How many registers there are.
    pub register_count: i64,
    /// A serialised `FrequencyVector`.
    pub frequency_vector: Vec<u8>,
    /// The seed. Nothing is encrypted in memory: this is what the worker with the vector passes on as its ciphertext.
    pub seed: Vec<u8>,
}

impl Fulfilment {
    /// Splits a frequency vector, and hands its shares to `worker` and the other one.
    ///
    /// # Errors
    /// If the vector cannot be split.
    pub fn new(
        requisition: impl Into<String>,
        worker: usize,
        frequencies: Vec<u32>,
        ring_modulus: u32,
        context: &KernelContext,
    ) -> Result<Self, KernelError> {
        let register_count = frequencies.len() as i64;
        let request = SecretShareGeneratorRequest { ring_modulus, data: frequencies };
        let shares = generate_secret_shares(&request, context)?;
        let seed = shares.share_seed.ok_or(KernelError::Missing("share_seed"))?;
        Ok(Self {
            requisition: requisition.into(),
            worker,
            register_count,
            frequency_vector: FrequencyVector { data: shares.share_vector }.encode_to_vec(),
            seed: [seed.key.as_slice(), &seed.iv].concat(),
        })
    }
}

/// Why a computation in memory ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A duchy refused an event.
    #[error("{duchy}: {source}")]
    Step {
        /// Which duchy.
        duchy: DuchyId,
        /// Why.
        source: Box<StepError>,
    },
    /// A duchy told the Kingdom that it cannot go on.
    #[error("{duchy} failed: {reason}")]
    Failed {
        /// Which duchy.
        duchy: DuchyId,
        /// The reason it gave.
        reason: String,
    },
    /// No duchy had anything left to do, and there is no result.
    #[error("the computation stands still")]
    Stalled,
}

struct Duchy {
    id: DuchyId,
    state: State,
    inbox: BTreeMap<DuchyId, Vec<u8>>,
}

/// The three duchies of one computation.
pub struct Cluster {
    duchies: [Duchy; 3],
    seed: StreamSeed,
    steps: usize,
    executor: Executor,
    interceptor: Option<Interceptor>,
    deliveries: VecDeque<Delivery>,
    results: Vec<MeasurementResult>,
    sent: BTreeMap<DuchyId, u64>,
}

impl Cluster {
    /// Creates the duchies and lets each publish its key.
    ///
    /// # Errors
    /// If a duchy refuses to start.
    pub fn new(
        parameters: &Parameters,
        requisition_count: usize,
        seed: [u8; 32],
    ) -> Result<Self, ClusterError> {
        let seed = StreamSeed::new(seed);
        let duchies = [0, 1, 2].map(|index| {
            let setting = setting(parameters, requisition_count, index);
            let keys = (setting.role != Role::Aggregator).then(|| worker_keys(&seed, index));
            Duchy { id: DUCHIES[index].into(), state: State::new(setting, keys), inbox: BTreeMap::new() }
        });
        let mut cluster = Self {
            duchies,
            seed,
            steps: 0,
            executor: Executor::serial(),
            interceptor: None,
            deliveries: VecDeque::new(),
            results: Vec::new(),
            sent: BTreeMap::new(),
        };
        for index in 0..DUCHIES.len() {
            cluster.step(index, Event::Initialize)?;
        }
        Ok(cluster)
    }

    /// The same cluster with kernels running on `executor`.
    #[must_use]
    pub fn on(mut self, executor: Executor) -> Self {
        self.executor = executor;
        self
    }

    /// The same cluster with every payload passing through `interceptor`.
    #[must_use]
    pub fn intercepted_by(mut self, interceptor: Interceptor) -> Self {
        self.interceptor = Some(interceptor);
        self
    }

    /// Bytes that each duchy has sent to others.
    pub fn sent(&self) -> &BTreeMap<DuchyId, u64> {
        &self.sent
    }

    /// Runs the computation to its end.
    ///
    /// # Errors
    /// [`ClusterError`] of the first duchy that cannot go on.
    pub fn run(mut self, fulfilments: &[Fulfilment]) -> Result<MeasurementResult, ClusterError> {
        self.step(0, Event::Start)?;
        while self.results.is_empty() {
            self.deliver()?;
            let computing = |duchy: &Duchy| duchy.state.stage().kind() == StageKind::Compute;
            let index = self.duchies.iter().position(computing).ok_or(ClusterError::Stalled)?;
            let event = self.work(index, fulfilments)?;
            self.step(index, event)?;
        }
        self.results.pop().ok_or(ClusterError::Stalled)
    }

    /// Where a duchy stands.
    ///
    /// # Panics
    /// If there is no such duchy.
    pub fn state(&self, index: usize) -> &State {
        &self.duchies[index].state
    }

    /// What a duchy in a stage to be computed is told.
    fn work(&self, index: usize, fulfilments: &[Fulfilment]) -> Result<Event, ClusterError> {
        let duchy = &self.duchies[index];
        let own = || fulfilments.iter().filter(|fulfilment| fulfilment.worker == index);
        Ok(match duchy.state.stage() {
            Stage::SetupPhase => Event::Setup(SetupInputs {
                secret_seeds: own()
                    .map(|fulfilment| SecretSeed {
                        requisition_id: fulfilment.requisition.clone(),
                        secret_seed_ciphertext: fulfilment.seed.clone(),
                        register_count: fulfilment.register_count,
                        data_provider_certificate: String::new(),
                    })
                    .collect(),
                evidence: None,
            }),
            Stage::ShufflePhase => {
                let (peer, peer_message) = duchy.inbox.iter().next().ok_or(ClusterError::Stalled)?;
                let sent = secret_seeds(peer, peer_message).map_err(|source| ClusterError::Step {
                    duchy: duchy.id.clone(),
                    source: Box::new(source),
                })?;
                Event::Shuffle(ShuffleInputs {
                    requisitions: fulfilments.iter().map(|it| it.requisition.clone()).collect(),
                    vectors: own()
                        .map(|fulfilment| VectorShare {
                            requisition: fulfilment.requisition.clone(),
                            register_count: fulfilment.register_count,
                            frequency_vector: fulfilment.frequency_vector.clone(),
                        })
                        .collect(),
                    peer_message: peer_message.clone(),
                    seeds: sent
                        .into_iter()
                        .map(|seed| SeedShare {
                            requisition: seed.requisition_id,
                            seed: Secret::new(seed.secret_seed_ciphertext),
                        })
                        .collect(),
                    kept: None,
                })
            }
            _ => Event::Aggregate(AggregationInputs { messages: duchy.inbox.values().cloned().collect() }),
        })
    }

    /// Tells one duchy an event and carries out what it asks for.
    ///
    /// # Errors
    /// If the duchy refuses the event or cannot go on.
    ///
    /// # Panics
    /// If there is no such duchy, or its state does not survive being written to a row.
    pub fn step(&mut self, index: usize, event: Event) -> Result<(), ClusterError> {
        self.steps += 1;
        let context = KernelContext::new(self.executor.clone(), self.seed.derive(&self.steps.to_be_bytes()));
        let duchy = &mut self.duchies[index];
        let step = duchy
            .state
            .clone()
            .step(event, &context)
            .map_err(|source| ClusterError::Step { duchy: duchy.id.clone(), source: Box::new(source) })?;
        duchy.state = through_a_row(&step.next);
        for effect in step.effects {
            match effect {
                Effect::PublishKey { .. }
                | Effect::PublishEncryptionKey { .. }
                | Effect::ConfirmParticipation
                | Effect::Keep(_) => {}
                Effect::Send { to, message, payload } => {
                    let payload = payload.into_bytes();
                    *self.sent.entry(duchy.id.clone()).or_default() += payload.len() as u64;
                    let mut delivery = Delivery { from: duchy.id.clone(), to, message, payload };
                    if let Some(interceptor) = &mut self.interceptor {
                        interceptor(&mut delivery);
                    }
                    self.deliveries.push_back(delivery);
                }
                Effect::ReportResult(result) => self.results.push(result),
                Effect::FailParticipation { reason } => {
                    return Err(ClusterError::Failed { duchy: duchy.id.clone(), reason });
                }
            }
        }
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), ClusterError> {
        for _ in 0..self.deliveries.len() {
            let Some(delivery) = self.deliveries.pop_front() else { break };
            let Some(index) = self.duchies.iter().position(|duchy| duchy.id == delivery.to) else {
                continue;
            };
            // A peer that has not come to the waiting stage yet gets it later, as from a host that tries again.
            if self.state(index).stage() != delivery.message.awaited_in() {
                self.deliveries.push_back(delivery);
                continue;
            }
            let Delivery { from, message, payload, .. } = delivery;
            self.duchies[index].inbox.insert(from.clone(), payload);
            self.step(index, Event::PeerMessage { from, message })?;
        }
        Ok(())
    }
}

fn setting(parameters: &Parameters, requisition_count: usize, index: usize) -> Setting {
    let [first, second, aggregator] = DUCHIES.map(DuchyId::from);
    Setting {
        computation: "computation-in-memory".into(),
        duchy: DUCHIES[index].into(),
        role: Role::ALL[index],
        non_aggregators: [first, second],
        aggregator,
        requisition_count,
        parameters: parameters.clone(),
    }
}

fn worker_keys(seed: &StreamSeed, index: usize) -> WorkerKeys {
    WorkerKeys {
        random_seed: PrngSeed::random(&mut seed.stream("random seed", index)),
        encryption_key_pair: EncryptionKeyPair {
            private_key_id: format!("key of {}", DUCHIES[index]),
            public_key: Some(EncryptionPublicKey { format: 1, data: vec![1] }),
        },
    }
}

fn through_a_row(state: &State) -> State {
    let mut details = ComputationDetails::default();
    state.write_details(&mut details);
    let setting = state.setting();
    let surroundings = Surroundings {
        computation: setting.computation.clone(),
        duchy: setting.duchy.clone(),
        aggregator: setting.aggregator.clone(),
        requisition_count: setting.requisition_count,
        vid_sampling_width: setting.parameters.vid_sampling_width,
        received: match state {
            State::WaitOnAggregationInput(state) => state.received.iter().cloned().collect(),
            _ => Vec::new(),
        },
        outcome: match state {
            State::Complete(_, outcome) => Some(*outcome),
            _ => None,
        },
    };
    let read = State::from_details(state.stage(), &details, surroundings).expect("a row just written");
    assert_eq!(read, *state, "a state must survive being written to a row");
    read
}
