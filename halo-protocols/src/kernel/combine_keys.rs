//! `CombineElGamalPublicKeys`: the key that several parties hold together.

use halo_crypto::Group;
use halo_crypto::elgamal::{PublicKey, check_unrelated, combine_public_keys};

use super::{Kernel, KernelContext, KernelError, require_curve};
use crate::proto::any_sketch::crypto::{
    CombineElGamalPublicKeysRequest, CombineElGamalPublicKeysResponse, ElGamalPublicKey,
};

/// Adds up public keys. A data provider encrypts under the sum of all duchies' keys; a duchy re-randomizes flags
/// under the sum of the keys after its own.
///
/// Unlike upstream, a single key is checked too, the generator must be the group's, and no key may be equal or
/// opposite to another: whoever publishes last could make its key of the others'.
///
/// # Errors
/// [`KernelError`] if there is no key, a key is refused, or the sum is the identity.
pub fn combine_el_gamal_public_keys<G: Group>(
    request: &CombineElGamalPublicKeysRequest,
    _context: &KernelContext,
) -> Result<CombineElGamalPublicKeysResponse, KernelError> {
    let CombineElGamalPublicKeysRequest { curve_id, el_gamal_keys } = request;
    require_curve::<G>(*curve_id)?;
    let mut keys = Vec::with_capacity(el_gamal_keys.len());
    for (index, ElGamalPublicKey { generator, element }) in el_gamal_keys.iter().enumerate() {
        if el_gamal_keys.first().is_some_and(|first| first.generator != *generator) {
            return Err(KernelError::GeneratorsDiffer(index));
        }
        let key = PublicKey::<G>::from_fields(generator, element)
            .map_err(|reason| KernelError::PublicKey { field: "el_gamal_keys", reason })?;
        keys.push(key);
    }
    check_unrelated(&keys)?;
    let sum = combine_public_keys(&keys)?;
    Ok(CombineElGamalPublicKeysResponse {
        el_gamal_keys: Some(ElGamalPublicKey {
            generator: PublicKey::<G>::generator_bytes(),
            element: sum.to_bytes(),
        }),
    })
}

impl Kernel for CombineElGamalPublicKeysRequest {
    type Response = CombineElGamalPublicKeysResponse;
    const METHOD: &'static str = "CombineElGamalPublicKeys";

    fn curve_id(&self) -> i64 {
        self.curve_id
    }

    fn compute<G: Group>(&self, context: &KernelContext) -> Result<Self::Response, KernelError> {
        combine_el_gamal_public_keys::<G>(self, context)
    }
}
