//! `halo-duchy measurement`: a measurement consumer's side, against any Kingdom that speaks the public API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;

use super::CliError;
use super::options::{PublicApiOptions, read_file};
use super::process::Process;
use crate::config::parse_positive_duration;
use crate::consent::Signer;
use crate::hybrid_encryption::{PrivateKeyset, PublicKeyset};
use crate::kingdom::resource_name::CertificateName;
use crate::measurement_consumer::{
    MeasuredResult, MeasurementConsumer, MeasurementRequest, Metric, Progress, Recipient,
};
use crate::proto::api::DifferentialPrivacyParams;
use crate::proto::api::measurement_spec::VidSamplingInterval;
use crate::tls::TlsFiles;

/// What to do about measurements.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum MeasurementCommand {
    /// Ask for a measurement and print its resource name.
    Create(Box<CreateCommand>),
    /// Look at a measurement once and print how far it is, or its result.
    Get(MeasurementOptions),
    /// Wait until a measurement is over and print its result.
    Watch(WatchCommand),
}

/// The measurement consumer.
#[derive(Args, Clone, Debug)]
pub(super) struct ConsumerOptions {
    #[command(flatten)]
    tls: TlsFiles,
    #[command(flatten)]
    kingdom: PublicApiOptions,
    /// Resource name of the measurement consumer's certificate at the Kingdom.
    #[arg(long, value_name = "measurementConsumers/ID/certificates/ID")]
    measurement_consumer_certificate: String,
    /// The consent-signaling key, in DER (PKCS#8).
    #[arg(long, value_name = "FILE")]
    private_key_der_file: PathBuf,
    /// The certificate of that key, in DER.
    #[arg(long, value_name = "FILE")]
    certificate_der_file: PathBuf,
    /// The Tink keyset that results are decrypted with.
    #[arg(long, value_name = "FILE")]
    encryption_private_key_file: PathBuf,
}

/// Which measurement.
#[derive(Args, Clone, Debug)]
pub(super) struct MeasurementOptions {
    #[command(flatten)]
    consumer: ConsumerOptions,
    /// Resource name of the measurement.
    #[arg(long, value_name = "measurementConsumers/ID/measurements/ID")]
    measurement: String,
}

/// The flags of `measurement watch`.
#[derive(Args, Clone, Debug)]
pub(super) struct WatchCommand {
    #[command(flatten)]
    measurement: MeasurementOptions,
    /// Pause between two looks.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_positive_duration)]
    polling_delay: Duration,
}

/// The flags of `measurement create`.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("metric").args(["reach", "reach_and_frequency"]).required(true))]
pub(super) struct CreateCommand {
    #[command(flatten)]
    consumer: ConsumerOptions,
    /// A data provider to ask, by its certificate at the Kingdom and the file of its public Tink keyset; once for each.
    #[arg(long = "data-provider", value_name = "dataProviders/ID/certificates/ID=FILE", required = true,
        value_parser = data_provider)]
    data_providers: Vec<(String, PathBuf)>,
    /// Measure how many people were reached.
    #[arg(long)]
    reach: bool,
    /// Measure how many people were reached and how often.
    #[arg(long)]
    reach_and_frequency: bool,
    /// ε of the reach's noise.
    #[arg(long, value_name = "EPSILON")]
    reach_privacy_epsilon: f64,
    /// δ of the reach's noise.
    #[arg(long, value_name = "DELTA")]
    reach_privacy_delta: f64,
    /// ε of the frequencies' noise.
    #[arg(
        long,
        value_name = "EPSILON",
        requires = "reach_and_frequency",
        required_if_eq("reach_and_frequency", "true")
    )]
    frequency_privacy_epsilon: Option<f64>,
    /// δ of the frequencies' noise.
    #[arg(
        long,
        value_name = "DELTA",
        requires = "reach_and_frequency",
        required_if_eq("reach_and_frequency", "true")
    )]
    frequency_privacy_delta: Option<f64>,
    /// This and larger frequencies are one.
    #[arg(
        long,
        value_name = "K",
        requires = "reach_and_frequency",
        required_if_eq("reach_and_frequency", "true")
    )]
    max_frequency: Option<i32>,
    /// Start of the sampled interval of virtual people, in [0, 1).
    #[arg(long, value_name = "START", default_value_t = 0.0)]
    vid_sampling_start: f32,
    /// Width of the sampled interval of virtual people, in (0, 1].
    #[arg(long, value_name = "WIDTH", default_value_t = 1.0)]
    vid_sampling_width: f32,
    /// A name for people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    measurement_reference_id: String,
    /// Repeating a request with the same id creates nothing new.
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
}

impl MeasurementCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::tool().run(async {
            match self {
                Self::Create(command) => command.create().await,
                Self::Get(options) => {
                    let progress = options.consumer.connect()?.look(&options.measurement).await?;
                    match progress {
                        Progress::AwaitingRequisitions => println!("AWAITING_REQUISITION_FULFILLMENT"),
                        Progress::Computing => println!("COMPUTING"),
                        Progress::Done(result) => print(&result)?,
                    }
                    Ok(())
                }
                Self::Watch(WatchCommand { measurement: options, polling_delay }) => {
                    let consumer = options.consumer.connect()?;
                    print(&consumer.result(&options.measurement, *polling_delay).await?)
                }
            }
        })
    }
}

/// A result is one line of JSON, for programs and people.
fn print(result: &MeasuredResult) -> Result<(), CliError> {
    println!("{}", serde_json::to_string(result)?);
    Ok(())
}

impl ConsumerOptions {
    fn connect(&self) -> Result<MeasurementConsumer, CliError> {
        let (kingdom, certificates) = self.kingdom.connect(&self.tls.load()?, self.kingdom.principals()?)?;
        let signer = Signer::load(&self.certificate_der_file, &self.private_key_der_file)?;
        let keyset = PrivateKeyset::parse_file(&read_file(&self.encryption_private_key_file)?)?;
        let certificate = &self.measurement_consumer_certificate;
        Ok(MeasurementConsumer::new(certificate, signer, keyset, kingdom, certificates)?)
    }
}

impl CreateCommand {
    async fn create(&self) -> Result<(), CliError> {
        let data_providers =
            self.data_providers.iter().map(|(certificate, file)| recipient(certificate, file));
        let privacy = |epsilon, delta| DifferentialPrivacyParams { epsilon, delta };
        let frequency = (self.frequency_privacy_epsilon, self.frequency_privacy_delta, self.max_frequency);
        let metric = match frequency {
            (Some(epsilon), Some(delta), Some(maximum_frequency)) => {
                Metric::ReachAndFrequency { frequency_privacy: privacy(epsilon, delta), maximum_frequency }
            }
            _ => Metric::Reach,
        };
        let request = MeasurementRequest {
            data_providers: data_providers.collect::<Result<_, _>>()?,
            metric,
            reach_privacy: privacy(self.reach_privacy_epsilon, self.reach_privacy_delta),
            vid_sampling_interval: VidSamplingInterval {
                start: self.vid_sampling_start,
                width: self.vid_sampling_width,
            },
            reference_id: self.measurement_reference_id.clone(),
            request_id: self.request_id.clone(),
        };
        let name = self.consumer.connect()?.create(request, &mut UnwrapErr(SysRng)).await?;
        println!("{name}");
        Ok(())
    }
}

fn recipient(certificate: &str, public_key: &Path) -> Result<Recipient, CliError> {
    let name = CertificateName::parse(certificate).map(|certificate| certificate.owner).unwrap_or_default();
    let public_key = PublicKeyset::parse_file(&read_file(public_key)?)?;
    Ok(Recipient { name, certificate: certificate.to_owned(), public_key })
}

fn data_provider(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((certificate, file)) if CertificateName::parse(certificate).is_some() && !file.is_empty() => {
            Ok((certificate.to_owned(), file.into()))
        }
        _ => Err("dataProviders/ID/certificates/ID=FILE is expected".to_owned()),
    }
}
