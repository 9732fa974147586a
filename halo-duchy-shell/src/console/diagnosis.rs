//! What a computation waits for, and what to do about it.

use super::State;
use super::text::{between, brief, utc};
use crate::clock::Timestamp;
use crate::protocol_stages::Protocol;
use crate::store::{BlobDependency, Record};

/// Requisitions and duchies that are named; of more the number is told.
const MOST_NAMED: usize = 10;

/// What a computation waits for, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What has to happen for it to go on.
    pub waits_for: String,
    /// What an operator can do.
    pub next: String,
}

impl Diagnosis {
    /// Of a computation at `now`. Without the duchy's own id the duchies that it waits for are not known.
    pub fn of(record: &Record, duchy: Option<&str>, now: Timestamp) -> Self {
        let id = &record.global_id;
        let mills = mills(record.stage.protocol());
        let until = record.lock_expiration.unwrap_or_default();
        let owner = record.lock_owner.as_deref().unwrap_or_default();
        let (waits_for, next) = match State::of(record, now) {
            State::Queued => (
                format!("a mill to claim it, for {}", brief(between(until, now))),
                format!(
                    "If that is long: is there a mill of this protocol ({mills}), does it reach the internal API, does its \
                     log tell of claims that fail, is it busy with older computations?"
                ),
            ),
            State::Delayed => (
                format!("its next attempt, from {} on (in {})", utc(until), brief(between(now, until))),
                format!(
                    "Mend what the last error names. `halo-duchy computations retry {id}` lets a mill try again at once. \
                     When the mills' --max-stage-attempts are used up, the computation fails."
                ),
            ),
            State::Running => (
                format!("the mill {owner}, whose lease lasts until {} unless it is extended", utc(until)),
                format!(
                    "Nothing, as long as the lease is extended. If that mill hangs: stop it, and another one goes on when \
                     the lease has run out; or `halo-duchy computations retry --force {id}`, which takes the work from it."
                ),
            ),
            State::Expired => (
                format!("a mill to take over: the lease of {owner} ran out at {}", utc(until)),
                format!(
                    "Why did {owner} not extend it? It was killed (memory?), or does not reach the internal API. Any mill of \
                     this protocol ({mills}) takes over by itself."
                ),
            ),
            State::Waiting => waiting(record, duchy),
            State::Succeeded => ("nothing: it is done".to_owned(), "Nothing.".to_owned()),
            State::Failed => (
                "nothing: it has failed".to_owned(),
                "Mend what the last error names; the measurement has to be asked for again. If there is none, another \
                 duchy or the Kingdom failed it: the Kingdom's log entries of the computation say who."
                    .to_owned(),
            ),
            State::Canceled => ("nothing: the Kingdom has cancelled it".to_owned(), "Nothing.".to_owned()),
        };
        Self { waits_for, next }
    }
}

/// The subcommands that run mills of a protocol.
const fn mills(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::LiquidLegionsV2 | Protocol::ReachOnlyLiquidLegionsV2 => "llv2-mill or serve",
        Protocol::HonestMajorityShareShuffle => "hmss-mill or serve",
    }
}

fn waiting(record: &Record, duchy: Option<&str>) -> (String, String) {
    if record.stage.takes_requisitions() {
        let here = |fulfilling: &Option<String>| match (fulfilling, duchy) {
            (Some(fulfilling), Some(duchy)) => fulfilling == duchy,
            _ => true,
        };
        let missing =
            record.requisitions.iter().filter(|one| one.path.is_none() && here(&one.fulfilling_duchy));
        let missing: Vec<_> = missing.map(|one| one.id.as_str()).collect();
        if !missing.is_empty() {
            return (
                format!("data of data providers for the requisitions {}", named(&missing)),
                "Ask the data providers of these requisitions, or the Kingdom whether they have refused. If they say that \
                 they have sent it: the log of requisition-fulfillment-server and its rejections. Data that belongs to \
                 other duchies does not come here."
                    .to_owned(),
            );
        }
    }
    let blobs = record.current().map(|current| current.blobs.as_slice()).unwrap_or_default();
    let outputs = blobs.iter().filter(|blob| blob.dependency == BlobDependency::Output);
    let empty: Vec<usize> =
        outputs.zip(0..).filter(|(blob, _)| blob.path.is_none()).map(|(_, slot)| slot).collect();
    if empty.is_empty() {
        return (
            "the Kingdom's word to go on".to_owned(),
            "Is the herald running, does it reach the Kingdom, does its log tell of this computation? Other duchies may \
             not have confirmed yet: the Kingdom knows."
                .to_owned(),
        );
    }
    let senders =
        duchy.and_then(|duchy| record.stage.senders(&record.details, duchy).ok()).unwrap_or_default();
    let senders: Vec<_> = empty.iter().filter_map(|slot| senders.get(*slot).copied()).collect();
    let from = match senders.as_slice() {
        [] => "other duchies".to_owned(),
        senders => named(senders),
    };
    (
        format!("{} message(s) of {from}", empty.len()),
        format!(
            "Ask the operator of {from} where the computation is there. If it is ahead: the log of \
             computation-control-server here, certificates, and --duchy-computation-control-target there."
        ),
    )
}

/// The first of some names, and how many more there are.
fn named(names: &[&str]) -> String {
    let first: Vec<_> = names.iter().take(MOST_NAMED).copied().collect();
    match names.len().saturating_sub(MOST_NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
