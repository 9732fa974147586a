use std::sync::Arc;

use async_trait::async_trait;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_protocols::proto::duchy::ElGamalKeyPair;
use tonic::codegen::http::StatusCode;
use zeroize::Zeroizing;

use super::*;
use crate::cloud::CloudError;
use crate::hybrid_encryption::KeyEncryptionKey;
use crate::key_encryption::{FileKey, KeyEncryption};

const SECRET: [u8; 32] = [7; 32];

fn key() -> SharedKey {
    let keyset = KeyEncryptionKey::generate_keyset(&mut UnwrapErr(SysRng));
    Arc::new(FileKey::new("a test's", KeyEncryptionKey::parse_file(&keyset).expect("a keyset")))
}

/// Details of each protocol with its secret.
fn all_details() -> [ComputationDetails; 3] {
    let pair = || {
        let mut pair = ElGamalKeyPair::default();
        pair.secret_key = SECRET.to_vec();
        Some(pair)
    };
    use halo_protocols::proto::protocol as proto;
    let llv2 = proto::liquid_legions_sketch_aggregation_v2::ComputationDetails {
        local_elgamal_key: pair(),
        ..Default::default()
    };
    let reach_only = proto::reach_only_liquid_legions_sketch_aggregation_v2::ComputationDetails {
        local_elgamal_key: pair(),
        ..Default::default()
    };
    let mut hmss = proto::honest_majority_share_shuffle::ComputationDetails::default();
    hmss.random_seed = SECRET.to_vec();
    let protocols = [
        Protocol::LiquidLegionsV2(llv2),
        Protocol::ReachOnlyLiquidLegionsV2(reach_only),
        Protocol::HonestMajorityShareShuffle(hmss),
    ];
    protocols.map(|protocol| ComputationDetails { protocol: Some(protocol), ..Default::default() })
}

fn value(details: &ComputationDetails) -> Vec<u8> {
    secret(&mut details.clone()).expect("a secret").value.clone()
}

fn row(details: ComputationDetails) -> ComputationToken {
    ComputationToken {
        global_computation_id: "c".to_owned(),
        computation_details: Some(details),
        ..ComputationToken::default()
    }
}

async fn sealed(secrets: &ComputationSecrets, mut details: ComputationDetails) -> ComputationToken {
    secrets.seal(&mut details, "worker1", "c").await.expect("sealed");
    row(details)
}

fn of(token: &ComputationToken) -> Vec<u8> {
    value(token.computation_details.as_ref().expect("details"))
}

#[tokio::test]
async fn a_secret_is_stored_in_an_envelope_and_read_again() {
    let secrets = ComputationSecrets::sealed_by(key());
    for details in all_details() {
        let stored = sealed(&secrets, details.clone()).await;
        assert!(is_envelope(&of(&stored)));
        let opened = secrets.open(&stored, "worker1").await.expect("its own");
        assert_eq!(opened.token.computation_details, Some(details));
        assert_eq!(opened.opened_with.as_deref(), Some("a test's"));
    }
}

#[tokio::test]
async fn a_secret_that_lies_in_the_clear_is_read_with_a_key_or_without() {
    for secrets in [
        ComputationSecrets::default(),
        ComputationSecrets::sealed_by(key()),
        ComputationSecrets::opened_by(key()),
    ] {
        for details in all_details() {
            let opened = secrets.open(&row(details.clone()), "worker1").await.expect("read");
            assert_eq!(opened.token.computation_details, Some(details));
            assert_eq!(opened.opened_with, None);
        }
        let none = ComputationToken::default();
        assert_eq!(secrets.open(&none, "worker1").await.expect("no secret").token, none);
    }
}

#[tokio::test]
async fn what_has_no_key_or_is_told_so_writes_in_the_clear() {
    for secrets in [ComputationSecrets::default(), ComputationSecrets::opened_by(key())] {
        assert!(!secrets.are_sealed());
        for details in all_details() {
            assert_eq!(of(&sealed(&secrets, details).await), SECRET);
        }
    }
    let key = key();
    let [details, ..] = all_details();
    let stored = sealed(&ComputationSecrets::sealed_by(Arc::clone(&key)), details).await;
    let opened = ComputationSecrets::opened_by(key).open(&stored, "worker1").await.expect("an envelope");
    assert_eq!(of(&opened.token), SECRET);
    let error = ComputationSecrets::default().open(&stored, "worker1").await.expect_err("no key");
    assert_eq!(error.class(), Class::Permanent);
    assert_eq!(
        error.to_string(),
        "liquid_legions_v2.local_elgamal_key: it is encrypted, and there is no key encryption key to open it with"
    );
}

#[tokio::test]
async fn no_envelope_opens_in_another_place() {
    let secrets = ComputationSecrets::sealed_by(key());
    let [llv2, reach_only, hmss] = all_details();
    let stored = sealed(&secrets, llv2).await;
    secrets.open(&stored, "worker1").await.expect("its own place");
    let refused = async |token: &ComputationToken, duchy: &str| {
        let error = secrets.open(token, duchy).await.expect_err("another place");
        assert_eq!(error.class(), Class::Permanent, "{error}");
        assert!(error.to_string().contains("the data key: a test's does not open it"), "{error}");
    };
    refused(&stored, "worker2").await;
    refused(&ComputationToken { global_computation_id: "d".to_owned(), ..stored.clone() }, "worker1").await;
    for mut other in [reach_only, hmss] {
        *secret(&mut other).expect("a secret").value = of(&stored);
        refused(&row(other), "worker1").await;
    }
}

#[test]
fn places_do_not_run_into_one_another() {
    assert_ne!(associated_data("a", "bc", "d"), associated_data("ab", "c", "d"));
    assert_ne!(associated_data("a", "b", "cd"), associated_data("a", "bc", "d"));
}

/// A key in a service that is away, or does not let one in.
#[derive(Debug)]
struct Away(StatusCode);

#[async_trait]
impl KeyEncryption for Away {
    fn name(&self) -> &str {
        "kms"
    }

    async fn encrypt(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, KeyEncryptionError> {
        let (kind, message) = (String::new(), String::new());
        let source = CloudError::Refused { service: "KMS", status: self.0, kind, message };
        Err(KeyEncryptionError::Service { key: "kms".to_owned(), source })
    }

    async fn decrypt(&self, _: &[u8], _: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyEncryptionError> {
        self.encrypt(&[], &[]).await.map(Zeroizing::new)
    }
}

#[tokio::test]
async fn a_service_that_is_away_is_waited_for() {
    let [details, ..] = all_details();
    let stored = sealed(&ComputationSecrets::sealed_by(key()), details.clone()).await;
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN] {
        let secrets = ComputationSecrets::sealed_by(Arc::new(Away(status)));
        let error = secrets.open(&stored, "worker1").await.expect_err("away");
        assert!(error.class().may_pass(), "{error}");
        let mut again = details.clone();
        let error = secrets.seal(&mut again, "worker1", "c").await.expect_err("away");
        assert!(error.class().may_pass(), "{error}");
        assert_eq!(again, details, "nothing has changed");
    }
}
