//! What a measurement costs its duchies, from the number of registers: processor time, bytes and memory of each stage.
//!
//! Records and bytes follow from the protocols, noise included, and are upper bounds: data decides how many noise registers become
//! tuples and how many tuples become rows. Times are those of `docs/performance.md`, of one thread of an AMD EPYC (Zen 4), and
//! divide by the number of threads (1.9 for two).

use halo_crypto::P256;
use halo_protocols::hmss::{FrequencyVectorParameters, MeasurementKind};
use halo_protocols::kernel::{KernelError, MAXIMUM_MESSAGE_BYTES};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::protocol::{
    FlagCountTupleNoiseGenerationParameters, ReachNoiseDifferentialPrivacyParams,
    RegisterNoiseGenerationParameters, ShareShuffleFrequencyVectorParams,
};
use halo_protocols::sketch::{Layout, RegisterNoise, TupleNoise};
use halo_protocols::{hmss, llv2, reach_only_llv2};

/// Microseconds of one thread for one record of each stage. For phase two at the aggregator they depend on the maximum frequency.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// What computes.
    pub backend: &'static str,
    encrypt: f64,
    noise: f64,
    one: f64,
    one_aggregator: f64,
    two: f64,
    /// Without the comparisons of the count.
    two_aggregator: f64,
    /// Besides, once for each tuple, and for each frequency that its count is compared with.
    comparisons: [f64; 2],
    three: f64,
    three_aggregator: f64,
    reach_only: f64,
    reach_only_aggregator: f64,
}

/// With AVX-512 IFMA.
pub const IFMA: Costs = Costs {
    backend: "ifma",
    encrypt: 12.9,
    noise: 12.1,
    one: 30.0,
    one_aggregator: 41.0,
    two: 43.0,
    two_aggregator: 33.6,
    comparisons: [14.4, 6.2],
    three: 9.7,
    three_aggregator: 4.4,
    reach_only: 22.0,
    reach_only_aggregator: 9.6,
};

/// With AVX2.
pub const AVX2: Costs = Costs {
    backend: "avx2",
    encrypt: 17.7,
    noise: 15.7,
    one: 54.0,
    one_aggregator: 73.0,
    two: 71.0,
    two_aggregator: 59.4,
    comparisons: [29.6, 10.5],
    three: 18.0,
    three_aggregator: 7.6,
    reach_only: 38.0,
    reach_only_aggregator: 17.7,
};

/// Nanoseconds for one register of a share shuffle, of three data providers.
const SHUFFLE: f64 = 7.1;
const AGGREGATE: f64 = 0.8;
const EXPAND: f64 = 0.22;
const RING_MODULUS: i32 = 127;

/// The most that a fulfillment server takes from one data provider unless it is told otherwise: `--max-requisition-bytes`.
pub const REQUISITION_BYTES: u64 = 1 << 30;

/// What a thread needs besides the messages.
const SCRATCH_BYTES: u64 = 3 << 20;

/// A measurement, as far as it costs something.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// Duchies, one of them the aggregator.
    pub duchies: u32,
    /// Data providers.
    pub providers: u32,
    /// Registers of one data provider's sketch that somebody fell into; of a share shuffle, people sampled from the population.
    pub registers: u64,
    /// Such registers of all sketches together; at most `providers` times `registers`.
    pub distinct: u64,
    /// Frequencies are told apart up to this one.
    pub maximum_frequency: u32,
    /// ε and δ of every noise, discrete Gaussian; `None` for none.
    pub privacy: Option<(f64, f64)>,
}

/// What one stage costs one party.
#[derive(Clone, Copy, Debug)]
pub struct StageCost {
    /// Who computes.
    pub party: Party,
    /// What.
    pub stage: &'static str,
    /// How many records come in, or are made.
    pub records: u64,
    /// Processor time of one thread, in seconds.
    pub seconds: f64,
    /// Bytes for the next party, one message.
    pub sent: u64,
    /// Bytes of memory while it is computed, on one thread.
    pub memory: u64,
}

/// Who computes a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// Each data provider.
    DataProvider,
    /// Each duchy but the aggregator.
    Worker,
    /// The aggregator.
    Aggregator,
}

impl StageCost {
    fn new(party: Party, stage: &'static str, records: u64, micros: f64, received: u64, sent: u64) -> Self {
        let memory = received + sent + SCRATCH_BYTES;
        Self { party, stage, records, seconds: records as f64 * micros * 1e-6, sent, memory }
    }

    /// The most bytes that this stage may send: what a duchy takes from a data provider by default, and from another duchy
    /// what fits one of upstream's messages, which no setting changes ([`KernelError::TooLarge`]).
    pub const fn limit(&self) -> u64 {
        match self.party {
            Party::DataProvider => REQUISITION_BYTES,
            Party::Worker | Party::Aggregator => MAXIMUM_MESSAGE_BYTES,
        }
    }

    /// Whether it would be refused. What is planned are upper bounds, so that a measurement just above a limit may succeed.
    pub const fn is_refused(&self) -> bool {
        self.sent > self.limit()
    }
}

impl Measurement {
    /// Liquid Legions v2, reach and frequency.
    ///
    /// # Errors
    /// [`KernelError`] if the noise cannot be: an ε or δ out of range.
    pub fn llv2(&self, costs: &Costs) -> Result<Vec<StageCost>, KernelError> {
        use Party::{Aggregator, Worker};
        let [register, tuple, cell] = [Layout::REGISTER, Layout::FLAG_COUNT_TUPLE, Layout::CELL]
            .map(|layout| layout.length::<P256>() as u64);
        let noise_registers = self.noise_registers()?;
        let noise_tuples = self.noise_tuples()?;
        let duchies = u64::from(self.duchies);
        let comparisons = u64::from(self.maximum_frequency.saturating_sub(1));
        let own = self.data_registers().div_ceil(duchies);
        let all = self.data_registers() + duchies * noise_registers;
        let joined = self.distinct + duchies * noise_registers;
        let tuples = joined + duchies * noise_tuples;
        let cells = tuples * comparisons;
        let name = llv2::Stage::name;
        let [setup, one, two, three] = [
            llv2::Stage::SetupPhase,
            llv2::Stage::ExecutionPhaseOne,
            llv2::Stage::ExecutionPhaseTwo,
            llv2::Stage::ExecutionPhaseThree,
        ]
        .map(name);
        let per_tuple =
            costs.two_aggregator + costs.comparisons[0] + costs.comparisons[1] * comparisons as f64;
        Ok(vec![
            self.encryption(costs, register),
            StageCost::new(
                Worker,
                setup,
                noise_registers,
                costs.noise,
                own * register,
                (own + noise_registers) * register,
            ),
            StageCost::new(Worker, one, all, costs.one, all * register, all * register),
            StageCost::new(Worker, two, tuples, costs.two, tuples * tuple, tuples * tuple),
            StageCost::new(Worker, three, cells, costs.three, cells * cell, cells * cell),
            StageCost::new(Aggregator, setup, noise_registers, costs.noise, all * register, all * register),
            StageCost::new(
                Aggregator,
                one,
                all,
                costs.one_aggregator,
                all * register,
                (joined + noise_tuples) * tuple,
            ),
            StageCost::new(Aggregator, two, tuples, per_tuple, tuples * tuple, cells * cell),
            StageCost::new(Aggregator, three, cells, costs.three_aggregator, cells * cell, 0),
        ])
    }

    /// Reach-only Liquid Legions v2. A noise register is taken to cost what one of three ciphertexts does, which is more than it does.
    ///
    /// # Errors
    /// As [`Measurement::llv2`].
    pub fn ro_llv2(&self, costs: &Costs) -> Result<Vec<StageCost>, KernelError> {
        use Party::{Aggregator, Worker};
        let register = Layout::REACH_ONLY_REGISTER.length::<P256>() as u64;
        let noise = match self.register_noise()? {
            Some(noise) => noise.reach_only_register_count(),
            None => 0,
        };
        let duchies = u64::from(self.duchies);
        let own = self.data_registers().div_ceil(duchies);
        let all = self.data_registers() + duchies * noise;
        // The excessive noise is a ciphertext more in every message.
        let sent = |registers: u64| (registers + 1) * register;
        let setup = reach_only_llv2::Stage::SetupPhase.name();
        let execution = reach_only_llv2::Stage::ExecutionPhase.name();
        Ok(vec![
            self.encryption(costs, register),
            StageCost::new(Worker, setup, noise, costs.noise, own * register, sent(own + noise)),
            StageCost::new(Worker, execution, all, costs.reach_only, sent(all), sent(all)),
            StageCost::new(Aggregator, setup, noise, costs.noise, sent(all), sent(all)),
            StageCost::new(Aggregator, execution, all, costs.reach_only_aggregator, sent(all), 0),
        ])
    }

    /// A share shuffle of reach and frequency, in the ring of production. Times hardly depend on the number of data providers.
    ///
    /// # Errors
    /// As [`Measurement::llv2`]; and if frequencies could add up to more than the ring holds.
    pub fn hmss(&self) -> Result<Vec<StageCost>, KernelError> {
        use Party::{Aggregator, DataProvider, Worker};
        let privacy = self.privacy();
        let parameters = FrequencyVectorParameters::new(
            MeasurementKind::ReachAndFrequency,
            &ShareShuffleFrequencyVectorParams {
                register_count: self.registers.cast_signed(),
                maximum_combined_frequency: (self.providers * self.maximum_frequency).cast_signed(),
                ring_modulus: RING_MODULUS,
            },
            match privacy {
                Some(_) => NoiseMechanism::DiscreteGaussian.into(),
                None => NoiseMechanism::None.into(),
            },
            privacy.as_ref(),
            privacy.as_ref(),
        )?;
        let all = self.registers + 2 * parameters.noise_length();
        let stage = |stage: hmss::Stage| stage.name();
        let cost = |party, name, records, nanos: f64, received, sent| {
            StageCost::new(party, name, records, nanos * 1e-3, received, sent)
        };
        // A worker holds the vectors of half of the data providers; seeds are expanded piece by piece.
        let vectors = self.data_registers().div_ceil(2);
        Ok(vec![
            // In memory a register is four bytes, and so is its share.
            cost(
                DataProvider,
                "GenerateSecretShares",
                self.registers,
                EXPAND,
                7 * self.registers,
                self.registers,
            ),
            cost(Worker, stage(hmss::Stage::ShufflePhase), all, SHUFFLE, vectors, all),
            cost(Aggregator, stage(hmss::Stage::AggregationPhase), all, AGGREGATE, 2 * all, 0),
        ])
    }

    /// What a data provider computes for a sketch of registers of so many bytes.
    fn encryption(&self, costs: &Costs, register: u64) -> StageCost {
        let sent = self.registers * register;
        StageCost::new(Party::DataProvider, "EncryptSketch", self.registers, costs.encrypt, 0, sent)
    }

    fn data_registers(&self) -> u64 {
        u64::from(self.providers) * self.registers
    }

    fn privacy(&self) -> Option<DifferentialPrivacyParams> {
        self.privacy.map(|(epsilon, delta)| DifferentialPrivacyParams { epsilon, delta })
    }

    fn register_noise(&self) -> Result<Option<RegisterNoise>, KernelError> {
        let Some(privacy) = self.privacy() else { return Ok(None) };
        let parameters = RegisterNoiseGenerationParameters {
            contributors_count: self.duchies.cast_signed(),
            total_sketches_count: self.providers.cast_signed(),
            dp_params: Some(ReachNoiseDifferentialPrivacyParams {
                blind_histogram: Some(privacy),
                noise_for_publisher_noise: Some(privacy),
                global_reach_dp_noise: Some(privacy),
            }),
            ..RegisterNoiseGenerationParameters::default()
        };
        RegisterNoise::new(&parameters, NoiseMechanism::DiscreteGaussian.into()).map(Some)
    }

    fn noise_registers(&self) -> Result<u64, KernelError> {
        Ok(self.register_noise()?.map_or(0, |noise| noise.register_count()))
    }

    fn noise_tuples(&self) -> Result<u64, KernelError> {
        let Some(privacy) = self.privacy() else { return Ok(0) };
        let parameters = FlagCountTupleNoiseGenerationParameters {
            maximum_frequency: self.maximum_frequency.cast_signed(),
            contributors_count: self.duchies.cast_signed(),
            dp_params: Some(privacy),
        };
        Ok(TupleNoise::new(&parameters, NoiseMechanism::DiscreteGaussian.into())?.tuple_count())
    }
}
