//! `wfa.measurement.internal.duchy.ContinuationTokens`: where the herald was.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use super::require_own;
use crate::continuation_token::ContinuationToken;
use crate::error::ShellError;
use crate::fail_point::around;
use crate::proto::internal::continuation_tokens_server::ContinuationTokens;
use crate::proto::internal::{
    GetContinuationTokenRequest, GetContinuationTokenResponse, SetContinuationTokenRequest,
    SetContinuationTokenResponse,
};
use crate::store::Store;

/// The service over a store.
#[derive(Clone, Debug)]
pub struct ContinuationTokensService {
    store: Arc<dyn Store>,
    duchy: String,
}

impl ContinuationTokensService {
    /// The service of `duchy`.
    pub fn new(store: Arc<dyn Store>, duchy: impl Into<String>) -> Self {
        Self { store, duchy: duchy.into() }
    }

    async fn set(&self, request: Request<SetContinuationTokenRequest>) -> Result<(), ShellError> {
        require_own(&request, &self.duchy)?;
        let token = ContinuationToken::parse(&request.get_ref().token)?;
        Ok(around("commit.position", "", self.store.set_continuation_token(&token)).await?)
    }
}

#[async_trait]
impl ContinuationTokens for ContinuationTokensService {
    async fn get_continuation_token(
        &self,
        request: Request<GetContinuationTokenRequest>,
    ) -> Result<Response<GetContinuationTokenResponse>, Status> {
        require_own(&request, &self.duchy)?;
        let token = self.store.continuation_token().await.map_err(ShellError::from)?;
        let token = token.map(|token| token.as_str().to_owned()).unwrap_or_default();
        Ok(Response::new(GetContinuationTokenResponse { token }))
    }

    async fn set_continuation_token(
        &self,
        request: Request<SetContinuationTokenRequest>,
    ) -> Result<Response<SetContinuationTokenResponse>, Status> {
        self.set(request).await?;
        Ok(Response::new(SetContinuationTokenResponse {}))
    }
}
