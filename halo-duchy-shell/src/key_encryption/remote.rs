//! What the calls of key management services have in common.

use std::io::{self, Write};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::KeyEncryptionError;
use crate::cloud::CloudError;
use crate::retry::{Backoff, Retries};

/// A mill tries its stage again, and the herald its item, long after this.
const RETRIES: Retries = Retries {
    attempts: 4,
    limited: 1,
    backoff: Backoff::new(Duration::from_millis(100), 2.0, Duration::from_secs(2)),
};

/// Makes a call until it succeeds, its error is the answer, or there were enough of them.
pub(super) async fn repeat<T, Attempt>(call: impl FnMut() -> Attempt) -> Result<T, KeyEncryptionError>
where
    Attempt: Future<Output = Result<T, KeyEncryptionError>>,
{
    RETRIES.run(KeyEncryptionError::class, call).await
}

/// Errors about one key.
pub(super) struct Errors<'k>(pub(super) &'k str);

impl Errors<'_> {
    pub(super) fn service(&self, source: CloudError) -> KeyEncryptionError {
        KeyEncryptionError::Service { key: self.0.to_owned(), source }
    }

    pub(super) fn open(&self) -> KeyEncryptionError {
        KeyEncryptionError::Open { key: self.0.to_owned() }
    }

    pub(super) fn answer(&self, what: &'static str) -> KeyEncryptionError {
        KeyEncryptionError::Answer { key: self.0.to_owned(), what }
    }

    /// Decodes a field of an answer, which must not be empty.
    pub(super) fn bytes(
        &self,
        what: &'static str,
        base64: String,
    ) -> Result<Zeroizing<Vec<u8>>, KeyEncryptionError> {
        let base64 = Zeroizing::new(base64);
        let bytes = STANDARD.decode(base64.as_bytes()).map_err(|_| self.answer(what))?;
        if bytes.is_empty() { Err(self.answer(what)) } else { Ok(Zeroizing::new(bytes)) }
    }
}

/// A secret in base64.
pub(super) struct SecretBase64(Zeroizing<String>);

impl SecretBase64 {
    pub(super) fn of(secret: &[u8]) -> Self {
        Self(Zeroizing::new(STANDARD.encode(secret)))
    }
}

impl serde::Serialize for SecretBase64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// JSON that holds a secret.
pub(super) fn secret_json(value: &impl serde::Serialize) -> Zeroizing<Vec<u8>> {
    // Maps of text to text are always JSON. A vector that grows would leave what it had so far where it was, so its length
    // is counted first.
    let mut length = Length(0);
    let _ = serde_json::to_writer(&mut length, value);
    let mut json = Zeroizing::new(Vec::with_capacity(length.0));
    let _ = serde_json::to_writer(&mut *json, value);
    json
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
