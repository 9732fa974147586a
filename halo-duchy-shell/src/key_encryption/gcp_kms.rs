//! Keys of Google's Cloud Key Management Service: `cryptoKeys.encrypt` and `cryptoKeys.decrypt` of its REST API. What they
//! make is what Tink's clients of the service make.

use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use object_store::client::HttpRequestBody;
use object_store::gcp::GcpCredentialProvider;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use tonic::codegen::http::{Request, StatusCode, header};
use zeroize::Zeroizing;

use super::remote::{Errors, SecretBase64, repeat, secret_json};
use super::{KeyEncryption, KeyEncryptionError};
use crate::cloud::gcp::find_credentials;
use crate::cloud::{Answer, CloudError, Http, from_environment, shortened};

const SERVICE: &str = "Cloud KMS";
/// The variable by which Google's tools are told of another endpoint.
const ENDPOINT: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS";
const USUAL_ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// A symmetric key. Its primary version encrypts, any version that is enabled decrypts.
pub(super) struct GcpKmsKey {
    uri: String,
    resource: String,
    credentials: GcpCredentialProvider,
    http: Http,
}

impl fmt::Debug for GcpKmsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpKmsKey").field("uri", &self.uri).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EncryptRequest {
    plaintext: SecretBase64,
    plaintext_crc32c: String,
    additional_authenticated_data: String,
    additional_authenticated_data_crc32c: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DecryptRequest {
    ciphertext: String,
    ciphertext_crc32c: String,
    additional_authenticated_data: String,
    additional_authenticated_data_crc32c: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EncryptResponse {
    name: String,
    ciphertext: String,
    #[serde(deserialize_with = "number")]
    ciphertext_crc32c: u64,
    #[serde(default)]
    verified_plaintext_crc32c: bool,
    #[serde(default)]
    verified_additional_authenticated_data_crc32c: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DecryptResponse {
    plaintext: String,
    #[serde(deserialize_with = "number")]
    plaintext_crc32c: u64,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: RefusalError,
}

#[derive(Default, Deserialize)]
struct RefusalError {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
}

/// A whole number of 64 bits as JSON has it: in quotation marks. Servers may leave them out.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Plain(u64),
    }
    match Number::deserialize(deserializer)? {
        Number::Text(text) => text.parse().map_err(serde::de::Error::custom),
        Number::Plain(number) => Ok(number),
    }
}

fn crc32c(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes)
}

impl GcpKmsKey {
    /// The key of this resource name, with the credentials of the environment.
    pub(super) fn from_environment(uri: &str, resource: &str) -> Result<Self, CloudError> {
        let missing = |source| CloudError::Credentials { service: SERVICE, source };
        let credentials = find_credentials().map_err(|error| missing(error.into()))?;
        Self::new(uri, resource, from_environment(ENDPOINT), credentials)
    }

    fn new(
        uri: &str,
        resource: &str,
        endpoint: Option<String>,
        credentials: GcpCredentialProvider,
    ) -> Result<Self, CloudError> {
        let http = Http::new(SERVICE, USUAL_ENDPOINT.to_owned(), ENDPOINT, endpoint)?;
        Ok(Self { uri: uri.to_owned(), resource: resource.to_owned(), credentials, http })
    }

    async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<R, KeyEncryptionError> {
        let errors = Errors(&self.uri);
        let credential = self.credentials.get_credential().await.map_err(|source| {
            errors.service(CloudError::Credentials { service: SERVICE, source: source.into() })
        })?;
        let request = Request::post(self.http.url(&format!("/v1/{}:{method}", self.resource)))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", credential.bearer))
            .body(HttpRequestBody::from(bytes::Bytes::from_owner(body)))
            .map_err(|error| errors.service(self.http.unreachable(error)))?;
        let Answer { status, body } =
            self.http.execute(request).await.map_err(|error| errors.service(error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| errors.answer("the form"));
        }
        let Refusal { error } = serde_json::from_slice(&body).unwrap_or_default();
        // What does not decrypt is an invalid argument; so is what was altered on the way to the service.
        if method == "decrypt"
            && status == StatusCode::BAD_REQUEST
            && error.status == "INVALID_ARGUMENT"
            && !error.message.to_ascii_lowercase().contains("crc32c")
        {
            return Err(errors.open());
        }
        let (kind, message) = (shortened(&error.status), shortened(&error.message));
        Err(errors.service(CloudError::Refused { service: SERVICE, status, kind, message }))
    }

    async fn encrypt_once(&self, key: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, KeyEncryptionError> {
        let errors = Errors(&self.uri);
        let request = EncryptRequest {
            plaintext: SecretBase64::of(key),
            plaintext_crc32c: crc32c(key).to_string(),
            additional_authenticated_data: STANDARD.encode(associated_data),
            additional_authenticated_data_crc32c: crc32c(associated_data).to_string(),
        };
        let answer: EncryptResponse = self.call("encrypt", secret_json(&request)).await?;
        if !answer.verified_plaintext_crc32c || !answer.verified_additional_authenticated_data_crc32c {
            return Err(errors.answer("the verification of the checksums"));
        }
        // It names the version that encrypted.
        let version = answer.name.strip_prefix(&self.resource).unwrap_or_default();
        if !version.starts_with("/cryptoKeyVersions/") {
            return Err(errors.answer("the name of the key"));
        }
        let encrypted = errors.bytes("the ciphertext", answer.ciphertext)?;
        match crc32c(&encrypted) == answer.ciphertext_crc32c {
            true => Ok(encrypted.to_vec()),
            false => Err(errors.answer("the ciphertext's checksum")),
        }
    }

    async fn decrypt_once(
        &self,
        encrypted: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyEncryptionError> {
        let errors = Errors(&self.uri);
        let request = DecryptRequest {
            ciphertext: STANDARD.encode(encrypted),
            ciphertext_crc32c: crc32c(encrypted).to_string(),
            additional_authenticated_data: STANDARD.encode(associated_data),
            additional_authenticated_data_crc32c: crc32c(associated_data).to_string(),
        };
        let answer: DecryptResponse = self.call("decrypt", secret_json(&request)).await?;
        let plaintext = errors.bytes("the plaintext", answer.plaintext)?;
        match crc32c(&plaintext) == answer.plaintext_crc32c {
            true => Ok(plaintext),
            false => Err(errors.answer("the plaintext's checksum")),
        }
    }
}

#[async_trait]
impl KeyEncryption for GcpKmsKey {
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
