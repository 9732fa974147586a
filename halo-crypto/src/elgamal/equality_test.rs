//! Encrypted equality tests: of each message and a public constant, `r·(M − P)` for a fresh `r`.
//!
//! The test opens to the identity if the message is the constant, and to a random element otherwise. Upstream encrypts
//! the constant, subtracts the ciphertexts and multiplies the difference ("destructor"). Here the constant is taken in
//! the form `(identity, P)`, a ciphertext whose nonce is zero:
//!
//! ```text
//! r·((u, e) − (0, P)) = (r·u, r·e − r·P)
//! ```
//!
//! so that all tests of one message are multiples of one ciphertext, and what is subtracted is a multiple of a fixed
//! base.
//!
//! # Security
//! A nonce of the constant's would hide nothing that `r` does not hide. Whoever cannot open the message sees the pair
//! `(u, e − P)`, whose logarithm to each other is not known to them, and the pair's multiple by a scalar that is used
//! nowhere else: under the decisional Diffie–Hellman assumption, on which the encryption itself rests, that is a pair of
//! random elements, whatever public or secret ciphertext was added to the first one.
//!
//! Whoever can open the test finds `r·(M − P)` with the nonce `r·ρ` for the message's nonce `ρ`. The nonce must be unknown
//! to them: who knows `ρ` finds `r·G` and can try what multiple of it `r·(M − P)` is. So re-randomize a message first whose
//! maker may be the one who opens it; then, under the same assumption, `r·G` is hidden and the nonces are as good as
//! independent. The protocols do: keys are compared after a fresh encryption of zero was subtracted, and each duchy
//! re-randomized the counts.
//!
//! A ciphertext with `e = P` makes the second half of its test the identity, which has no encoding: the kernel names the
//! record then. Nobody makes one by accident.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Ciphertexts;
use super::encryption_key::random_scalars;
use crate::group::Group;

/// A public element that messages are compared with: a multiple of a fixed base.
#[derive(Clone, Copy)]
pub struct Constant<'a, G: Group> {
    base: &'a G::FixedBase,
    multiple: G::Scalar,
}

impl<'a, G: Group> Constant<'a, G> {
    /// The element `multiple · base`.
    pub fn new(base: &'a G::FixedBase, multiple: u64) -> Self {
        Self { base, multiple: G::Scalar::from(multiple) }
    }
}

impl<G: Group> Ciphertexts<G> {
    /// Compares each message with each constant: for every constant a batch of `r·(M − P)`, every `r` fresh from
    /// `[1, order)`.
    pub fn equality_tests<R: CryptoRng + ?Sized>(
        &self,
        constants: &[Constant<'_, G>],
        rng: &mut R,
    ) -> Vec<Self> {
        let count = self.len();
        let factors = random_scalars::<G, R>(constants.len() * count, rng);
        let (u, e) = self.halves();
        let (u, mut e) = (G::multiples(u, &factors), G::multiples(e, &factors));
        constants
            .iter()
            .enumerate()
            .map(|(index, constant)| {
                let tests = index * count..(index + 1) * count;
                let negated = -constant.multiple;
                let subtrahends: Zeroizing<Vec<G::Scalar>> =
                    Zeroizing::new(factors[tests.clone()].iter().map(|factor| negated * factor).collect());
                G::add_fixed_base_multiples(&mut e[tests.clone()], constant.base, &subtrahends);
                Self::from_halves(u[tests.clone()].to_vec(), e[tests].to_vec())
            })
            .collect()
    }
}
