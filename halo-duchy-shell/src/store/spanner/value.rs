//! Values of columns, as Spanner's interface writes them: integers and times as text, bytes as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_types::value::Kind;
use prost_types::{ListValue, NullValue};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::columns::storable;

/// A value to be written or compared with.
#[derive(Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    /// Perhaps with keys in it, so this copy is wiped; the client library's, in base64, is not.
    Bytes(Zeroizing<Vec<u8>>),
    Time(Timestamp),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Zeroizing::new(value.into()))
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Time(storable(value))
    }
}

impl From<Vec<i64>> for Value {
    fn from(value: Vec<i64>) -> Self {
        Self::Ints(value)
    }
}

impl From<Vec<String>> for Value {
    fn from(value: Vec<String>) -> Self {
        Self::Texts(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Value> for prost_types::Value {
    fn from(value: Value) -> Self {
        let list = |values: Vec<Value>| ListValue { values: values.into_iter().map(Into::into).collect() };
        let kind = match value {
            Value::Null => Kind::NullValue(NullValue::NullValue.into()),
            Value::Bool(value) => Kind::BoolValue(value),
            Value::Int(value) => Kind::StringValue(value.to_string()),
            Value::Text(value) => Kind::StringValue(value),
            Value::Bytes(value) => Kind::StringValue(STANDARD.encode(value)),
            Value::Time(value) => Kind::StringValue(prost_types::Timestamp::from(value).to_string()),
            Value::Ints(values) => Kind::ListValue(list(values.into_iter().map(Value::Int).collect())),
            Value::Texts(values) => Kind::ListValue(list(values.into_iter().map(Value::Text).collect())),
        };
        Self { kind: Some(kind) }
    }
}

/// A row of an answer, whose cells are taken in order.
pub(super) struct Cells(std::vec::IntoIter<prost_types::Value>);

impl Cells {
    pub(super) fn new(cells: Vec<prost_types::Value>) -> Self {
        Self(cells.into_iter())
    }

    /// The next cell; `what` it holds is named if it does not.
    pub(super) fn take<T: Cell>(&mut self, what: &'static str) -> Result<T, StoreError> {
        let kind = self.0.next().and_then(|value| value.kind);
        kind.and_then(T::parse).ok_or(StoreError::Corrupt { what, source: None })
    }
}

/// What a cell can hold.
pub(super) trait Cell: Sized {
    /// `None` if it holds something else.
    fn parse(kind: Kind) -> Option<Self>;
}

impl Cell for bool {
    fn parse(kind: Kind) -> Option<Self> {
        match kind {
            Kind::BoolValue(value) => Some(value),
            _ => None,
        }
    }
}

impl Cell for String {
    fn parse(kind: Kind) -> Option<Self> {
        match kind {
            Kind::StringValue(text) => Some(text),
            _ => None,
        }
    }
}

impl Cell for i64 {
    fn parse(kind: Kind) -> Option<Self> {
        String::parse(kind)?.parse().ok()
    }
}

impl Cell for i32 {
    fn parse(kind: Kind) -> Option<Self> {
        String::parse(kind)?.parse().ok()
    }
}

impl Cell for Vec<u8> {
    fn parse(kind: Kind) -> Option<Self> {
        STANDARD.decode(String::parse(kind)?).ok()
    }
}

impl Cell for Timestamp {
    fn parse(kind: Kind) -> Option<Self> {
        let time: prost_types::Timestamp = String::parse(kind)?.parse().ok()?;
        Self::try_from(&time).ok()
    }
}

/// Rows within a row.
impl Cell for Vec<Cells> {
    fn parse(kind: Kind) -> Option<Self> {
        let Kind::ListValue(rows) = kind else { return None };
        let row = |value: prost_types::Value| match value.kind {
            Some(Kind::ListValue(cells)) => Some(Cells::new(cells.values)),
            _ => None,
        };
        rows.values.into_iter().map(row).collect()
    }
}

impl<T: Cell> Cell for Option<T> {
    fn parse(kind: Kind) -> Option<Self> {
        match kind {
            Kind::NullValue(_) => Some(None),
            kind => T::parse(kind).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::columns::END_OF_TIME;

    fn round_trip<T: Cell>(value: impl Into<Value>) -> T {
        Cells::new(vec![prost_types::Value::from(value.into())]).take("value").expect("the value")
    }

    #[test]
    fn what_is_written_is_read() {
        for number in [i64::MIN, -1, 0, 7, i64::MAX] {
            assert_eq!(round_trip::<i64>(number), number);
        }
        assert_eq!(round_trip::<Vec<u8>>(&[0, 255, 7][..]), [0, 255, 7]);
        assert!(round_trip::<bool>(true) && !round_trip::<bool>(false));
        assert_eq!(round_trip::<String>("a"), "a");
        assert_eq!(round_trip::<Option<String>>(None::<&str>), None);
        assert_eq!(round_trip::<Option<i32>>(Some(5)), Some(5));
        for millis in [0, 1, 999, 1_763_953_280_001] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(round_trip::<Timestamp>(time), time);
        }
    }

    #[test]
    fn a_lease_without_end_lasts_to_the_end_of_time() {
        assert_eq!(round_trip::<Timestamp>(Timestamp::from_millis(i64::MAX)), END_OF_TIME);
    }

    #[test]
    fn what_is_something_else_is_corrupt() {
        let corrupt = |found: Result<i32, StoreError>| matches!(found, Err(StoreError::Corrupt { .. }));
        let cells = |value: Value| Cells::new(vec![value.into()]);
        assert!(corrupt(cells(Value::Null).take("number")));
        assert!(corrupt(cells(Value::Text("x".into())).take("number")));
        assert!(corrupt(cells(Value::Int(i64::MAX)).take("number")));
        assert!(corrupt(Cells::new(Vec::new()).take("number")));
    }
}
