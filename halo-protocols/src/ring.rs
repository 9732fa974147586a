//! The ring order of a Liquid Legions computation: where each non-aggregator stands.
//!
//! Every duchy works the order out alone, so all must agree to the last bit with upstream's
//! `duchy/utils/DuchyOrder.kt`, which hashes a *string*: the published key's bytes decoded as UTF-8 by the JDK,
//! with its replacement of malformed input, followed by the computation's id.

use sha1::{Digest, Sha1};

/// A non-aggregator's place: positions sort in ring order. The aggregator stands behind all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position([u8; 20]);

/// Where the duchy stands that published `el_gamal_public_key` for the computation with this global id.
///
/// The key is the serialised message exactly as the Kingdom delivered it.
///
/// ```
/// use halo_protocols::ring;
/// let mut duchies = ["key of a", "key of b", "key of c"];
/// duchies.sort_by_cached_key(|key| ring::position(key.as_bytes(), "computation-1"));
/// ```
pub fn position(el_gamal_public_key: &[u8], computation: &str) -> Position {
    let mut digest = digest(el_gamal_public_key, computation);
    // Upstream compares the digests as signed integers: with the top bit flipped, that is bytewise order.
    digest[0] ^= 0x80;
    Position(digest)
}

fn digest(el_gamal_public_key: &[u8], computation: &str) -> [u8; 20] {
    Sha1::new()
        .chain_update(decode_utf8_like_jdk(el_gamal_public_key))
        .chain_update(computation)
        .finalize()
        .into()
}

/// Decodes UTF-8 as the JDK does, malformed input replaced.
///
/// The JDK differs from [`String::from_utf8_lossy`] in one case: an encoded surrogate (`ED` followed by a byte of
/// `A0..=BF`, and by a continuation byte if there is one) becomes a single replacement character.
fn decode_utf8_like_jdk(bytes: &[u8]) -> String {
    let mut decoded = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(start) =
        rest.windows(2).position(|pair| pair[0] == 0xed && (0xa0..=0xbf).contains(&pair[1]))
    {
        let (before, surrogate) = rest.split_at(start);
        decoded.push_str(&String::from_utf8_lossy(before));
        decoded.push(char::REPLACEMENT_CHARACTER);
        let length = if surrogate.get(2).is_some_and(|third| (0x80..=0xbf).contains(third)) { 3 } else { 2 };
        rest = &surrogate[length..];
    }
    decoded.push_str(&String::from_utf8_lossy(rest));
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{bytes, rows, text};

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_position(key in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let _ = position(&key, "computation");
        }

        #[test]
        fn well_formed_text_is_decoded_as_it_is(text in ".*") {
            proptest::prop_assert_eq!(decode_utf8_like_jdk(text.as_bytes()), text);
        }
    }

    #[test]
    fn decodes_like_the_jdk() {
        let decode = rows("ring_order", "decode");
        assert!(!decode.is_empty());
        for row in decode {
            assert_eq!(
                decode_utf8_like_jdk(&bytes(&row["bytes"])).into_bytes(),
                bytes(&row["utf8"]),
                "{row}"
            );
        }
    }

    #[test]
    fn orders_rings_like_upstream() {
        let rings = rows("ring_order", "rings");
        assert!(!rings.is_empty());
        for ring in rings {
            let computation = text(&ring["computation_id"]);
            let mut duchies: Vec<_> = ring["non_aggregators"].as_array().into_iter().flatten().collect();
            for duchy in &duchies {
                let key = bytes(&duchy["el_gamal_public_key"]);
                assert_eq!(digest(&key, computation).to_vec(), bytes(&duchy["sha1"]), "{duchy}");
            }
            duchies.sort_by_key(|duchy| position(&bytes(&duchy["el_gamal_public_key"]), computation));
            let order: Vec<_> = duchies.iter().map(|duchy| duchy["name"].clone()).collect();
            assert_eq!(serde_json::Value::from(order), ring["order"], "{computation}");
        }
    }
}
