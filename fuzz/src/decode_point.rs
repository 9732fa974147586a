use halo_crypto::{Group, P256, Ristretto255};
use subtle::ConstantTimeEq;

/// Any bytes as one point, as a batch of points, as a key and as a scalar, in both suites.
pub fn decode_point(data: &[u8]) {
    in_suite::<P256>(data);
    in_suite::<Ristretto255>(data);
}

fn in_suite<G: Group>(data: &[u8]) {
    if let Ok(point) = G::decode_one(data) {
        assert!(!bool::from(G::is_identity(&point)), "the identity was decoded");
        assert_eq!(
            G::encode_one(&point).expect("it is not the identity"),
            data,
            "two encodings of one point"
        );
    }
    if let Ok(key) = G::decode_key(data) {
        let encoding = G::encode_one(&key).expect("the identity is no key");
        let again = G::decode_one(&encoding).expect("what was encoded can be decoded");
        assert!(bool::from(key.ct_eq(&again)), "a key changes when it is encoded");
    }
    if let Ok(scalar) = G::scalar_from_bytes(data) {
        let minimal = G::scalar_to_bytes(&scalar);
        let zeros = data.iter().take_while(|byte| **byte == 0).count();
        assert_eq!(
            minimal.expose().as_slice(),
            &data[zeros..],
            "a scalar is its bytes without leading zeros"
        );
    }
    batch::<G>(data);
}

/// A batch is refused at its first bad element, or every element decodes to the same point alone.
fn batch<G: Group>(data: &[u8]) {
    let count = data.len() / G::POINT_LENGTH;
    let data = &data[..count * G::POINT_LENGTH];
    let mut points = vec![G::identity(); count];
    let singles: Vec<_> = data.chunks_exact(G::POINT_LENGTH).map(G::decode_one).collect();
    match G::decode(data, &mut points) {
        Ok(()) => {
            assert!(singles.iter().all(Result::is_ok), "a batch accepts what is refused alone");
            let mut encoded = vec![0; data.len()];
            G::encode(&points, &mut encoded).expect("the identity is never decoded");
            assert_eq!(encoded, data);
        }
        Err(error) => {
            assert_eq!(singles.iter().position(Result::is_err), Some(error.index), "{error}");
        }
    }
}
