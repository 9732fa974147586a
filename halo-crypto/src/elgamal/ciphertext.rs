//! [`Ciphertexts`]: a batch of ElGamal ciphertexts, and what a duchy does with one.

use core::fmt;

use rand_core::CryptoRng;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::SecretKey;
use super::encryption_key::random_scalars;
use crate::group::{DecodePointError, DecodePointReason, Group};
use crate::pohlig_hellman::BlindingKey;

/// One ciphertext `(u, e)`.
#[derive(Clone, Copy, Debug)]
pub struct Ciphertext<G: Group> {
    /// `r·G`
    pub u: G::Point,
    /// `M + r·y`
    pub e: G::Point,
}

impl<G: Group> Ciphertext<G> {
    /// Bytes of an encoded ciphertext: `u ‖ e`.
    pub const LENGTH: usize = 2 * G::POINT_LENGTH;
}

/// A batch of ciphertexts, kept as the slice of their first halves and the slice of their second halves.
#[derive(Clone)]
pub struct Ciphertexts<G: Group> {
    u: Vec<G::Point>,
    e: Vec<G::Point>,
}

/// Which ciphertexts of concatenated records an operation concerns: the `index`-th of every record.
///
/// A register of id, key and count is a record of three ciphertexts; its key is `Column { index: 1, width: 3 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Position within the record, counted from 0; below `width`.
    pub index: usize,
    /// Ciphertexts in a record.
    pub width: usize,
}

impl Column {
    /// Every ciphertext of a plain concatenation.
    pub const ALL: Self = Self { index: 0, width: 1 };
}

impl<G: Group> Ciphertexts<G> {
    /// Takes the halves of ciphertexts.
    ///
    /// # Panics
    /// If there are not as many first halves as second halves.
    pub fn from_halves(u: Vec<G::Point>, e: Vec<G::Point>) -> Self {
        assert_eq!(u.len(), e.len(), "as many first halves as second halves");
        Self { u, e }
    }

    /// The messages themselves in the form of ciphertexts, `(identity, M)`: a nonce of zero, which hides nothing.
    ///
    /// It is what constants are before they are re-randomized, and it can be added to real ciphertexts.
    pub fn of_messages(messages: &[G::Point]) -> Self {
        Self { u: vec![G::identity(); messages.len()], e: messages.to_vec() }
    }

    /// Decodes concatenated ciphertexts.
    ///
    /// # Errors
    /// As [`Ciphertexts::decode_column`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeCiphertextError> {
        Self::decode_column(bytes, Column::ALL)
    }

    /// Decodes one ciphertext of each of the concatenated records in `bytes`.
    ///
    /// # Errors
    /// [`DecodeCiphertextError`] if the length is not that of whole records, or naming the first ciphertext that
    /// has a half which encodes no element other than the identity.
    ///
    /// # Panics
    /// If the column's index is not below its width.
    pub fn decode_column(bytes: &[u8], column: Column) -> Result<Self, DecodeCiphertextError> {
        let record = record_length::<G>(column);
        if !bytes.len().is_multiple_of(record) {
            return Err(DecodeCiphertextError {
                ciphertext: bytes.len() / record * column.width,
                reason: DecodeCiphertextReason::Length { length: bytes.len(), record },
            });
        }
        let count = bytes.len() / record;
        let decode = |half: CiphertextHalf| {
            let offset = half_offset::<G>(column, half);
            let mut encodings = Vec::with_capacity(count * G::POINT_LENGTH);
            for record in bytes.chunks_exact(record) {
                encodings.extend_from_slice(&record[offset..offset + G::POINT_LENGTH]);
            }
            let mut points = vec![G::identity(); count];
            G::decode(&encodings, &mut points).map(|()| points).map_err(|error| (half, error))
        };
        let (u, e) = match (decode(CiphertextHalf::U), decode(CiphertextHalf::E)) {
            (Ok(u), Ok(e)) => (u, e),
            (Err(first), Ok(_)) | (Ok(_), Err(first)) => return Err(located(column, first)),
            (Err(u), Err(e)) => return Err(located(column, if e.1.index < u.1.index { e } else { u })),
        };
        Ok(Self { u, e })
    }

    /// Encodes the ciphertexts one after the other.
    ///
    /// # Errors
    /// As [`Ciphertexts::encode_column`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeCiphertextError> {
        let mut out = vec![0; self.len() * Ciphertext::<G>::LENGTH];
        self.encode_column(&mut out, Column::ALL)?;
        Ok(out)
    }

    /// Encodes the ciphertexts into their places in concatenated records, leaving the other columns alone.
    ///
    /// # Errors
    /// [`EncodeCiphertextError`] naming a ciphertext that has the identity as a half, which has no encoding.
    ///
    /// # Panics
    /// If `out` does not have a record for each ciphertext, or the column's index is not below its width.
    pub fn encode_column(&self, out: &mut [u8], column: Column) -> Result<(), EncodeCiphertextError> {
        let record = record_length::<G>(column);
        assert_eq!(out.len(), self.len() * record, "a record for each ciphertext");
        let mut encodings = vec![0; self.len() * G::POINT_LENGTH];
        for (half, points) in [(CiphertextHalf::U, &self.u), (CiphertextHalf::E, &self.e)] {
            G::encode(points, &mut encodings).map_err(|error| EncodeCiphertextError {
                ciphertext: error.index * column.width + column.index,
                half,
            })?;
            let offset = half_offset::<G>(column, half);
            for (record, encoding) in
                out.chunks_exact_mut(record).zip(encodings.chunks_exact(G::POINT_LENGTH))
            {
                record[offset..offset + G::POINT_LENGTH].copy_from_slice(encoding);
            }
        }
        Ok(())
    }

    /// How many ciphertexts there are.
    pub fn len(&self) -> usize {
        self.u.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.u.is_empty()
    }

    /// The ciphertext at `index`.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, index: usize) -> Ciphertext<G> {
        Ciphertext { u: self.u[index], e: self.e[index] }
    }

    /// The ciphertexts one by one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Ciphertext<G>> + '_ {
        self.u.iter().zip(&self.e).map(|(u, e)| Ciphertext { u: *u, e: *e })
    }

    /// Keeps the first `count` ciphertexts and returns the others.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn split_off(&mut self, count: usize) -> Self {
        Self { u: self.u.split_off(count), e: self.e.split_off(count) }
    }

    /// The first halves and the second halves.
    pub fn halves(&self) -> (&[G::Point], &[G::Point]) {
        (&self.u, &self.e)
    }

    /// The first halves and the second halves, to work on.
    pub fn halves_mut(&mut self) -> (&mut [G::Point], &mut [G::Point]) {
        (&mut self.u, &mut self.e)
    }

    /// Adds `other`'s ciphertexts, each to the one at its position: the messages add up.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn add(&mut self, other: &Self) {
        G::add(&mut self.u, &other.u);
        G::add(&mut self.e, &other.e);
    }

    /// Subtracts `other`'s ciphertexts, each from the one at its position.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn sub(&mut self, other: &Self) {
        G::sub(&mut self.u, &other.u);
        G::sub(&mut self.e, &other.e);
    }

    /// Adds one ciphertext to each.
    pub fn add_ciphertext(&mut self, addend: &Ciphertext<G>) {
        G::add_point(&mut self.u, &addend.u);
        G::add_point(&mut self.e, &addend.e);
    }

    /// Subtracts one ciphertext from each.
    pub fn sub_ciphertext(&mut self, subtrahend: &Ciphertext<G>) {
        let mut negated: Self = [*subtrahend].into_iter().collect();
        negated.negate();
        self.add_ciphertext(&negated.get(0));
    }

    /// Negates the messages.
    pub fn negate(&mut self) {
        G::negate(&mut self.u);
        G::negate(&mut self.e);
    }

    /// Multiplies all messages by one secret scalar.
    pub fn scale(&mut self, scalar: &G::Scalar) {
        G::scale(&mut self.u, scalar);
        G::scale(&mut self.e, scalar);
    }

    /// Multiplies each message by a secret scalar of its own.
    ///
    /// # Panics
    /// If there are not as many scalars as ciphertexts.
    pub fn scale_each(&mut self, scalars: &[G::Scalar]) {
        G::scale_each(&mut self.u, scalars);
        G::scale_each(&mut self.e, scalars);
    }

    /// Multiplies each message by a fresh scalar from `[1, order)`: the identity stays what it is, and any other
    /// message becomes a random element. Upstream calls the result of this a destructor.
    pub fn scale_by_fresh<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        let scalars = random_scalars::<G, R>(self.len(), rng);
        self.scale_each(&scalars);
    }

    /// The sum of all; encrypts the identity with a nonce of zero if there are none.
    pub fn sum(&self) -> Ciphertext<G> {
        Ciphertext { u: G::sum(&self.u), e: G::sum(&self.e) }
    }

    /// Takes the layer of `key` off, keeping the first halves for the next holder: `(u, e − x·u)`.
    pub fn partial_decrypt(&mut self, key: &SecretKey<G>) {
        // x·u opens this ciphertext as well as the key does.
        let mut shared = Zeroizing::new(self.u.clone());
        G::scale(&mut shared, key.scalar());
        G::sub(&mut self.e, &shared);
    }

    /// The messages, if the layer of `key` is the only one left: `e − x·u`.
    #[must_use]
    pub fn decrypt(mut self, key: &SecretKey<G>) -> Vec<G::Point> {
        self.partial_decrypt(key);
        self.e
    }

    /// Which messages are the identity, if the layer of `key` is the only one left: whether `x·u = e`.
    #[must_use]
    pub fn is_zero(self, key: &SecretKey<G>) -> Vec<Choice> {
        let mut shared = Zeroizing::new(self.u);
        G::scale(&mut shared, key.scalar());
        shared.iter().zip(&self.e).map(|(shared, e)| shared.ct_eq(e)).collect()
    }

    /// Takes the layer of `key` off and puts one of the deterministic cipher on: `(k·u, k·(e − x·u))`.
    ///
    /// The second half is computed as `k·e + (−k·x)·u`, with one set of doublings.
    pub fn blind(&mut self, key: &SecretKey<G>, blinding: &BlindingKey<G>) {
        let k = blinding.scalar();
        let from_u = Zeroizing::new(-(*k * key.scalar()));
        G::double_scale(&mut self.e, k, &self.u, &from_u);
        G::scale(&mut self.u, k);
    }
}

impl<G: Group> FromIterator<Ciphertext<G>> for Ciphertexts<G> {
    fn from_iter<I: IntoIterator<Item = Ciphertext<G>>>(ciphertexts: I) -> Self {
        let (u, e) = ciphertexts.into_iter().map(|ciphertext| (ciphertext.u, ciphertext.e)).unzip();
        Self { u, e }
    }
}

impl<G: Group> Extend<Ciphertext<G>> for Ciphertexts<G> {
    fn extend<I: IntoIterator<Item = Ciphertext<G>>>(&mut self, ciphertexts: I) {
        for Ciphertext { u, e } in ciphertexts {
            self.u.push(u);
            self.e.push(e);
        }
    }
}

impl<G: Group> fmt::Debug for Ciphertexts<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ciphertexts({} × {})", self.len(), G::NAME)
    }
}

/// Bytes of one record.
fn record_length<G: Group>(column: Column) -> usize {
    assert!(column.index < column.width, "a column lies within its record");
    column.width * Ciphertext::<G>::LENGTH
}

/// Where in its record a half of the column's ciphertext starts.
fn half_offset<G: Group>(column: Column, half: CiphertextHalf) -> usize {
    let within = match half {
        CiphertextHalf::U => 0,
        CiphertextHalf::E => G::POINT_LENGTH,
    };
    column.index * Ciphertext::<G>::LENGTH + within
}

fn located(column: Column, (half, error): (CiphertextHalf, DecodePointError)) -> DecodeCiphertextError {
    DecodeCiphertextError {
        ciphertext: error.index * column.width + column.index,
        reason: DecodeCiphertextReason::Point { half, reason: error.reason },
    }
}

/// One of the two points of a ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CiphertextHalf {
    /// The first half, `r·G`.
    U,
    /// The second half, `M + r·y`.
    E,
}

impl fmt::Display for CiphertextHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U => "first",
            Self::E => "second",
        })
    }
}

/// Bytes that are no ciphertexts, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ciphertext {ciphertext}: {reason}")]
pub struct DecodeCiphertextError {
    /// Which ciphertext of the bytes it is, counted from 0 over all columns of the records.
    pub ciphertext: usize,
    /// What is wrong with it.
    #[source]
    pub reason: DecodeCiphertextReason,
}

impl DecodeCiphertextError {
    /// The same error seen from bytes that have `ciphertexts` more before those that were decoded.
    #[must_use]
    pub fn after(mut self, ciphertexts: usize) -> Self {
        self.ciphertext += ciphertexts;
        self
    }
}

/// Why bytes are no ciphertexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeCiphertextReason {
    /// The last record is incomplete.
    #[error("{length} bytes are not divisible into records of {record}")]
    Length {
        /// The length found.
        length: usize,
        /// The length of one record.
        record: usize,
    },
    /// A half is no element other than the identity.
    #[error("the {half} half: {reason}")]
    Point {
        /// Which half.
        half: CiphertextHalf,
        /// What is wrong with it.
        #[source]
        reason: DecodePointReason,
    },
}

/// A ciphertext that cannot be encoded, because one half is the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ciphertext {ciphertext}: the {half} half is the identity, which has no encoding")]
pub struct EncodeCiphertextError {
    /// Which ciphertext of the encoded bytes it is, counted from 0 over all columns of the records.
    pub ciphertext: usize,
    /// Which half.
    pub half: CiphertextHalf,
}

impl EncodeCiphertextError {
    /// The same error seen from bytes that have `ciphertexts` more before those that were encoded.
    #[must_use]
    pub fn after(mut self, ciphertexts: usize) -> Self {
        self.ciphertext += ciphertexts;
        self
    }
}
