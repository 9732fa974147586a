//! What is measured, and remembered beside the computations.

use super::rows::Rows;
use super::{Stat, StoreError};
use crate::clock::Timestamp;
use crate::continuation_token::ContinuationToken;

pub(super) async fn record_stat(rows: &mut dyn Rows, now: Timestamp, stat: Stat) -> Result<(), StoreError> {
    if !rows.attempt_exists(&stat).await? {
        let Stat { local_id, stage, attempt, .. } = stat;
        return Err(StoreError::NoSuchAttempt { local_id, stage, attempt });
    }
    rows.write_stat(&stat, now).await
}

pub(super) async fn continuation_token(rows: &mut dyn Rows) -> Result<Option<ContinuationToken>, StoreError> {
    let text = rows.continuation_token().await?;
    Ok(text.as_deref().map(ContinuationToken::parse).transpose()?)
}

pub(super) async fn set_continuation_token(
    rows: &mut dyn Rows,
    now: Timestamp,
    token: ContinuationToken,
) -> Result<(), StoreError> {
    if continuation_token(rows).await?.is_some_and(|stored| token.is_older_than(&stored)) {
        return Err(StoreError::ContinuationTokenOutdated);
    }
    rows.write_continuation_token(token.as_str(), now).await
}
