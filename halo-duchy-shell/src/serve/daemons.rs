//! What a duchy in one process does by itself: its herald, its mills and its cleaner.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{Channels, Cleaning, DuchyConfig, ServeError, Tasks};
use crate::cleaner::Cleaner;
use crate::client::CallPolicy;
use crate::herald::{Herald, HeraldParts};
use crate::internal_api::InternalApi;
use crate::mill::{Mill, MillOptions, MillParts, ShareShuffleParts, Specialty};
use crate::party_certificates::PartyCertificates;
use crate::peer::Peers;
use crate::shutdown::Shutdown;
use crate::system_api::SystemApi;

/// How long a herald that gave up pauses before it begins again.
const HERALD_PAUSE: Duration = Duration::from_secs(5);

/// Begins to work, until told to stop.
pub(super) fn start(
    config: DuchyConfig,
    channels: Channels,
    peers: Peers,
    shutdown: &Shutdown,
) -> Result<Tasks, ServeError> {
    let mut tasks = JoinSet::new();
    let internal = InternalApi::new(channels.internal_api, CallPolicy::default());
    let kingdom = SystemApi::new(&config.duchy, channels.kingdom, CallPolicy::default());
    if let Some(Cleaning { options, interval }) = config.cleaning {
        let (cleaner, stop) = (Cleaner::new(internal.clone(), options), shutdown.clone());
        tasks.spawn(async move {
            cleaner.run(interval, stop).await;
            Ok(())
        });
    }
    let herald = HeraldParts {
        id: format!("{}-herald", config.duchy),
        duchy: config.duchy.clone(),
        setup: config.setup.clone(),
        kingdom: kingdom.clone(),
        internal: internal.clone(),
        private_keys: config.private_keys.clone(),
        secrets: config.secrets.clone(),
        seeds: config.seeds.clone(),
    };
    tasks.spawn(keep_running(Herald::new(herald, config.herald)?, shutdown.clone()));
    let certificates = PartyCertificates::new(channels.kingdom_public, config.tls.clone(), config.identities);
    let share_shuffle =
        ShareShuffleParts { setup: config.setup, private_keys: config.private_keys, certificates };
    let parts = MillParts {
        duchy: config.duchy,
        specialty: Specialty::LiquidLegions,
        internal,
        kingdom,
        peers,
        blobs: config.blobs,
        secrets: config.secrets,
        consent: config.consent,
        seeds: config.seeds,
        observer: config.observer,
    };
    let share_shuffles =
        MillParts { specialty: Specialty::ShareShuffle(Box::new(share_shuffle)), ..parts.clone() };
    let hmss_options = MillOptions { id: format!("{}-hmss", config.mill.id), ..config.mill.clone() };
    for (parts, options) in [(parts, config.mill), (share_shuffles, hmss_options)] {
        let (mill, stop) = (Mill::new(parts, options)?, shutdown.clone());
        tasks.spawn(async move {
            mill.run(stop).await;
            Ok(())
        });
    }
    Ok(tasks)
}

/// In a process of its own a herald that gives up ends the process, which is started again; here it is begun again.
async fn keep_running(herald: Herald, shutdown: Shutdown) -> Result<(), ServeError> {
    while let Err(error) = herald.run(shutdown.clone()).await {
        tracing::error!(%error, cause = ?std::error::Error::source(&error).map(ToString::to_string), "the herald begins again");
        shutdown.unless_requested(tokio::time::sleep(HERALD_PAUSE)).await;
    }
    Ok(())
}
