//! A whole Liquid Legions v2 computation by two duchies, and a reach-only one, stage by stage, from the bytes of a request
//! to the bytes of its response. Every stage works on what the stage before it answered.
//!
//! The inputs are those of the project's goals: all ids are distinct, ten frequencies are told apart, and a person was
//! seen one to seven times. So four of nine cells of a row are opened at the end, as many as upstream's measured 37 µs
//! per cell imply, of which one takes it 85 µs to open.
//!
//! What a stage holds in memory is only counted in programs whose global allocator is
//! [`PeakAlloc`](peak_alloc::PeakAlloc).

use std::error::Error;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use halo_crypto::Group;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_protocols::kernel::{Kernel, KernelContext, KernelError, combine_el_gamal_public_keys};
use halo_protocols::llv2::complete_initialization_phase;
use halo_protocols::proto::any_sketch::crypto::{
    CombineElGamalPublicKeysRequest, ElGamalPublicKey, EncryptSketchRequest,
};
use halo_protocols::proto::any_sketch::sketch::Register;
use halo_protocols::proto::any_sketch::sketch_config::ValueSpec;
use halo_protocols::proto::any_sketch::sketch_config::value_spec::Aggregator;
use halo_protocols::proto::any_sketch::{Sketch, SketchConfig};
use halo_protocols::proto::duchy::{self, DifferentialPrivacyParams, ElGamalKeyPair};
use halo_protocols::proto::protocol::*;
use halo_protocols::reach_only_llv2::SetupPhaseAtAggregator;
use prost::Message;

use crate::rng;
use crate::stopwatch::{Memory, Stopwatch};

/// Frequencies counted, as in upstream's measured figures.
const MAXIMUM_FREQUENCY: i32 = 10;

/// Two duchies, the second of them the aggregator, and one data provider with `count` people.
pub struct Computation<G: Group> {
    count: usize,
    context: KernelContext,
    on_two_threads: KernelContext,
    keys: [ElGamalKeyPair; 2],
    composite: duchy::ElGamalPublicKey,
    suite: PhantomData<G>,
}

impl<G: Group> Computation<G> {
    /// Draws the keys of a computation on `count` registers.
    ///
    /// # Errors
    /// Those of the kernels that make keys.
    pub fn new(count: usize) -> Result<Self, Box<dyn Error>> {
        let seed = StreamSeed::random(&mut rng());
        let key = |duchy: &[u8]| {
            let context = KernelContext::new(Executor::serial(), seed.derive(duchy));
            let request = CompleteInitializationPhaseRequest { curve_id: G::CURVE_ID };
            let response = complete_initialization_phase::<G>(&request, &context)?;
            Ok::<_, KernelError>(response.el_gamal_key_pair.unwrap_or_default())
        };
        let keys = [key(b"first")?, key(b"aggregator")?];
        let context = KernelContext::new(Executor::serial(), seed.derive(b"stages"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
        let on_two_threads = KernelContext::new(Executor::on(Arc::new(pool)), seed.derive(b"stages"));
        let public = |pair: &ElGamalKeyPair| {
            let key = pair.public_key.clone().unwrap_or_default();
            ElGamalPublicKey { generator: key.generator, element: key.element }
        };
        let request = CombineElGamalPublicKeysRequest {
            curve_id: G::CURVE_ID,
            el_gamal_keys: keys.iter().map(public).collect(),
        };
        let composite =
            combine_el_gamal_public_keys::<G>(&request, &context)?.el_gamal_keys.unwrap_or_default();
        let composite =
            duchy::ElGamalPublicKey { generator: composite.generator, element: composite.element };
        Ok(Self { count, context, on_two_threads, keys, composite, suite: PhantomData })
    }

    /// All stages of both protocols.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn run(&self, stopwatch: &mut Stopwatch) -> Result<(), Box<dyn Error>> {
        self.setup_noise(stopwatch)?;
        let registers = self.encrypt(stopwatch)?;
        let registers = self.setup(stopwatch, registers)?;
        let registers = self.phase_one(stopwatch, registers)?;
        let tuples = self.phase_one_at_aggregator(stopwatch, registers)?;
        let tuples = self.phase_two(stopwatch, tuples)?;
        let matrix = self.phase_two_at_aggregator(stopwatch, tuples)?;
        let matrix = self.phase_three(stopwatch, matrix)?;
        self.phase_three_at_aggregator(stopwatch, matrix)?;
        self.reach_only(stopwatch)
    }

    /// The first stages alone: encryption, which is cheap, and those that sort and group what they work on, the second of
    /// which is dear. What does not grow linearly with the sketch would show in them.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn run_first_stages(&self, stopwatch: &mut Stopwatch) -> Result<(), Box<dyn Error>> {
        let registers = self.encrypt(stopwatch)?;
        let registers = self.phase_one(stopwatch, registers)?;
        self.phase_one_at_aggregator(stopwatch, registers)?;
        Ok(())
    }

    /// The stages of the reach-only protocol, on as many ids.
    fn reach_only(&self, stopwatch: &mut Stopwatch) -> Result<(), Box<dyn Error>> {
        let request = EncryptSketchRequest {
            sketch: Some(Sketch {
                config: Some(SketchConfig::default()),
                registers: (0..self.count as i64)
                    .map(|index| Register { index, ..Register::default() })
                    .collect(),
            }),
            el_gamal_keys: Some(ElGamalPublicKey {
                generator: self.composite.generator.clone(),
                element: self.composite.element.clone(),
            }),
            curve_id: G::CURVE_ID,
            ..EncryptSketchRequest::default()
        };
        let stage = "EncryptSketch, reach-only register";
        let sketch = self.stage(stopwatch, stage, self.count, request)?.encrypted_sketch;

        let setup = |registers: Vec<u8>, excessive_noise: Vec<u8>| CompleteReachOnlySetupPhaseRequest {
            combined_register_vector: registers,
            curve_id: G::CURVE_ID,
            composite_el_gamal_public_key: Some(self.composite.clone()),
            serialized_excessive_noise_ciphertext: excessive_noise,
            parallelism: 1,
            ..CompleteReachOnlySetupPhaseRequest::default()
        };
        let stage = "ReachOnlySetupPhase, register";
        let sent = self.stage(stopwatch, stage, self.count, setup(sketch, Vec::new()))?;
        // The same and one addition, so not measured by itself.
        let request = SetupPhaseAtAggregator(setup(
            sent.combined_register_vector,
            sent.serialized_excessive_noise_ciphertext,
        ));
        let sent = request.compute::<G>(&self.context)?;

        let request = CompleteReachOnlyExecutionPhaseRequest {
            combined_register_vector: sent.combined_register_vector,
            local_el_gamal_key_pair: Some(self.keys[0].clone()),
            curve_id: G::CURVE_ID,
            serialized_excessive_noise_ciphertext: sent.serialized_excessive_noise_ciphertext,
            parallelism: 1,
        };
        let stage = "ReachOnlyExecutionPhase, register";
        let sent = self.stage(stopwatch, stage, self.count, request)?;

        let request = CompleteReachOnlyExecutionPhaseAtAggregatorRequest {
            combined_register_vector: sent.combined_register_vector,
            local_el_gamal_key_pair: Some(self.keys[1].clone()),
            curve_id: G::CURVE_ID,
            serialized_excessive_noise_ciphertext: sent.serialized_excessive_noise_ciphertext,
            sketch_parameters: Some(LiquidLegionsSketchParameters {
                decay_rate: 12.0,
                size: 10 * self.count as i64,
            }),
            vid_sampling_interval_width: 1.0,
            parallelism: 1,
            ..CompleteReachOnlyExecutionPhaseAtAggregatorRequest::default()
        };
        let stage = "ReachOnlyExecutionPhaseAtAggregator, register";
        self.stage(stopwatch, stage, self.count, request)?;
        Ok(())
    }

    /// Answers a request from its bytes: first to see what is held in memory, then against the clock.
    fn stage<K: Kernel + Message + Default>(
        &self,
        stopwatch: &mut Stopwatch,
        stage: &str,
        records: usize,
        request: K,
    ) -> Result<K::Response, Box<dyn Error>> {
        let bytes = Bytes::from(request.encode_to_vec());
        drop(request);
        let (response, peak) = Memory::peak(
            || K::decode(bytes.clone()),
            |request| Ok::<_, Box<dyn Error>>(request?.compute::<G>(&self.context)?),
        );
        let response = response?;
        let memory = Memory { peak, messages: bytes.len() + response.encoded_len() };

        let answer = |bytes: Bytes, context: &KernelContext| {
            let request = K::decode(bytes).expect("it was decoded before");
            request.compute::<G>(context).expect("it was answered before").encode_to_vec()
        };
        let name = format!("{} {stage}", G::NAME);
        let contexts = [&self.context, &self.on_two_threads];
        stopwatch.measure_stage(&name, records, memory, contexts, || bytes.clone(), answer);
        Ok(response)
    }

    fn encrypt(&self, stopwatch: &mut Stopwatch) -> Result<Vec<u8>, Box<dyn Error>> {
        let value = |name: &str, aggregator: Aggregator| ValueSpec {
            name: name.to_owned(),
            aggregator: aggregator.into(),
            ..ValueSpec::default()
        };
        let config = SketchConfig {
            values: vec![value("SamplingIndicator", Aggregator::Unique), value("Frequency", Aggregator::Sum)],
            ..SketchConfig::default()
        };
        let registers = (0..self.count as i64)
            .map(|index| Register { index, values: vec![index * 7_919 + 1, index % 7 + 1] })
            .collect();
        let request = EncryptSketchRequest {
            sketch: Some(Sketch { config: Some(config), registers }),
            el_gamal_keys: Some(ElGamalPublicKey {
                generator: self.composite.generator.clone(),
                element: self.composite.element.clone(),
            }),
            curve_id: G::CURVE_ID,
            maximum_value: MAXIMUM_FREQUENCY,
            ..EncryptSketchRequest::default()
        };
        Ok(self.stage(stopwatch, "EncryptSketch, register", self.count, request)?.encrypted_sketch)
    }

    /// Only noise: parameters that demand about as many registers as the sketch has.
    fn setup_noise(&self, stopwatch: &mut Stopwatch) -> Result<(), Box<dyn Error>> {
        let privacy = Some(DifferentialPrivacyParams { epsilon: 200.0 / self.count as f64, delta: 1e-9 });
        let request = CompleteSetupPhaseRequest {
            maximum_frequency: MAXIMUM_FREQUENCY,
            noise_parameters: Some(RegisterNoiseGenerationParameters {
                composite_el_gamal_public_key: Some(self.composite.clone()),
                curve_id: G::CURVE_ID,
                contributors_count: 2,
                total_sketches_count: 1,
                dp_params: Some(ReachNoiseDifferentialPrivacyParams {
                    blind_histogram: privacy,
                    noise_for_publisher_noise: privacy,
                    global_reach_dp_noise: privacy,
                }),
            }),
            noise_mechanism: duchy::NoiseMechanism::Geometric.into(),
            parallelism: 1,
            ..CompleteSetupPhaseRequest::default()
        };
        let registers =
            request.compute::<G>(&self.context)?.combined_register_vector.len() / (6 * G::POINT_LENGTH);
        self.stage(stopwatch, "SetupPhase, noise register", registers, request)?;
        Ok(())
    }

    fn setup(&self, stopwatch: &mut Stopwatch, registers: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
        let request = CompleteSetupPhaseRequest {
            requisition_register_vector: registers,
            maximum_frequency: MAXIMUM_FREQUENCY,
            ..CompleteSetupPhaseRequest::default()
        };
        Ok(self.stage(stopwatch, "SetupPhase, register", self.count, request)?.combined_register_vector)
    }

    fn phase_one(&self, stopwatch: &mut Stopwatch, registers: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
        let request = CompleteExecutionPhaseOneRequest {
            combined_register_vector: registers,
            local_el_gamal_key_pair: Some(self.keys[0].clone()),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            curve_id: G::CURVE_ID,
            parallelism: 1,
        };
        Ok(self
            .stage(stopwatch, "ExecutionPhaseOne, register", self.count, request)?
            .combined_register_vector)
    }

    fn phase_one_at_aggregator(
        &self,
        stopwatch: &mut Stopwatch,
        registers: Vec<u8>,
    ) -> Result<Vec<u8>, Box<dyn Error>> {
        let request = CompleteExecutionPhaseOneAtAggregatorRequest {
            combined_register_vector: registers,
            local_el_gamal_key_pair: Some(self.keys[1].clone()),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            curve_id: G::CURVE_ID,
            total_sketches_count: 1,
            parallelism: 1,
            ..CompleteExecutionPhaseOneAtAggregatorRequest::default()
        };
        let stage = "ExecutionPhaseOneAtAggregator, register";
        Ok(self.stage(stopwatch, stage, self.count, request)?.flag_count_tuples)
    }

    fn phase_two(&self, stopwatch: &mut Stopwatch, tuples: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
        let request = CompleteExecutionPhaseTwoRequest {
            flag_count_tuples: tuples,
            local_el_gamal_key_pair: Some(self.keys[0].clone()),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            partial_composite_el_gamal_public_key: self.keys[1].public_key.clone(),
            curve_id: G::CURVE_ID,
            parallelism: 1,
            ..CompleteExecutionPhaseTwoRequest::default()
        };
        Ok(self.stage(stopwatch, "ExecutionPhaseTwo, tuple", self.count, request)?.flag_count_tuples)
    }

    fn phase_two_at_aggregator(
        &self,
        stopwatch: &mut Stopwatch,
        tuples: Vec<u8>,
    ) -> Result<Vec<u8>, Box<dyn Error>> {
        let request = CompleteExecutionPhaseTwoAtAggregatorRequest {
            flag_count_tuples: tuples,
            local_el_gamal_key_pair: Some(self.keys[1].clone()),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            curve_id: G::CURVE_ID,
            maximum_frequency: MAXIMUM_FREQUENCY,
            sketch_parameters: Some(LiquidLegionsSketchParameters {
                decay_rate: 12.0,
                size: 10 * self.count as i64,
            }),
            vid_sampling_interval_width: 1.0,
            ..CompleteExecutionPhaseTwoAtAggregatorRequest::default()
        };
        let stage = "ExecutionPhaseTwoAtAggregator, tuple";
        Ok(self.stage(stopwatch, stage, self.count, request)?.same_key_aggregator_matrix)
    }

    fn phase_three(&self, stopwatch: &mut Stopwatch, matrix: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
        let cells = matrix.len() / (2 * G::POINT_LENGTH);
        let request = CompleteExecutionPhaseThreeRequest {
            same_key_aggregator_matrix: matrix,
            local_el_gamal_key_pair: Some(self.keys[0].clone()),
            curve_id: G::CURVE_ID,
            parallelism: 1,
        };
        Ok(self
            .stage(stopwatch, "ExecutionPhaseThree, ciphertext", cells, request)?
            .same_key_aggregator_matrix)
    }

    fn phase_three_at_aggregator(
        &self,
        stopwatch: &mut Stopwatch,
        matrix: Vec<u8>,
    ) -> Result<(), Box<dyn Error>> {
        let cells = matrix.len() / (2 * G::POINT_LENGTH);
        let request = CompleteExecutionPhaseThreeAtAggregatorRequest {
            same_key_aggregator_matrix: matrix,
            local_el_gamal_key_pair: Some(self.keys[1].clone()),
            curve_id: G::CURVE_ID,
            maximum_frequency: MAXIMUM_FREQUENCY,
            ..CompleteExecutionPhaseThreeAtAggregatorRequest::default()
        };
        self.stage(stopwatch, "ExecutionPhaseThreeAtAggregator, ciphertext", cells, request)?;
        Ok(())
    }
}
