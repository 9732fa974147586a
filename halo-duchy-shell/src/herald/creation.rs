//! A computation that the Kingdom announces becomes one of ours.

use halo_crypto::prg::PrngSeed;
use halo_protocols::hmss::WorkerKeys;
use tonic::Code;

use super::item::{ItemError, Progressed};
use super::{HeraldError, HeraldParts, Inner};
use crate::audit::{Entry, Event, Outcome};
use crate::convert::Announced;
use crate::fail_point::around;
use crate::hybrid_encryption::{PrivateKeyset, Scheme};
use crate::proto::system::Computation;

impl Inner {
    /// Creates the local computation, unless it exists.
    pub(super) async fn create(&self, id: &str, computation: &Computation) -> Result<Progressed, ItemError> {
        if let Some(end) = self.ended.end_of(id) {
            tracing::info!("over already");
            return self.end(id, end).await;
        }
        let HeraldParts { duchy, setup, internal, .. } = &self.parts;
        let announced = Announced::read(computation, duchy, &setup.current(), self.options.noise_policy)?;
        let keys = if announced.needs_worker_keys() {
            // The Kingdom announces again what it has announced before: no keys are made in vain.
            if self.find(id).await?.is_some() {
                return Ok(Progressed::Done);
            }
            Some(self.worker_keys(id).await?)
        } else {
            None
        };
        let mut request = announced.request(keys)?;
        if let Some(details) = &mut request.computation_details {
            self.parts.secrets.seal(details, duchy, id).await?;
        }
        match around("database.create", "", internal.create(request)).await {
            Ok(_) => tracing::info!("created"),
            Err(status) if status.code() == Code::AlreadyExists => {
                tracing::debug!("exists already");
            }
            Err(status) => return Err(status.into()),
        }
        // Whoever worked on the end has found nothing to end, if the creation came last.
        match self.ended.end_of(id) {
            Some(end) => self.end(id, end).await,
            None => Ok(Progressed::Done),
        }
    }

    /// A random seed and a key pair for one computation. The private key is stored before the computation that knows
    /// it: a herald that dies between the two leaves a key that is of no use to anybody.
    async fn worker_keys(&self, id: &str) -> Result<WorkerKeys, ItemError> {
        let HeraldParts { duchy, private_keys, seeds, .. } = &self.parts;
        let store = private_keys.as_ref().ok_or(HeraldError::NoPrivateKeyStore)?;
        let seed = seeds.seed(duchy, id, "worker keys")?;
        let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut seed.stream("key pair", 0));
        let encryption_key_pair = around("blob.key", "", store.store(&keyset)).await?;
        Entry::new(Event::KeyGenerated, Outcome::Done)
            .duchy(duchy)
            .computation(id)
            .detail("key", encryption_key_pair.private_key_id.as_str())
            .record();
        let random_seed = PrngSeed::random(&mut seed.stream("random seed", 0));
        Ok(WorkerKeys { random_seed, encryption_key_pair })
    }
}
