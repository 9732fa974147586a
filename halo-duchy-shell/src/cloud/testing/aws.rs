//! What AWS asks of every call.

use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use sha2::{Digest, Sha256};

use super::Received;

const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Credentials that are given for a session.
pub(crate) fn credentials() -> AwsCredentialProvider {
    let credential =
        AwsCredential { key_id: "AKID".into(), secret_key: KEY.into(), token: Some("session".into()) };
    Arc::new(StaticCredentialProvider::new(credential))
}

/// Refuses a call that is not of this operation, of JSON 1.1, or not signed with [`credentials`].
pub(crate) fn require_call(received: &Received, region: &str, service: &str, operation: &str) {
    assert_eq!(received.line, "POST / HTTP/1.1");
    assert_eq!(received.header("content-type"), "application/x-amz-json-1.1");
    assert_eq!(received.header("x-amz-target"), operation);
    assert_eq!(received.header("x-amz-security-token"), "session");
    assert_eq!(received.header("authorization"), authorization(received, region, service));
}

/// What `Authorization` has to say, by "Create a signed AWS API request" of AWS's IAM guide.
fn authorization(received: &Received, region: &str, service: &str) -> String {
    let signed = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-amz-target";
    let headers: String =
        signed.split(';').map(|name| format!("{name}:{}\n", received.header(name))).collect();
    let hash = hex::encode(Sha256::digest(&received.body));
    assert_eq!(received.header("x-amz-content-sha256"), hash);
    let canonical = format!("POST\n/\n\n{headers}\n{signed}\n{hash}");
    let time = received.header("x-amz-date");
    let scope = format!("{}/{region}/{service}/aws4_request", &time[..8]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(&canonical)));
    let first = hmac(format!("AWS4{KEY}").as_bytes(), &time.as_bytes()[..8]);
    let key = [region, service, "aws4_request"].iter().fold(first, |key, part| hmac(&key, part.as_bytes()));
    let signature = hex::encode(hmac(&key, to_sign.as_bytes()));
    format!("AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders={signed}, Signature={signature}")
}

/// RFC 2104, for keys of up to 64 bytes.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad =
        |with: u8| -> Vec<u8> { (0..64).map(|n| key.get(n).copied().unwrap_or_default() ^ with).collect() };
    let inner = Sha256::digest([&pad(0x36)[..], message].concat());
    Sha256::digest([&pad(0x5c)[..], &inner].concat()).to_vec()
}
