//! The lines of an audit log, and their digests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Entry;

/// What is between the digested part of a line and its digest.
const BEFORE_HASH: &str = ",\"hash\":\"";
/// What ends a line.
const END: &str = "\"}";

/// The most bytes that a line has, its end included. Texts in entries are bounded, so none comes near.
pub(super) const LONGEST_LINE: usize = 64 << 10;

/// The SHA-256 digest of a record.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

impl Hash {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        let canonical = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if canonical => Ok(Self(bytes)),
            _ => Err("64 digits of hexadecimal in lower case are expected".to_owned()),
        }
    }
}

/// No process lives to write a record of this number, nor does one that goes on from it come to the end of its integers.
const LAST_NUMBER: u64 = u64::MAX >> 1;

/// What is digested of a record, in this order.
#[derive(Serialize)]
struct Digested<'a> {
    seq: u64,
    time: String,
    process: &'a str,
    duchy: &'a str,
    event: super::Event,
    principal: &'a str,
    computation: &'a str,
    outcome: super::Outcome,
    reason: &'a str,
    details: &'a Map<String, Value>,
    prev: String,
}

/// Who writes records.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) process: String,
    pub(super) duchy: String,
}

/// The line of `entry`, its end included, and its digest.
pub(super) fn line(
    writer: &Writer,
    seq: u64,
    time: String,
    entry: &Entry,
    prev: Hash,
) -> Result<(String, Hash), serde_json::Error> {
    let mut line = serde_json::to_string(&Digested {
        seq,
        time,
        process: &writer.process,
        duchy: entry.duchy.as_deref().unwrap_or(&writer.duchy),
        event: entry.event,
        principal: &entry.principal,
        computation: &entry.computation,
        outcome: entry.outcome,
        reason: &entry.reason,
        details: &entry.details,
        prev: prev.to_string(),
    })?;
    let hash = Hash::of(line.as_bytes());
    // The brace that closes what is digested comes after the digest.
    line.pop();
    line.push_str(BEFORE_HASH);
    line.push_str(&hash.to_string());
    line.push_str(END);
    line.push('\n');
    Ok((line, hash))
}

/// What a reader of the log needs of a record.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) time: String,
    pub(super) duchy: String,
    pub(super) event: String,
    pub(super) computation: String,
    pub(super) details: Map<String, Value>,
    #[serde(deserialize_with = "hash")]
    pub(super) prev: Hash,
    #[serde(skip)]
    pub(super) hash: Hash,
}

fn hash<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl Record {
    /// The record in a line without its end; `None` if it is not what was written.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let rest = text.strip_suffix(END)?;
        let (digested, hash) = rest.rsplit_once(BEFORE_HASH)?;
        let hash: Hash = hash.parse().ok()?;
        let digested = format!("{digested}}}");
        if Hash::of(digested.as_bytes()) != hash {
            return None;
        }
        let record: Self = serde_json::from_str(&digested).ok()?;
        (record.seq <= LAST_NUMBER).then_some(Self { hash, ..record })
    }
}
