//! What `halo-duchy llv2-mill` and `halo-duchy hmss-mill` have in common.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::CliError;
use super::blobs::BlobOptions;
use super::key_encryption::{KeyEncryptionOptions, KeyEncryptionParts};
use super::options::{
    ClientOptions, DuchyInfoOptions, DuchyOptions, InternalApiOptions, KingdomOptions, NoiseOptions,
    PeersOptions,
};
use super::process::shutdown_on_signal;
use crate::blob::BlobStore;
use crate::client::CallPolicy;
use crate::config::{DuchyDirectory, parse_positive_duration};
use crate::consent::{CertificateNameSource, ConsentError, SigningFiles};
use crate::internal_api::InternalApi;
use crate::key_location::{KeyLocation, key_uri};
use crate::live::Live;
use crate::mill::{ClaimedWork, Consent, Mill, MillOptions, MillParts, Silent, Specialty};
use crate::peer::{PeerOptions, Peers};
use crate::pkcs11::{Pkcs11Uri, UriError};
use crate::protocol_stages::Protocol;
use crate::reload::Reloader;
use crate::seeds::SeedSource;
use crate::server::MAX_MESSAGE_BYTES;
use crate::system_api::SystemApi;
use crate::tls::{TlsFiles, TlsIdentity};

/// The flags of a mill in a process of its own, whatever it computes.
#[derive(Args, Clone, Debug)]
pub(super) struct MillProcess {
    #[command(flatten)]
    pub duchy: DuchyOptions,
    #[command(flatten)]
    tls: TlsFiles,
    #[command(flatten)]
    pub duchy_info: DuchyInfoOptions,
    #[command(flatten)]
    internal_api: InternalApiOptions,
    #[command(flatten)]
    kingdom: KingdomOptions,
    #[command(flatten)]
    peers: PeersOptions,
    #[command(flatten)]
    blobs: BlobOptions,
    #[command(flatten)]
    key_encryption: KeyEncryptionOptions,
    #[command(flatten)]
    consent: ConsentOptions,
    /// Name of this mill, which no other mill of the duchy has.
    #[arg(long, value_name = "ID", env = "HOSTNAME")]
    mill_id: String,
    #[command(flatten)]
    mill: MillWorkOptions,
    #[command(flatten)]
    noise: NoiseOptions,
    #[command(flatten)]
    claimed: ClaimedOptions,
    #[command(flatten)]
    pub client: ClientOptions,
}

/// What a mill's specialty is made of.
pub(super) struct Workshop {
    /// The certificate of the duchy, and whom it trusts.
    pub tls: TlsIdentity,
    /// The known duchies.
    pub directory: DuchyDirectory,
    /// The duchy's blobs.
    pub blobs: BlobStore,
    /// Its key encryption key.
    pub keys: KeyEncryptionParts,
}

/// How a mill works, in a process of its own or not.
#[derive(Args, Clone, Debug)]
pub(super) struct MillWorkOptions {
    /// How long a claim of work lasts unless it is extended, as it is while the mill works.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_positive_duration)]
    work_lock_duration: Duration,
    /// Bytes of data in one message to another duchy.
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 10,
        value_parser = clap::value_parser!(u32).range(1..=MAX_MESSAGE_BYTES as i64 / 2))]
    bytes_per_chunk: u32,
    /// Threads that compute.
    #[arg(long, value_name = "N", default_value = "1")]
    parallelism: NonZeroUsize,
    /// Computations that the mill works on at once. One that waits for another duchy does not count.
    #[arg(long, value_name = "N", default_value = "1")]
    mill_concurrency: NonZeroUsize,
    /// Attempts at one stage that may fail before the computation does. Those that are interrupted, as by an eviction, do
    /// not count, up to nine times as many.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..))]
    max_stage_attempts: i32,
    /// Pause between two looks for work when there is none. It doubles from look to look.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_positive_duration)]
    polling_delay: Duration,
    /// The longest such pause. It ends when the internal API server tells of work.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_positive_duration)]
    max_polling_delay: Duration,
    /// How long the mill waits for another duchy to reach the stage in which it awaits our data.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_positive_duration)]
    peer_patience: Duration,
    /// Pause between two looks for computations that wait for data that another duchy has sent and this one has lost, as
    /// after restoring a backup. They fail.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_positive_duration)]
    lost_message_interval: Duration,
    /// How long handing data to another duchy may take.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = parse_positive_duration)]
    peer_advance_deadline: Duration,
}

/// The duchy's consent-signaling key.
#[derive(Args, Clone, Debug)]
pub(super) struct ConsentOptions {
    /// Resource name of the certificate of the consent-signaling key at the Kingdom.
    #[arg(
        long,
        value_name = "duchies/ID/certificates/ID",
        required_unless_present = "consent_signaling_certificate_resource_name_file"
    )]
    consent_signaling_certificate_resource_name: Option<String>,
    /// File that has that name, in place of the flag: the key can then be replaced without a restart.
    #[arg(long, value_name = "FILE", conflicts_with = "consent_signaling_certificate_resource_name")]
    consent_signaling_certificate_resource_name_file: Option<PathBuf>,
    /// The consent-signaling key, in DER (PKCS#8). This or --consent-signaling-private-key-uri.
    #[arg(long, value_name = "FILE", required_unless_present = "consent_signaling_private_key_uri")]
    consent_signaling_private_key_der_file: Option<PathBuf>,
    /// The consent-signaling key in a token, in place of the file: P-256 or RSA.
    #[arg(long, value_name = "PKCS11-URI", conflicts_with = "consent_signaling_private_key_der_file",
        value_parser = key_uri)]
    consent_signaling_private_key_uri: Option<Result<Pkcs11Uri, UriError>>,
    /// Its certificate, in DER.
    #[arg(long, value_name = "FILE")]
    consent_signaling_certificate_der_file: PathBuf,
}

/// Work that a scheduler claimed in the mill's name. With it the mill ends when there is no more work.
#[derive(Args, Clone, Debug)]
struct ClaimedOptions {
    /// Type of the computation claimed for this mill, which then ends when there is no more work.
    #[arg(long, value_name = "TYPE", value_enum, requires_all = ["claimed_computation_id", "claimed_computation_version"])]
    claimed_computation_type: Option<ComputationType>,
    /// Its global id.
    #[arg(long, value_name = "ID", requires_all = ["claimed_computation_type", "claimed_computation_version"])]
    claimed_computation_id: Option<String>,
    /// Its version when it was claimed.
    #[arg(long, value_name = "VERSION", requires_all = ["claimed_computation_type", "claimed_computation_id"])]
    claimed_computation_version: Option<i64>,
}

/// The computations that mills compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum ComputationType {
    #[value(name = "LIQUID_LEGIONS_SKETCH_AGGREGATION_V2")]
    LiquidLegionsV2,
    #[value(name = "REACH_ONLY_LIQUID_LEGIONS_SKETCH_AGGREGATION_V2")]
    ReachOnlyLiquidLegionsV2,
    HonestMajorityShareShuffle,
}

impl MillWorkOptions {
    /// The options of the library, for the mill `id`.
    pub(super) fn options(&self, id: &str) -> MillOptions {
        MillOptions {
            id: id.to_owned(),
            lock_duration: self.work_lock_duration,
            concurrency: self.mill_concurrency.get(),
            parallelism: self.parallelism.get(),
            max_attempts: self.max_stage_attempts,
            peer_patience: self.peer_patience,
            lost_message_interval: self.lost_message_interval,
            polling_delay: self.polling_delay,
            max_polling_delay: self.max_polling_delay,
            ..MillOptions::default()
        }
    }

    /// How data is handed to other duchies.
    pub(super) fn peer_options(&self) -> PeerOptions {
        PeerOptions {
            bytes_per_chunk: self.bytes_per_chunk as usize,
            advance_deadline: self.peer_advance_deadline,
            ..PeerOptions::default()
        }
    }
}

impl ConsentOptions {
    /// Where the key of `duchy` is.
    pub(super) fn files(&self, duchy: &str) -> Result<SigningFiles, CliError> {
        let name = match &self.consent_signaling_certificate_resource_name_file {
            Some(file) => CertificateNameSource::File(file.clone()),
            None => CertificateNameSource::Given(
                self.consent_signaling_certificate_resource_name.clone().unwrap_or_default(),
            ),
        };
        let (file, uri) =
            (&self.consent_signaling_private_key_der_file, &self.consent_signaling_private_key_uri);
        let key = KeyLocation::of_flags(file.as_ref(), uri.as_ref());
        Ok(SigningFiles {
            duchy: duchy.to_owned(),
            certificate: self.consent_signaling_certificate_der_file.clone(),
            key: key
                .map_err(|error| CliError::flag("--consent-signaling-private-key-uri", error.to_string()))?,
            name,
        })
    }

    /// The key of `duchy`, and whom it believes: the duchies of `directory`, by the roots of `tls`.
    pub(super) fn load(
        &self,
        duchy: &str,
        directory: Live<DuchyDirectory>,
        tls: &TlsIdentity,
    ) -> Result<Consent, CliError> {
        let own = self.files(duchy)?.load().map_err(|error| match error {
            ConsentError::CertificateName { .. } => CliError::flag(
                match &self.consent_signaling_certificate_resource_name_file {
                    Some(_) => "--consent-signaling-certificate-resource-name-file",
                    None => "--consent-signaling-certificate-resource-name",
                },
                error.to_string(),
            ),
            other => other.into(),
        })?;
        Ok(Consent { own: Live::new(own), directory, tls: tls.clone() })
    }
}

impl ClaimedOptions {
    /// The work claimed, which must be of one of `protocols`.
    fn work(&self, protocols: &[Protocol]) -> Result<Option<ClaimedWork>, CliError> {
        let (Some(kind), Some(id), Some(version)) =
            (self.claimed_computation_type, &self.claimed_computation_id, self.claimed_computation_version)
        else {
            return Ok(None);
        };
        let protocol = Protocol::from(kind);
        if !protocols.contains(&protocol) {
            let why = format!("this mill does not compute {}", protocol.name());
            return Err(CliError::flag("--claimed-computation-type", why));
        }
        Ok(Some(ClaimedWork { protocol, computation: id.clone(), version }))
    }
}

impl From<ComputationType> for Protocol {
    fn from(kind: ComputationType) -> Self {
        match kind {
            ComputationType::LiquidLegionsV2 => Self::LiquidLegionsV2,
            ComputationType::ReachOnlyLiquidLegionsV2 => Self::ReachOnlyLiquidLegionsV2,
            ComputationType::HonestMajorityShareShuffle => Self::HonestMajorityShareShuffle,
        }
    }
}

impl MillProcess {
    /// Works on what `specialty` makes of the mill. It is given what keeps the process's files in force, to add its own.
    pub(super) async fn work(
        &self,
        specialty: impl FnOnce(&Workshop, Reloader) -> Result<(Specialty, Reloader), CliError>,
    ) -> Result<(), CliError> {
        let shutdown = shutdown_on_signal()?;
        let duchy = &self.duchy.duchy_name;
        let tls = self.tls.load()?;
        let reloader = self.client.reloader().tls(&self.tls, &tls);
        let directory = self.duchy_info.load(&self.duchy)?;
        let blobs = self.blobs.open(&self.duchy)?;
        let keys = self.key_encryption.open().await?;
        let workshop = Workshop { tls, directory, blobs, keys };
        let (specialty, reloader) = specialty(&workshop, reloader)?;
        let Workshop { tls, directory, blobs, keys } = workshop;
        let secrets = match specialty {
            Specialty::LiquidLegions => keys.secrets_to_be(),
            // The herald makes theirs.
            Specialty::ShareShuffle(_) => keys.secrets(),
        };
        let reloader = keys.watched_by(reloader);
        let directory = Live::new(directory);
        let consent = self.consent.load(duchy, directory.clone(), &tls)?;
        let reloader = reloader
            .directory(duchy, &self.duchy_info.duchy_info_config, &directory)
            .signing(self.consent.files(duchy)?, &consent.own);
        let claimed = self.claimed.work(specialty.protocols())?;
        tokio::spawn(reloader.run(shutdown.clone()));
        let targets = self.peers.targets(&directory.current(), duchy)?;
        let parts = MillParts {
            duchy: duchy.clone(),
            specialty,
            internal: InternalApi::new(self.internal_api.channel(&tls)?, self.internal_api.policy()),
            kingdom: SystemApi::new(duchy, self.kingdom.channel(&tls)?, CallPolicy::default()),
            peers: Peers::new(&tls, &directory.current(), targets, self.mill.peer_options())?,
            blobs,
            secrets,
            consent,
            seeds: SeedSource::OperatingSystem,
            observer: Arc::new(Silent),
        };
        let options = MillOptions { noise_policy: self.noise.policy(), ..self.mill.options(&self.mill_id) };
        let mill = Mill::new(parts, options)?;
        match claimed {
            Some(work) => {
                let done = mill.run_job(work, shutdown).await;
                done.map_err(|status| CliError::InternalApi(Box::new(status)))
            }
            None => {
                mill.run(shutdown).await;
                Ok(())
            }
        }
    }
}
