//! The unit tables of `tests/vectors`, for tests beside the code.

use serde_json::Value;

/// The rows of one table.
pub(crate) fn rows(file: &str, table: &str) -> Vec<Value> {
    let text = match file {
        "estimators" => include_str!("../tests/vectors/unit/estimators.json"),
        "ring_order" => include_str!("../tests/vectors/unit/ring_order.json"),
        "fingerprints" => include_str!("../tests/vectors/unit/fingerprints.json"),
        other => panic!("no file {other}"),
    };
    let value: Value = serde_json::from_str(text).expect("the vectors are JSON");
    let rows = if table.is_empty() { &value } else { &value[table] };
    rows.as_array().expect("a table is a list").clone()
}

/// A hexadecimal string's bytes.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).expect("bytes are written in hexadecimal")
}

/// A string.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// A double, written as a decimal string.
pub(crate) fn double(value: &Value) -> f64 {
    text(value).parse().expect("a decimal number")
}

/// An integer, written as a number, or as a string where a double could not hold it.
pub(crate) fn integer<T: std::str::FromStr>(value: &Value) -> T
where
    T::Err: std::fmt::Debug,
{
    let digits = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    digits.parse().expect("an integer in range")
}
