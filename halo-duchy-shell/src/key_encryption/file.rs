//! A key encryption key in a file: a Tink keyset in the clear.

use std::path::Path;

use async_trait::async_trait;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use zeroize::Zeroizing;

use super::{KeyEncryption, KeyEncryptionError};
use crate::hybrid_encryption::{HybridEncryptionError, KeyEncryptionKey};
use crate::live::Live;
use crate::platform;

/// A keyset of AES-GCM keys. Clones share it, and a keyset put in its place.
#[derive(Clone, Debug)]
pub struct FileKey {
    name: String,
    keyset: Live<KeyEncryptionKey>,
}

/// Why a file has no key encryption key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileKeyError {
    /// It cannot be read.
    #[error("cannot read the keyset")]
    Read(#[source] std::io::Error),
    /// It is no keyset of such keys.
    #[error("the keyset")]
    Keyset(#[from] HybridEncryptionError),
}

impl FileKey {
    /// The keyset in a file, binary or JSON.
    ///
    /// # Errors
    /// [`FileKeyError`].
    pub fn load(path: &Path) -> Result<Self, FileKeyError> {
        Ok(Self { name: format!("file:{}", path.display()), keyset: Live::new(read(path)?) })
    }

    /// A keyset that was read, called `name`.
    pub fn new(name: &str, keyset: KeyEncryptionKey) -> Self {
        Self { name: name.to_owned(), keyset: Live::new(keyset) }
    }

    /// Puts the keyset in a file in the place of this one. What was encrypted under keys that it lacks no longer opens.
    ///
    /// # Errors
    /// [`FileKeyError`], also if it lacks the primary key of this one; the keyset stays.
    pub fn reload(&self, path: &Path) -> Result<(), FileKeyError> {
        let newer = read(path)?;
        self.keyset.current().may_become(&newer)?;
        self.keyset.replace(newer);
        Ok(())
    }
}

fn read(path: &Path) -> Result<KeyEncryptionKey, FileKeyError> {
    let bytes = Zeroizing::new(std::fs::read(path).map_err(FileKeyError::Read)?);
    Ok(KeyEncryptionKey::parse_file(&bytes)?)
}

#[async_trait]
impl KeyEncryption for FileKey {
    fn name(&self) -> &str {
        &self.name
    }

    async fn encrypt(&self, key: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, KeyEncryptionError> {
        let mut seed = Zeroizing::new([0; 32]);
        platform::fill(&mut *seed)?;
        let mut rng = ChaCha20Rng::from_seed(*seed);
        let encrypted = self.keyset.current().encrypt(key, associated_data, &mut rng);
        encrypted.map_err(|source| KeyEncryptionError::Keyset { key: self.name.clone(), source })
    }

    async fn decrypt(
        &self,
        encrypted: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyEncryptionError> {
        let (keyset, key) = (self.keyset.current(), self.name.clone());
        keyset.decrypt(encrypted, associated_data).map_err(|_| match keyset.knows(encrypted) {
            true => KeyEncryptionError::Open { key },
            false => KeyEncryptionError::UnknownKey { key },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;

    use super::*;
    use crate::key_encryption::testing::keeps_its_promises;
    use crate::reload::Reloader;

    fn keyset() -> Zeroizing<Vec<u8>> {
        KeyEncryptionKey::generate_keyset(&mut UnwrapErr(SysRng))
    }

    #[tokio::test]
    async fn a_keyset_in_a_file_keeps_its_promises() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kek.tink");
        std::fs::write(&path, keyset()).expect("written");
        let key = FileKey::load(&path).expect("a keyset");
        assert_eq!(key.name(), format!("file:{}", path.display()));
        keeps_its_promises(&key).await;
    }

    #[tokio::test]
    async fn a_newer_keyset_opens_what_its_older_keys_have_encrypted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kek.tink");
        let (old, new) = (keyset(), keyset());
        std::fs::write(&path, &old).expect("written");
        let key = FileKey::load(&path).expect("a keyset");
        let mut reloader = Reloader::new(Duration::from_secs(1)).key_encryption(&path, &key);
        reloader.check();
        let first = key.encrypt(b"a data key", b"place").await.expect("encrypts");
        std::fs::write(&path, &new).expect("written");
        reloader.check();
        assert_eq!(*key.decrypt(&first, b"place").await.expect("the primary key stays"), b"a data key"[..]);

        // Protobuf messages that follow one another are one, whose last primary key counts.
        std::fs::write(&path, [old.as_slice(), new.as_slice()].concat()).expect("written");
        reloader.check();
        assert_eq!(*key.decrypt(&first, b"place").await.expect("the older key's"), b"a data key"[..]);
        let second = key.encrypt(b"a data key", b"place").await.expect("encrypts");

        std::fs::write(&path, b"not a keyset").expect("written");
        reloader.check();
        assert_eq!(*key.decrypt(&first, b"place").await.expect("the old keys stay"), b"a data key"[..]);
        std::fs::write(&path, &new).expect("written");
        reloader.check();
        assert_eq!(*key.decrypt(&second, b"place").await.expect("the newer key's"), b"a data key"[..]);
        let gone = key.decrypt(&first, b"place").await.expect_err("its key has been taken away");
        assert!(matches!(gone, KeyEncryptionError::UnknownKey { .. }), "{gone:?}");
    }

    #[test]
    fn a_file_without_a_key_is_told_by_name() {
        let missing = FileKey::load(Path::new("/nowhere/kek.tink")).expect_err("not there");
        assert!(matches!(missing, FileKeyError::Read(_)), "{missing:?}");
    }
}
