use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::FutureExt as _;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert_eq, proptest};

use super::*;
use crate::hybrid_encryption::KeyEncryptionKey;
use crate::key_encryption::FileKey;

fn key() -> FileKey {
    let keyset = KeyEncryptionKey::generate_keyset(&mut UnwrapErr(SysRng));
    FileKey::new("a test's", KeyEncryptionKey::parse_file(&keyset).expect("a keyset"))
}

/// A keyset waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("ready")
}

proptest! {
    #[test]
    fn every_secret_comes_back(secret in vec(any::<u8>(), 1..200), place in vec(any::<u8>(), 0..50)) {
        let key = key();
        let envelope = now(seal(&key, &secret, &place)).expect("sealed");
        assert!(is_envelope(&envelope));
        assert!(secret.len() < 8 || !envelope.windows(8).any(|part| secret.windows(8).any(|of| of == part)));
        prop_assert_eq!(now(open(&key, &envelope, &place)).expect("opened").to_vec(), secret);
    }

    #[test]
    fn what_is_no_envelope_is_refused(bytes in vec(any::<u8>(), 0..300)) {
        assert!(now(open(&key(), &bytes, b"")).is_err());
        let bytes = [&MAGIC[..], &bytes].concat();
        assert!(now(open(&key(), &bytes, b"")).is_err());
    }
}

#[test]
fn an_envelope_with_a_bit_changed_is_refused() {
    let key = key();
    let envelope = now(seal(&key, &[7; 32], b"place")).expect("sealed");
    for bit in 0..envelope.len() * 8 {
        let mut altered = envelope.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(is_envelope(&altered), "bit {bit}: it would be taken for a secret in the clear");
        let error = now(open(&key, &altered, b"place")).expect_err("altered");
        let told = match (&error, bit / 8) {
            (EnvelopeError::Malformed, 0..8) => true,
            // A length that is wrong cuts the rest elsewhere.
            (_, 8..10) => true,
            // The number of the keyset's key, and what that key opens.
            (EnvelopeError::DataKey(KeyEncryptionError::UnknownKey { .. }), 10..15) => true,
            (EnvelopeError::DataKey(KeyEncryptionError::Open { .. }), 15..75) => true,
            (EnvelopeError::Altered, 75..) => true,
            _ => false,
        };
        assert!(told, "bit {bit}: {error:?}");
    }
    for length in 0..envelope.len() {
        assert!(now(open(&key, &envelope[..length], b"place")).is_err(), "cut at {length}");
    }
    assert!(now(open(&key, &[&envelope[..], b"x"].concat(), b"place")).is_err());
}

#[test]
fn an_envelope_opens_where_it_belongs_and_nowhere_else() {
    let (key, other) = (key(), key());
    let envelope = now(seal(&key, b"secret", b"place")).expect("sealed");
    assert_eq!(*now(open(&key, &envelope, b"place")).expect("its own"), b"secret"[..]);
    assert!(now(open(&key, &envelope, b"elsewhere")).is_err());
    assert!(now(open(&other, &envelope, b"place")).is_err());
}

#[test]
fn no_two_envelopes_share_anything_but_their_form() {
    let key = key();
    let seal = || now(seal(&key, b"secret", b"place")).expect("sealed");
    let (first, second) = (seal(), seal());
    // The magic, the length, and the prefix of the keyset's key.
    let common = first.windows(8).filter(|part| second.windows(8).any(|other| other == *part)).count();
    assert_eq!(common, MAGIC.len() + 2 + 5 - 7);
}

/// A key that gives out a data key of another length.
#[derive(Debug, Default)]
struct WrongLength(AtomicBool);

#[async_trait]
impl KeyEncryption for WrongLength {
    fn name(&self) -> &str {
        "a test's"
    }

    async fn encrypt(&self, key: &[u8], _: &[u8]) -> Result<Vec<u8>, KeyEncryptionError> {
        let long = self.0.load(Ordering::Relaxed);
        Ok(if long { vec![0; 1 << 16] } else { key.to_vec() })
    }

    async fn decrypt(&self, key: &[u8], _: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyEncryptionError> {
        Ok(Zeroizing::new(key[..16].to_vec()))
    }
}

#[test]
fn a_service_that_does_not_do_what_it_promises_makes_no_panic() {
    let key = WrongLength::default();
    let envelope = now(seal(&key, b"secret", b"place")).expect("sealed");
    let refused = now(open(&key, &envelope, b"place")).expect_err("no data key");
    assert!(matches!(refused, EnvelopeError::Altered), "{refused:?}");
    key.0.store(true, Ordering::Relaxed);
    assert!(now(seal(&key, b"secret", b"place")).is_err(), "64 KiB do not fit");
}
