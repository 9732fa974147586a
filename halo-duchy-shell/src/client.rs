//! Channels to other servers over mutual TLS, and the deadline and retries of unary calls.
//!
//! gRPC's service config gives every upstream call 30 seconds and up to ten attempts while the server is
//! `UNAVAILABLE`, 100 ms apart at first, then 1.5 times longer each time up to a second (spec services.md §1.5). tonic
//! has no service config: [`CallPolicy::unary`] does the same for the calls given to it, which must be repeatable.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::Authority;
use tonic::transport::Endpoint;
use tonic::{Response, Status};

use crate::tls::{TlsError, TlsIdentity};

mod traced;

pub use traced::Channel;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A channel to `target` (`host:port`, or gRPC's `dns:///host:port`) that connects when first used and again when
/// the connection is lost. The server's certificate must be for `cert_host`, or for the target's host if that is
/// `None` or empty.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// [`TlsError::Target`] if the target or the host is malformed.
pub fn channel(tls: &TlsIdentity, target: &str, cert_host: Option<&str>) -> Result<Channel, TlsError> {
    open(tls, target, cert_host, None)
}

/// As [`channel`], for a server of unary RPCs only: each attempt at one may take `deadline`.
///
/// # Errors
/// As [`channel`].
pub fn unary_channel(
    tls: &TlsIdentity,
    target: &str,
    cert_host: Option<&str>,
    deadline: Duration,
) -> Result<Channel, TlsError> {
    open(tls, target, cert_host, Some(deadline))
}

fn open(
    tls: &TlsIdentity,
    target: &str,
    cert_host: Option<&str>,
    deadline: Option<Duration>,
) -> Result<Channel, TlsError> {
    let malformed = || TlsError::Target(target.to_owned());
    let authority: Authority =
        target.strip_prefix("dns:///").unwrap_or(target).parse().map_err(|_| malformed())?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().ok_or_else(malformed)?;
    let name = cert_host.filter(|host| !host.is_empty()).unwrap_or(&host);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| malformed())?;
    let uri = |scheme: &str| {
        Uri::builder()
            .scheme(scheme)
            .authority(authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|_| malformed())
    };

    let tls = tls.clone();
    let connect = tower::service_fn(move |_: Uri| {
        // The certificate and roots of the day: they may have been replaced since the last connection.
        let connector = TlsConnector::from(tls.client());
        let (host, name) = (host.clone(), name.clone());
        async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    // tonic would set up TLS itself for an `https` address, and then also speak TLS 1.2.
    let endpoint = Endpoint::from(uri("http")?)
        .origin(uri("https")?)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let endpoint = match deadline {
        Some(deadline) => endpoint.timeout(deadline),
        None => endpoint,
    };
    Ok(endpoint.connect_with_connector_lazy(connect).into())
}

/// How long a unary call may take and how often it is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallPolicy {
    /// For all attempts together.
    pub deadline: Duration,
    /// At most this many attempts.
    pub attempts: u32,
    /// Before the second attempt.
    pub initial_backoff: Duration,
    /// Before any attempt.
    pub max_backoff: Duration,
    /// By how much the pause grows.
    pub multiplier: f64,
}

impl Default for CallPolicy {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            attempts: 10,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            multiplier: 1.5,
        }
    }
}

impl CallPolicy {
    /// The default policy with another deadline.
    pub fn with_deadline(deadline: Duration) -> Self {
        Self { deadline, ..Self::default() }
    }

    /// A policy without retries, for calls whose caller has a loop of its own.
    pub fn once(deadline: Duration) -> Self {
        Self { deadline, attempts: 1, ..Self::default() }
    }

    /// Makes a unary call that may be repeated: `call` starts one attempt.
    ///
    /// # Errors
    /// The status of the last attempt, or `DEADLINE_EXCEEDED`.
    ///
    /// ```no_run
    /// # use halo_duchy_shell::client::CallPolicy;
    /// # use halo_duchy_shell::proto::internal::GetComputationTokenRequest;
    /// # use halo_duchy_shell::proto::internal::computations_client::ComputationsClient;
    /// # async fn example(client: ComputationsClient<halo_duchy_shell::client::Channel>) -> Result<(), tonic::Status> {
    /// let request = GetComputationTokenRequest::default();
    /// let token = CallPolicy::default()
    ///     .unary(|| {
    ///         let (mut client, request) = (client.clone(), request.clone());
    ///         async move { client.get_computation_token(request).await }
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn unary<T, Attempt>(&self, mut call: impl FnMut() -> Attempt) -> Result<T, Status>
    where
        Attempt: Future<Output = Result<Response<T>, Status>>,
    {
        let attempts = async {
            let mut backoff = self.initial_backoff;
            for attempt in 1.. {
                match call().await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(status) if status.code() != tonic::Code::Unavailable || attempt >= self.attempts => {
                        return Err(status);
                    }
                    Err(status) => tracing::debug!(%status, attempt, "trying again"),
                }
                tokio::time::sleep(jittered(backoff)).await;
                backoff = backoff.mul_f64(self.multiplier).min(self.max_backoff);
            }
            Err(Status::internal("attempts cannot be counted that far"))
        };
        timeout(self.deadline, attempts).await.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!("no answer within {:?}", self.deadline)))
        })
    }
}

/// Between 0.8 and 1.2 times `pause`, so that callers refused together do not return together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let unit = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(0.8 + 0.4 * unit)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tonic::Code;

    use super::*;

    /// Runs the policy on a server that answers `codes` in turn; the result and the number of attempts.
    async fn attempts(policy: CallPolicy, codes: &[Code]) -> (Result<u32, Code>, usize) {
        let count = Cell::new(0);
        let result = policy
            .unary(|| {
                let code = codes[count.get().min(codes.len() - 1)];
                count.set(count.get() + 1);
                async move { if code == Code::Ok { Ok(Response::new(7)) } else { Err(Status::new(code, "")) } }
            })
            .await;
        (result.map_err(|status| status.code()), count.get())
    }

    fn quick() -> CallPolicy {
        CallPolicy { initial_backoff: Duration::from_millis(1), ..CallPolicy::default() }
    }

    #[tokio::test]
    async fn only_unavailable_is_tried_again() {
        assert_eq!(attempts(quick(), &[Code::Unavailable, Code::Unavailable, Code::Ok]).await, (Ok(7), 3));
        assert_eq!(attempts(quick(), &[Code::Unavailable, Code::Aborted]).await, (Err(Code::Aborted), 2));
        assert_eq!(attempts(quick(), &[Code::NotFound]).await, (Err(Code::NotFound), 1));
    }

    #[tokio::test]
    async fn attempts_end() {
        let policy = CallPolicy { attempts: 3, ..quick() };
        assert_eq!(attempts(policy, &[Code::Unavailable]).await, (Err(Code::Unavailable), 3));
        let policy = CallPolicy { attempts: 1, ..quick() };
        assert_eq!(attempts(policy, &[Code::Unavailable]).await, (Err(Code::Unavailable), 1));
    }

    #[tokio::test]
    async fn the_deadline_covers_all_attempts() {
        let policy = CallPolicy { deadline: Duration::from_millis(30), ..quick() };
        let policy = CallPolicy { attempts: u32::MAX, ..policy };
        assert_eq!(attempts(policy, &[Code::Unavailable]).await.0, Err(Code::DeadlineExceeded));
        let never = policy.unary(std::future::pending::<Result<Response<()>, Status>>).await;
        assert_eq!(never.expect_err("no answer").code(), Code::DeadlineExceeded);
    }

    #[test]
    fn jitter_stays_near_the_pause() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(10));
            assert!((Duration::from_secs(8)..=Duration::from_secs(12)).contains(&pause));
        }
    }
}
