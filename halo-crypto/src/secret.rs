//! [`Secret`]: a value that is wiped when dropped, never printed, and compared in constant time.

use core::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// Holds a secret: wiped on drop, redacted in `Debug`, compared in constant time, not `Copy`, without `Display`.
///
/// Reading it takes an explicit [`Secret::expose`], so that every use can be found.
///
/// ```
/// let key = halo_crypto::Secret::new([7u8; 32]);
/// assert_eq!(format!("{key:?}"), "Secret(..)");
/// assert_eq!(key.expose()[0], 7);
/// ```
///
/// A secret cannot be printed by accident:
///
/// ```compile_fail
/// println!("{}", halo_crypto::Secret::new([7u8; 32]));
/// ```
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes `value` into custody.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. What is done with it must not branch on it, index by it, or print it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Default> Secret<T> {
    /// Gives the value out of custody without a copy. Whoever takes it sees to it that it is wiped, or is no secret to
    /// those who get it.
    pub fn release(mut self) -> T {
        core::mem::take(&mut self.0)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<T: Zeroize + ConstantTimeEq> ConstantTimeEq for Secret<T> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl<T: Zeroize + ConstantTimeEq> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl<T: Zeroize + ConstantTimeEq> Eq for Secret<T> {}
