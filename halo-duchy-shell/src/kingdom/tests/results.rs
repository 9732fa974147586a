//! Results that the real Kingdom would take and nobody could use.

use super::*;
use crate::consent::{Signer, seal_result};
use crate::hybrid_encryption::{PrivateKeyset, PublicKeyset, Scheme};
use crate::pki::{Pki, PkiSpec};
use crate::proto::api::measurement::Result as MeasurementResult;
use crate::proto::api::measurement::result::{Frequency, Reach};
use crate::proto::api::{EncryptionPublicKey, encryption_public_key};

fn signer(pki: &Pki, party: &str) -> Signer {
    Signer::load(&pki.consent_certificate(party), &pki.consent_private_key(party)).unwrap()
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(3)
}

fn public_key(keyset: &PublicKeyset) -> Any {
    let format = encryption_public_key::Format::TinkKeyset.into();
    let key = EncryptionPublicKey { format, data: keyset.to_bytes() };
    Any { type_url: "key".into(), value: key.encode_to_vec() }
}

fn reach_and_frequency() -> MeasurementResult {
    MeasurementResult {
        reach: Some(Reach { value: 1, ..Default::default() }),
        frequency: Some(Frequency::default()),
        ..Default::default()
    }
}

/// What the Kingdom notices about a result that `sealed` makes of the aggregator's signer and the measurement consumer's
/// key, which the Kingdom knows.
async fn violations(sealed: impl FnOnce(&Pki, &PublicKeyset) -> Vec<u8>) -> Vec<Violation> {
    violations_of_all(|pki, public| vec![sealed(pki, public)]).await
}

/// The same for several results, one after the other; only the first is taken.
async fn violations_of_all(sealed: impl FnOnce(&Pki, &PublicKeyset) -> Vec<Vec<u8>>) -> Vec<Violation> {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki")).unwrap();
    let trial = Trial::start().await;
    let certificate = std::fs::read(pki.consent_certificate("aggregator")).unwrap();
    trial.kingdom.register_certificate("duchies/aggregator/certificates/1", certificate).unwrap();
    // Of several keys the one that the spec names counts.
    trial.kingdom.register_result_key(CONSUMER, PrivateKeyset::generate(Scheme::Hpke, &mut rng()));
    let keyset = PrivateKeyset::generate(Scheme::Ecies, &mut rng());
    let public = keyset.public();
    trial.kingdom.register_result_key(CONSUMER, keyset);

    let spec = MeasurementSpec { measurement_public_key: Some(public_key(&public)), ..spec() };
    let request = CreateMeasurementRequest { measurement: Some(measurement(&spec)), ..create_request() };
    trial.consumer().create_measurement(request).await.unwrap();
    let computation = trial.kingdom.computations().remove(0);
    trial.start_computation(&computation).await;
    for (earlier, encrypted_result) in sealed(&pki, &public).into_iter().enumerate() {
        let request = crate::proto::system::SetComputationResultRequest {
            encrypted_result,
            ..life_cycle::result_request(&computation, "aggregator")
        };
        let set = trial.computations("aggregator").set_computation_result(request).await;
        assert_eq!(set.is_ok(), earlier == 0, "{set:?}");
    }
    trial.kingdom.violations()
}

#[tokio::test]
async fn a_sound_result_is_none() {
    let found = violations(|pki, public| {
        seal_result(&reach_and_frequency(), &signer(pki, "aggregator"), public, &mut rng()).unwrap()
    });
    assert_eq!(found.await, []);
}

#[tokio::test]
async fn a_result_for_another_key_is_noticed() {
    let found = violations(|pki, _| {
        let other = PrivateKeyset::generate(Scheme::Hpke, &mut rng()).public();
        seal_result(&reach_and_frequency(), &signer(pki, "aggregator"), &other, &mut rng()).unwrap()
    });
    assert!(matches!(found.await.as_slice(), [Violation::ResultNotDecrypted { .. }]));
}

#[tokio::test]
async fn a_result_that_another_duchy_signed_is_noticed() {
    let found = violations(|pki, public| {
        seal_result(&reach_and_frequency(), &signer(pki, "worker1"), public, &mut rng()).unwrap()
    });
    assert!(matches!(found.await.as_slice(), [Violation::ResultNotSigned { .. }]));
}

#[tokio::test]
async fn a_result_of_another_type_is_noticed() {
    for result in [
        MeasurementResult { frequency: None, ..reach_and_frequency() },
        MeasurementResult { reach: None, ..reach_and_frequency() },
        MeasurementResult::default(),
    ] {
        let found = violations(|pki, public| {
            seal_result(&result, &signer(pki, "aggregator"), public, &mut rng()).unwrap()
        });
        assert!(matches!(found.await.as_slice(), [Violation::ResultType { .. }]), "{result:?}");
    }
}

#[tokio::test]
async fn a_result_may_be_encrypted_anew_but_not_be_another() {
    let found = |second: MeasurementResult| {
        violations_of_all(move |pki, public| {
            let rng = &mut rng();
            let mut seal =
                |result| seal_result(result, &signer(pki, "aggregator"), public, rng).expect("a sound key");
            let (first, second) = (seal(&reach_and_frequency()), seal(&second));
            assert_ne!(first, second);
            vec![first, second]
        })
    };
    assert_eq!(found(reach_and_frequency()).await, []);
    let another =
        MeasurementResult { reach: Some(Reach { value: 2, ..Default::default() }), ..reach_and_frequency() };
    assert!(matches!(found(another).await.as_slice(), [Violation::SecondResult { .. }]));
}
