//! FarmHash fingerprints of people, as all data providers must compute them alike.

/// FarmHash `Fingerprint64` of an item as the sketch distribution `name` sees it, if it has no salt.
pub(super) fn distribution_fingerprint(vid: i64, name: &str) -> u64 {
    farmhash::fingerprint64(format!("AnySketchFingerprint:{vid}:{name}").as_bytes())
}

/// The same if it has a salt, which replaces the distribution's name (upstream's `anysketch/SketchProtos.java`).
pub(super) fn salted_fingerprint(vid: i64, salt: &str) -> u64 {
    farmhash::fingerprint64(format!("{vid}{salt}").as_bytes())
}

/// The virtual person id of anybody known by a string: its fingerprint.
///
/// Data providers in production take virtual person ids from a model that all of them share; this stands in for it
/// where an event log has ids of its own. It is for sketches: of the 2^64 values of a fingerprint hardly any is a number that a
/// population of a share shuffle can have ([`VidIndexMap`](super::VidIndexMap)).
pub fn virtual_person_id(id: &str) -> i64 {
    farmhash::fingerprint64(id.as_bytes()).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{integer, rows};

    #[test]
    fn equal_upstream() {
        for row in rows("fingerprints", "") {
            let vid: i64 = integer(&row["vid"]);
            assert_eq!(
                virtual_person_id(&vid.to_string()).cast_unsigned(),
                integer::<u64>(&row["raw_farm_fingerprint"]),
                "{row}"
            );
            assert_eq!(
                distribution_fingerprint(vid, "Index"),
                integer::<u64>(&row["index_fingerprint"]),
                "{row}"
            );
        }
    }
}
