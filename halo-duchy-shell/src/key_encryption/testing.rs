//! What every key encryption key has to do, to be run against each kind.

use super::{KeyEncryption, KeyEncryptionError};

/// Fails unless what `key` encrypts opens, with the same associated data only, and not when any bit of it has changed.
pub(crate) async fn keeps_its_promises(key: &dyn KeyEncryption) {
    let secret = [7; 32];
    for associated_data in [&b""[..], b"duchy and computation"] {
        let encrypted = key.encrypt(&secret, associated_data).await.expect("encrypts");
        assert!(!encrypted.windows(8).any(|window| window == [7; 8]), "in the clear");
        let again = key.encrypt(&secret, associated_data).await.expect("encrypts");
        assert_ne!(encrypted, again, "no two ciphertexts are the same");
        let opened = key.decrypt(&encrypted, associated_data).await.expect("its own");
        assert_eq!(*opened, secret);
        for other in [&b"another"[..], b"duchy and computation ", b"duchy", b""] {
            if other != associated_data {
                require_refusal(key, &encrypted, other).await;
            }
        }
        for bit in 0..encrypted.len() * 8 {
            let mut altered = encrypted.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            require_refusal(key, &altered, associated_data).await;
        }
        for length in [0, 1, encrypted.len() - 1] {
            require_refusal(key, &encrypted[..length], associated_data).await;
        }
    }
}

async fn require_refusal(key: &dyn KeyEncryption, encrypted: &[u8], associated_data: &[u8]) {
    let error = key.decrypt(encrypted, associated_data).await.expect_err("altered, or for another use");
    match error {
        KeyEncryptionError::Open { .. } => assert!(!error.class().may_pass(), "{error:?}"),
        // Of a keyset, whose ciphertexts begin with the number of the key.
        KeyEncryptionError::UnknownKey { .. } => assert!(error.class().may_pass(), "{error:?}"),
        _ => panic!("{error:?}"),
    }
}
