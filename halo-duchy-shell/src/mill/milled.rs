//! [`Milled`]: what each protocol is told so that it works on a stage.

use halo_protocols::StageNoise;
use halo_protocols::hmss::{self, AggregationInputs, SetupInputs, ShuffleInputs, VectorShare};
use halo_protocols::liquid_legions::{Event, RingStage, StageInputs};
use zeroize::Zeroizing;

use super::MillError;
use super::noise::Given;
use super::work::Work;
use crate::consent::{ParticipantKey, verify_participant_key};
use crate::convert::{self, Hosted, MessageOf, RingProtocol};
use crate::platform;

/// More than any seed takes with what goes with it, in bytes: data providers cannot hand in seals of more than 16 KiB.
const MAXIMUM_SEED_ENTRY_BYTES: u64 = 32 << 10;

/// What was tried, in errors.
const READING_NOISE: &str = "reading the parameters of noise";

/// A protocol that mills work on.
pub(super) trait Milled: Hosted {
    /// What the protocol is told so that it works on the stage of `work`, which is one to compute.
    fn event(&self, work: &Work) -> impl Future<Output = Result<Self::Event, MillError>> + Send;

    /// What noise this duchy adds in the stage.
    fn noise(&self) -> Result<StageNoise, MillError>;

    /// What the stage is given by `event`, as far as the noise in its output depends on it.
    fn given(event: &Self::Event) -> Given;

    /// A secret of this computation that the duchy keeps and nobody else knows, for the seed of a stage that draws noise;
    /// `None` where there is none yet, or nothing is drawn.
    fn stage_secret(
        &self,
        work: &Work,
    ) -> impl Future<Output = Result<Option<Zeroizing<Vec<u8>>>, MillError>> + Send;
}

impl<C: RingProtocol> Milled for C {
    async fn event(&self, work: &Work) -> Result<Event<MessageOf<C>>, MillError> {
        let duchy = &work.mill.parts.duchy;
        match halo_protocols::liquid_legions::RingComputation::stage(self) {
            stage if stage == C::Stage::INITIALIZATION_PHASE => Ok(Event::Initialize),
            stage if stage == C::Stage::CONFIRMATION_PHASE => {
                let refused = refused_keys(self, work);
                Ok(Event::Confirm(convert::evidence(&work.token, duchy, refused)?))
            }
            stage => {
                let own = match stage == C::Stage::SETUP_PHASE {
                    true => convert::own_requisition_paths(&work.token, duchy),
                    false => Vec::new(),
                };
                let mut requisitions = Vec::new();
                for path in own {
                    requisitions.push(work.read(&path).await?);
                }
                let (messages, kept) = (work.messages().await?, work.kept().await?);
                Ok(Event::Compute(StageInputs { requisitions, messages, kept }))
            }
        }
    }

    fn noise(&self) -> Result<StageNoise, MillError> {
        self.stage_noise().map_err(|error| MillError::permanent(READING_NOISE)(&error))
    }

    fn given(event: &Self::Event) -> Given {
        let Event::Compute(StageInputs { requisitions, messages, kept }) = event else {
            return Given::default();
        };
        Given {
            bytes: requisitions.iter().chain(messages).map(|data| data.len() as u64).sum(),
            messages: messages.len() as u64,
            kept: kept.is_some(),
        }
    }

    async fn stage_secret(&self, _: &Work) -> Result<Option<Zeroizing<Vec<u8>>>, MillError> {
        Ok(self.local_secret_key().map(|secret| Zeroizing::new(secret.to_vec())))
    }
}

/// One line for each participant whose key is not to be believed.
fn refused_keys<C: RingProtocol>(state: &C, work: &Work) -> Vec<String> {
    let consent = &work.mill.parts.consent;
    let (directory, roots) = (consent.directory.current(), consent.tls.roots());
    let participants = state.ring().map(|ring| ring.participants()).unwrap_or_default();
    let refused = participants.iter().filter_map(|participant| {
        let key = ParticipantKey {
            duchy: participant.duchy.as_str(),
            certificate: &participant.certificate_der,
            key: &participant.el_gamal_public_key,
            signature: &participant.signature,
            signature_algorithm_oid: &participant.signature_algorithm_oid,
        };
        verify_participant_key(&key, &directory, &roots, platform::time()).err()
    });
    refused.map(|error| error.to_string()).collect()
}

impl Milled for hmss::State {
    async fn event(&self, work: &Work) -> Result<hmss::Event, MillError> {
        let duchy = &work.mill.parts.duchy;
        match self {
            Self::SetupPhase(worker) => Ok(hmss::Event::Setup(SetupInputs {
                secret_seeds: convert::secret_seeds(&work.token, duchy),
                evidence: convert::known_evidence(&work.token, duchy, worker.setting.role)?,
            })),
            Self::ShufflePhase(worker) => Ok(hmss::Event::Shuffle(shuffle_inputs(worker, work).await?)),
            Self::AggregationPhase(_) => {
                Ok(hmss::Event::Aggregate(AggregationInputs { messages: work.messages().await? }))
            }
            _ => Ok(hmss::Event::Initialize),
        }
    }

    fn noise(&self) -> Result<StageNoise, MillError> {
        self.stage_noise().map_err(|error| MillError::permanent(READING_NOISE)(&error))
    }

    fn given(event: &hmss::Event) -> Given {
        let hmss::Event::Shuffle(inputs) = event else { return Given::default() };
        // Each register of the shuffled vector takes a byte at least.
        let registers = inputs.vectors.iter().map(|vector| vector.register_count.unsigned_abs()).max();
        Given { bytes: registers.unwrap_or_default(), messages: 0, kept: inputs.kept.is_some() }
    }

    async fn stage_secret(&self, work: &Work) -> Result<Option<Zeroizing<Vec<u8>>>, MillError> {
        match self {
            // The workers' seeds are known to both; only the private key is this worker's alone.
            Self::ShufflePhase(worker) => work.private_key_bytes(worker).await.map(Some),
            _ => Ok(None),
        }
    }
}

async fn shuffle_inputs(worker: &hmss::Worker, work: &Work) -> Result<ShuffleInputs, MillError> {
    let kept = work.kept().await?;
    if kept.is_some() {
        // It is sent as it is: nothing is looked at again.
        return Ok(ShuffleInputs { kept, ..ShuffleInputs::default() });
    }
    let mut vectors = Vec::new();
    let own = convert::own_requisitions(&work.token, &work.mill.parts.duchy);
    for requisition in own.filter(|requisition| !requisition.path.is_empty()) {
        let register_count = convert::seed_details(requisition).map_or(0, |details| details.register_count);
        vectors.push(VectorShare {
            requisition: convert::requisition_id(requisition).to_owned(),
            register_count,
            frequency_vector: work.read(&requisition.path).await?,
        });
    }
    // Decoded, an entry takes many times its bytes: no more is decoded than requisitions can account for.
    let requisitions = work.token.requisitions.len() as u64;
    let limit = requisitions.saturating_add(1).saturating_mul(MAXIMUM_SEED_ENTRY_BYTES);
    let peer_message = work.short_message(worker.peer(), limit).await?;
    let seeds = work.open_seeds(worker, &peer_message).await?;
    let requisitions = work.token.requisitions.iter().map(convert::requisition_id).map(str::to_owned);
    Ok(ShuffleInputs { requisitions: requisitions.collect(), vectors, peer_message, seeds, kept })
}
