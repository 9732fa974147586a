//! From impressions to shares of a frequency vector, one of them a seed for the worker that does not get the other
//! (docs/protocols/hmss.md#the-idea).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use halo_protocols::data_provider::{FrequencyVectorBuilder, VidIndexMap};
use halo_protocols::hmss::generate_secret_shares;
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::frequency_count::{FrequencyVector, SecretShareGeneratorRequest};
use prost::Message;
use zeroize::{Zeroize, Zeroizing};

use super::consent_check::ShareOrder;
use super::upload::Upload;
use super::{DataProvider, DataProviderError};
use crate::client::Channel;
use crate::consent::{self, ConsentError, Signer};
use crate::platform;
use crate::proto::api::fulfill_requisition_request::header;
use crate::proto::api::requisition_fulfillment_client::RequisitionFulfillmentClient;
use crate::proto::api::{EncryptedMessage, RandomSeed};

/// What a data provider needs for share shuffles beyond what it needs for sketches.
#[derive(Clone)]
pub struct ShareShuffleSide {
    /// All people there are, in the order that every data provider of a measurement must have.
    pub population: Arc<VidIndexMap>,
    /// Signs seeds.
    pub signer: Signer,
    /// The name of its certificate: `dataProviders/{id}/certificates/{id}`.
    pub certificate: String,
    /// The fulfillment servers of the workers, by duchy: the Kingdom decides which one gets the data.
    pub workers: BTreeMap<String, Channel>,
}

impl fmt::Debug for ShareShuffleSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareShuffleSide").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl DataProvider {
    /// Counts impressions and splits the counts: the vector for one worker, the seed sealed for the other. The same
    /// requisition gives the same shares again.
    ///
    /// Who gets what is for the Kingdom to say, unsigned. So the seed depends on it: a Kingdom that changes its mind gives
    /// neither worker the seed of a vector that it has seen.
    pub(super) async fn shares(
        &self,
        requisition: &str,
        order: &ShareOrder,
    ) -> Result<Upload, DataProviderError> {
        let side = self.share_shuffle.as_ref().ok_or(DataProviderError::NoShareShuffle)?;
        let worker = side.workers.get(&order.worker);
        let worker = worker.ok_or_else(|| DataProviderError::UnknownDuchy(order.worker.clone()))?;
        let (start, width) = order.interval;
        let mut frequencies =
            FrequencyVectorBuilder::new(&side.population, start, width, order.maximum_frequency)?;
        for (vid, count) in &self.impressions {
            frequencies.increment_by(*vid, *count);
        }
        let request =
            SecretShareGeneratorRequest { ring_modulus: order.ring_modulus, data: frequencies.build() };
        let registers = request.data.len();
        let seed = self.seed.derive(requisition.as_bytes());
        let seed = seed.derive(order.worker.as_bytes()).derive(&order.peer_key.to_bytes());
        let context = KernelContext::new(self.executor.clone(), seed.clone());
        let shares = platform::blocking(move || generate_secret_shares(&request, &context));
        let shares = shares.await.map_err(|_| DataProviderError::Interrupted)?;
        let shares = shares.map_err(DataProviderError::Shares)?;

        let mut share_seed = shares.share_seed.unwrap_or_default();
        let mut random_seed = RandomSeed { data: [&share_seed.key[..], &share_seed.iv].concat() };
        share_seed.key.zeroize();
        share_seed.iv.zeroize();
        let signed = side.signer.sign_message("RandomSeed", &random_seed);
        random_seed.data.zeroize();
        let signed = signed.map_err(DataProviderError::Seed)?;
        let plaintext = Zeroizing::new(signed.encode_to_vec());
        consent::wipe(signed);
        // Some signatures are other ones each time, and two plaintexts must not share a key and a nonce.
        let mut stream = seed.derive(&plaintext).stream("sealed seed", 0);
        let sealed = order.peer_key.encrypt(&plaintext, &mut stream);
        let ciphertext = sealed.map_err(|error| DataProviderError::Seed(ConsentError::Encryption(error)))?;
        let protocol = header::HonestMajorityShareShuffle {
            secret_seed: Some(EncryptedMessage {
                ciphertext,
                type_url: "type.googleapis.com/wfa.measurement.api.v2alpha.SignedMessage".to_owned(),
            }),
            register_count: registers as i64,
            data_provider_certificate: side.certificate.clone(),
        };
        Ok(Upload {
            to: RequisitionFulfillmentClient::new(worker.clone()),
            protocol: Some(header::Protocol::HonestMajorityShareShuffle(protocol)),
            registers,
            body: FrequencyVector { data: shares.share_vector }.encode_to_vec(),
        })
    }
}
