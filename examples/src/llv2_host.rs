//! A host of Liquid Legions v2, as small as it can be: the state machine driven by hand, without the duchy shell.
//!
//! Three duchies run as threads; the calling thread plays the data providers and the Kingdom. How bytes get from one duchy to
//! another is a [`Transport`] of the caller's. A real service would keep [`State`] and every kept payload in its own
//! store, in the order that [`halo_protocols::computation`] asks for.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256};
use halo_protocols::consent::nonce_hash;
use halo_protocols::data_provider::{SketchParameters, encrypt_sketch, plain_sketch, virtual_person_id};
use halo_protocols::kernel::{KernelContext, MAXIMUM_MESSAGE_BYTES, combine_el_gamal_public_keys};
use halo_protocols::llv2::key_set::Participant;
use halo_protocols::llv2::stage::StageKind;
use halo_protocols::llv2::{
    Event, Evidence, Message, NoisePolicy, Parameters, RequisitionEvidence, Setting, Stage, StageInputs,
    State,
};
use halo_protocols::proto::any_sketch::crypto::encrypt_sketch_request::DestroyedRegisterStrategy;
use halo_protocols::proto::any_sketch::crypto::{
    CombineElGamalPublicKeysRequest, ElGamalPublicKey, EncryptSketchRequest,
};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use halo_protocols::proto::protocol::{LiquidLegionsSketchParameters, LiquidLegionsV2NoiseConfig};
use halo_protocols::{Computation, DuchyId, Effect, MeasurementResult, Payload, Role};

/// Whatever goes wrong.
pub type AnyError = Box<dyn Error + Send + Sync>;

/// The ids of the duchies.
pub const DUCHIES: [&str; 3] = ["worker1", "worker2", "aggregator"];
const AGGREGATOR: &str = "aggregator";
const MAXIMUM_FREQUENCY: i32 = 5;
const DECAY_RATE: f64 = 12.0;
const SKETCH_SIZE: i64 = 100_000;

/// What one duchy sends another.
#[derive(Debug)]
pub struct PeerMail {
    /// The sender. A transport has to know this for certain, not believe what the message says.
    pub from: DuchyId,
    /// What it is.
    pub message: Message,
    /// Its bytes.
    pub payload: Payload,
}

/// The way to the other duchies.
pub trait Transport: Send + 'static {
    /// Brings `mail` to the inbox of `to`. It may come again, and before `to` awaits it, but not twice with different bytes.
    ///
    /// # Errors
    /// If it did not get there.
    fn send(&mut self, to: &DuchyId, mail: PeerMail) -> Result<(), AnyError>;
}

/// Where a transport, and the Kingdom, deliver to one duchy.
#[derive(Clone, Debug)]
pub struct Inbox(Sender<Mail>);

impl Inbox {
    /// Hands over what has come from a peer.
    ///
    /// # Errors
    /// If the duchy is gone.
    pub fn deliver(&self, mail: PeerMail) -> Result<(), AnyError> {
        Ok(self.0.send(Mail::Peer(mail))?)
    }
}

/// What arrives at a duchy.
#[derive(Debug)]
enum Mail {
    /// The Kingdom: everybody's keys are known. Here is what the data providers handed to this duchy.
    KeySet { participants: Vec<Participant>, evidence: Evidence, requisitions: Vec<Vec<u8>> },
    /// The Kingdom: everybody is ready.
    Start,
    /// Another duchy.
    Peer(PeerMail),
    /// The Kingdom: the computation is over.
    Done,
}

/// What a duchy tells the Kingdom.
enum Report {
    Key(Participant),
    Ready,
    Failed(DuchyId, String),
    Result(MeasurementResult),
}

/// One duchy: a state, and what a host has to keep for it.
struct Duchy<T> {
    id: DuchyId,
    state: State,
    context: KernelContext,
    requisitions: Vec<Vec<u8>>,
    inbox: Vec<(DuchyId, Vec<u8>)>,
    /// What has come so far: a transport may bring a message again.
    received: BTreeSet<(DuchyId, Message)>,
    transport: T,
    kingdom: Sender<Report>,
}

impl<T: Transport> Duchy<T> {
    /// Works until the Kingdom says that the computation is over.
    fn run(mut self, mail: &Receiver<Mail>) -> Result<(), AnyError> {
        self.step(Event::Initialize)?;
        // What came before the stage that awaits it: peers may be ahead.
        let mut early = Vec::new();
        for mail in mail {
            match mail {
                Mail::KeySet { participants, evidence, requisitions } => {
                    self.requisitions = requisitions;
                    self.step(Event::KeySetPublished { aggregator: AGGREGATOR.into(), participants })?;
                    self.step(Event::Confirm(evidence))?;
                }
                Mail::Start if self.state.stage() == Stage::WaitToStart => self.step(Event::Start)?,
                Mail::Start => {}
                Mail::Peer(mail) if self.received.insert((mail.from.clone(), mail.message)) => {
                    early.push(mail)
                }
                Mail::Peer(_) => {}
                Mail::Done => break,
            }
            self.work(&mut early)?;
        }
        Ok(())
    }

    /// Takes what is awaited and computes what can be computed, until neither is possible.
    fn work(&mut self, early: &mut Vec<PeerMail>) -> Result<(), AnyError> {
        loop {
            let stage = self.state.stage();
            if let Some(index) = early.iter().position(|mail| mail.message.awaited_in() == stage) {
                let PeerMail { from, message, payload } = early.swap_remove(index);
                self.inbox.push((from.clone(), payload.into_bytes()));
                self.step(Event::PeerMessage { from, message })?;
            } else if stage.kind() == StageKind::Compute {
                let inputs = self.stage_inputs();
                self.step(Event::Compute(inputs))?;
            } else {
                return Ok(());
            }
        }
    }

    fn stage_inputs(&mut self) -> StageInputs {
        let mut inbox = std::mem::take(&mut self.inbox);
        if let State::SetupPhase(state) = &self.state {
            inbox.sort_by_key(|(from, _)| state.gathered.ring.index_of(from));
        }
        let messages = inbox.into_iter().map(|(_, payload)| payload).collect();
        StageInputs { requisitions: std::mem::take(&mut self.requisitions), messages, kept: None }
    }

    /// One step: the state moves on, and what it asks for is done.
    fn step(&mut self, event: Event) -> Result<(), AnyError> {
        let name = event.name();
        let step = self.state.clone().step(event, &self.context)?;
        println!("{:<10}  {:<16} {}", self.id, name, step.next.stage().name());
        self.state = step.next;
        for effect in step.effects {
            match effect {
                Effect::PublishKey { el_gamal_public_key } => {
                    self.kingdom.send(Report::Key(Participant {
                        duchy: self.id.clone(),
                        el_gamal_public_key,
                        // A real duchy signs its key, and the others verify that before they confirm.
                        signature: Vec::new(),
                        signature_algorithm_oid: String::new(),
                        certificate_der: Vec::new(),
                    }))?;
                }
                Effect::ConfirmParticipation => self.kingdom.send(Report::Ready)?,
                // A real service keeps the payload before it does anything else with it.
                Effect::Keep(_) => {}
                Effect::Send { to, message, payload } => {
                    self.transport.send(&to, PeerMail { from: self.id.clone(), message, payload })?;
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

/// Measures the reach and frequencies of three made-up logs, of 1,500 people in all, by three duchies whose bytes go by the
/// transports that `connect` makes of the inboxes, in the order of [`DUCHIES`].
///
/// # Errors
/// If a duchy refuses something, or a transport fails.
pub fn measure_by<T: Transport>(
    connect: impl FnOnce(&[(DuchyId, Inbox)]) -> Result<Vec<T>, AnyError>,
) -> Result<MeasurementResult, AnyError> {
    let (kingdom, reports) = channel();
    let mailboxes = DUCHIES.map(|id| (DuchyId::from(id), channel::<Mail>()));
    let duchies: Vec<_> =
        mailboxes.iter().map(|(id, (sender, _))| (id.clone(), Inbox(sender.clone()))).collect();
    let logs = event_logs();
    let threads = mailboxes
        .into_iter()
        .zip(connect(&duchies)?)
        .map(|((id, (_, mail)), transport)| {
            let setting = setting(&id, logs.len());
            setting.validate(NoisePolicy::Required, MAXIMUM_MESSAGE_BYTES)?;
            let duchy = Duchy {
                id,
                state: State::new(setting),
                context: context(),
                requisitions: Vec::new(),
                inbox: Vec::new(),
                received: BTreeSet::new(),
                transport,
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

    let outcome = measure(&logs, &duchies, &reports);
    for (_, Inbox(mailbox)) in &duchies {
        // A duchy that failed is gone already.
        let _ = mailbox.send(Mail::Done);
    }
    for thread in threads {
        thread.join().map_err(|_| "a duchy panicked")?;
    }
    outcome
}

/// Prints a result, one number a line.
pub fn print(result: &MeasurementResult) {
    println!("reach: {} (1,500 people were seen)", result.reach);
    for (frequency, share) in result.frequency.iter().flatten() {
        println!("frequency {frequency}: {share:.4}");
    }
}

/// The Kingdom's and the data providers' part.
fn measure(
    logs: &[Vec<String>],
    duchies: &[(DuchyId, Inbox)],
    reports: &Receiver<Report>,
) -> Result<MeasurementResult, AnyError> {
    let mut participants = Vec::new();
    let mut ready = 0;
    for report in reports {
        match report {
            Report::Key(participant) => {
                participants.push(participant);
                if participants.len() == duchies.len() {
                    fulfil(logs, &participants, duchies)?;
                }
            }
            Report::Ready => {
                ready += 1;
                if ready == duchies.len() {
                    duchies.iter().try_for_each(|(_, Inbox(duchy))| duchy.send(Mail::Start))?;
                }
            }
            Report::Failed(duchy, reason) => return Err(format!("{duchy} failed: {reason}").into()),
            Report::Result(result) => return Ok(result),
        }
    }
    Err("every duchy has gone".into())
}

/// Each data provider encrypts its sketch under the sum of all keys and hands it to one duchy.
fn fulfil(
    logs: &[Vec<String>],
    participants: &[Participant],
    duchies: &[(DuchyId, Inbox)],
) -> Result<(), AnyError> {
    let keys = participants
        .iter()
        .map(|participant| {
            let key = participant.public_key()?;
            Ok(ElGamalPublicKey { generator: key.generator, element: key.element })
        })
        .collect::<Result<Vec<_>, AnyError>>()?;
    let request = CombineElGamalPublicKeysRequest { curve_id: P256::CURVE_ID, el_gamal_keys: keys };
    let composite = combine_el_gamal_public_keys::<P256>(&request, &context())?.el_gamal_keys;

    let parameters = SketchParameters {
        decay_rate: DECAY_RATE,
        size: SKETCH_SIZE,
        sampling_indicator_size: 10_000_000,
        salt: None,
    };
    let mut handed_over: Vec<Vec<Vec<u8>>> = vec![Vec::new(); duchies.len()];
    for (index, log) in logs.iter().enumerate() {
        let impressions = log.iter().map(|id| (virtual_person_id(id), 1));
        let request = EncryptSketchRequest {
            sketch: Some(plain_sketch(&parameters, impressions)),
            el_gamal_keys: composite.clone(),
            curve_id: P256::CURVE_ID,
            maximum_value: MAXIMUM_FREQUENCY,
            destroyed_register_strategy: DestroyedRegisterStrategy::FlaggedKey as i32,
            noise_parameter: None,
        };
        handed_over[index % duchies.len()]
            .push(encrypt_sketch::<P256>(&request, &context())?.encrypted_sketch);
    }
    for (index, ((_, Inbox(duchy)), requisitions)) in duchies.iter().zip(handed_over).enumerate() {
        duchy.send(Mail::KeySet {
            participants: participants.to_vec(),
            evidence: evidence(logs.len(), duchies.len(), index),
            requisitions,
        })?;
    }
    Ok(())
}

/// Randomness from the operating system: a seed of its own for everyone who computes.
fn context() -> KernelContext {
    KernelContext::new(Executor::serial(), StreamSeed::random(&mut UnwrapErr(SysRng)))
}

/// The nonces by which the data providers showed that they agree. A real measurement draws them at random.
fn evidence(requisitions: usize, duchies: usize, duchy: usize) -> Evidence {
    let nonces = || 1..=requisitions as u64;
    Evidence {
        nonce_hashes: nonces().map(|nonce| nonce_hash(nonce).to_vec()).collect(),
        requisitions: nonces()
            .enumerate()
            .map(|(index, nonce)| RequisitionEvidence {
                requisition: format!("requisition{nonce}"),
                nonce: Some(nonce),
                fulfilled_here: index % duchies == duchy,
                data_present: true,
            })
            .collect(),
        refused_signatures: Vec::new(),
    }
}

/// Three data providers; person `i` of 1,500 is seen by the first if `i` is divisible by 1, by the second if by 2, …
fn event_logs() -> Vec<Vec<String>> {
    (1..=3).map(|every| (0..1500).step_by(every).map(|person| format!("person {person}")).collect()).collect()
}

fn setting(duchy: &DuchyId, requisition_count: usize) -> Setting {
    let privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
    Setting {
        computation: "embedded".into(),
        duchy: duchy.clone(),
        role: if duchy.as_str() == AGGREGATOR { Role::Aggregator } else { Role::NonAggregator },
        duchy_count: DUCHIES.len(),
        requisition_count,
        parameters: Parameters {
            curve_id: P256::CURVE_ID,
            maximum_frequency: MAXIMUM_FREQUENCY,
            sketch: LiquidLegionsSketchParameters { decay_rate: DECAY_RATE, size: SKETCH_SIZE },
            vid_sampling_width: 1.0,
            noise: Some(noise(privacy, NoiseMechanism::DiscreteGaussian)),
        },
    }
}

/// The same ε and δ for every noise.
pub fn noise(privacy: DifferentialPrivacyParams, mechanism: NoiseMechanism) -> LiquidLegionsV2NoiseConfig {
    LiquidLegionsV2NoiseConfig {
        reach_noise_config: Some(ReachNoiseConfig {
            blind_histogram_noise: Some(privacy),
            noise_for_publisher_noise: Some(privacy),
            global_reach_dp_noise: Some(privacy),
        }),
        frequency_noise_config: Some(privacy),
        noise_mechanism: mechanism.into(),
    }
}
