use std::fmt::Write as _;

use halo_duchy_shell::audit::{Expected, verify_bytes};
use sha2::{Digest, Sha256};

use crate::memory::bounded;

/// Before the digest of a record, and after it.
const HASH: [&str; 2] = [",\"hash\":\"", "\"}\n"];

/// Any bytes as an audit log. The first byte chooses whether they are it as they are, or lines of which each is given
/// the digest that it would have been written with, so that what is in a record is looked at, too.
///
/// What is believed is believed again, and nothing else is that has a bit turned; its last digest is found in it.
pub fn audit_log(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let log = if choice % 2 == 0 { data.to_vec() } else { signed(data) };
    let any = Expected::default();
    let Ok(summary) = bounded(log.len(), 64, || verify_bytes(&log, &any)) else { return };
    assert_eq!(summary.records == 0, log.is_empty());
    let Some(middle) = log.len().checked_div(2).filter(|middle| *middle < log.len()) else { return };
    let met = Expected { hashes: vec![summary.head], ..Expected::default() };
    assert_eq!(verify_bytes(&log, &met).expect("the same log"), summary);
    let mut altered = log;
    altered[middle] ^= 1;
    assert!(verify_bytes(&altered, &met).is_err(), "an altered log is believed");
}

/// Each line with its digest.
fn signed(data: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(data);
    let mut log = String::new();
    for line in text.lines() {
        let hash: String =
            Sha256::digest(format!("{line}}}")).iter().fold(String::new(), |mut hash, byte| {
                write!(hash, "{byte:02x}").expect("into memory");
                hash
            });
        log.extend([line, HASH[0], &hash, HASH[1]]);
    }
    log.into_bytes()
}

/// What is digested of a record, but for the brace at its end.
fn record(seq: u64, event: &str, details: &str, prev: &str) -> String {
    format!(
        r#"{{"seq":{seq},"time":"2026-05-04T06:00:01.113Z","process":"llv2-mill","duchy":"worker1","event":"{event}","principal":"","computation":"c","outcome":"done","reason":"","details":{details},"prev":"{prev}""#
    )
}

/// A log of two records, with and without digests; one that begins in the middle; one with a line that was cut.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let hash = |log: &[u8]| {
        let text = std::str::from_utf8(log).expect("text");
        let (_, rest) = text.rsplit_once(HASH[0]).expect("a digest");
        rest[..64].to_owned()
    };
    let noise = r#"{"stage":"SETUP_PHASE","seed":"0a0b","records":7}"#;
    let first = record(0, "log.opened", "{}", &"0".repeat(64));
    let second = record(1, "noise.added", noise, &hash(&signed(first.as_bytes())));
    let whole = format!("{first}\n{second}\n");
    let cut: String = Sha256::digest(b"{\"seq\":1,").iter().map(|byte| format!("{byte:02x}")).collect();
    let torn = record(
        1,
        "log.torn",
        &format!(r#"{{"bytes":9,"sha256":"{cut}"}}"#),
        &hash(&signed(first.as_bytes())),
    );
    let torn = [&signed(first.as_bytes())[..], b"{\"seq\":1,\n", &signed(torn.as_bytes())].concat();
    vec![
        [&[0], &signed(whole.as_bytes())[..]].concat(),
        [&[0], &torn[..]].concat(),
        [&[1], whole.as_bytes()].concat(),
        [&[1], second.as_bytes()].concat(),
    ]
}
