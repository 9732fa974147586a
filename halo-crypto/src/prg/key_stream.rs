//! [`KeyStream`]: AES-256 in counter mode, written straight to where it is wanted.
//!
//! The cipher encrypts many blocks in step where the processor can, so counters are laid out in whole slices and
//! encrypted in place; nothing is added to a buffer of zeros.

use aes::Aes256;
use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 16;

type Block = Array<u8, U16>;

/// Blocks encrypted at once: a multiple of what the cipher takes in step, within the first-level cache.
const SLICE: usize = 768;

/// The key stream of one key and initial counter block, 2^128 blocks long, of which any part can be had.
pub(crate) struct KeyStream {
    cipher: Aes256,
    /// The initial counter block, most significant byte first.
    first: u128,
}

impl KeyStream {
    pub(crate) fn new(key: &[u8; 32], first: &[u8; BLOCK]) -> Self {
        Self { cipher: Aes256::new(key.into()), first: u128::from_be_bytes(*first) }
    }

    /// Writes the blocks from number `start` on, counted from 0.
    pub(crate) fn write(&self, start: u128, out: &mut [[u8; BLOCK]]) {
        let mut counter = self.first.wrapping_add(start);
        for blocks in Array::cast_slice_from_core_mut(out).chunks_mut(SLICE) {
            lay_out(counter, blocks);
            counter = counter.wrapping_add(blocks.len() as u128);
            self.cipher.encrypt_blocks(blocks);
        }
    }
}

/// Writes `counter` and those after it.
fn lay_out(counter: u128, blocks: &mut [Block]) {
    let (high, low) = ((counter >> 64) as u64, counter as u64);
    // Nearly always the high half is the same in all of them.
    if low.checked_add(blocks.len() as u64).is_some() {
        for (index, block) in blocks.iter_mut().enumerate() {
            block[..8].copy_from_slice(&high.to_be_bytes());
            block[8..].copy_from_slice(&(low + index as u64).to_be_bytes());
        }
    } else {
        for (index, block) in (0..).zip(blocks) {
            block.0 = counter.wrapping_add(index).to_be_bytes();
        }
    }
}

// The cipher wipes its round keys.
impl Drop for KeyStream {
    fn drop(&mut self) {
        self.first.zeroize();
    }
}

impl ZeroizeOnDrop for KeyStream {}

#[cfg(test)]
mod tests {
    use ctr::Ctr128BE;
    use ctr::cipher::{KeyIvInit, StreamCipher};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Also where the low half of the counter, or all of it, starts again from 0.
        #[test]
        fn is_counter_mode(
            key in any::<[u8; 32]>(),
            first in prop_oneof![
                any::<u128>(),
                (any::<u64>(), 0..2000u64)
                    .prop_map(|(high, before)| u128::from(high) << 64 | u128::from(u64::MAX - before)),
                (0..2000u128).prop_map(|before| u128::MAX - before),
                (0..4u128).prop_map(|before| u128::MAX - before),
            ],
            start in 0..100usize,
            length in 0..1500usize,
        ) {
            let first = first.to_be_bytes();
            let mut expected = vec![0; BLOCK * (start + length)];
            Ctr128BE::<Aes256>::new(&key.into(), &first.into()).apply_keystream(&mut expected);
            let mut blocks = vec![[0; BLOCK]; length];
            KeyStream::new(&key, &first).write(start as u128, &mut blocks);
            prop_assert!(blocks.as_flattened() == &expected[BLOCK * start..]);
        }
    }
}
