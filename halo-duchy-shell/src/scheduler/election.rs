//! Who leads, by a Lease (`coordination.k8s.io`), as the control plane's own processes do it: a lease is another's for as
//! long as it is renewed, and time passes by one's own clock since it was last seen to change. Decisions, without effects.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff;
use tokio::time::Instant;

/// The part of a lease's duration for which its holder counts on it. The rest is for what is under way when it ends.
const HELD: f64 = 2.0 / 3.0;

/// One candidate's view.
#[derive(Clone, Debug)]
pub(super) struct Election {
    identity: String,
    duration: Duration,
    /// The Lease that was last seen, by its version, and when it was first seen.
    seen: Option<(String, Instant)>,
}

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Create it.
    Create(Lease),
    /// Replace it. The server refuses if it has changed meanwhile.
    Replace(Lease),
    /// Look again later: it is another's.
    Wait,
}

impl Election {
    /// A candidate, whose name nobody else has, for leases of `duration`.
    pub(super) fn new(identity: String, duration: Duration) -> Self {
        Self { identity, duration, seen: None }
    }

    /// How long after a request that took or renewed it was begun the lease is held.
    pub(super) fn held(&self) -> Duration {
        self.duration.mul_f64(HELD)
    }

    /// What to do at `now`, at which the Lease `name` is `found` by this process and has the time `stamp`.
    pub(super) fn step(
        &mut self,
        name: &str,
        found: Option<&Lease>,
        now: Instant,
        stamp: jiff::Timestamp,
    ) -> Step {
        let Some(lease) = found else {
            let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
            return Step::Create(Lease { metadata, spec: Some(self.spec(None, stamp)) });
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        let lasts = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        let ended = now.saturating_duration_since(since) >= Duration::from_secs(lasts);
        if holder == self.identity || holder.is_empty() || ended {
            Step::Replace(Lease { spec: Some(self.spec(Some(&spec), stamp)), ..lease.clone() })
        } else {
            Step::Wait
        }
    }

    /// The Lease `found`, given up, if it is ours.
    pub(super) fn release(&self, found: &Lease) -> Option<Lease> {
        let spec =
            found.spec.clone().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))?;
        let spec = Some(LeaseSpec { holder_identity: None, ..spec });
        Some(Lease { spec, ..found.clone() })
    }

    /// What the Lease says once it is ours.
    fn spec(&self, before: Option<&LeaseSpec>, stamp: jiff::Timestamp) -> LeaseSpec {
        let ours = before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        let seconds = self.duration.as_secs_f64().ceil();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds as i32),
            acquire_time: before
                .filter(|_| ours)
                .map_or(Some(MicroTime(stamp)), |spec| spec.acquire_time.clone()),
            renew_time: Some(MicroTime(stamp)),
            lease_transitions: Some(transitions.saturating_add(i32::from(before.is_some() && !ours))),
            ..LeaseSpec::default()
        }
    }
}

#[cfg(test)]
mod tests;
