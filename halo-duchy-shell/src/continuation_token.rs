//! Where the herald is in the Kingdom's stream of active computations.
//!
//! For the herald the token is opaque. The duchy's own `ContinuationTokens` service looks into it so that two heralds,
//! or one restarted with an old token, cannot take the duchy back in time.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use prost::Message;

use crate::proto::system::StreamActiveComputationsContinuationToken;

/// A continuation token that has been looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinuationToken {
    text: String,
    /// Seconds and nanoseconds of the last computation's update time.
    last_seen_update_time: (i64, i32),
}

/// Why a text is no continuation token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContinuationTokenError {
    /// Not base64url.
    #[error("the continuation token is not base64url")]
    NotBase64(#[from] base64::DecodeError),
    /// Not the Kingdom's message.
    #[error("the continuation token does not parse")]
    Malformed(#[from] prost::DecodeError),
}

impl ContinuationToken {
    /// Looks into a token as the Kingdom sent it, padded or not.
    ///
    /// # Errors
    /// [`ContinuationTokenError`].
    pub fn parse(text: &str) -> Result<Self, ContinuationTokenError> {
        let engine = if text.ends_with('=') { URL_SAFE } else { URL_SAFE_NO_PAD };
        let bytes = engine.decode(text)?;
        let time = StreamActiveComputationsContinuationToken::decode(&bytes[..])?
            .last_seen_update_time
            .unwrap_or_default();
        Ok(Self { text: text.to_owned(), last_seen_update_time: (time.seconds, time.nanos) })
    }

    /// The token as the Kingdom sent it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How long before `now` the last computation that it covers was changed; nothing for a time to come.
    pub fn age(&self, now: SystemTime) -> Duration {
        let (seconds, nanoseconds) = self.last_seen_update_time;
        let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let nanoseconds = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default());
        let changed = SystemTime::UNIX_EPOCH.checked_add(seconds.saturating_add(nanoseconds));
        changed.and_then(|changed| now.duration_since(changed).ok()).unwrap_or_default()
    }

    /// Whether this token was made before `other`.
    pub fn is_older_than(&self, other: &Self) -> bool {
        self.last_seen_update_time < other.last_seen_update_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(seconds: i64, nanos: i32) -> ContinuationToken {
        let message = StreamActiveComputationsContinuationToken {
            last_seen_update_time: Some(prost_types::Timestamp { seconds, nanos }),
            last_seen_external_computation_id: 7,
        };
        ContinuationToken::parse(&URL_SAFE_NO_PAD.encode(message.encode_to_vec())).expect("a good token")
    }

    #[test]
    fn tokens_are_ordered_by_time() {
        assert!(token(1, 5).is_older_than(&token(2, 0)));
        assert!(token(1, 5).is_older_than(&token(1, 6)));
        assert!(!token(1, 5).is_older_than(&token(1, 5)));
    }

    #[test]
    fn padding_is_optional_and_kept() {
        let text = URL_SAFE.encode(
            StreamActiveComputationsContinuationToken {
                last_seen_update_time: Some(prost_types::Timestamp { seconds: 3, nanos: 0 }),
                last_seen_external_computation_id: 1,
            }
            .encode_to_vec(),
        );
        let token = ContinuationToken::parse(&text).expect("padded");
        assert_eq!(token.as_str(), text);
        let unpadded = ContinuationToken::parse(text.trim_end_matches('=')).expect("unpadded");
        assert!(!token.is_older_than(&unpadded) && !unpadded.is_older_than(&token));
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(matches!(ContinuationToken::parse("??"), Err(ContinuationTokenError::NotBase64(_))));
        let garbage = URL_SAFE_NO_PAD.encode([0xff, 0xff]);
        assert!(matches!(ContinuationToken::parse(&garbage), Err(ContinuationTokenError::Malformed(_))));
    }
}
