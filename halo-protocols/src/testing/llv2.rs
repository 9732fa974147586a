//! A Liquid Legions v2 computation in memory, with frequencies or reach-only.

use std::collections::{BTreeMap, VecDeque};

use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;

use crate::consent::nonce_hash;
use crate::duchy_id::DuchyId;
use crate::effect::{Effect, MeasurementResult};
use crate::kernel::{KernelContext, KernelError, compute};
use crate::liquid_legions::key_set::{Participant, Ring};
use crate::liquid_legions::{
    Event, Evidence, Parameters, RequisitionEvidence, RingComputation, RingStage, Setting, StageInputs,
    StepError, Surroundings,
};
use crate::llv2;
use crate::llv2::stage::StageKind;
use crate::proto::any_sketch::crypto as sketch_crypto;
use crate::proto::duchy::ElGamalPublicKey;
use crate::reach_only_llv2;
use crate::role::Role;

/// The duchies of one Liquid Legions v2 computation.
pub type Cluster = RingCluster<llv2::State>;
/// The duchies of one reach-only Liquid Legions v2 computation.
pub type ReachOnlyCluster = RingCluster<reach_only_llv2::State>;

/// A payload on its way, open to change by an [`Interceptor`].
#[derive(Clone, Debug)]
pub struct Delivery<M = llv2::Message> {
    /// Who sends.
    pub from: DuchyId,
    /// Who receives.
    pub to: DuchyId,
    /// What it is.
    pub message: M,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Sees every payload between duchies and may change it.
pub type Interceptor<M = llv2::Message> = Box<dyn FnMut(&mut Delivery<M>)>;

/// What a data provider handed to one of the duchies.
#[derive(Clone, Debug)]
pub struct Fulfilment {
    /// Index of the duchy it was handed to; the last is the aggregator.
    pub duchy: usize,
    /// The encrypted sketch.
    pub data: Vec<u8>,
}

/// Why a computation in memory ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError<S: RingStage = llv2::Stage> {
    /// A duchy refused an event.
    #[error("{duchy}: {source}")]
    Step {
        /// Which duchy.
        duchy: DuchyId,
        /// Why.
        source: StepError<S>,
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

struct Duchy<C> {
    id: DuchyId,
    state: C,
    inbox: Vec<(DuchyId, Vec<u8>)>,
    published: Option<Vec<u8>>,
}

/// The duchies of one computation in a ring.
pub struct RingCluster<C: RingComputation> {
    duchies: Vec<Duchy<C>>,
    seed: StreamSeed,
    steps: usize,
    executor: Executor,
    interceptor: Option<Interceptor<MessageOf<C>>>,
    deliveries: VecDeque<Delivery<MessageOf<C>>>,
    results: Vec<MeasurementResult>,
    sent: BTreeMap<DuchyId, u64>,
}

const COMPUTATION: &str = "computation-in-memory";

type MessageOf<C> = <<C as RingComputation>::Stage as RingStage>::Message;
type Failure<C> = ClusterError<<C as RingComputation>::Stage>;

impl<C: RingComputation> RingCluster<C> {
    /// Creates `duchy_count` duchies, the last of them the aggregator, and lets each make its key.
    ///
    /// # Errors
    /// If a duchy refuses the parameters.
    pub fn new(
        parameters: &Parameters,
        duchy_count: usize,
        requisition_count: usize,
        seed: [u8; 32],
    ) -> Result<Self, Failure<C>> {
        let duchies = (0..duchy_count)
            .map(|index| {
                let aggregates = index + 1 == duchy_count;
                let id =
                    DuchyId::from(if aggregates { "aggregator".into() } else { format!("worker{index}") });
                let setting = Setting {
                    computation: COMPUTATION.into(),
                    duchy: id.clone(),
                    role: if aggregates { Role::Aggregator } else { Role::NonAggregator },
                    duchy_count,
                    requisition_count,
                    parameters: parameters.clone(),
                };
                Duchy { id, state: C::new(setting), inbox: Vec::new(), published: None }
            })
            .collect();
        let mut cluster = Self {
            duchies,
            seed: StreamSeed::new(seed),
            steps: 0,
            executor: Executor::serial(),
            interceptor: None,
            deliveries: VecDeque::new(),
            results: Vec::new(),
            sent: BTreeMap::new(),
        };
        for index in 0..duchy_count {
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
    pub fn intercepted_by(mut self, interceptor: Interceptor<MessageOf<C>>) -> Self {
        self.interceptor = Some(interceptor);
        self
    }

    /// The public keys that the duchies have published; data providers encrypt under their sum.
    pub fn published_keys(&self) -> Vec<ElGamalPublicKey> {
        self.participants().iter().filter_map(|participant| participant.public_key().ok()).collect()
    }

    /// What data providers encrypt under: the sum of those keys.
    ///
    /// # Errors
    /// [`KernelError`] if a key is refused.
    pub fn combined_key(&self) -> Result<sketch_crypto::ElGamalPublicKey, KernelError> {
        let keys = self.published_keys().into_iter();
        let request = sketch_crypto::CombineElGamalPublicKeysRequest {
            curve_id: self.state(0).setting().parameters.curve_id,
            el_gamal_keys: keys
                .map(|key| sketch_crypto::ElGamalPublicKey { generator: key.generator, element: key.element })
                .collect(),
        };
        let context = KernelContext::new(self.executor.clone(), self.seed.clone());
        let response = compute(&request, &context)?;
        response.el_gamal_keys.ok_or(KernelError::Missing("el_gamal_keys"))
    }

    /// Bytes that each duchy has sent to others.
    pub fn sent(&self) -> &BTreeMap<DuchyId, u64> {
        &self.sent
    }

    /// Runs the computation to its end.
    ///
    /// # Errors
    /// [`ClusterError`] of the first duchy that cannot go on.
    pub fn run(mut self, fulfilments: &[Fulfilment]) -> Result<MeasurementResult, Failure<C>> {
        self.finish(fulfilments)
    }

    /// Tells every duchy who takes part.
    ///
    /// # Errors
    /// If a duchy refuses the key set.
    pub fn gather_all(&mut self) -> Result<(), Failure<C>> {
        let participants = self.participants();
        for index in 0..self.duchies.len() {
            let (aggregator, participants) = (DuchyId::from("aggregator"), participants.clone());
            self.step(index, Event::KeySetPublished { aggregator, participants })?;
        }
        Ok(())
    }

    /// Tells every duchy who takes part, and lets it confirm.
    ///
    /// # Errors
    /// If a duchy refuses the key set or the evidence.
    pub fn confirm_all(&mut self, fulfilments: &[Fulfilment]) -> Result<(), Failure<C>> {
        self.gather_all()?;
        for index in 0..self.duchies.len() {
            self.step(index, Event::Confirm(evidence(index, fulfilments)))?;
        }
        Ok(())
    }

    fn finish(&mut self, fulfilments: &[Fulfilment]) -> Result<MeasurementResult, Failure<C>> {
        self.confirm_all(fulfilments)?;
        for index in 0..self.duchies.len() {
            if self.state(index).setting().role == Role::NonAggregator {
                self.step(index, Event::Start)?;
            }
        }
        while self.results.is_empty() {
            self.deliver()?;
            let Some(index) =
                self.duchies.iter().position(|duchy| duchy.state.stage().kind() == StageKind::Compute)
            else {
                return Err(ClusterError::Stalled);
            };
            let requisitions = fulfilments
                .iter()
                .filter(|fulfilment| fulfilment.duchy == index)
                .map(|fulfilment| fulfilment.data.clone())
                .collect();
            let messages = self.take_messages(index);
            self.step(index, Event::Compute(StageInputs { requisitions, messages, kept: None }))?;
        }
        self.deliver()?;
        self.results.pop().ok_or(ClusterError::Stalled)
    }

    /// Where a duchy stands.
    ///
    /// # Panics
    /// If there is no such duchy.
    pub fn state(&self, index: usize) -> &C {
        &self.duchies[index].state
    }

    /// Tells one duchy an event and carries out what it asks for.
    ///
    /// # Errors
    /// If the duchy refuses the event or cannot go on.
    ///
    /// # Panics
    /// If there is no such duchy, or its state does not survive being written to a row.
    pub fn step(&mut self, index: usize, event: Event<MessageOf<C>>) -> Result<(), Failure<C>> {
        self.steps += 1;
        let context = KernelContext::new(self.executor.clone(), self.seed.derive(&self.steps.to_be_bytes()));
        let duchy = &mut self.duchies[index];
        let step = duchy
            .state
            .clone()
            .step(event, &context)
            .map_err(|source| ClusterError::Step { duchy: duchy.id.clone(), source })?;
        duchy.state = through_a_row(&step.next);
        for effect in step.effects {
            match effect {
                Effect::PublishKey { el_gamal_public_key } => duchy.published = Some(el_gamal_public_key),
                Effect::PublishEncryptionKey { .. } | Effect::ConfirmParticipation | Effect::Keep(_) => {}
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

    fn deliver(&mut self) -> Result<(), Failure<C>> {
        for _ in 0..self.deliveries.len() {
            let Some(delivery) = self.deliveries.pop_front() else { break };
            let Some(index) = self.duchies.iter().position(|duchy| duchy.id == delivery.to) else {
                continue;
            };
            // A peer that has not come to the waiting stage yet gets it later, as from a host that tries again.
            if self.state(index).stage() != C::Stage::awaiting(delivery.message) {
                self.deliveries.push_back(delivery);
                continue;
            }
            let Delivery { from, message, payload, .. } = delivery;
            self.duchies[index].inbox.push((from.clone(), payload));
            self.step(index, Event::PeerMessage { from, message })?;
        }
        Ok(())
    }

    /// What has arrived, in ring order.
    fn take_messages(&mut self, index: usize) -> Vec<Vec<u8>> {
        let ring_index =
            |duchy: &DuchyId| self.state(index).ring().and_then(|ring: &Ring| ring.index_of(duchy));
        let mut inbox: Vec<_> =
            self.duchies[index].inbox.iter().map(|(from, payload)| (ring_index(from), payload)).collect();
        inbox.sort_by_key(|(position, _)| *position);
        let messages = inbox.into_iter().map(|(_, payload)| payload.clone()).collect();
        self.duchies[index].inbox.clear();
        messages
    }

    fn participants(&self) -> Vec<Participant> {
        self.duchies
            .iter()
            .filter_map(|duchy| {
                Some(Participant {
                    duchy: duchy.id.clone(),
                    el_gamal_public_key: duchy.published.clone()?,
                    signature: Vec::new(),
                    signature_algorithm_oid: String::new(),
                    certificate_der: Vec::new(),
                })
            })
            .collect()
    }
}

fn through_a_row<C: RingComputation>(state: &C) -> C {
    let mut details = C::Details::default();
    state.write_details(&mut details).expect("the participants' keys were read before");
    let setting = state.setting();
    let surroundings = Surroundings {
        computation: setting.computation.clone(),
        duchy: setting.duchy.clone(),
        duchy_count: setting.duchy_count,
        requisition_count: setting.requisition_count,
        vid_sampling_width: setting.parameters.vid_sampling_width,
        received: state.received(),
        outcome: state.outcome(),
    };
    let read = C::from_details(state.stage(), &details, surroundings).expect("a row just written");
    assert_eq!(read, *state, "a state must survive being written to a row");
    read
}

fn evidence(duchy: usize, fulfilments: &[Fulfilment]) -> Evidence {
    let nonces = 1..=fulfilments.len() as u64;
    Evidence {
        nonce_hashes: nonces.clone().map(|nonce| nonce_hash(nonce).to_vec()).collect(),
        requisitions: nonces
            .zip(fulfilments)
            .map(|(nonce, fulfilment)| RequisitionEvidence {
                requisition: format!("requisition{nonce}"),
                nonce: Some(nonce),
                fulfilled_here: fulfilment.duchy == duchy,
                data_present: true,
            })
            .collect(),
        refused_signatures: Vec::new(),
    }
}
