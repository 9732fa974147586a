//! A TCP connection that can be cut.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a client may have sent before its connection is cut.
const SENDING: Duration = Duration::from_millis(50);

/// Carries bytes to a server until it is cut, as when a client's machine dies.
pub struct Wire {
    /// Where to connect instead of to the server.
    pub address: SocketAddr,
    carrying: JoinHandle<()>,
}

impl Wire {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let carrying = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.expect("a client");
            let mut server = TcpStream::connect(server).await.expect("a server");
            // It ends with an error where one end is reset.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
        Self { address, carrying }
    }

    /// Lets `call` send for a moment, then cuts it off, which the call must notice.
    pub async fn cut<T: Send + 'static>(
        self,
        call: impl Future<Output = Result<T, tonic::Status>> + Send + 'static,
    ) {
        let call = tokio::spawn(call);
        tokio::time::sleep(SENDING).await;
        assert!(!call.is_finished(), "answered before the stream had ended");
        self.carrying.abort();
        let cut = call.await.expect("no panic");
        assert!(cut.is_err(), "an answer over a cut connection");
    }
}

/// The files below `folder`.
pub fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let count = |path: &Path| if path.is_dir() { files(path) } else { 1 };
    entries.map(|entry| count(&entry.expect("readable").path())).sum()
}

/// Waits until the files below `folder` are `expected`: what an interrupted upload wrote goes soon after.
pub async fn settle(folder: &Path, expected: usize) {
    let settled = async {
        while files(folder) != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let left = tokio::time::timeout(Duration::from_secs(5), settled).await;
    assert!(left.is_ok(), "{} files below {}, not {expected}", files(folder), folder.display());
}
