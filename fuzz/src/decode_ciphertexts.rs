use halo_crypto::elgamal::{Ciphertexts, Column};
use halo_crypto::{Group, P256, Ristretto255};

/// Any bytes as concatenated records of one to four ciphertexts; the first byte chooses.
pub fn decode_ciphertexts(data: &[u8]) {
    let Some((choice, records)) = data.split_first() else { return };
    let width = usize::from(choice % 4) + 1;
    let column = Column { index: usize::from(choice / 4) % width, width };
    in_suite::<P256>(records, column);
    in_suite::<Ristretto255>(records, column);
}

fn in_suite<G: Group>(records: &[u8], column: Column) {
    match Ciphertexts::<G>::decode_column(records, column) {
        Ok(ciphertexts) => {
            let mut encoded = records.to_vec();
            ciphertexts.encode_column(&mut encoded, column).expect("the identity is never decoded");
            assert_eq!(encoded, records, "decoding and encoding changes a record");
        }
        Err(error) => {
            let ciphertexts = records.len().div_ceil(2 * G::POINT_LENGTH);
            assert!(error.ciphertext <= ciphertexts, "{error}, but there are {ciphertexts} ciphertexts");
        }
    }
}
