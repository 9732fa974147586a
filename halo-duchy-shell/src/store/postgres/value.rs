//! Values of columns that the client library does not know.

use std::error::Error;
use std::fmt;

use bytes::BytesMut;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::columns::storable;

/// 2000-01-01T00:00:00Z in milliseconds since 1970, from where PostgreSQL counts microseconds.
const EPOCH: i64 = 946_684_800_000;

/// A `timestamp`, which is without a zone: it is in UTC. What is below a millisecond does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) Timestamp);

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        // Within the times of all databases nothing overflows.
        let micros = (storable(self.0).millis() - EPOCH) * 1000;
        micros.to_sql(&Type::INT8, out)
    }

    accepts!(TIMESTAMP);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_sql(&Type::INT8, raw)?;
        // PostgreSQL's ends of time, `infinity` and `-infinity`.
        if micros == i64::MAX || micros == i64::MIN {
            return Err("an infinite time".into());
        }
        Ok(Self(Timestamp::from_millis(micros.div_euclid(1000) + EPOCH)))
    }

    accepts!(TIMESTAMP);
}

/// Bytes with key material. They are wiped, but not the copy that is sent.
pub(super) struct Secret(pub(super) Zeroizing<Vec<u8>>);

impl ToSql for Secret {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.as_slice().to_sql(kind, out)
    }

    accepts!(BYTEA);
    to_sql_checked!();
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

/// The cells of a row, taken in order.
pub(super) struct Cells<'a> {
    row: &'a Row,
    next: usize,
}

impl<'a> Cells<'a> {
    pub(super) const fn new(row: &'a Row) -> Self {
        Self { row, next: 0 }
    }

    /// The next cell; `what` it holds is named if it does not.
    pub(super) fn take<T: FromSql<'a>>(&mut self, what: &'static str) -> Result<T, StoreError> {
        let cell = self.row.try_get(self.next);
        self.next += 1;
        cell.map_err(|error| StoreError::corrupt(what)(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::columns::{END_OF_TIME, START_OF_TIME};

    fn round_trip(millis: i64) -> i64 {
        let mut bytes = BytesMut::new();
        let time = Time(Timestamp::from_millis(millis));
        time.to_sql_checked(&Type::TIMESTAMP, &mut bytes).expect("a time");
        Time::from_sql(&Type::TIMESTAMP, &bytes).expect("a time").0.millis()
    }

    #[test]
    fn times_are_read_as_they_were_written() {
        for millis in [0, -1, 1, 999, 1_763_953_280_123, EPOCH, EPOCH - 1] {
            assert_eq!(round_trip(millis), millis);
        }
        assert_eq!(round_trip(i64::MAX), END_OF_TIME.millis());
        assert_eq!(round_trip(i64::MIN), START_OF_TIME.millis());
    }

    #[test]
    fn times_are_postgresqls() {
        let read = |micros: i64| Time::from_sql(&Type::TIMESTAMP, &micros.to_be_bytes()).ok();
        assert_eq!(read(0), Some(Time(Timestamp::from_millis(EPOCH))));
        assert_eq!(read(1999), Some(Time(Timestamp::from_millis(EPOCH + 1))));
        assert_eq!(read(-1), Some(Time(Timestamp::from_millis(EPOCH - 1))));
        assert_eq!((read(i64::MAX), read(i64::MIN)), (None, None));
        assert!(!Time::accepts(&Type::TIMESTAMPTZ), "a column with a zone is another one");
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", Secret(Zeroizing::new(vec![42; 3]))).contains("42"));
    }
}
