use std::fmt::Write as _;

use halo_duchy_shell::store::transfer::rewrite;
use sha2::{Digest, Sha256};

use crate::memory::bounded;

const HEADER: &str = "{\"format\":\"halo-duchy store\",\"version\":1}\n";

/// Any bytes as what `store import` reads. The first byte chooses whether they are the whole stream, or rows between a
/// first and a last line that are right, so that rows are looked at, too.
///
/// What is read survives being written: rows are written in one way.
pub fn store_import(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let stream = if choice % 2 == 0 { data.to_vec() } else { completed(data) };
    // A value of JSON of two bytes is one of 32 in memory, in a table that doubles.
    let Ok((summary, written)) = bounded(stream.len(), 256, || rewrite(&stream)) else { return };
    let (again, written_again) = rewrite(&written).expect("our own");
    assert_eq!(again.rows, summary.rows);
    assert_eq!(written_again, written);
}

/// Rows as a whole stream.
fn completed(rows: &[u8]) -> Vec<u8> {
    let mut stream = [HEADER.as_bytes(), rows].concat();
    if !stream.ends_with(b"\n") {
        stream.push(b'\n');
    }
    let count = rows.split(|byte| *byte == b'\n').filter(|row| !row.is_empty()).count();
    let mut digest = String::new();
    for byte in Sha256::digest(&stream) {
        write!(digest, "{byte:02x}").expect("into memory");
    }
    stream.extend_from_slice(format!("{{\"rows\":{count},\"sha256\":\"{digest}\"}}\n").as_bytes());
    stream
}

/// Rows of every kind of column.
const ROWS: &str = concat!(
    r#"{"table":"Computations","row":{"ComputationId":7,"Protocol":1,"ComputationStage":3,"CreationTime":1800000000000,"#,
    r#""UpdateTime":1800000000000,"GlobalComputationId":"c","LockOwner":null,"LockExpirationTime":null,"#,
    r#""ComputationDetails":"AQI="}}"#,
    "\n",
    r#"{"table":"ComputationStats","row":{"ComputationId":7,"ComputationStage":3,"Attempt":1,"MetricName":"m","#,
    r#""CreateTime":1800000000000,"MetricValue":-9}}"#,
    "\n",
    r#"{"table":"HeraldContinuationTokens","row":{"Presence":true,"ContinuationToken":"CgIIAxAB","#,
    r#""UpdateTime":1800000000000}}"#,
    "\n",
);

/// An empty store, and one with rows, whole and as rows alone.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let rows = ROWS.as_bytes();
    let whole = |rows| [&[0], &completed(rows)[..]].concat();
    assert!(rewrite(&completed(rows)).is_ok_and(|(summary, _)| summary.rows == 3));
    vec![whole(&rows[..0]), whole(rows), [&[1], rows].concat()]
}
