//! A whole Liquid Legions v2 computation by two duchies, stage by stage, on one thread: what each kernel takes for a
//! record, beside one multiplication by OpenSSL in the same run. The primitives of a ciphertext come first.
//!
//! Every stage works on what the stage before it answered. `--quick` passes once over what is slow; other arguments
//! are parts of names to measure.

use std::hint::black_box;

use halo_benches::openssl_p256::OpenSsl;
use halo_benches::stopwatch::Stopwatch;
use halo_benches::{SIZES, points, rng};
use halo_crypto::elgamal::{EncryptionKey, KeyPair};
use halo_crypto::noise::{DistributedNoise, NoiseMechanism, NoiseParameters, PrivacyParameters};
use halo_crypto::parallel::Executor;
use halo_crypto::pohlig_hellman::BlindingKey;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::data_provider::encrypt_sketch;
use halo_protocols::kernel::{KernelContext, KernelError, combine_el_gamal_public_keys};
use halo_protocols::llv2::*;
use halo_protocols::proto::any_sketch::crypto::{
    CombineElGamalPublicKeysRequest, ElGamalPublicKey, EncryptSketchRequest,
};
use halo_protocols::proto::any_sketch::sketch::Register;
use halo_protocols::proto::any_sketch::sketch_config::ValueSpec;
use halo_protocols::proto::any_sketch::sketch_config::value_spec::Aggregator;
use halo_protocols::proto::any_sketch::{Sketch, SketchConfig};
use halo_protocols::proto::duchy::{self, DifferentialPrivacyParams, ElGamalKeyPair};
use halo_protocols::proto::protocol::*;

/// Frequencies counted, as in upstream's measured figures.
const MAXIMUM_FREQUENCY: i32 = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut openssl = OpenSsl::new()?;
    let mut stopwatch =
        Stopwatch::from_arguments(|| openssl.multiply().expect("OpenSSL multiplies valid points"));
    stopwatch.print_heading();
    noise_samplers(&mut stopwatch)?;
    suite::<P256>(&mut stopwatch)?;
    suite::<Ristretto255>(&mut stopwatch)?;
    stopwatch.print_summary();
    Ok(())
}

fn noise_samplers(stopwatch: &mut Stopwatch<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let privacy = PrivacyParameters { epsilon: 0.1, delta: 1e-9 };
    for (name, mechanism) in
        [("geometric", NoiseMechanism::Geometric), ("discrete Gaussian", NoiseMechanism::DiscreteGaussian)]
    {
        let noise =
            DistributedNoise::new(mechanism, &NoiseParameters { privacy, contributors: 3, sensitivity: 2 })?;
        let mut rng = rng();
        stopwatch.measure(&format!("{name} noise, draw"), SIZES[0], || {
            (0..SIZES[0]).map(|_| noise.sample(&mut rng)).max()
        });
    }
    Ok(())
}

fn suite<G: Group>(stopwatch: &mut Stopwatch<'_>) -> Result<(), KernelError> {
    for count in SIZES {
        primitives::<G>(stopwatch, count);
        Computation::<G>::new(count)?.run(stopwatch)?;
    }
    Ok(())
}

fn primitives<G: Group>(stopwatch: &mut Stopwatch<'_>, count: usize) {
    let mut rng = rng();
    let keys = KeyPair::<G>::random(&mut rng);
    let blinding = BlindingKey::random(&mut rng);
    let public = EncryptionKey::new(keys.public);
    let messages = points::<G>(count);
    let name = |operation| format!("{} ElGamal {operation}, ciphertext", G::NAME);
    let mut ciphertexts = stopwatch.measure(&name("encrypt"), count, || public.encrypt(&messages, &mut rng));
    stopwatch.measure(&name("re-randomize"), count, || public.re_randomize(&mut ciphertexts, &mut rng));
    stopwatch.measure(&name("partial decrypt"), count, || ciphertexts.partial_decrypt(&keys.secret));
    stopwatch.measure(&name("blind"), count, || ciphertexts.blind(&keys.secret, &blinding));
    black_box(ciphertexts);
}

/// Two duchies, the second of them the aggregator, and one data provider with `count` people.
struct Computation<G: Group> {
    count: usize,
    context: KernelContext,
    keys: [ElGamalKeyPair; 2],
    composite: duchy::ElGamalPublicKey,
    suite: core::marker::PhantomData<G>,
}

impl<G: Group> Computation<G> {
    fn new(count: usize) -> Result<Self, KernelError> {
        let seed = StreamSeed::random(&mut rng());
        let key = |duchy: &[u8]| {
            let context = KernelContext::new(Executor::serial(), seed.derive(duchy));
            let request = CompleteInitializationPhaseRequest { curve_id: G::CURVE_ID };
            let response = complete_initialization_phase::<G>(&request, &context)?;
            Ok::<_, KernelError>(response.el_gamal_key_pair.unwrap_or_default())
        };
        let keys = [key(b"first")?, key(b"aggregator")?];
        let context = KernelContext::new(Executor::serial(), seed.derive(b"stages"));
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
        Ok(Self { count, context, keys, composite, suite: core::marker::PhantomData })
    }

    fn run(&self, stopwatch: &mut Stopwatch<'_>) -> Result<(), KernelError> {
        let registers = self.encrypt(stopwatch)?;
        self.setup_noise(stopwatch)?;
        let registers = self.setup(stopwatch, registers)?;
        let registers = self.phase_one(stopwatch, registers)?;
        let tuples = self.phase_one_at_aggregator(stopwatch, registers)?;
        let tuples = self.phase_two(stopwatch, tuples)?;
        let matrix = self.phase_two_at_aggregator(stopwatch, tuples)?;
        let matrix = self.phase_three(stopwatch, matrix)?;
        self.phase_three_at_aggregator(stopwatch, matrix)
    }

    fn measure<T>(
        &self,
        stopwatch: &mut Stopwatch<'_>,
        stage: &str,
        records: usize,
        kernel: impl FnMut() -> Result<T, KernelError>,
    ) -> Result<T, KernelError> {
        stopwatch.measure(&format!("{} {stage}", G::NAME), records, kernel)
    }

    fn encrypt(&self, stopwatch: &mut Stopwatch<'_>) -> Result<Vec<u8>, KernelError> {
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
            .map(|index| Register { index, values: vec![index * 7_919 + 1, index % 15 + 1] })
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
        let kernel = || encrypt_sketch::<G>(&request, &self.context);
        Ok(self.measure(stopwatch, "EncryptSketch, register", self.count, kernel)?.encrypted_sketch)
    }

    /// Only noise: parameters that demand about as many registers as the sketch has.
    fn setup_noise(&self, stopwatch: &mut Stopwatch<'_>) -> Result<(), KernelError> {
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
        let kernel = || complete_setup_phase::<G>(&request, &self.context);
        let registers = kernel()?.combined_register_vector.len() / (6 * G::POINT_LENGTH);
        self.measure(stopwatch, "SetupPhase, noise register", registers, kernel)?;
        Ok(())
    }

    fn setup(&self, stopwatch: &mut Stopwatch<'_>, registers: Vec<u8>) -> Result<Vec<u8>, KernelError> {
        let request = CompleteSetupPhaseRequest {
            requisition_register_vector: registers,
            maximum_frequency: MAXIMUM_FREQUENCY,
            ..CompleteSetupPhaseRequest::default()
        };
        let kernel = || complete_setup_phase::<G>(&request, &self.context);
        Ok(self.measure(stopwatch, "SetupPhase, register", self.count, kernel)?.combined_register_vector)
    }

    fn phase_one(&self, stopwatch: &mut Stopwatch<'_>, registers: Vec<u8>) -> Result<Vec<u8>, KernelError> {
        let request = CompleteExecutionPhaseOneRequest {
            combined_register_vector: registers,
            local_el_gamal_key_pair: Some(self.keys[0].clone()),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            curve_id: G::CURVE_ID,
            parallelism: 1,
        };
        let kernel = || complete_execution_phase_one::<G>(&request, &self.context);
        Ok(self
            .measure(stopwatch, "ExecutionPhaseOne, register", self.count, kernel)?
            .combined_register_vector)
    }

    fn phase_one_at_aggregator(
        &self,
        stopwatch: &mut Stopwatch<'_>,
        registers: Vec<u8>,
    ) -> Result<Vec<u8>, KernelError> {
        let request = CompleteExecutionPhaseOneAtAggregatorRequest {
            combined_register_vector: registers,
            local_el_gamal_key_pair: Some(self.keys[1].clone()),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            curve_id: G::CURVE_ID,
            total_sketches_count: 1,
            parallelism: 1,
            ..CompleteExecutionPhaseOneAtAggregatorRequest::default()
        };
        let kernel = || complete_execution_phase_one_at_aggregator::<G>(&request, &self.context);
        let stage = "ExecutionPhaseOneAtAggregator, register";
        Ok(self.measure(stopwatch, stage, self.count, kernel)?.flag_count_tuples)
    }

    fn phase_two(&self, stopwatch: &mut Stopwatch<'_>, tuples: Vec<u8>) -> Result<Vec<u8>, KernelError> {
        let request = CompleteExecutionPhaseTwoRequest {
            flag_count_tuples: tuples,
            local_el_gamal_key_pair: Some(self.keys[0].clone()),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            partial_composite_el_gamal_public_key: self.keys[1].public_key.clone(),
            curve_id: G::CURVE_ID,
            parallelism: 1,
            ..CompleteExecutionPhaseTwoRequest::default()
        };
        let kernel = || complete_execution_phase_two::<G>(&request, &self.context);
        Ok(self.measure(stopwatch, "ExecutionPhaseTwo, tuple", self.count, kernel)?.flag_count_tuples)
    }

    fn phase_two_at_aggregator(
        &self,
        stopwatch: &mut Stopwatch<'_>,
        tuples: Vec<u8>,
    ) -> Result<Vec<u8>, KernelError> {
        let request = CompleteExecutionPhaseTwoAtAggregatorRequest {
            flag_count_tuples: tuples,
            local_el_gamal_key_pair: Some(self.keys[1].clone()),
            composite_el_gamal_public_key: Some(self.composite.clone()),
            curve_id: G::CURVE_ID,
            maximum_frequency: MAXIMUM_FREQUENCY,
            sketch_parameters: Some(LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 }),
            vid_sampling_interval_width: 1.0,
            ..CompleteExecutionPhaseTwoAtAggregatorRequest::default()
        };
        let kernel = || complete_execution_phase_two_at_aggregator::<G>(&request, &self.context);
        let stage = "ExecutionPhaseTwoAtAggregator, tuple";
        Ok(self.measure(stopwatch, stage, self.count, kernel)?.same_key_aggregator_matrix)
    }

    fn phase_three(&self, stopwatch: &mut Stopwatch<'_>, matrix: Vec<u8>) -> Result<Vec<u8>, KernelError> {
        let cells = matrix.len() / (2 * G::POINT_LENGTH);
        let request = CompleteExecutionPhaseThreeRequest {
            same_key_aggregator_matrix: matrix,
            local_el_gamal_key_pair: Some(self.keys[0].clone()),
            curve_id: G::CURVE_ID,
            parallelism: 1,
        };
        let kernel = || complete_execution_phase_three::<G>(&request, &self.context);
        Ok(self
            .measure(stopwatch, "ExecutionPhaseThree, ciphertext", cells, kernel)?
            .same_key_aggregator_matrix)
    }

    fn phase_three_at_aggregator(
        &self,
        stopwatch: &mut Stopwatch<'_>,
        matrix: Vec<u8>,
    ) -> Result<(), KernelError> {
        let cells = matrix.len() / (2 * G::POINT_LENGTH);
        let request = CompleteExecutionPhaseThreeAtAggregatorRequest {
            same_key_aggregator_matrix: matrix,
            local_el_gamal_key_pair: Some(self.keys[1].clone()),
            curve_id: G::CURVE_ID,
            maximum_frequency: MAXIMUM_FREQUENCY,
            ..CompleteExecutionPhaseThreeAtAggregatorRequest::default()
        };
        let kernel = || complete_execution_phase_three_at_aggregator::<G>(&request, &self.context);
        self.measure(stopwatch, "ExecutionPhaseThreeAtAggregator, ciphertext", cells, kernel)?;
        Ok(())
    }
}
