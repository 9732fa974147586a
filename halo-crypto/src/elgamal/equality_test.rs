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
//! # One factor for several constants
//! [`Ciphertexts::equality_tests_by_one_factor`] takes the same `r` for all constants of a message and gives all tests
//! but the first a fresh nonce. Whoever cannot open the tests sees unrelated ciphertexts. Whoever can finds `r·(M − P)`
//! and `r·(M − Q)`, and so `r·(P − Q)`, which is known to be a multiple of `P − Q`. Whether a guessed message `M'` is
//! the one is then the question whether `r·(M − P)` is the same multiple of `M' − P`: the decisional Diffie–Hellman
//! problem once more, for nobody knows the logarithms of `P − Q` and `M' − P` to each other if all three are hashed to
//! the group. That they be so is what the caller has to see to. It does not hold for multiples of one base, such as
//! counts: of `r·(c − 1)·U` and `r·(c − 2)·U` the quotient, and with it `c`, is found by trying. Nor does it hold for a
//! message that its maker composed of `P` and `Q`: who opens the tests recognises it, if told how it was made. So who
//! opens them must be somebody whom that tells nothing new: in the protocols, it is who drew `r`.
//!
//! A ciphertext with `e = P` makes the second half of its test the identity, which has no encoding: the kernel names the
//! record then. Nobody makes one by accident.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Ciphertexts;
use super::encryption_key::{EncryptionKey, random_scalars};
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

    /// Subtracts the constant, times its factor, from each message.
    fn subtract(&self, ciphertexts: &mut Ciphertexts<G>, factors: &[G::Scalar]) {
        let negated = -self.multiple;
        let subtrahends: Zeroizing<Vec<G::Scalar>> =
            Zeroizing::new(factors.iter().map(|factor| negated * factor).collect());
        let (_, e) = ciphertexts.halves_mut();
        G::add_fixed_base_multiples(e, self.base, &subtrahends);
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
        let (u, e) = (G::multiples(u, &factors), G::multiples(e, &factors));
        constants
            .iter()
            .enumerate()
            .map(|(index, constant)| {
                let tests = index * count..(index + 1) * count;
                let mut test = Self::from_halves(u[tests.clone()].to_vec(), e[tests.clone()].to_vec());
                constant.subtract(&mut test, &factors[tests]);
                test
            })
            .collect()
    }

    /// As [`Ciphertexts::equality_tests`], with one `r` for all constants of a message, which takes two multiplications
    /// for each message rather than for each test. The ciphertexts must be under `key`.
    ///
    /// # Security
    /// Only for constants and messages that are hashed to the group, and if the tests are opened by who draws the factors.
    /// Of messages that are small multiples of one element, such as counts, tests of one factor would tell everything:
    /// the quotient of two of them is found by trying. The notes at the head of this source file have the argument.
    pub fn equality_tests_by_one_factor<R: CryptoRng + ?Sized>(
        &self,
        constants: &[Constant<'_, G>],
        key: &EncryptionKey<G>,
        rng: &mut R,
    ) -> Vec<Self> {
        let factors = random_scalars::<G, R>(self.len(), rng);
        let mut multiples = self.clone();
        multiples.scale_each(&factors);
        constants
            .iter()
            .enumerate()
            .map(|(index, constant)| {
                let mut test = multiples.clone();
                constant.subtract(&mut test, &factors);
                if index > 0 {
                    key.re_randomize(&mut test, rng);
                }
                test
            })
            .collect()
    }
}
