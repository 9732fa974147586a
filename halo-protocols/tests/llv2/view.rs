//! What can be read from ciphertexts with the keys of some duchies.

use std::collections::BTreeSet;

use halo_crypto::Group;
use halo_crypto::elgamal::Column;

use crate::chi_squared::assert_uniform;
use crate::opening::{Opener, Plaintext};

/// All points that a coalition gets out of records: both halves of each ciphertext, and what its keys make of them.
#[derive(Default)]
pub struct View(Vec<Plaintext>);

impl View {
    /// This and the ciphertexts of a column; `keys` are those of its layers that the coalition has.
    #[must_use]
    pub fn with<G: Group>(mut self, records: &[u8], column: Column, keys: Option<&Opener<G>>) -> Self {
        let ciphertext = 2 * G::POINT_LENGTH;
        for record in records.chunks_exact(ciphertext * column.width) {
            let halves = record[ciphertext * column.index..][..ciphertext].chunks_exact(G::POINT_LENGTH);
            self.0.extend(halves.map(<[u8]>::to_vec));
        }
        self.0.extend(keys.map(|keys| keys.column(records, column)).unwrap_or_default());
        self
    }

    /// Checks that the points could be any: none occurs twice, none is the identity, and the digits of their encodings
    /// are equally frequent.
    pub fn assert_hidden(&self, what: &str) {
        let different: BTreeSet<_> = self.0.iter().collect();
        assert_eq!(different.len(), self.0.len(), "{what}: points repeat");
        assert!(self.0.iter().all(|point| !point.is_empty()), "{what}: a zero shows");
        // The first and last bytes of an encoding are not uniform for random points: the modulus and signs show.
        let bytes = self.0.iter().flat_map(|point| &point[8..24]);
        assert_uniform(bytes.flat_map(|byte| [byte >> 4, byte & 15].map(usize::from)), 16, what);
    }

    /// Checks that no point of one is in the other.
    pub fn assert_unlinkable(&self, other: &Self, what: &str) {
        let mine: BTreeSet<_> = self.0.iter().collect();
        assert!(!other.0.iter().any(|point| mine.contains(point)), "{what}: a point survives");
    }
}

/// Where the value is that occurs once.
pub fn odd_one_out(values: &[Plaintext]) -> usize {
    let once = |value: &&Plaintext| values.iter().filter(|other| other == value).count() == 1;
    let odd = values.iter().filter(once).collect::<Vec<_>>();
    assert_eq!(odd.len(), 1);
    values.iter().position(|value| value == odd[0]).unwrap()
}
