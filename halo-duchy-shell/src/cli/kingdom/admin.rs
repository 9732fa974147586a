//! The commands to a development Kingdom. Each prints JSON, one object a line, for programs and people.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

use super::inject::InjectOptions;
use super::parameters::{ParameterOptions, ProtocolName};
use crate::cli::CliError;
use crate::cli::process::Process;
use crate::client::{Channel, unary_channel};
use crate::config::{DuchyDirectory, parse_duration};
use crate::identity::Caller;
use crate::kingdom::plaintext::Introduce;
use crate::pki::{KINGDOM, Pki};
use crate::proto::dev_kingdom::dev_kingdom_client::DevKingdomClient;
use crate::proto::dev_kingdom::{
    CancelMeasurementRequest, ClearFaultsRequest, DescribeMeasurementRequest, ExpireMeasurementsRequest,
    Fault, ListFaultsRequest, ListMeasurementsRequest, ListViolationsRequest, MeasurementDescription,
    MeasurementSummary, PlanMeasurementRequest, PurgeMeasurementsRequest,
};
use crate::proto::system::computation::State;
use crate::proto::system::{computation_participant, requisition};
use crate::serve::INTERNAL_CERT_HOST;

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// What to do about a development Kingdom.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// Say how a measurement is to be computed, before `measurement create` with the same request id.
    Plan(Box<PlanOptions>),
    /// List measurements, the oldest first.
    List(ListOptions),
    /// Show everything about one measurement.
    Show(NameOptions),
    /// End a measurement.
    Cancel(NameOptions),
    /// Cancel measurements that have been under way for too long.
    Expire(AgeOptions),
    /// Forget measurements that are over.
    Purge(AgeOptions),
    /// List the invariants that duchies broke; there being any is a failure.
    Violations(TargetOptions),
    /// Make the Kingdom misbehave. It must have been started with --insecure-dev-faults.
    Inject(InjectOptions),
    /// List what misbehaviour is still to happen.
    Faults(TargetOptions),
    /// Make the Kingdom behave again.
    Clear(ClearOptions),
}

/// Which Kingdom.
#[derive(Args, Clone, Debug)]
pub(super) struct TargetOptions {
    /// Folder that `halo-duchy pki` wrote, with the Kingdom's own key: nobody else may tell it anything.
    #[arg(long, value_name = "DIR", required_unless_present = "insecure_dev")]
    pki: Option<PathBuf>,
    /// Speak in plain text, to a Kingdom that was started with the same flag. For development only.
    #[arg(long, conflicts_with = "cert_host")]
    insecure_dev: bool,
    /// Where the Kingdom is.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8443")]
    target: String,
    /// Name to expect in its certificate.
    #[arg(long, value_name = "HOST", default_value = INTERNAL_CERT_HOST)]
    cert_host: String,
}

/// The flags of `kingdom plan`.
#[derive(Args, Clone, Debug)]
pub(super) struct PlanOptions {
    #[command(flatten)]
    target: TargetOptions,
    /// Who will ask for the measurement.
    #[arg(long, value_name = "measurementConsumers/ID")]
    measurement_consumer: String,
    /// The request id that will be given.
    #[arg(long, value_name = "ID")]
    request_id: String,
    /// How it is to be computed.
    #[arg(long, value_enum)]
    protocol: ProtocolName,
    #[command(flatten)]
    parameters: ParameterOptions,
}

/// The flags of `kingdom list`.
#[derive(Args, Clone, Debug)]
pub(super) struct ListOptions {
    #[command(flatten)]
    target: TargetOptions,
    /// Only measurements in this state, such as PENDING_COMPUTATION. May be repeated.
    #[arg(long = "state", value_name = "STATE", value_parser = state)]
    states: Vec<State>,
}

/// Which measurement.
#[derive(Args, Clone, Debug)]
pub(super) struct NameOptions {
    #[command(flatten)]
    target: TargetOptions,
    /// Resource name of the measurement or of its computation.
    #[arg(value_name = "NAME")]
    name: String,
}

/// Which measurements, by age.
#[derive(Args, Clone, Debug)]
pub(super) struct AgeOptions {
    #[command(flatten)]
    target: TargetOptions,
    /// Those created (expire) or ended (purge) longer ago.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    time_to_live: Duration,
}

/// The flags of `kingdom clear`.
#[derive(Args, Clone, Debug)]
pub(super) struct ClearOptions {
    #[command(flatten)]
    target: TargetOptions,
    /// Number of a fault that `kingdom faults` lists. May be repeated. Default: all.
    #[arg(long = "id", value_name = "N")]
    ids: Vec<u64>,
}

impl AdminCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::tool().run(async {
            match self {
                Self::Plan(options) => options.plan().await,
                Self::List(ListOptions { target, states }) => {
                    let states = states.iter().map(|state| i32::from(*state)).collect();
                    let request = ListMeasurementsRequest { states };
                    let listed = target.connect()?.list_measurements(request).await.map_err(refused)?;
                    print(listed.into_inner().measurements.iter().map(summary));
                    Ok(())
                }
                Self::Show(NameOptions { target, name }) => {
                    let request = DescribeMeasurementRequest { name: name.clone() };
                    let shown = target.connect()?.describe_measurement(request).await.map_err(refused)?;
                    print([description(shown.into_inner())]);
                    Ok(())
                }
                Self::Cancel(NameOptions { target, name }) => {
                    let request = CancelMeasurementRequest { name: name.clone() };
                    let cancelled = target.connect()?.cancel_measurement(request).await.map_err(refused)?;
                    print([summary(&cancelled.into_inner())]);
                    Ok(())
                }
                Self::Expire(AgeOptions { target, time_to_live }) => {
                    let request = ExpireMeasurementsRequest { time_to_live: message(*time_to_live) };
                    let expired = target.connect()?.expire_measurements(request).await.map_err(refused)?;
                    print(
                        expired
                            .into_inner()
                            .measurements
                            .into_iter()
                            .map(|name| json!({ "cancelled": name })),
                    );
                    Ok(())
                }
                Self::Purge(AgeOptions { target, time_to_live }) => {
                    let request = PurgeMeasurementsRequest { time_to_live: message(*time_to_live) };
                    let purged = target.connect()?.purge_measurements(request).await.map_err(refused)?;
                    print(
                        purged.into_inner().measurements.into_iter().map(|name| json!({ "forgotten": name })),
                    );
                    Ok(())
                }
                Self::Violations(target) => {
                    let listed = target.connect()?.list_violations(ListViolationsRequest {}).await;
                    let violations = listed.map_err(refused)?.into_inner().violations;
                    print(violations.iter().map(|violation| json!({ "violation": violation })));
                    if violations.is_empty() { Ok(()) } else { Err(CliError::Violations(violations.len())) }
                }
                Self::Inject(options) => {
                    let request = options.request();
                    let injected = options.target.connect()?.inject_fault(request).await.map_err(refused)?;
                    print([fault(&injected.into_inner())]);
                    Ok(())
                }
                Self::Faults(target) => {
                    let listed =
                        target.connect()?.list_faults(ListFaultsRequest {}).await.map_err(refused)?;
                    print(listed.into_inner().faults.iter().map(fault));
                    Ok(())
                }
                Self::Clear(ClearOptions { target, ids }) => {
                    let request = ClearFaultsRequest { ids: ids.clone() };
                    let cleared = target.connect()?.clear_faults(request).await.map_err(refused)?;
                    print([json!({ "cleared": cleared.into_inner().cleared })]);
                    Ok(())
                }
            }
        })
    }
}

impl TargetOptions {
    /// A client that says who it is, which only a Kingdom in plain text listens to.
    fn connect(&self) -> Result<DevKingdomClient<InterceptedService<Channel, Introduce>>, CliError> {
        let channel = if self.insecure_dev {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.target));
            let endpoint = endpoint.map_err(|error| CliError::flag("--target", error.to_string()))?;
            Channel::from(endpoint.timeout(DEADLINE).connect_lazy())
        } else {
            unary_channel(&self.pki()?.tls(KINGDOM).load()?, &self.target, Some(&self.cert_host), DEADLINE)?
        };
        Ok(DevKingdomClient::with_interceptor(channel, Introduce(Caller::Kingdom)))
    }

    fn pki(&self) -> Result<Pki, CliError> {
        self.pki.as_deref().map(Pki::at).ok_or_else(|| CliError::flag("--pki", "missing"))
    }
}

impl PlanOptions {
    async fn plan(&self) -> Result<(), CliError> {
        // It has the duchies' roles in share shuffles.
        let pki = self.target.pki()?;
        let directory = DuchyDirectory::load(&pki.duchy_cert_config())?;
        let protocol = self.parameters.protocol(self.protocol, &pki, &directory)?;
        let request = PlanMeasurementRequest {
            parent: self.measurement_consumer.clone(),
            request_id: self.request_id.clone(),
            protocol: Some((&protocol).into()),
        };
        self.target.connect()?.plan_measurement(request).await.map(drop).map_err(refused)
    }
}

fn refused(status: Status) -> CliError {
    CliError::DevKingdom(Box::new(status))
}

fn print(lines: impl IntoIterator<Item = Value>) {
    for line in lines {
        println!("{line}");
    }
}

fn message(duration: Duration) -> Option<prost_types::Duration> {
    // Longer ago than a message can tell is before everything.
    Some(duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 }))
}

fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

fn summary(found: &MeasurementSummary) -> Value {
    json!({
        "measurement": found.measurement,
        "computation": found.computation,
        "reference_id": found.reference_id,
        "protocol": found.protocol,
        "state": found.state().as_str_name(),
        "create_time": time(found.create_time),
        "update_time": time(found.update_time),
    })
}

fn description(found: MeasurementDescription) -> Value {
    let computation = found.computation.unwrap_or_default();
    let failure = found.measurement.and_then(|measurement| measurement.failure);
    let participants = computation.computation_participants.iter().map(|participant| {
        json!({
            "name": participant.name,
            "state": computation_participant::State::as_str_name(&participant.state()),
            "failure": participant.failure.as_ref().map(|failure| &failure.error_message),
        })
    });
    let requisitions = computation.requisitions.iter().map(|requisition| {
        json!({
            "name": requisition.name,
            "state": requisition::State::as_str_name(&requisition.state()),
            "fulfilled_at": requisition.fulfilling_computation_participant,
        })
    });
    let log_entries = found.log_entries.iter().map(|entry| {
        let attempt = entry.stage_attempt.as_ref();
        json!({
            "name": entry.name,
            "by": entry.participant_child_reference_id,
            "stage": attempt.map(|attempt| &attempt.stage_name),
            "attempt": attempt.map(|attempt| attempt.attempt_number),
            "message": entry.log_message,
        })
    });
    json!({
        "summary": found.summary.as_ref().map(summary),
        "failure": failure.map(|failure| failure.message),
        "participants": participants.collect::<Vec<_>>(),
        "requisitions": requisitions.collect::<Vec<_>>(),
        "log_entries": log_entries.collect::<Vec<_>>(),
        "violations": found.violations,
    })
}

fn fault(found: &Fault) -> Value {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({
        "id": found.id,
        "kind": found.kind.as_ref().map(|kind| format!("{kind:?}")),
        "method": given(&found.method),
        "caller": given(&found.caller),
        "calls": Some(found.calls).filter(|calls| *calls > 0),
        "end_time": time(found.end_time),
    })
}

/// A state by the name that messages give it.
pub(super) fn state(text: &str) -> Result<State, String> {
    State::from_str_name(text).ok_or_else(|| format!("{text:?} is no state of a computation"))
}
