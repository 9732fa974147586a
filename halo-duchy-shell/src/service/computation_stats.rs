//! `wfa.measurement.internal.duchy.ComputationStats`: measurements of stage attempts.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use super::{not_blank, require_own, required};
use crate::error::ShellError;
use crate::proto::internal::computation_stats_server::ComputationStats;
use crate::proto::internal::{CreateComputationStatRequest, CreateComputationStatResponse};
use crate::protocol_stages::ProtocolStage;
use crate::store::{Stat, Store};

/// The service over a store.
#[derive(Clone, Debug)]
pub struct ComputationStatsService {
    store: Arc<dyn Store>,
    duchy: String,
}

impl ComputationStatsService {
    /// The service of `duchy`.
    pub fn new(store: Arc<dyn Store>, duchy: impl Into<String>) -> Self {
        Self { store, duchy: duchy.into() }
    }

    async fn create(&self, request: Request<CreateComputationStatRequest>) -> Result<(), ShellError> {
        require_own(&request, &self.duchy)?;
        let request = request.into_inner();
        if request.local_computation_id == 0 {
            return Err(ShellError::invalid("local_computation_id", "is missing"));
        }
        let stage = required(request.computation_stage, "computation_stage")?;
        let stat = Stat {
            local_id: request.local_computation_id,
            stage: ProtocolStage::try_from(&stage)?,
            attempt: request.attempt,
            name: not_blank(request.metric_name, "metric_name")?,
            value: request.metric_value,
        };
        Ok(self.store.record_stat(stat).await?)
    }
}

#[async_trait]
impl ComputationStats for ComputationStatsService {
    async fn create_computation_stat(
        &self,
        request: Request<CreateComputationStatRequest>,
    ) -> Result<Response<CreateComputationStatResponse>, Status> {
        self.create(request).await?;
        Ok(Response::new(CreateComputationStatResponse {}))
    }
}
