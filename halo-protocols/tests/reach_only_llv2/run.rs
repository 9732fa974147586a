//! A whole computation with our kernels, stage by stage.

use std::marker::PhantomData;

use halo_crypto::Group;
use halo_protocols::data_provider::{SketchParameters, encrypt_sketch, reach_only_sketch};
use halo_protocols::kernel::{KernelContext, KernelError};
use halo_protocols::proto::any_sketch::crypto::{self, EncryptSketchRequest};
use halo_protocols::proto::duchy::{ElGamalKeyPair, ElGamalPublicKey};
use halo_protocols::proto::protocol::{
    CompleteReachOnlyExecutionPhaseAtAggregatorRequest, CompleteReachOnlyExecutionPhaseRequest,
    CompleteReachOnlyInitializationPhaseRequest, CompleteReachOnlySetupPhaseRequest,
    GlobalReachDpNoiseBaseline, ReachNoiseDifferentialPrivacyParams, RegisterNoiseGenerationParameters,
};
use halo_protocols::reach_only_llv2::{
    complete_reach_only_execution_phase, complete_reach_only_execution_phase_at_aggregator,
    complete_reach_only_initialization_phase, complete_reach_only_setup_phase,
    complete_reach_only_setup_phase_at_aggregator,
};

use crate::measurement::{Measurement, combine, context};

/// Registers, and the excessive noise ciphertext that travels with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Blob {
    pub registers: Vec<u8>,
    pub excessive_noise: Vec<u8>,
}

/// The duchies of a computation, in ring order, the aggregator last.
pub struct Run<G: Group> {
    pub measurement: Measurement,
    pub pairs: Vec<ElGamalKeyPair>,
    pub composite: ElGamalPublicKey,
    pub context: KernelContext,
    group: PhantomData<G>,
}

impl<G: Group> Run<G> {
    /// A computation of duchies that make their keys now.
    pub fn new(measurement: Measurement, duchies: u8, context: KernelContext) -> Self {
        let pairs = (0..duchies)
            .map(|duchy| {
                let request = CompleteReachOnlyInitializationPhaseRequest { curve_id: G::CURVE_ID };
                let context = crate::measurement::context(100 + duchy);
                let response = complete_reach_only_initialization_phase::<G>(&request, &context).unwrap();
                response.el_gamal_key_pair.clone().unwrap()
            })
            .collect();
        Self::with_keys(measurement, pairs, context)
    }

    pub fn with_keys(measurement: Measurement, pairs: Vec<ElGamalKeyPair>, context: KernelContext) -> Self {
        let composite = combine::<G>(&pairs);
        Self { measurement, pairs, composite, context, group: PhantomData }
    }

    /// All stages, from what data providers sent to each duchy.
    pub fn complete(&self, requisitions: &[Vec<u8>]) -> Result<i64, KernelError> {
        self.at_aggregator(self.execution(self.setup(requisitions)?, 0)?)
    }

    /// A data provider's part.
    pub fn encrypt(&self, parameters: &SketchParameters, people: impl IntoIterator<Item = i64>) -> Vec<u8> {
        let request = EncryptSketchRequest {
            sketch: Some(reach_only_sketch(parameters, people)),
            el_gamal_keys: Some(crypto::ElGamalPublicKey {
                generator: self.composite.generator.clone(),
                element: self.composite.element.clone(),
            }),
            curve_id: G::CURVE_ID,
            ..EncryptSketchRequest::default()
        };
        encrypt_sketch::<G>(&request, &self.context).unwrap().encrypted_sketch
    }

    pub fn setup(&self, requisitions: &[Vec<u8>]) -> Result<Blob, KernelError> {
        let (own, others) = requisitions.split_last().unwrap();
        let blobs: Result<Vec<Blob>, KernelError> =
            others.iter().enumerate().map(|(duchy, registers)| self.setup_at(duchy, registers)).collect();
        self.setup_at_aggregator(own.clone(), blobs?)
    }

    pub fn setup_at(&self, duchy: usize, requisition: &[u8]) -> Result<Blob, KernelError> {
        // Duchies draw from seeds of their own.
        let context = context(50 + duchy as u8);
        let request = self.setup_request(requisition.to_vec(), Vec::new());
        let response = complete_reach_only_setup_phase::<G>(&request, &context)?;
        Ok(Blob {
            registers: response.combined_register_vector,
            excessive_noise: response.serialized_excessive_noise_ciphertext,
        })
    }

    pub fn setup_at_aggregator(&self, own: Vec<u8>, others: Vec<Blob>) -> Result<Blob, KernelError> {
        let mut combined = Blob { registers: own, excessive_noise: Vec::new() };
        for blob in others {
            combined.registers.extend(blob.registers);
            combined.excessive_noise.extend(blob.excessive_noise);
        }
        let request = self.setup_request(combined.registers, combined.excessive_noise);
        let response = complete_reach_only_setup_phase_at_aggregator::<G>(&request, &self.context)?;
        Ok(Blob {
            registers: response.combined_register_vector,
            excessive_noise: response.serialized_excessive_noise_ciphertext,
        })
    }

    pub fn setup_request(
        &self,
        registers: Vec<u8>,
        excessive_noise: Vec<u8>,
    ) -> CompleteReachOnlySetupPhaseRequest {
        CompleteReachOnlySetupPhaseRequest {
            combined_register_vector: registers,
            curve_id: G::CURVE_ID,
            noise_parameters: self.register_noise(),
            noise_mechanism: self.mechanism(),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            serialized_excessive_noise_ciphertext: excessive_noise,
            parallelism: 1,
        }
    }

    /// From the duchy at position `from` on.
    pub fn execution(&self, blob: Blob, from: usize) -> Result<Blob, KernelError> {
        (from..self.pairs.len() - 1).try_fold(blob, |blob, position| self.execution_at(position, blob))
    }

    pub fn execution_at(&self, position: usize, blob: Blob) -> Result<Blob, KernelError> {
        let request = CompleteReachOnlyExecutionPhaseRequest {
            combined_register_vector: blob.registers,
            local_el_gamal_key_pair: Some(self.pairs[position].clone()),
            curve_id: G::CURVE_ID,
            serialized_excessive_noise_ciphertext: blob.excessive_noise,
            parallelism: 1,
        };
        let response = complete_reach_only_execution_phase::<G>(&request, &self.context)?;
        Ok(Blob {
            registers: response.combined_register_vector,
            excessive_noise: response.serialized_excessive_noise_ciphertext,
        })
    }

    pub fn at_aggregator(&self, blob: Blob) -> Result<i64, KernelError> {
        let request = CompleteReachOnlyExecutionPhaseAtAggregatorRequest {
            combined_register_vector: blob.registers,
            local_el_gamal_key_pair: self.pairs.last().cloned(),
            curve_id: G::CURVE_ID,
            serialized_excessive_noise_ciphertext: blob.excessive_noise,
            reach_dp_noise_baseline: self.measurement.noise.map(|noise| GlobalReachDpNoiseBaseline {
                contributors_count: self.pairs.len() as i32,
                global_reach_dp_noise: Some(noise.reach),
            }),
            sketch_parameters: Some(self.measurement.sketch),
            vid_sampling_interval_width: self.measurement.width,
            noise_parameters: self.register_noise(),
            noise_mechanism: self.mechanism(),
            parallelism: 1,
        };
        Ok(complete_reach_only_execution_phase_at_aggregator::<G>(&request, &self.context)?.reach)
    }

    fn mechanism(&self) -> i32 {
        self.measurement.noise.map_or(0, |noise| noise.mechanism.into())
    }

    fn register_noise(&self) -> Option<RegisterNoiseGenerationParameters> {
        let noise = self.measurement.noise?;
        Some(RegisterNoiseGenerationParameters {
            composite_el_gamal_public_key: Some(self.composite.clone()),
            curve_id: G::CURVE_ID,
            contributors_count: self.pairs.len() as i32,
            total_sketches_count: self.measurement.total_sketches_count,
            dp_params: Some(ReachNoiseDifferentialPrivacyParams {
                blind_histogram: Some(noise.blind_histogram),
                noise_for_publisher_noise: Some(noise.publisher),
                global_reach_dp_noise: Some(noise.reach),
            }),
        })
    }
}
