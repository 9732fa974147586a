//! A data provider: lists what it is asked for, checks who asks and for whom it is to be encrypted, and sends an
//! encrypted sketch of its impressions, or shares of a vector of their numbers, to a duchy.
//!
//! A requisition that fails a check is refused at the Kingdom, which ends the measurement: data leaves only encrypted
//! for keys that every duchy's root vouches for, and only as the measurement consumer's signature says.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use tonic::Status;

use crate::client::{CallPolicy, Channel};
use crate::events::Vid;
use crate::hybrid_encryption::PrivateKeyset;
use crate::party_certificates::PartyCertificates;
use crate::proto::api::requisition::{Refusal, State};
use crate::proto::api::requisition_fulfillment_client::RequisitionFulfillmentClient;
use crate::proto::api::requisitions_client::RequisitionsClient;
use crate::proto::api::{
    ListRequisitionsRequest, RefuseRequisitionRequest, Requisition, list_requisitions_request,
};

mod consent_check;
mod error;
mod shares;
mod sketch;
mod upload;

#[cfg(test)]
pub(crate) mod tests;

use consent_check::DataOrder;
pub use error::DataProviderError;
pub use shares::ShareShuffleSide;
pub use upload::Misbehaviour;

/// A data provider with its impressions.
pub struct DataProvider {
    name: String,
    impressions: BTreeMap<Vid, u32>,
    keyset: PrivateKeyset,
    requisitions: RequisitionsClient<Channel>,
    fulfillment: RequisitionFulfillmentClient<Channel>,
    certificates: PartyCertificates,
    executor: Executor,
    seed: StreamSeed,
    sketch_salt: Option<u64>,
    share_shuffle: Option<ShareShuffleSide>,
    misbehaviour: Option<Misbehaviour>,
    calls: CallPolicy,
    uploads: CallPolicy,
}

/// The way from a data provider to the others.
#[derive(Clone, Debug)]
pub struct Connections {
    /// To the Kingdom's public API.
    pub kingdom: Channel,
    /// To the requisition fulfillment server of the duchy that gets sketches.
    pub duchy: Channel,
    /// How certificates are found and believed.
    pub certificates: PartyCertificates,
}

/// What became of a requisition.
#[derive(Debug)]
pub enum Outcome {
    /// A duchy has the data.
    Fulfilled(Fulfilled),
    /// A check failed, and the Kingdom knows.
    Refused {
        /// The requisition.
        requisition: String,
        /// The check.
        error: DataProviderError,
    },
    /// It stays as it is and can be tried again: the Kingdom or the duchy is away or has lost the computation, or somebody
    /// else changed the requisition.
    Waits {
        /// The requisition.
        requisition: String,
        /// What is in the way.
        error: DataProviderError,
    },
}

/// What was sent for a requisition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fulfilled {
    /// The requisition.
    pub requisition: String,
    /// Registers sent.
    pub registers: usize,
    /// Bytes of the encrypted sketch, or of the share.
    pub bytes: usize,
}

impl fmt::Debug for DataProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataProvider").field("name", &self.name).finish_non_exhaustive()
    }
}

impl DataProvider {
    /// The data provider `name` (`dataProviders/{id}`), whose requisition specs are encrypted for `keyset`. Sketches
    /// are encrypted on `executor` with randomness from `seed`, which must be no other data provider's.
    pub fn new(
        name: &str,
        impressions: impl IntoIterator<Item = Vid>,
        keyset: PrivateKeyset,
        connections: Connections,
        executor: Executor,
        seed: StreamSeed,
    ) -> Self {
        let mut counts = BTreeMap::<Vid, u32>::new();
        for vid in impressions {
            let count = counts.entry(vid).or_default();
            *count = count.saturating_add(1);
        }
        Self {
            name: name.to_owned(),
            impressions: counts,
            keyset,
            requisitions: RequisitionsClient::new(connections.kingdom),
            fulfillment: RequisitionFulfillmentClient::new(connections.duchy),
            certificates: connections.certificates,
            executor,
            seed,
            sketch_salt: None,
            share_shuffle: None,
            misbehaviour: None,
            calls: CallPolicy::default(),
            uploads: CallPolicy::with_deadline(Duration::from_secs(600)),
        }
    }

    /// The same data provider with another map from people to registers than upstream's; all of a measurement must
    /// use the same. See [`SketchParameters::salt`](halo_protocols::data_provider::SketchParameters::salt).
    #[must_use]
    pub fn with_sketch_salt(mut self, salt: Option<u64>) -> Self {
        self.sketch_salt = salt;
        self
    }

    /// The same data provider, which also takes part in share shuffles; without `side` it refuses them.
    #[must_use]
    pub fn with_share_shuffle(mut self, side: Option<ShareShuffleSide>) -> Self {
        self.share_shuffle = side;
        self
    }

    /// The same data provider, which does to its uploads what it should not.
    #[must_use]
    pub fn with_misbehaviour(mut self, misbehaviour: Option<Misbehaviour>) -> Self {
        self.misbehaviour = misbehaviour;
        self
    }

    /// Deals with every requisition waiting now. One that has to wait on holds up no other.
    ///
    /// # Errors
    /// If the Kingdom does not say what waits.
    pub async fn fulfill_waiting(&self) -> Result<Vec<Outcome>, DataProviderError> {
        let mut outcomes = Vec::new();
        for requisition in self.waiting().await? {
            outcomes.push(self.fulfill(requisition).await);
        }
        Ok(outcomes)
    }

    /// The requisitions waiting for this data provider.
    ///
    /// # Errors
    /// If the Kingdom does not answer.
    pub async fn waiting(&self) -> Result<Vec<Requisition>, DataProviderError> {
        let filter = list_requisitions_request::Filter {
            states: vec![State::Unfulfilled.into()],
            ..Default::default()
        };
        let mut request =
            ListRequisitionsRequest { parent: self.name.clone(), filter: Some(filter), ..Default::default() };
        let mut found = Vec::new();
        loop {
            let page = self.calls.unary(|| {
                let (mut client, request) = (self.requisitions.clone(), request.clone());
                async move { client.list_requisitions(request).await }
            });
            let page = page.await.map_err(|status| kingdom("ListRequisitions", status))?;
            found.extend(page.requisitions);
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Checks a requisition and sends the data, or refuses it.
    pub async fn fulfill(&self, requisition: Requisition) -> Outcome {
        let sent = async {
            let order = self.check(&requisition).await?;
            let upload = match &order.data {
                DataOrder::Sketch(sketch) => self.encrypted_sketch(&requisition.name, sketch).await?,
                DataOrder::Shares(shares) => self.shares(&requisition.name, shares).await?,
            };
            self.upload(&requisition, &order, upload).await
        };
        let error = match sent.await {
            Ok(fulfilled) => return Outcome::Fulfilled(fulfilled),
            Err(error) => error,
        };
        let name = requisition.name.clone();
        let Some(justification) = error.justification() else {
            return Outcome::Waits { requisition: name, error };
        };
        let refusal = Refusal { justification: justification.into(), message: error.to_string() };
        match self.refuse(requisition, refusal).await {
            Ok(()) => Outcome::Refused { requisition: name, error },
            Err(error) => Outcome::Waits { requisition: name, error },
        }
    }

    async fn refuse(&self, requisition: Requisition, refusal: Refusal) -> Result<(), DataProviderError> {
        let Requisition { name, etag, .. } = requisition;
        let request = RefuseRequisitionRequest { name, refusal: Some(refusal), etag };
        let refused = self.calls.unary(|| {
            let (mut client, request) = (self.requisitions.clone(), request.clone());
            async move { client.refuse_requisition(request).await }
        });
        refused.await.map(drop).map_err(|status| kingdom("RefuseRequisition", status))
    }
}

fn kingdom(call: &'static str, status: Status) -> DataProviderError {
    DataProviderError::Kingdom { call, status }
}
