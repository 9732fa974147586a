//! Channels to other servers over mutual TLS, and the deadline and retries of unary calls.
//!
//! gRPC's service config gives every upstream call 30 seconds and up to ten attempts while the server is
//! `UNAVAILABLE`, 100 ms apart at first, then 1.5 times longer each time up to a second. tonic
//! has no service config: [`CallPolicy::unary`] does the same for the calls given to it, which must be repeatable.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::Authority;
use tonic::transport::Endpoint;
use tonic::{Code, Response, Status};

use crate::audit::{Entry, Event, Outcome};
use crate::guarded::Guarded;
use crate::retry::{Backoff, Class, Retries, deadline};
use crate::tls::standing::Standing;
use crate::tls::{TlsError, TlsIdentity};

mod line;
mod traced;

use line::{Expiry, Line};

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
    let address = Address { tls: tls.clone(), target: target.to_owned(), host, port, name };
    let dial = move |expiry: &Expiry| {
        let (address, expiry) = (address.clone(), expiry.clone());
        let connect = move |_: Uri| address.clone().connect(expiry.clone());
        endpoint.connect_with_connector_lazy(tower::service_fn(connect))
    };
    Ok(Line::new(tls, dial).into())
}

/// A server and how to prove who it is.
#[derive(Clone)]
struct Address {
    tls: TlsIdentity,
    /// As an operator names it.
    target: String,
    host: String,
    port: u16,
    /// The name in its certificate.
    name: ServerName<'static>,
}

impl Address {
    /// Connects, and tells until when the server's certificate is good.
    async fn connect(self, expiry: Expiry) -> io::Result<TokioIo<Guarded<TlsStream<TcpStream>>>> {
        let Self { tls, target, host, port, name } = self;
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        // The certificate and roots of the day: they may have been replaced since the last connection.
        let (config, version) = tls.connector();
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let standing = Standing::new(&tls, version, leaf.map_or(&[], |leaf| leaf));
        expiry.set(standing.lasts());
        let cut = async move {
            standing.revoked().await;
            tracing::warn!(
                target,
                "cut a connection: the root of the server's certificate is not trusted any more"
            );
            Entry::new(Event::ConnectionRefused, Outcome::Refused)
                .principal(&format!("server:{target}"))
                .reason("the root of the server's certificate is not trusted any more: the open connection is cut")
                .record();
        };
        Ok(TokioIo::new(Guarded::new(stream, cut)))
    }
}

/// How long a unary call may take and how often it is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallPolicy {
    /// For all attempts together. A call that is made for another one has no longer than that one.
    pub deadline: Duration,
    /// At most this many attempts.
    pub attempts: u32,
    /// The pauses between them.
    pub backoff: Backoff,
}

impl Default for CallPolicy {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            attempts: 10,
            backoff: Backoff::new(Duration::from_millis(100), 1.5, Duration::from_secs(1)),
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

    /// Makes a unary call that may be repeated: `call` starts one attempt. The server is told how long there is.
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
    pub async fn unary<T, Attempt>(&self, call: impl FnMut() -> Attempt) -> Result<T, Status>
    where
        Attempt: Future<Output = Result<Response<T>, Status>>,
    {
        let Self { attempts, backoff, .. } = *self;
        // What else may pass does not by asking the same again, or has taken all the time there was.
        let class = |status: &Status| Class::transient_if(status.code() == Code::Unavailable);
        let retries = Retries { attempts, limited: 1, backoff };
        match deadline::within(self.deadline, retries.run(class, call)).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {:?}", self.deadline))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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
        let policy = CallPolicy::default();
        let backoff = Backoff { initial: Duration::from_millis(1), ..policy.backoff };
        CallPolicy { backoff, ..policy }
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
}
