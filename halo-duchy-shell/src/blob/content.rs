//! What a blob holds, as far as its key tells.

use std::fmt;

use sha2::{Digest, Sha256};

/// Digest and length of a blob's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    /// SHA-256.
    pub digest: [u8; 32],
    /// The number of bytes.
    pub length: u64,
}

impl Content {
    /// The content of bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: Sha256::digest(bytes).into(), length: bytes.len() as u64 }
    }

    /// The content that a path tells; `None` if its last part is not of the form that [`super::BlobStore`] gives.
    pub fn in_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        let mut parts = name.split('-');
        let (digest, length, _random) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let digest = <[u8; 32]>::try_from(hex::decode(digest).ok()?).ok()?;
        Some(Self { digest, length: length.parse().ok()? })
    }
}

/// The digest in hexadecimal, `-`, the length: the beginning of a key's last part.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", hex::encode(self.digest), self.length)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_its_content() {
        let content = Content::of(b"registers");
        assert_eq!(Content::in_path(&format!("a/b/{content}-0123")), Some(content));
    }

    #[test]
    fn other_paths_tell_nothing() {
        let digest = hex::encode([7; 32]);
        for path in [
            String::new(),
            "computations/1/SETUP_PHASE/0".into(),
            format!("a/{digest}-5"),
            format!("a/{digest}-x-1"),
            format!("a/{digest}-5-1-2"),
            format!("a/{}-5-1", &digest[2..]),
        ] {
            assert_eq!(Content::in_path(&path), None, "{path}");
        }
    }
}
