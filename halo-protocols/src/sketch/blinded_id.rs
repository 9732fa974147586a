//! Ids behind the blinding of all duchies: equal ones can be told, and that is all.

use halo_crypto::Group;
use halo_crypto::elgamal::SecretKey;
use halo_crypto::parallel::{CHUNK, Executor};

use super::Layout;
use crate::kernel::KernelError;

/// Takes the last layer of encryption off the ids of registers, which are the first of their ciphertexts, and returns
/// them encoded, one after the other.
pub(crate) fn open_ids<G: Group>(
    field: &'static str,
    registers: &[u8],
    layout: Layout,
    key: &SecretKey<G>,
    executor: &Executor,
) -> Result<Vec<u8>, KernelError> {
    let count = layout.count::<G>(field, registers)?;
    let mut ids = vec![0; count * G::POINT_LENGTH];
    let length = layout.length::<G>();
    executor.for_each_chunk(registers, length, &mut ids, G::POINT_LENGTH, |chunk, registers, ids| {
        let first = chunk * CHUNK;
        let opened = layout.decode::<G>(field, first, registers, layout.column(0))?.decrypt(key);
        G::encode(&opened, ids).map_err(|error| KernelError::Identity { field, record: first + error.index })
    })?;
    Ok(ids)
}
