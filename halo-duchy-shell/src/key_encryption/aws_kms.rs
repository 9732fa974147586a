//! Keys of AWS Key Management Service: `Encrypt` and `Decrypt` of its API. What they make is what Tink's clients of the
//! service make: associated data, where there is some, goes into the encryption context as `associatedData`, in hexadecimal.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::remote::{Errors, SecretBase64, repeat, secret_json};
use super::uri::KeyArn;
use super::{KeyEncryption, KeyEncryptionError};
use crate::cloud::CloudError;
use crate::cloud::aws::{Aws, Service};

static KMS: Service =
    Service { name: "AWS KMS", id: "kms", target: "TrentService", endpoint: "AWS_ENDPOINT_URL_KMS" };

/// What the service says of a ciphertext that is not of the key, or was altered, or has another encryption context.
const NOT_OF_THE_KEY: [&str; 2] = ["InvalidCiphertextException", "IncorrectKeyException"];

/// A symmetric key, with all key material that it has had.
#[derive(Debug)]
pub(super) struct AwsKmsKey {
    uri: String,
    arn: String,
    service: Aws,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EncryptRequest<'k> {
    key_id: &'k str,
    plaintext: SecretBase64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    encryption_context: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DecryptRequest<'k> {
    key_id: &'k str,
    ciphertext_blob: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    encryption_context: BTreeMap<&'static str, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EncryptResponse {
    key_id: String,
    ciphertext_blob: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DecryptResponse {
    key_id: String,
    plaintext: String,
}

fn encryption_context(associated_data: &[u8]) -> BTreeMap<&'static str, String> {
    let data = Some(associated_data).filter(|data| !data.is_empty());
    data.map(|data| ("associatedData", hex::encode(data))).into_iter().collect()
}

impl AwsKmsKey {
    /// The key, with the credentials of the environment.
    pub(super) fn from_environment(uri: &str, arn: &KeyArn) -> Result<Self, CloudError> {
        Ok(Self::new(uri, arn, Aws::from_environment(&KMS, arn.region())?))
    }

    fn new(uri: &str, arn: &KeyArn, service: Aws) -> Self {
        Self { uri: uri.to_owned(), arn: arn.as_str().to_owned(), service }
    }

    async fn call<R: DeserializeOwned>(
        &self,
        operation: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<R, KeyEncryptionError> {
        let errors = Errors(&self.uri);
        let answer = self.service.call(operation, secret_json(request)).await;
        let answer = answer.map_err(|error| match &error {
            CloudError::Refused { kind, .. } if NOT_OF_THE_KEY.contains(&kind.as_str()) => errors.open(),
            _ => errors.service(error),
        })?;
        serde_json::from_slice(&answer).map_err(|_| errors.answer("the form"))
    }

    async fn encrypt_once(&self, key: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, KeyEncryptionError> {
        let request = EncryptRequest {
            key_id: &self.arn,
            plaintext: SecretBase64::of(key),
            encryption_context: encryption_context(associated_data),
        };
        let EncryptResponse { key_id, ciphertext_blob } = self.call("Encrypt", &request).await?;
        self.require_own(&key_id)?;
        Ok(Errors(&self.uri).bytes("the ciphertext", ciphertext_blob)?.to_vec())
    }

    async fn decrypt_once(
        &self,
        encrypted: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyEncryptionError> {
        let request = DecryptRequest {
            key_id: &self.arn,
            ciphertext_blob: STANDARD.encode(encrypted),
            encryption_context: encryption_context(associated_data),
        };
        let DecryptResponse { key_id, plaintext } = self.call("Decrypt", &request).await?;
        let plaintext = Errors(&self.uri).bytes("the plaintext", plaintext)?;
        self.require_own(&key_id)?;
        Ok(plaintext)
    }

    fn require_own(&self, key_id: &str) -> Result<(), KeyEncryptionError> {
        if key_id == self.arn { Ok(()) } else { Err(Errors(&self.uri).answer("the id of the key")) }
    }
}

#[async_trait]
impl KeyEncryption for AwsKmsKey {
    fn name(&self) -> &str {
        &self.uri
    }

    async fn encrypt(&self, key: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, KeyEncryptionError> {
        repeat(|| self.encrypt_once(key, associated_data)).await
    }

    async fn decrypt(
        &self,
        encrypted: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyEncryptionError> {
        repeat(|| self.decrypt_once(encrypted, associated_data)).await
    }
}

#[cfg(test)]
mod tests;
