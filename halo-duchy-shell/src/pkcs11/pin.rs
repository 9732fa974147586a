//! The PIN of a token's user, which its file has.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use cryptoki::types::RawAuthPin;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Pkcs11Error;

/// The longest PIN, in bytes; some tokens have a user's name in it.
const MAXIMUM_BYTES: usize = 256;

/// A PIN, wiped when dropped. It is read when it is needed and not kept.
pub(super) struct Pin(Zeroizing<Vec<u8>>);

impl Pin {
    /// Reads the first line of the file.
    pub(super) fn read(path: &Path) -> Result<Self, Pkcs11Error> {
        let refused = |reason| Pkcs11Error::Pin { path: path.to_owned(), reason };
        // Of this capacity, so that nothing is copied while it grows.
        let mut text = Zeroizing::new(Vec::with_capacity(MAXIMUM_BYTES + 3));
        let file = File::open(path).map_err(|_| refused("the file cannot be read"))?;
        file.take(MAXIMUM_BYTES as u64 + 3)
            .read_to_end(&mut text)
            .map_err(|_| refused("the file cannot be read"))?;
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line {
            [] => Err(refused("the file is empty")),
            line if line.len() > MAXIMUM_BYTES => Err(refused("it is too long")),
            line if line.contains(&b'\n') => Err(refused("the file has more than one line")),
            line => Ok(Self(Zeroizing::new(line.to_vec()))),
        }
    }

    /// As the library takes it, which wipes it too.
    pub(super) fn to_library(&self) -> RawAuthPin {
        RawAuthPin::from(Box::new(self.0.to_vec()))
    }
}

impl PartialEq for Pin {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_one_line() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("pin");
        let read = |text: &[u8]| {
            std::fs::write(&file, text).expect("a file");
            Pin::read(&file).map(|pin| pin.0.to_vec()).map_err(|error| error.to_string())
        };
        for text in [&b"1234"[..], b"1234\n", b"1234\r\n"] {
            assert_eq!(read(text).as_deref(), Ok(&b"1234"[..]));
        }
        assert_eq!(read(&[b'1'; MAXIMUM_BYTES]).expect("as long as it may be").len(), MAXIMUM_BYTES);
        for text in [&b""[..], b"\n", b"1234\n5678\n", &[b'1'; MAXIMUM_BYTES + 1], &[b'1'; 4096]] {
            let refused = read(text).expect_err("no PIN");
            assert!(refused.contains(&*file.to_string_lossy()) && !refused.contains("1234"), "{refused}");
        }
    }
}
