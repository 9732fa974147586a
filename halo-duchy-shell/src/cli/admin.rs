//! The web page that a server with the store shows to operators.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;

use super::CliError;
use crate::clock::SystemClock;
use crate::console::Console;
use crate::serve::listen;
use crate::shutdown::Shutdown;
use crate::store::Store;

/// Where operators see the duchy's computations.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct AdminOptions {
    /// Show operators the duchy's computations on web pages at this address, such as 127.0.0.1:8081. They are in plain
    /// text and for whoever reaches it. Default: nowhere.
    #[arg(long, value_name = "IP:PORT")]
    admin_address: Option<SocketAddr>,
}

impl AdminOptions {
    /// Shows the pages until told to stop, if it is wanted.
    pub(super) async fn show(
        self,
        duchy: &str,
        store: &Arc<dyn Store>,
        shutdown: Shutdown,
    ) -> Result<(), CliError> {
        let Some(address) = self.admin_address else { return Ok(()) };
        let listener = listen(address).await?;
        let address = listener.local_addr().unwrap_or(address);
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "whoever reaches the console's address sees the duchy's computations");
        }
        tracing::info!(%address, "the console is shown");
        let (duchy, store) = (duchy.to_owned(), Arc::clone(store));
        tokio::spawn(Console { duchy, store, clock: Arc::new(SystemClock) }.serve(listener, shutdown));
        Ok(())
    }
}
