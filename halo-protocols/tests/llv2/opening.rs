//! Opens ciphertexts with keys that no duchy has alone, to compare what is inside.

use std::collections::BTreeMap;
use std::fmt::Debug;

use halo_crypto::Group;
use halo_crypto::elgamal::{Ciphertexts, Column, SecretKey};
use halo_protocols::proto::duchy::ElGamalKeyPair;
use halo_protocols::sketch::Layout;

/// An encoded point; empty for the identity.
pub type Plaintext = Vec<u8>;

/// A key made of several duchies' secret keys.
pub struct Opener<G: Group>(SecretKey<G>);

impl<G: Group> Opener<G> {
    pub fn new(pairs: &[ElGamalKeyPair]) -> Self {
        let sum: G::Scalar = pairs.iter().map(|pair| G::scalar_from_bytes(&pair.secret_key).unwrap()).sum();
        Self(SecretKey::from_bytes(G::scalar_to_bytes(&sum).expose()).unwrap())
    }

    pub fn points(&self, records: &[u8], column: Column) -> Vec<G::Point> {
        Ciphertexts::<G>::decode_column(records, column).unwrap().decrypt(&self.0)
    }

    pub fn column(&self, records: &[u8], column: Column) -> Vec<Plaintext> {
        self.points(records, column).iter().map(plaintext::<G>).collect()
    }

    /// Key and count of each register.
    pub fn keys_and_counts(&self, registers: &[u8]) -> Vec<(Plaintext, Plaintext)> {
        let counts = self.column(registers, Layout::COUNT);
        self.column(registers, Layout::KEY).into_iter().zip(counts).collect()
    }
}

pub fn plaintext<G: Group>(point: &G::Point) -> Plaintext {
    if G::is_identity(point).into() { Plaintext::new() } else { G::encode_one(point).unwrap() }
}

/// The encoded hash of a string.
pub fn hash<G: Group>(message: &str) -> Plaintext {
    plaintext::<G>(&G::hash_one(message.as_bytes()))
}

/// What registers say if nothing is known of their ids but which are equal: the keys and counts of each group.
pub fn groups(
    ids: Vec<Plaintext>,
    contents: Vec<(Plaintext, Plaintext)>,
) -> Vec<Vec<(Plaintext, Plaintext)>> {
    let mut by_id = BTreeMap::<Plaintext, Vec<(Plaintext, Plaintext)>>::new();
    for (id, content) in ids.into_iter().zip(contents) {
        by_id.entry(id).or_default().push(content);
    }
    let mut groups: Vec<_> = by_id.into_values().collect();
    groups.iter_mut().for_each(|group| group.sort());
    groups.sort();
    groups
}

/// Flags and count of each tuple, flags opened with one key and counts with another.
pub fn tuples<G: Group>(flags: &Opener<G>, counts: &Opener<G>, tuples: &[u8]) -> Vec<[Plaintext; 4]> {
    let [a, b, c] = Layout::FLAGS.map(|column| flags.column(tuples, column));
    let counts = counts.column(tuples, Layout::TUPLE_COUNT);
    a.into_iter().zip(b).zip(c).zip(counts).map(|(((a, b), c), count)| [a, b, c, count]).collect()
}

/// `left` without the elements of `right`, all of which must be in it.
pub fn multiset_difference<T: Ord + Debug>(mut left: Vec<T>, right: Vec<T>) -> Vec<T> {
    left.sort();
    let mut removed = vec![false; left.len()];
    let mut right = right;
    right.sort();
    let mut from = 0;
    for wanted in &right {
        let position = left[from..].iter().position(|element| element == wanted);
        let position = from + position.unwrap_or_else(|| panic!("{wanted:?} is missing"));
        removed[position] = true;
        from = position + 1;
    }
    left.into_iter().zip(removed).filter(|(_, removed)| !removed).map(|(element, _)| element).collect()
}

pub fn sorted<T: Ord>(mut elements: Vec<T>) -> Vec<T> {
    elements.sort();
    elements
}
