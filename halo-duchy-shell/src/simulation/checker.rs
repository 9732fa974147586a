//! What must hold whatever goes wrong.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use prost::Message as _;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::proto::system::AdvanceComputationRequest;
use crate::proto::system::advance_computation_request::Payload;
use crate::protocol_stages::ProtocolStage;
use crate::store::{Computation, Guard};
use halo_protocols::llv2::StageKind;

/// More attempts than these are no retries any more. Beyond the limit of mills there are those that only fail, again and
/// again while the Kingdom is away.
const MAXIMUM_ATTEMPTS: i32 = 60;

/// How often the work of one computation may be passed over by claims of other work.
const MAXIMUM_PASSED_OVER: u32 = 40;

/// Watches everything that duchies write and send.
#[derive(Debug, Default)]
pub struct Checker {
    broken: Vec<String>,
    /// By duchy and local id.
    computations: BTreeMap<(String, i64), Known>,
    /// How often each stage of each computation was left, by duchy, global id and stage.
    commits: BTreeMap<(String, String, &'static str), u32>,
    blobs: BTreeMap<String, [u8; 32]>,
    /// Digests of what was sent, by sender, receiver and header.
    payloads: BTreeMap<(String, String, Vec<u8>), [u8; 32]>,
}

/// What was known of a duchy when its database was copied.
#[derive(Clone, Debug)]
pub struct Remembered {
    computations: BTreeMap<(String, i64), Known>,
    commits: BTreeMap<(String, String, &'static str), u32>,
}

/// A computation as last written.
#[derive(Clone, Debug)]
struct Known {
    global_id: String,
    version: i64,
    stage: ProtocolStage,
    attempt: i32,
    owner: Option<String>,
    claimable_from: Option<Timestamp>,
    passed_over: u32,
}

impl Checker {
    /// Records that something does not hold.
    pub fn broken(&mut self, what: String) {
        self.broken.push(what);
    }

    /// What did not hold.
    pub fn findings(&self) -> &[String] {
        &self.broken
    }

    /// The global id of a computation; empty if it is not known.
    pub fn global_id(&self, duchy: &str, local_id: i64) -> String {
        let known = self.computations.get(&(duchy.to_owned(), local_id));
        known.map(|known| known.global_id.clone()).unwrap_or_default()
    }

    /// How often anything was committed.
    pub fn commits(&self) -> usize {
        self.commits.len()
    }

    /// `duchy` has created a computation.
    pub fn created(&mut self, duchy: &str, computation: &Computation) {
        self.learn(duchy, computation, 0);
    }

    /// A claim at `now` has given out work.
    pub fn claimed(&mut self, duchy: &str, computation: &Computation, now: Timestamp) {
        let key = (duchy.to_owned(), computation.local_id);
        let name = describe(duchy, computation);
        if computation.attempt > MAXIMUM_ATTEMPTS {
            self.broken(format!("{name}: attempt {}", computation.attempt));
        }
        if let Some(known) = self.computations.get(&key) {
            if known.claimable_from.is_none_or(|from| from > now) {
                self.broken(format!("{name}: claimed while {:?} held it", known.owner));
            } else if computation.attempt != known.attempt + 1 {
                let (found, last) = (computation.attempt, known.attempt);
                self.broken(format!("{name}: attempt {found} after {last}"));
            }
        }
        let protocol = computation.stage.protocol();
        let waiting = self.computations.iter_mut().filter(|((at, local_id), known)| {
            at == duchy
                && *local_id != computation.local_id
                && known.stage.protocol() == protocol
                && known.stage.kind() == StageKind::Compute
                && known.claimable_from.is_some_and(|from| from <= now)
        });
        let mut starved = Vec::new();
        for (_, known) in waiting {
            known.passed_over += 1;
            if known.passed_over > MAXIMUM_PASSED_OVER {
                starved.push(format!("{duchy}: {} starves in {}", known.global_id, known.stage.name()));
                known.passed_over = 0;
            }
        }
        self.broken.extend(starved);
        self.learn(duchy, computation, 0);
    }

    /// The lease on a computation was extended.
    pub fn extended(&mut self, duchy: &str, computation: &Computation) {
        self.written(duchy, None, computation, "extended");
    }

    /// A computation was written under `guard`, and is in the same stage as before.
    pub fn updated(&mut self, duchy: &str, guard: &Guard, computation: &Computation) {
        self.written(duchy, Some(guard), computation, "updated");
    }

    /// A computation has left its stage under `guard`.
    pub fn advanced(&mut self, duchy: &str, guard: &Guard, computation: &Computation) {
        let left = self.computations.get(&(duchy.to_owned(), guard.local_id)).map(|known| known.stage);
        // To end again what has ended is to write nothing.
        if let Some(left) = left.filter(|left| left.kind() != StageKind::Terminal) {
            let key = (duchy.to_owned(), computation.global_id.clone(), left.name());
            let count = self.commits.entry(key).or_default();
            *count += 1;
            if *count > 1 {
                self.broken(format!("{} was left twice: {}", left.name(), describe(duchy, computation)));
            }
        }
        self.written(duchy, Some(guard), computation, "advanced");
    }

    /// A computation was forgotten.
    pub fn deleted(&mut self, duchy: &str, local_id: i64) {
        self.computations.remove(&(duchy.to_owned(), local_id));
    }

    /// What is known of `duchy`, to be remembered with a copy of its database.
    pub fn remember(&self, duchy: &str) -> Remembered {
        let computations = self.computations.iter().filter(|((at, _), _)| at == duchy);
        let commits = self.commits.iter().filter(|((at, ..), _)| at == duchy);
        Remembered {
            computations: computations.map(|(key, known)| (key.clone(), known.clone())).collect(),
            commits: commits.map(|(key, count)| (key.clone(), *count)).collect(),
        }
    }

    /// `duchy` has got the database back that went with `remembered`. What it has sent since stays sent.
    pub fn restored(&mut self, duchy: &str, remembered: Remembered) {
        self.computations.retain(|(at, _), _| at != duchy);
        self.computations.extend(remembered.computations);
        self.commits.retain(|(at, ..), _| at != duchy);
        self.commits.extend(remembered.commits);
    }

    /// A computation's lease was given back.
    pub fn enqueued(&mut self, duchy: &str, guard: &Guard, computation: &Computation) {
        self.written(duchy, Some(guard), computation, "given back");
    }

    fn written(&mut self, duchy: &str, guard: Option<&Guard>, computation: &Computation, what: &str) {
        let known = self.computations.get(&(duchy.to_owned(), computation.local_id)).cloned();
        let Some(known) = known else {
            return self.broken(format!("{} was never created", describe(duchy, computation)));
        };
        if let Some(guard) =
            guard.filter(|guard| guard.version != known.version || guard.owner != known.owner)
        {
            let name = describe(duchy, computation);
            self.broken(format!(
                "{name} was {what} by {:?} at version {:+}, which {:?} held",
                guard.owner,
                guard.version - known.version,
                known.owner,
            ));
        }
        if computation.version < known.version {
            self.broken(format!("{}: its version fell", describe(duchy, computation)));
        }
        if guard.is_none() && (computation.attempt != known.attempt || computation.lock_owner != known.owner)
        {
            self.broken(format!("{}: a lost lease was {what}", describe(duchy, computation)));
        }
        self.learn(duchy, computation, known.passed_over);
    }

    fn learn(&mut self, duchy: &str, computation: &Computation, passed_over: u32) {
        let known = Known {
            global_id: computation.global_id.clone(),
            version: computation.version,
            stage: computation.stage,
            attempt: computation.attempt,
            owner: computation.lock_owner.clone(),
            claimable_from: computation.lock_expiration,
            passed_over,
        };
        self.computations.insert((duchy.to_owned(), computation.local_id), known);
    }

    /// The duchies where computations have not come to an end, with where they stand.
    pub fn unfinished(&self) -> Vec<String> {
        let open = self.computations.iter().filter(|(_, known)| known.stage.kind() != StageKind::Terminal);
        open.map(|((duchy, _), known)| format!("{duchy}: {} is in {}", known.global_id, known.stage.name()))
            .collect()
    }

    /// The computations that all of `duchies` know and none has ended.
    pub fn open_at(&self, duchies: &[&str]) -> Vec<String> {
        let open = |duchy: &str, id: &str| {
            let mut known = self.computations.iter();
            known.any(|((at, _), known)| {
                at == duchy && known.global_id == id && known.stage.kind() != StageKind::Terminal
            })
        };
        let ids: BTreeSet<_> = self.computations.values().map(|known| known.global_id.clone()).collect();
        ids.into_iter().filter(|id| duchies.iter().all(|duchy| open(duchy, id))).collect()
    }

    /// A blob was written.
    pub fn blob(&mut self, path: &str, bytes: impl Buf) {
        let digest = digest(bytes);
        match self.blobs.entry(path.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(digest);
            }
            Entry::Occupied(_) => self.broken(format!("blob {path} was written twice")),
        }
    }

    /// A peer's message was sent: always the same between the same two for the same stage of the same computation.
    pub fn sent(&mut self, from: &str, to: &str, body: &Bytes) {
        let mut hash = Sha256::new();
        let mut header = Vec::new();
        let mut rest = body.clone();
        while rest.len() >= 5 {
            // A gRPC message: a flag, its length, its bytes.
            rest.advance(1);
            let length = rest.get_u32() as usize;
            let message = rest.split_to(length.min(rest.len()));
            match AdvanceComputationRequest::decode(message).ok().and_then(|request| request.payload) {
                Some(Payload::Header(found)) => header = found.encode_to_vec(),
                Some(Payload::BodyChunk(chunk)) => hash.update(&chunk.partial_data),
                None => self.broken(format!("{from} sent {to} what cannot be read")),
            }
        }
        let digest: [u8; 32] = hash.finalize().into();
        // Any mill of the duchy.
        let sender = from.split('/').next().unwrap_or_default().to_owned();
        match self.payloads.entry((sender, to.to_owned(), header)) {
            Entry::Vacant(entry) => {
                entry.insert(digest);
            }
            Entry::Occupied(entry) if *entry.get() == digest => {}
            Entry::Occupied(_) => self.broken(format!("{from} sent {to} two messages for one stage")),
        }
    }
}

fn digest(mut bytes: impl Buf) -> [u8; 32] {
    let mut hash = Sha256::new();
    while bytes.has_remaining() {
        let chunk = bytes.chunk();
        hash.update(chunk);
        let length = chunk.len();
        bytes.advance(length);
    }
    hash.finalize().into()
}

fn describe(duchy: &str, computation: &Computation) -> String {
    format!("{duchy}: {} in {}", computation.global_id, computation.stage.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::system::advance_computation_request::{BodyChunk, Header};

    /// A message to a peer as it is on the wire.
    fn message(chunk: &'static [u8]) -> Bytes {
        let header = Header { name: "computations/1".into(), protocol: None };
        let chunk = BodyChunk { partial_data: Bytes::from_static(chunk) };
        let mut wire = Vec::new();
        for payload in [Payload::Header(header), Payload::BodyChunk(chunk)] {
            let bytes = AdvanceComputationRequest { payload: Some(payload) }.encode_to_vec();
            wire.extend([&[0][..], &(bytes.len() as u32).to_be_bytes(), &bytes].concat());
        }
        wire.into()
    }

    #[test]
    fn another_message_for_the_same_stage_is_found() {
        let mut checker = Checker::default();
        for (from, to) in [("a/mill0", "b/control"), ("a/mill1", "b/control"), ("a/mill0", "c/control")] {
            checker.sent(from, to, &message(b"same"));
            assert!(checker.findings().is_empty());
        }
        checker.sent("a/mill1", "b/control", &message(b"other"));
        assert_eq!(checker.findings(), ["a/mill1 sent b/control two messages for one stage"]);
    }

    #[test]
    fn a_blob_that_is_written_over_is_found() {
        let mut checker = Checker::default();
        checker.blob("a", &b"1"[..]);
        checker.blob("b", &b"1"[..]);
        assert!(checker.findings().is_empty());
        checker.blob("a", &b"1"[..]);
        assert_eq!(checker.findings(), ["blob a was written twice"]);
    }
}
