use halo_crypto::elgamal::{Ciphertexts, Column};
use halo_crypto::{Group, P256, Ristretto255};
use halo_duchy_shell::proto::api::fulfill_requisition_request::header::{
    HonestMajorityShareShuffle, Protocol as HeaderProtocol,
};
use halo_duchy_shell::proto::api::fulfill_requisition_request::{Header, Payload};
use halo_duchy_shell::proto::api::{EncryptedMessage, FulfillRequisitionRequest};
use halo_duchy_shell::proto::internal::requisition_details::requisition_protocol::Protocol;
use halo_duchy_shell::service::fuzzing::{check_registers, check_share_header, check_shares};
use halo_protocols::proto::frequency_count::FrequencyVector;
use prost::Message as _;

use crate::memory::bounded;
use crate::seeds::points;

const MODULUS: u32 = 127;
/// As the check of headers has it.
const MAXIMUM_SEED_BYTES: usize = 16 << 10;

/// Any bytes as what a data provider sends: an encrypted sketch, a share of a frequency vector, or the header before it.
///
/// The first byte chooses, the second is the length of the chunks that the body comes in, the third how many registers the
/// header says that there are, or the size of the sketch. How a body is cut changes nothing; what is accepted is read by the mills.
pub fn fulfillments(data: &[u8]) {
    let [choice, chunk, registers, body @ ..] = data else { return };
    let chunk = usize::from(*chunk) + 1;
    let size = u64::from(*registers);
    match choice % 6 {
        0 => sketch::<P256>(size, false, body, chunk),
        1 => sketch::<P256>(size, true, body, chunk),
        2 => sketch::<Ristretto255>(size, false, body, chunk),
        3 => sketch::<Ristretto255>(size, true, body, chunk),
        4 => share(size, body, chunk),
        _ => header(body),
    }
}

fn sketch<G: Group>(size: u64, reach_only: bool, body: &[u8], chunk: usize) {
    let curve_id = G::CURVE_ID;
    let check = |chunk| {
        bounded(body.len(), 16, || check_registers(curve_id, size, reach_only, body, chunk))
            .expect("our group")
    };
    let checked = check(body.len().max(1));
    // A last register that is cut is noticed before the points or after them.
    assert_eq!(check(chunk).is_ok(), checked.is_ok());
    let width = if reach_only { 1 } else { 3 };
    let decoded =
        (0..width).all(|index| Ciphertexts::<G>::decode_column(body, Column { index, width }).is_ok());
    let register = 2 * width * G::POINT_LENGTH;
    let few = body.len() as u64 <= 2 * size * register as u64;
    assert_eq!(checked.is_ok(), decoded && body.len().is_multiple_of(register) && few, "{checked:?}");
}

fn share(registers: u64, body: &[u8], chunk: usize) {
    let check = |body: &[u8], chunk| bounded(0, 0, || check_shares(MODULUS, registers, body, chunk));
    let checked = check(body, body.len().max(1));
    assert_eq!(check(body, chunk), checked);
    let parsed = FrequencyVector::decode(body);
    let fits = |vector: &FrequencyVector| {
        vector.data.len() as u64 == registers && vector.data.iter().all(|value| *value < MODULUS)
    };
    if checked.is_ok() {
        assert!(parsed.is_ok_and(|vector| fits(&vector)));
    } else if let Ok(vector) = parsed {
        // As every writer of protocol buffers would have written it.
        assert_eq!(check(&vector.encode_to_vec(), chunk).is_ok(), fits(&vector));
    }
}

fn header(first: &[u8]) {
    let Ok(first) = FulfillRequisitionRequest::decode(first) else { return };
    match check_share_header(first, MODULUS as i32, "worker1") {
        Ok((data_provider, details)) => {
            let protocol = details.and_then(|details| details.protocol);
            let Some(Protocol::HonestMajorityShareShuffle(details)) = protocol else {
                panic!("nothing is recorded of a seed");
            };
            assert!((1..=MAXIMUM_SEED_BYTES).contains(&details.secret_seed_ciphertext.len()));
            assert!(details.register_count > 0);
            let certificate = details.data_provider_certificate.strip_prefix(&data_provider);
            assert!(certificate.is_some_and(|rest| rest.starts_with("/certificates/")));
        }
        Err(status) => assert_eq!(status.code() as i32, 3, "not the data provider's fault? {status}"),
    }
}

/// Sketches of both groups and protocols, a share, and its header.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let input = |choice: u8, body: &[u8]| [&[choice, 50, 3], body].concat();
    let header = Header {
        name: "dataProviders/edp1/requisitions/r1".into(),
        nonce: 1,
        protocol: Some(HeaderProtocol::HonestMajorityShareShuffle(HonestMajorityShareShuffle {
            secret_seed: Some(EncryptedMessage { ciphertext: vec![7; 30], ..EncryptedMessage::default() }),
            register_count: 3,
            data_provider_certificate: "dataProviders/edp1/certificates/c".into(),
        })),
        ..Header::default()
    };
    let first = FulfillRequisitionRequest { payload: Some(Payload::Header(header)) };
    vec![
        input(0, &points::<P256>(12)),
        input(1, &points::<P256>(4)),
        input(2, &points::<Ristretto255>(12)),
        input(3, &points::<Ristretto255>(4)),
        input(4, &FrequencyVector { data: vec![1, 2, 126] }.encode_to_vec()),
        // Values one by one.
        input(4, &[8, 1, 8, 2, 8, 126]),
        input(5, &first.encode_to_vec()),
    ]
}
