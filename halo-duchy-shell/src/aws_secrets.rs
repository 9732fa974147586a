//! The user and password of a database from AWS Secrets Manager, as upstream's EKS deployment has them
//! (common-jvm, `aws/postgres/PostgresConnectionFactories.kt`): a secret whose text is a JSON object with `username` and
//! `password`, as Amazon RDS keeps them.
//!
//! One call, `GetSecretValue`.

use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::cloud::CloudError;
use crate::cloud::aws::{Aws, Service};

static SECRETS_MANAGER: Service = Service {
    name: "AWS Secrets Manager",
    id: "secretsmanager",
    target: "secretsmanager",
    endpoint: "AWS_ENDPOINT_URL_SECRETS_MANAGER",
};

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
    /// The service cannot be asked, or refuses.
    #[error(transparent)]
    Service(#[from] CloudError),
    /// The answer or the secret is something else.
    #[error("the secret is no JSON object with username and password")]
    Malformed,
}

/// Reads a database's user and password from the secret of this name or ARN.
///
/// # Errors
/// [`SecretError`].
pub async fn database_user(region: &str, secret: &str) -> Result<DatabaseUser, SecretError> {
    user_in(&Aws::from_environment(&SECRETS_MANAGER, region)?, secret).await
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

async fn user_in(manager: &Aws, secret: &str) -> Result<DatabaseUser, SecretError> {
    let request = serde_json::json!({ "SecretId": secret }).to_string().into_bytes();
    let answer = manager.call("GetSecretValue", Zeroizing::new(request)).await?;
    let Answer { text } = serde_json::from_slice(&answer).map_err(|_| SecretError::Malformed)?;
    let text = Zeroizing::new(text);
    let Secret { username, password } = serde_json::from_str(&text).map_err(|_| SecretError::Malformed)?;
    Ok(DatabaseUser { username, password: Zeroizing::new(password) })
}

impl fmt::Debug for DatabaseUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseUser").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
