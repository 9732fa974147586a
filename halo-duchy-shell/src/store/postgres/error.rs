//! Why PostgreSQL does not do what it is asked.

use std::error::Error;
use std::time::Duration;

use deadpool::managed::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

use super::password::PasswordError;
use super::pool::PATIENCE;
use crate::store::{Contention, StoreError};
use crate::tls::TlsError;

/// Why PostgreSQL did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The password cannot be had.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The authorities for the server's certificate cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The machine has no authorities for certificates.
    #[error("this machine has no root certificates: name some in the address, by sslrootcert")]
    NoRoots,
    /// PostgreSQL cannot be reached, or no longer.
    #[error("no connection to PostgreSQL")]
    Connection(#[source] Box<dyn Error + Send + Sync>),
    /// All connections that there may be are at work.
    #[error("no connection to PostgreSQL became free within {0:?}")]
    Busy(Duration),
    /// Other transactions were in the way of this one.
    #[error(transparent)]
    Contention(#[from] Contention),
    /// PostgreSQL refused or failed.
    #[error("PostgreSQL says {code}: {message}")]
    Refused {
        /// The SQLSTATE.
        code: String,
        /// PostgreSQL's words, without the detail, in which it shows values of rows.
        message: String,
        /// The table, where a constraint of it is the reason.
        table: Option<String>,
    },
}

impl PostgresError {
    /// Whether the transaction stood in the way of another one, and may be tried again: PostgreSQL says so, or another
    /// one has inserted what this one has found missing and wanted to insert, or deleted what it has found and wanted
    /// to add to. The next try finds that, or else fails.
    pub(super) fn is_aborted(&self) -> bool {
        let Self::Refused { code, table, .. } = self else { return false };
        let code = SqlState::from_code(code);
        match table.as_deref() {
            Some("computations" | "requisitions") if code == SqlState::UNIQUE_VIOLATION => true,
            Some("computationstats") if code == SqlState::FOREIGN_KEY_VIOLATION => true,
            _ => code == SqlState::T_R_SERIALIZATION_FAILURE || code == SqlState::T_R_DEADLOCK_DETECTED,
        }
    }

    /// Whether the connection is over, because of the server or the network.
    pub(super) fn is_lost_connection(&self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Refused { code, .. } => {
                let code = SqlState::from_code(code);
                code == SqlState::ADMIN_SHUTDOWN || code == SqlState::CRASH_SHUTDOWN
            }
            _ => false,
        }
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refusal) => Self::Refused {
                code: refusal.code().code().to_owned(),
                message: refusal.message().to_owned(),
                table: refusal.table().map(Into::into),
            },
            None => Self::Connection(error.into()),
        }
    }
}

impl From<PoolError<Self>> for PostgresError {
    fn from(error: PoolError<Self>) -> Self {
        match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy(PATIENCE),
            other => Self::Connection(other.into()),
        }
    }
}

impl From<PostgresError> for StoreError {
    fn from(error: PostgresError) -> Self {
        Self::Unavailable(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, table: Option<&str>) -> PostgresError {
        PostgresError::Refused { code: code.into(), message: String::new(), table: table.map(Into::into) }
    }

    #[test]
    fn what_others_were_in_the_way_of_is_tried_again() {
        for (code, table) in [
            ("40001", None),
            ("40P01", None),
            ("23505", Some("computations")),
            ("23505", Some("requisitions")),
            ("23503", Some("computationstats")),
        ] {
            assert!(refused(code, table).is_aborted(), "{code} {table:?}");
        }
    }

    #[test]
    fn what_fails_each_time_is_not() {
        for (code, table) in [
            ("23505", Some("computationstages")),
            ("23505", None),
            ("23503", Some("requisitions")),
            ("55P03", None),
            ("57014", None),
            ("42P01", None),
            ("57P01", None),
        ] {
            assert!(!refused(code, table).is_aborted(), "{code} {table:?}");
        }
        assert!(!PostgresError::Busy(Duration::ZERO).is_aborted());
    }

    #[test]
    fn a_server_that_stops_takes_its_connections_along() {
        assert!(refused("57P01", None).is_lost_connection());
        assert!(PostgresError::Connection("gone".into()).is_lost_connection());
        assert!(!refused("57014", None).is_lost_connection());
    }
}
