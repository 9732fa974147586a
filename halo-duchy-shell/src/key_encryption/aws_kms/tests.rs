//! Against a fake of AWS KMS, which checks each call as AWS documents it, its signature included.

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use serde_json::json;

use super::*;
use crate::cloud::testing::aws::{credentials, require_call};
use crate::cloud::testing::{FakeService, Received, Response};
use crate::hybrid_encryption::KeyEncryptionKey;
use crate::key_encryption::KeyUri;
use crate::key_encryption::testing::keeps_its_promises;
use crate::retry::Class;

const ARN: &str = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// The service, with one key.
struct FakeAwsKms(KeyEncryptionKey);

impl FakeAwsKms {
    fn new() -> Self {
        let rng = &mut UnwrapErr(SysRng);
        Self(KeyEncryptionKey::parse_file(&KeyEncryptionKey::generate_keyset(rng)).expect("a keyset"))
    }

    fn answer(&self, request: &Received) -> Response {
        let json = request.json();
        assert_eq!(json["KeyId"], ARN);
        let context = match json.get("EncryptionContext") {
            Some(context) => {
                let context = context.as_object().expect("a map");
                assert!(!context.is_empty() && context.values().all(serde_json::Value::is_string));
                serde_json::to_vec(context).expect("JSON")
            }
            None => Vec::new(),
        };
        let bytes = |field: &str| STANDARD.decode(json[field].as_str().expect("base64")).expect("base64");
        let rng = &mut UnwrapErr(SysRng);
        if request.header("x-amz-target") == "TrentService.Encrypt" {
            require_call(request, "us-west-2", "kms", "TrentService.Encrypt");
            let plaintext = bytes("Plaintext");
            assert!((1..=4096).contains(&plaintext.len()), "the service takes no more");
            let blob = self.0.encrypt(&plaintext, &context, rng).expect("encrypts");
            let answer = json!({
                "CiphertextBlob": STANDARD.encode(blob),
                "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                "KeyId": ARN,
            });
            return (200, answer.to_string());
        }
        require_call(request, "us-west-2", "kms", "TrentService.Decrypt");
        match self.0.decrypt(&bytes("CiphertextBlob"), &context) {
            Ok(plaintext) => {
                let answer = json!({
                    "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                    "KeyId": ARN,
                    "KeyMaterialId": "0123",
                    "Plaintext": STANDARD.encode(&*plaintext),
                });
                (200, answer.to_string())
            }
            Err(_) => refusal(400, "InvalidCiphertextException"),
        }
    }
}

fn refusal(status: u16, kind: &str) -> Response {
    (status, json!({ "__type": kind, "message": format!("about {kind}") }).to_string())
}

fn key(fake: &FakeService) -> AwsKmsKey {
    let uri = format!("aws-kms://{ARN}");
    let KeyUri::AwsKms(arn) = uri.parse().expect("a key") else { panic!("of another kind") };
    let service = Aws::new(&KMS, arn.region(), Some(fake.endpoint.clone()), Some(credentials()));
    AwsKmsKey::new(&uri, &arn, service.expect("a client"))
}

/// A key whose service answers always so.
async fn answered(status: u16, body: String) -> (FakeService, AwsKmsKey) {
    let fake = FakeService::start(move |_| (status, body.clone())).await;
    let key = key(&fake);
    (fake, key)
}

#[tokio::test]
async fn a_key_in_aws_kms_keeps_its_promises() {
    let service = FakeAwsKms::new();
    let fake = FakeService::start(move |request| service.answer(request)).await;
    keeps_its_promises(&key(&fake)).await;
    let contexts: Vec<_> =
        fake.received().iter().map(|request| request.json()["EncryptionContext"].clone()).collect();
    // As Tink has it.
    assert!(contexts.contains(&json!({ "associatedData": hex::encode("duchy and computation") })));
    assert!(contexts.contains(&serde_json::Value::Null));
}

#[tokio::test]
async fn an_answer_about_another_key_is_not_believed() {
    let other = ARN.replace("1234abcd", "00000000");
    let answer = json!({ "KeyId": other, "CiphertextBlob": "AAAA", "Plaintext": "AAAA" }).to_string();
    let (_fake, key) = answered(200, answer).await;
    for error in [
        key.encrypt(b"key", b"").await.expect_err("another key"),
        key.decrypt(b"sealed", b"").await.map(drop).expect_err("another key"),
    ] {
        assert!(error.to_string().contains("the id of the key"), "{error}");
    }
    for body in ["", "[]", "{}", r#"{"KeyId":1}"#] {
        let (_fake, key) = answered(200, body.to_owned()).await;
        assert!(key.decrypt(b"sealed", b"").await.expect_err(body).to_string().contains("the form"));
    }
    let empty = json!({ "KeyId": ARN, "Plaintext": "" }).to_string();
    let (_fake, key) = answered(200, empty).await;
    assert!(key.decrypt(b"sealed", b"").await.expect_err("nothing").to_string().contains("the plaintext"));
}

#[tokio::test]
async fn refusals_are_sorted_by_what_is_to_be_done_about_them() {
    for (status, kind, class, calls) in [
        (400, "AccessDeniedException", Class::Limited, 1),
        (400, "NotFoundException", Class::Limited, 1),
        (400, "DisabledException", Class::Limited, 1),
        (400, "KMSInvalidStateException", Class::Limited, 1),
        (400, "ThrottlingException", Class::Transient, 4),
        (500, "KMSInternalException", Class::Transient, 4),
        (500, "KeyUnavailableException", Class::Transient, 4),
        (400, "com.amazonaws.kms#InvalidCiphertextException", Class::Permanent, 1),
        (400, "IncorrectKeyException", Class::Permanent, 1),
    ] {
        let (fake, key) = answered(status, refusal(status, kind).1).await;
        let error = key.decrypt(b"sealed", b"").await.expect_err(kind);
        assert_eq!(error.class(), class, "{error}");
        assert!(class == Class::Permanent || error.to_string().contains(kind), "{error}");
        assert_eq!(fake.received().len(), calls, "{error}");
    }
}
