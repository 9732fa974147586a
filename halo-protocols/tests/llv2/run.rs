//! A whole computation with our kernels, stage by stage.

use halo_crypto::Group;
use halo_protocols::data_provider::encrypt_sketch;
use halo_protocols::kernel::{KernelContext, KernelError};
use halo_protocols::llv2::{
    complete_execution_phase_one, complete_execution_phase_one_at_aggregator, complete_execution_phase_three,
    complete_execution_phase_three_at_aggregator, complete_execution_phase_two,
    complete_execution_phase_two_at_aggregator, complete_initialization_phase, complete_setup_phase,
};
use halo_protocols::proto::any_sketch::Sketch;
use halo_protocols::proto::any_sketch::crypto::encrypt_sketch_request::DestroyedRegisterStrategy;
use halo_protocols::proto::any_sketch::crypto::{self, EncryptSketchRequest};
use halo_protocols::proto::duchy::{ElGamalKeyPair, ElGamalPublicKey};
use halo_protocols::proto::protocol::{
    CompleteExecutionPhaseOneAtAggregatorRequest, CompleteExecutionPhaseOneRequest,
    CompleteExecutionPhaseThreeAtAggregatorRequest, CompleteExecutionPhaseThreeRequest,
    CompleteExecutionPhaseTwoAtAggregatorRequest, CompleteExecutionPhaseTwoRequest,
    CompleteInitializationPhaseRequest, CompleteSetupPhaseRequest, FlagCountTupleNoiseGenerationParameters,
    GlobalReachDpNoiseBaseline, PerBucketFrequencyDpNoiseBaseline, ReachNoiseDifferentialPrivacyParams,
    RegisterNoiseGenerationParameters,
};

pub use crate::measurement::{Measurement, Noise, combine, context};

/// What a computation ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub reach: i64,
    /// Empty where only reach was asked for.
    pub distribution: Vec<(i64, f64)>,
}

/// The duchies of a computation, in ring order, the aggregator last.
#[derive(Clone)]
pub struct Run<G: Group> {
    pub measurement: Measurement,
    pub pairs: Vec<ElGamalKeyPair>,
    pub composite: ElGamalPublicKey,
    pub context: KernelContext,
    group: std::marker::PhantomData<G>,
}

impl<G: Group> Run<G> {
    /// A computation of duchies that make their keys now.
    pub fn new(measurement: Measurement, duchies: u8, context: KernelContext) -> Self {
        let pairs = (0..duchies)
            .map(|duchy| {
                let request = CompleteInitializationPhaseRequest { curve_id: G::CURVE_ID };
                let response =
                    complete_initialization_phase::<G>(&request, &self::context(100 + duchy)).unwrap();
                response.el_gamal_key_pair.unwrap()
            })
            .collect();
        Self::with_keys(measurement, pairs, context)
    }

    pub fn with_keys(measurement: Measurement, pairs: Vec<ElGamalKeyPair>, context: KernelContext) -> Self {
        let composite = combine::<G>(&pairs);
        Self { measurement, pairs, composite, context, group: std::marker::PhantomData }
    }

    /// All stages, from what data providers sent to each duchy.
    pub fn complete(&self, requisitions: &[Vec<u8>]) -> Result<Outcome, KernelError> {
        let registers = self.phase_one(self.setup(requisitions)?, 0)?;
        let tuples = self.phase_two(self.phase_one_at_aggregator(registers)?, 0)?;
        let (reach, matrix) = self.phase_two_at_aggregator(tuples)?;
        if self.measurement.maximum_frequency == 1 {
            return Ok(Outcome { reach, distribution: Vec::new() });
        }
        let matrix = self.phase_three(matrix, 0)?;
        Ok(Outcome { reach, distribution: self.phase_three_at_aggregator(matrix)? })
    }

    /// A data provider's part.
    pub fn encrypt(&self, sketch: Sketch) -> Vec<u8> {
        let request = EncryptSketchRequest {
            sketch: Some(sketch),
            el_gamal_keys: Some(crypto::ElGamalPublicKey {
                generator: self.composite.generator.clone(),
                element: self.composite.element.clone(),
            }),
            curve_id: G::CURVE_ID,
            maximum_value: self.measurement.maximum_frequency,
            destroyed_register_strategy: DestroyedRegisterStrategy::FlaggedKey.into(),
            noise_parameter: None,
        };
        encrypt_sketch::<G>(&request, &self.context).unwrap().encrypted_sketch
    }

    pub fn setup(&self, requisitions: &[Vec<u8>]) -> Result<Vec<u8>, KernelError> {
        let mut combined = Vec::new();
        for requisition in requisitions {
            // Only the aggregator, which comes last, has the others' registers.
            let is_aggregator = std::ptr::eq(requisition, requisitions.last().unwrap());
            let registers = if is_aggregator { std::mem::take(&mut combined) } else { Vec::new() };
            combined.extend(self.setup_at_one(requisition.clone(), registers)?);
        }
        Ok(combined)
    }

    pub fn setup_at_one(&self, requisitions: Vec<u8>, registers: Vec<u8>) -> Result<Vec<u8>, KernelError> {
        let noise = self.measurement.noise;
        let request = CompleteSetupPhaseRequest {
            requisition_register_vector: requisitions,
            combined_register_vector: registers,
            noise_parameters: noise.map(|noise| RegisterNoiseGenerationParameters {
                composite_el_gamal_public_key: Some(self.composite.clone()),
                curve_id: G::CURVE_ID,
                contributors_count: self.contributors(),
                total_sketches_count: self.measurement.total_sketches_count,
                dp_params: Some(ReachNoiseDifferentialPrivacyParams {
                    blind_histogram: Some(noise.blind_histogram),
                    noise_for_publisher_noise: Some(noise.publisher),
                    global_reach_dp_noise: Some(noise.reach),
                }),
            }),
            maximum_frequency: self.measurement.maximum_frequency,
            noise_mechanism: self.mechanism(),
            parallelism: 1,
        };
        Ok(complete_setup_phase::<G>(&request, &self.context)?.combined_register_vector)
    }

    /// From the duchy at position `from` on.
    pub fn phase_one(&self, registers: Vec<u8>, from: usize) -> Result<Vec<u8>, KernelError> {
        (from..self.non_aggregators().len())
            .try_fold(registers, |registers, position| self.phase_one_at(position, registers))
    }

    pub fn phase_one_at(&self, position: usize, registers: Vec<u8>) -> Result<Vec<u8>, KernelError> {
        let request = CompleteExecutionPhaseOneRequest {
            combined_register_vector: registers,
            local_el_gamal_key_pair: Some(self.non_aggregators()[position].clone()),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            curve_id: G::CURVE_ID,
            parallelism: 1,
        };
        Ok(complete_execution_phase_one::<G>(&request, &self.context)?.combined_register_vector)
    }

    pub fn phase_one_at_aggregator(&self, registers: Vec<u8>) -> Result<Vec<u8>, KernelError> {
        let request = CompleteExecutionPhaseOneAtAggregatorRequest {
            combined_register_vector: registers,
            local_el_gamal_key_pair: self.pairs.last().cloned(),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            curve_id: G::CURVE_ID,
            noise_parameters: self.tuple_noise(),
            total_sketches_count: self.measurement.total_sketches_count,
            noise_mechanism: self.mechanism(),
            parallelism: 1,
        };
        Ok(complete_execution_phase_one_at_aggregator::<G>(&request, &self.context)?.flag_count_tuples)
    }

    /// From the duchy at position `from` on.
    pub fn phase_two(&self, tuples: Vec<u8>, from: usize) -> Result<Vec<u8>, KernelError> {
        (from..self.non_aggregators().len())
            .try_fold(tuples, |tuples, position| self.phase_two_at(position, tuples))
    }

    pub fn phase_two_at(&self, position: usize, tuples: Vec<u8>) -> Result<Vec<u8>, KernelError> {
        let request = CompleteExecutionPhaseTwoRequest {
            flag_count_tuples: tuples,
            local_el_gamal_key_pair: Some(self.non_aggregators()[position].clone()),
            curve_id: G::CURVE_ID,
            composite_el_gamal_public_key: Some(self.composite.clone()),
            partial_composite_el_gamal_public_key: Some(combine::<G>(&self.pairs[position + 1..])),
            noise_parameters: self.tuple_noise(),
            noise_mechanism: self.mechanism(),
            parallelism: 1,
        };
        Ok(complete_execution_phase_two::<G>(&request, &self.context)?.flag_count_tuples)
    }

    pub fn phase_two_at_aggregator(&self, tuples: Vec<u8>) -> Result<(i64, Vec<u8>), KernelError> {
        let noise = self.measurement.noise;
        let request = CompleteExecutionPhaseTwoAtAggregatorRequest {
            flag_count_tuples: tuples,
            local_el_gamal_key_pair: self.pairs.last().cloned(),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            curve_id: G::CURVE_ID,
            maximum_frequency: self.measurement.maximum_frequency,
            sketch_parameters: Some(self.measurement.sketch),
            reach_dp_noise_baseline: noise.map(|noise| GlobalReachDpNoiseBaseline {
                contributors_count: self.contributors(),
                global_reach_dp_noise: Some(noise.reach),
            }),
            frequency_noise_parameters: self.tuple_noise(),
            vid_sampling_interval_width: self.measurement.width,
            noise_mechanism: self.mechanism(),
        };
        let response = complete_execution_phase_two_at_aggregator::<G>(&request, &self.context)?;
        Ok((response.reach, response.same_key_aggregator_matrix))
    }

    /// From the duchy at position `from` on.
    pub fn phase_three(&self, matrix: Vec<u8>, from: usize) -> Result<Vec<u8>, KernelError> {
        (from..self.non_aggregators().len())
            .try_fold(matrix, |matrix, position| self.phase_three_at(position, matrix))
    }

    pub fn phase_three_at(&self, position: usize, matrix: Vec<u8>) -> Result<Vec<u8>, KernelError> {
        let request = CompleteExecutionPhaseThreeRequest {
            same_key_aggregator_matrix: matrix,
            local_el_gamal_key_pair: Some(self.non_aggregators()[position].clone()),
            curve_id: G::CURVE_ID,
            parallelism: 1,
        };
        Ok(complete_execution_phase_three::<G>(&request, &self.context)?.same_key_aggregator_matrix)
    }

    pub fn phase_three_at_aggregator(&self, matrix: Vec<u8>) -> Result<Vec<(i64, f64)>, KernelError> {
        let request = CompleteExecutionPhaseThreeAtAggregatorRequest {
            same_key_aggregator_matrix: matrix,
            local_el_gamal_key_pair: self.pairs.last().cloned(),
            curve_id: G::CURVE_ID,
            maximum_frequency: self.measurement.maximum_frequency,
            global_frequency_dp_noise_per_bucket: self.measurement.noise.map(|noise| {
                PerBucketFrequencyDpNoiseBaseline {
                    contributors_count: self.contributors(),
                    dp_params: Some(noise.frequency),
                }
            }),
            noise_mechanism: self.mechanism(),
        };
        let response = complete_execution_phase_three_at_aggregator::<G>(&request, &self.context)?;
        Ok(response.frequency_distribution.into_iter().collect())
    }

    pub fn non_aggregators(&self) -> &[ElGamalKeyPair] {
        self.pairs.split_last().unwrap().1
    }

    fn contributors(&self) -> i32 {
        self.pairs.len() as i32
    }

    fn mechanism(&self) -> i32 {
        self.measurement.noise.map_or(0, |noise| noise.mechanism.into())
    }

    fn tuple_noise(&self) -> Option<FlagCountTupleNoiseGenerationParameters> {
        let noise = self.measurement.noise.filter(|_| self.measurement.maximum_frequency > 1)?;
        Some(FlagCountTupleNoiseGenerationParameters {
            maximum_frequency: self.measurement.maximum_frequency,
            contributors_count: self.contributors(),
            dp_params: Some(noise.frequency),
        })
    }
}
