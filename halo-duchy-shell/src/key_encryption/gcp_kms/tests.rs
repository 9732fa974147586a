//! Against a fake of Cloud KMS, which checks each call as Google documents it.

use std::sync::Arc;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use object_store::StaticCredentialProvider;
use object_store::gcp::GcpCredential;
use serde_json::{Value, json};

use super::*;
use crate::cloud::testing::{FakeService, Received, Response};
use crate::hybrid_encryption::KeyEncryptionKey;
use crate::key_encryption::KeyUri;
use crate::key_encryption::testing::keeps_its_promises;
use crate::retry::Class;

const URI: &str = "gcp-kms://projects/halo/locations/europe-west1/keyRings/duchy/cryptoKeys/kek";
const NAME: &str = "projects/halo/locations/europe-west1/keyRings/duchy/cryptoKeys/kek";

/// The service, with one key.
struct FakeCloudKms(KeyEncryptionKey);

impl FakeCloudKms {
    fn new() -> Self {
        let rng = &mut UnwrapErr(SysRng);
        Self(KeyEncryptionKey::parse_file(&KeyEncryptionKey::generate_keyset(rng)).expect("a keyset"))
    }

    fn answer(&self, request: &Received) -> Response {
        assert_eq!(request.header("authorization"), "Bearer a token");
        assert_eq!(request.header("content-type"), "application/json");
        let json = request.json();
        // A field of bytes and its checksum, which is a number of 64 bits and so in quotation marks.
        let bytes = |field: &str, checksum: &str| {
            let bytes = STANDARD.decode(json[field].as_str().expect("base64")).expect("base64");
            assert_eq!(json[checksum], json!(crc32c(&bytes).to_string()));
            bytes
        };
        let associated_data = bytes("additionalAuthenticatedData", "additionalAuthenticatedDataCrc32c");
        assert_eq!(json.as_object().expect("an object").len(), 4);
        let rng = &mut UnwrapErr(SysRng);
        if request.line == format!("POST /v1/{NAME}:encrypt HTTP/1.1") {
            let plaintext = bytes("plaintext", "plaintextCrc32c");
            let ciphertext = self.0.encrypt(&plaintext, &associated_data, rng).expect("encrypts");
            let answer = json!({
                "name": format!("{NAME}/cryptoKeyVersions/3"),
                "ciphertext": STANDARD.encode(&ciphertext),
                "ciphertextCrc32c": crc32c(&ciphertext).to_string(),
                "verifiedPlaintextCrc32c": true,
                "verifiedAdditionalAuthenticatedDataCrc32c": true,
                "protectionLevel": "HSM",
            });
            return (200, answer.to_string());
        }
        assert_eq!(request.line, format!("POST /v1/{NAME}:decrypt HTTP/1.1"));
        let ciphertext = bytes("ciphertext", "ciphertextCrc32c");
        match self.0.decrypt(&ciphertext, &associated_data) {
            Ok(plaintext) => {
                let answer = json!({
                    "plaintext": STANDARD.encode(&*plaintext),
                    "plaintextCrc32c": crc32c(&plaintext).to_string(),
                    "usedPrimary": true,
                    "protectionLevel": "HSM",
                });
                (200, answer.to_string())
            }
            Err(_) => refusal(400, "INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid."),
        }
    }
}

fn refusal(code: u16, status: &str, message: &str) -> Response {
    (code, json!({ "error": { "code": code, "message": message, "status": status } }).to_string())
}

fn key(fake: &FakeService) -> GcpKmsKey {
    let credential = GcpCredential { bearer: "a token".to_owned() };
    let credentials = Arc::new(StaticCredentialProvider::new(credential));
    GcpKmsKey::new(URI, NAME, Some(fake.endpoint.clone()), credentials).expect("a client")
}

/// A key whose service answers always so.
async fn answered(status: u16, body: impl ToString) -> (FakeService, GcpKmsKey) {
    let body = body.to_string();
    let fake = FakeService::start(move |_| (status, body.clone())).await;
    let key = key(&fake);
    (fake, key)
}

#[test]
fn the_checksum_is_that_of_castagnoli() {
    // The check value of CRC-32/ISCSI.
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[tokio::test]
async fn a_key_in_cloud_kms_keeps_its_promises() {
    let service = FakeCloudKms::new();
    let fake = FakeService::start(move |request| service.answer(request)).await;
    keeps_its_promises(&key(&fake)).await;
}

#[tokio::test]
async fn an_answer_that_was_altered_is_not_believed() {
    let whole = |change: &dyn Fn(&mut Value)| {
        let mut answer = json!({
            "name": format!("{NAME}/cryptoKeyVersions/1"),
            "ciphertext": STANDARD.encode(b"sealed"),
            "ciphertextCrc32c": crc32c(b"sealed"),
            "verifiedPlaintextCrc32c": true,
            "verifiedAdditionalAuthenticatedDataCrc32c": true,
        });
        change(&mut answer);
        answer
    };
    let (_fake, sound) = answered(200, whole(&|_| {})).await;
    assert_eq!(sound.encrypt(b"key", b"").await.expect("numbers without quotation marks too"), b"sealed");
    type Change<'c> = &'c dyn Fn(&mut Value);
    let changes: [(Change<'_>, &str); 7] = [
        (&|answer| answer["ciphertext"] = json!(STANDARD.encode(b"Sealed")), "the ciphertext's checksum"),
        (&|answer| answer["ciphertext"] = json!("?"), "the ciphertext"),
        (&|answer| answer["ciphertext"] = json!(""), "the ciphertext"),
        (&|answer| answer["verifiedPlaintextCrc32c"] = json!(false), "the verification"),
        (&|answer| answer["verifiedAdditionalAuthenticatedDataCrc32c"] = Value::Null, "the form"),
        (&|answer| answer["name"] = json!(NAME.replace("kek", "other")), "the name of the key"),
        (&|answer| answer["ciphertextCrc32c"] = Value::Null, "the form"),
    ];
    for (change, told) in changes {
        let (_fake, key) = answered(200, whole(change)).await;
        let error = key.encrypt(b"key", b"").await.expect_err(told);
        assert!(error.to_string().contains(told), "{told}: {error}");
        assert!(error.class().may_pass(), "it may come whole another time");
    }
    let opened = json!({ "plaintext": STANDARD.encode(b"key"), "plaintextCrc32c": "1" });
    let (_fake, key) = answered(200, opened).await;
    let error = key.decrypt(b"sealed", b"").await.expect_err("another checksum");
    assert!(error.to_string().contains("the plaintext's checksum"), "{error}");
    for body in ["", "[]", "{}", "<html>"] {
        let (_fake, key) = answered(200, body).await;
        assert!(key.decrypt(b"sealed", b"").await.expect_err(body).to_string().contains("the form"));
    }
    let (_fake, key) = answered(200, "x".repeat(300 << 10)).await;
    let error = key.decrypt(b"sealed", b"").await.expect_err("too long");
    assert!(matches!(error, KeyEncryptionError::Service { source: CloudError::Unreachable { .. }, .. }));
}

#[tokio::test]
async fn refusals_are_sorted_by_what_is_to_be_done_about_them() {
    for (code, status, message, class, calls) in [
        (403, "PERMISSION_DENIED", "Permission denied", Class::Limited, 1),
        (404, "NOT_FOUND", "CryptoKey not found", Class::Limited, 1),
        (400, "FAILED_PRECONDITION", "kek is not enabled", Class::Limited, 1),
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded", Class::Transient, 4),
        (503, "UNAVAILABLE", "try again", Class::Transient, 4),
        (400, "INVALID_ARGUMENT", "The checksum in ciphertext_crc32c did not match", Class::Limited, 1),
        (400, "INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.", Class::Permanent, 1),
    ] {
        let (fake, key) = answered(code, refusal(code, status, message).1).await;
        let error = key.decrypt(b"sealed", b"").await.expect_err(status);
        assert_eq!(error.class(), class, "{error}");
        assert!(class == Class::Permanent || error.to_string().contains(message), "{error}");
        assert!(error.to_string().starts_with(URI), "{error}");
        assert_eq!(fake.received().len(), calls, "{error}");
    }
}

#[tokio::test]
async fn a_service_that_comes_back_is_asked_again() {
    let service = FakeCloudKms::new();
    let calls = std::sync::atomic::AtomicU32::default();
    let fake =
        FakeService::start(move |request| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 | 1 => (503, String::new()),
            _ => service.answer(request),
        });
    let fake = fake.await;
    key(&fake).encrypt(b"key", b"place").await.expect("at the third call");
    assert_eq!(fake.received().len(), 3);
}

#[test]
fn nothing_is_sent_in_the_clear() {
    let credentials = Arc::new(StaticCredentialProvider::new(GcpCredential { bearer: String::new() }));
    let refused = GcpKmsKey::new(URI, NAME, Some("http://kms.example".to_owned()), credentials);
    assert!(matches!(refused, Err(CloudError::Endpoint { variable: ENDPOINT, .. })), "{refused:?}");
    assert_eq!(URI.parse(), Ok(KeyUri::GcpKms(NAME.to_owned())));
}
