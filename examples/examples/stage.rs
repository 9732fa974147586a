//! Answers one request of an upstream utility method, so that anybody can put our stage into an upstream chain, or
//! theirs into ours:
//!
//! ```text
//! cargo run --release --example stage -- METHOD REQUEST.pb RESPONSE.pb
//! ```
//!
//! METHOD is upstream's name (`EncryptSketch`, `CompleteSetupPhase`, `GenerateSecretShares`, …); the files are serialised upstream messages
//! without a length prefix. An invalid request ends with exit code 1 and one line on stderr, and writes nothing.
//! Random choices come from the operating system. `elapsed_cpu_time_millis` is left 0, `elapsed_cpu_duration` unset.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use getrandom::SysRng;
use getrandom::rand_core::TryRng;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_protocols::hmss::{
    complete_reach_and_frequency_aggregation_phase, complete_reach_and_frequency_shuffle_phase,
    complete_reach_only_aggregation_phase, complete_reach_only_shuffle_phase, generate_secret_shares,
};
use halo_protocols::kernel::{self, Kernel, KernelContext, KernelError};
use halo_protocols::proto::any_sketch::crypto::{CombineElGamalPublicKeysRequest, EncryptSketchRequest};
use halo_protocols::proto::protocol::{
    CompleteExecutionPhaseOneAtAggregatorRequest, CompleteExecutionPhaseOneRequest,
    CompleteExecutionPhaseThreeAtAggregatorRequest, CompleteExecutionPhaseThreeRequest,
    CompleteExecutionPhaseTwoAtAggregatorRequest, CompleteExecutionPhaseTwoRequest,
    CompleteInitializationPhaseRequest, CompleteReachOnlyExecutionPhaseAtAggregatorRequest,
    CompleteReachOnlyExecutionPhaseRequest, CompleteReachOnlyInitializationPhaseRequest,
    CompleteReachOnlySetupPhaseRequest, CompleteSetupPhaseRequest,
};
use halo_protocols::reach_only_llv2::SetupPhaseAtAggregator;
use prost::Message;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [method, request, response] => match run(method, Path::new(request), Path::new(response)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{method}: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: stage METHOD REQUEST.pb RESPONSE.pb");
            ExitCode::FAILURE
        }
    }
}

fn run(method: &str, request: &Path, response: &Path) -> Result<(), Error> {
    let answer =
        METHODS.iter().find(|(name, _)| *name == method).map(|(_, answer)| answer).ok_or_else(|| {
            let names: Vec<&str> = METHODS.iter().map(|(name, _)| *name).collect();
            format!("no such method; there are {}", names.join(", "))
        })?;
    let request = std::fs::read(request).map_err(|error| format!("{}: {error}", request.display()))?;
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed)?;
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().build()?);
    let answer = answer(&request, &KernelContext::new(Executor::on(pool), StreamSeed::new(seed)))?;
    std::fs::write(response, answer).map_err(|error| format!("{}: {error}", response.display()).into())
}

/// Decodes a request, computes, and encodes the response.
fn answer<K: Kernel + Message + Default>(request: &[u8], context: &KernelContext) -> Result<Vec<u8>, Error> {
    Ok(kernel::compute(&K::decode(request)?, context)?.encode_to_vec())
}

/// The same for a method that is no [`Kernel`]: its request names no group, or serves another method too.
fn answer_by<M: Message + Default, R: Message>(
    method: fn(&M, &KernelContext) -> Result<R, KernelError>,
    request: &[u8],
    context: &KernelContext,
) -> Result<Vec<u8>, Error> {
    let request = M::decode(request)?;
    Ok(method(&request, context)?.encode_to_vec())
}

/// Answers a serialised request with a serialised response.
type Answer = fn(&[u8], &KernelContext) -> Result<Vec<u8>, Error>;

const fn method<K: Kernel + Message + Default>() -> (&'static str, Answer) {
    (K::METHOD, answer::<K>)
}

const METHODS: [(&str, Answer); 20] = [
    method::<CombineElGamalPublicKeysRequest>(),
    method::<EncryptSketchRequest>(),
    method::<CompleteInitializationPhaseRequest>(),
    method::<CompleteSetupPhaseRequest>(),
    method::<CompleteExecutionPhaseOneRequest>(),
    method::<CompleteExecutionPhaseOneAtAggregatorRequest>(),
    method::<CompleteExecutionPhaseTwoRequest>(),
    method::<CompleteExecutionPhaseTwoAtAggregatorRequest>(),
    method::<CompleteExecutionPhaseThreeRequest>(),
    method::<CompleteExecutionPhaseThreeAtAggregatorRequest>(),
    ("GenerateSecretShares", |request, context| answer_by(generate_secret_shares, request, context)),
    ("CompleteReachAndFrequencyShufflePhase", |request, context| {
        answer_by(complete_reach_and_frequency_shuffle_phase, request, context)
    }),
    ("CompleteReachOnlyShufflePhase", |request, context| {
        answer_by(complete_reach_only_shuffle_phase, request, context)
    }),
    ("CompleteReachAndFrequencyAggregationPhase", |request, context| {
        answer_by(complete_reach_and_frequency_aggregation_phase, request, context)
    }),
    ("CompleteReachOnlyAggregationPhase", |request, context| {
        answer_by(complete_reach_only_aggregation_phase, request, context)
    }),
    method::<CompleteReachOnlyInitializationPhaseRequest>(),
    method::<CompleteReachOnlySetupPhaseRequest>(),
    (SetupPhaseAtAggregator::METHOD, |request, context| {
        let compute = |request: &CompleteReachOnlySetupPhaseRequest, context: &KernelContext| {
            kernel::compute(&SetupPhaseAtAggregator(request.clone()), context)
        };
        answer_by(compute, request, context)
    }),
    method::<CompleteReachOnlyExecutionPhaseRequest>(),
    method::<CompleteReachOnlyExecutionPhaseAtAggregatorRequest>(),
];
