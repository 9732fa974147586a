//! The user and password of a database from AWS Secrets Manager, as upstream's EKS deployment has them
//! (common-jvm, `aws/postgres/PostgresConnectionFactories.kt`): a secret whose text is a JSON object with `username` and
//! `password`, as Amazon RDS keeps them.
//!
//! One call, `GetSecretValue`. Credentials are found as object_store finds them for S3: variables, a web identity (IAM
//! roles for service accounts), the metadata of a container or of the machine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use object_store::ClientOptions;
use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, HttpRequestBody, ReqwestConnector};
use serde::Deserialize;
use tonic::codegen::http::{Request, StatusCode, header};
use zeroize::Zeroizing;

/// The variable by which AWS's libraries are told of another endpoint of this service.
const ENDPOINT: &str = "AWS_ENDPOINT_URL_SECRETS_MANAGER";
/// More than any answer has: a secret is at most 64 KiB.
const LONGEST_ANSWER: usize = 256 << 10;
/// How long the call may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who a process is for a database. Nothing shows the password.
#[derive(Clone)]
pub struct DatabaseUser {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The name of the region is none.
    #[error("{0:?} is no region of AWS")]
    Region(String),
    /// There are no credentials for AWS, or no HTTP client.
    #[error("no credentials for AWS")]
    Credentials(#[source] Box<object_store::Error>),
    /// The call cannot be made, or has no answer.
    #[error("AWS Secrets Manager does not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The call is refused.
    #[error("AWS Secrets Manager refuses to give the secret: {status}, {reason}")]
    Refused {
        /// HTTP's status.
        status: StatusCode,
        /// The kind of the error and what is said about it.
        reason: String,
    },
    /// The answer or the secret is something else.
    #[error("the secret is no JSON object with username and password")]
    Malformed,
}

/// Reads a database's user and password from the secret of this name or ARN.
///
/// # Errors
/// [`SecretError`].
pub async fn database_user(region: &str, secret: &str) -> Result<DatabaseUser, SecretError> {
    let endpoint = std::env::var(ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty());
    SecretsManager::new(region, endpoint, None)?.database_user(secret).await
}

/// The service in a region.
#[derive(Debug)]
struct SecretsManager {
    region: String,
    endpoint: String,
    credentials: AwsCredentialProvider,
    client: HttpClient,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "SecretString")]
    text: String,
}

#[derive(Deserialize)]
struct Secret {
    username: String,
    password: String,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default, rename = "__type")]
    kind: String,
    #[serde(default, alias = "Message")]
    message: String,
}

impl SecretsManager {
    /// At an endpoint other than AWS's, and with other credentials than those found, if given.
    fn new(
        region: &str,
        endpoint: Option<String>,
        credentials: Option<AwsCredentialProvider>,
    ) -> Result<Self, SecretError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if region.is_empty() || !region.chars().all(allowed) {
            return Err(SecretError::Region(region.to_owned()));
        }
        crate::tls::provide_ring();
        let missing = |error: object_store::Error| SecretError::Credentials(error.into());
        let credentials = match credentials {
            Some(credentials) => credentials,
            None => {
                // object_store gives its credentials out through a bucket only. No bucket is ever looked at.
                let builder = AmazonS3Builder::from_env().with_bucket_name("none").with_region(region);
                Arc::clone(builder.build().map_err(missing)?.credentials())
            }
        };
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let options = ClientOptions::new().with_timeout(PATIENCE).with_allow_http(endpoint.is_some());
        Ok(Self {
            region: region.to_owned(),
            endpoint: endpoint.unwrap_or_else(|| format!("https://secretsmanager.{region}.{domain}")),
            credentials,
            client: ReqwestConnector::default().connect(&options).map_err(missing)?,
        })
    }

    async fn database_user(&self, secret: &str) -> Result<DatabaseUser, SecretError> {
        let text = self.secret(secret).await?;
        let Secret { username, password } =
            serde_json::from_str(&text).map_err(|_| SecretError::Malformed)?;
        Ok(DatabaseUser { username, password: Zeroizing::new(password) })
    }

    async fn secret(&self, name: &str) -> Result<Zeroizing<String>, SecretError> {
        let missing = |error: object_store::Error| SecretError::Credentials(error.into());
        let credential = self.credentials.get_credential().await.map_err(missing)?;
        let body = serde_json::json!({ "SecretId": name }).to_string();
        let mut request = Request::post(format!("{}/", self.endpoint.trim_end_matches('/')))
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", "secretsmanager.GetSecretValue")
            .body(HttpRequestBody::from(body))
            .map_err(|error| SecretError::Unreachable(error.into()))?;
        let authorizer = AwsAuthorizer::new(&credential, "secretsmanager", &self.region);
        authorizer.try_authorize(&mut request, None).map_err(missing)?;
        let answer = self.client.execute(request).await;
        let answer = answer.map_err(|error| SecretError::Unreachable(error.into()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(SecretError::Unreachable)?.to_bytes();
        if !status.is_success() {
            let Refusal { kind, message } = serde_json::from_slice(&body).unwrap_or_default();
            let reason = format!("{} {}", kind.rsplit('#').next().unwrap_or_default(), message);
            return Err(SecretError::Refused { status, reason: reason.trim().to_owned() });
        }
        let Answer { text } = serde_json::from_slice(&body).map_err(|_| SecretError::Malformed)?;
        Ok(Zeroizing::new(text))
    }
}

impl fmt::Debug for DatabaseUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseUser").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
