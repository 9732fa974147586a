//! A client of one service: by TLS unless the service is on this machine, within bounds of time and size.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector, HttpRequestBody, ReqwestConnector};
use tonic::codegen::http::{Request, StatusCode, Uri};
use zeroize::Zeroizing;

use super::CloudError;
use crate::config::is_this_machine;

/// More than any answer has: secrets and plaintexts have at most 64 KiB.
const LONGEST_ANSWER: usize = 256 << 10;
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of one service.
#[derive(Debug)]
pub(crate) struct Http {
    service: &'static str,
    endpoint: String,
    client: HttpClient,
}

/// What a service answers.
pub(crate) struct Answer {
    /// HTTP's status.
    pub(crate) status: StatusCode,
    /// The body, which may be a secret.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Http {
    /// A client of `service` at `usual`, or where `variable` says.
    pub(crate) fn new(
        service: &'static str,
        usual: String,
        variable: &'static str,
        other: Option<String>,
    ) -> Result<Self, CloudError> {
        if let Some(endpoint) = other.as_ref().filter(|endpoint| !is_confidential(endpoint)) {
            return Err(CloudError::Endpoint { variable, endpoint: endpoint.clone() });
        }
        crate::tls::provide_ring();
        let options = ClientOptions::new().with_timeout(PATIENCE).with_allow_http(other.is_some());
        let client = ReqwestConnector::default().connect(&options);
        let client = client.map_err(|source| CloudError::Credentials { service, source: source.into() })?;
        let endpoint = other.unwrap_or(usual).trim_end_matches('/').to_owned();
        Ok(Self { service, endpoint, client })
    }

    /// The URL of a path, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint)
    }

    /// Makes one call.
    pub(crate) async fn execute(&self, request: Request<HttpRequestBody>) -> Result<Answer, CloudError> {
        let answer = self.client.execute(request).await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| self.unreachable(error))?.to_bytes();
        Ok(Answer { status, body: Zeroizing::new(body.into()) })
    }

    /// That the service cannot be called, or does not answer.
    pub(crate) fn unreachable(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> CloudError {
        CloudError::Unreachable { service: self.service, source: source.into() }
    }
}

/// Whether what is said to an endpoint stays between it and this process: by TLS, or on this machine.
fn is_confidential(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<Uri>() else { return false };
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => uri.host().is_some_and(is_this_machine),
        _ => false,
    }
}

/// The variable's value, if it has one.
pub(crate) fn from_environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}
