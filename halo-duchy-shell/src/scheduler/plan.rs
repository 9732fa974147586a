//! What is to be done, by what is seen: a function of the Jobs found, the limits and the time, without effects.

use std::collections::BTreeSet;
use std::time::Duration;

use super::MillType;
use super::job::{JobState, ObservedJob};
use crate::clock::Timestamp;
use crate::retry::Backoff;

/// How many ended Jobs of each type of mill are kept, for people to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Of those that ended well.
    pub successful: usize,
    /// Of those that failed.
    pub failed: usize,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// Jobs that may be created for each of [`MillType::ALL`].
    pub vacancies: [usize; 2],
    /// Jobs to delete, oldest first.
    pub delete: Vec<&'a ObservedJob>,
    /// Jobs to make ours.
    pub adopt: Vec<&'a ObservedJob>,
}

/// What is to be done with `jobs`, of which those of each of [`MillType::ALL`] may be `concurrency` at once.
pub(super) fn plan(jobs: &[ObservedJob], concurrency: [usize; 2], history: HistoryLimits) -> Plan<'_> {
    let vacancies = std::array::from_fn(|index| {
        let unfinished =
            jobs.iter().filter(|job| job.mill_type == MillType::ALL[index] && job.is_unfinished());
        concurrency[index].saturating_sub(unfinished.count())
    });
    let mut delete = Vec::new();
    for mill_type in MillType::ALL {
        let of_type = || jobs.iter().filter(move |job| job.mill_type == mill_type && !job.going);
        let succeeded = of_type().filter_map(|job| match job.state {
            JobState::Succeeded(at) => Some((at, job)),
            _ => None,
        });
        let failed = of_type().filter_map(|job| match job.state {
            JobState::Failed(at) => Some((at, job)),
            _ => None,
        });
        delete.extend(beyond(history.successful, succeeded));
        delete.extend(beyond(history.failed, failed));
    }
    let adopt = jobs.iter().filter(|job| job.orphan && !job.going && !delete.contains(job)).collect();
    Plan { vacancies, delete, adopt }
}

/// All but the newest `limit`, oldest first.
fn beyond<'a>(
    limit: usize,
    ended: impl Iterator<Item = (Timestamp, &'a ObservedJob)>,
) -> impl Iterator<Item = &'a ObservedJob> {
    let mut ended: Vec<_> = ended.collect();
    ended.sort_by(|(at, job), (other_at, other)| (at, &job.name).cmp(&(other_at, &other.name)));
    let surplus = ended.len().saturating_sub(limit);
    ended.into_iter().take(surplus).map(|(_, job)| job)
}

impl ObservedJob {
    /// Whether its mill may be working.
    pub(super) fn is_unfinished(&self) -> bool {
        self.state == JobState::Unfinished
    }
}

/// Holds new Jobs of a type back while those before failed: each failure costs a computation an attempt, of which it has
/// ten.
#[derive(Clone, Debug)]
pub(super) struct Failures {
    shortest: Duration,
    longest: Duration,
    /// Ended Jobs that have been counted, of those that are still there.
    counted: BTreeSet<String>,
    streaks: [Streak; 2],
}

/// The failures since the last success.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    failures: u32,
    until: Timestamp,
}

impl Failures {
    /// None yet. A first failure holds Jobs back for `shortest`, each further one twice as long, at most `longest`.
    pub(super) fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, counted: BTreeSet::new(), streaks: Default::default() }
    }

    /// Counts the `jobs` that have ended since the last time, and gives them.
    pub(super) fn observe<'a>(&mut self, jobs: &'a [ObservedJob], now: Timestamp) -> Vec<&'a ObservedJob> {
        let mut ended: Vec<(Timestamp, &ObservedJob)> = jobs
            .iter()
            .filter_map(|job| match job.state {
                JobState::Succeeded(at) | JobState::Failed(at) => Some((at, job)),
                JobState::Unfinished => None,
            })
            .collect();
        ended.sort_by_key(|(at, _)| *at);
        let there = ended.iter().map(|(_, job)| job.uid.clone()).collect();
        ended.retain(|(_, job)| !self.counted.contains(&job.uid));
        self.counted = there;
        for (at, job) in &ended {
            let streak = &mut self.streaks[job.mill_type as usize];
            if matches!(job.state, JobState::Failed(_)) {
                streak.failures += 1;
                let pause = Backoff::new(self.shortest, 2.0, self.longest).unspread(streak.failures);
                // The cluster's clock may be before ours.
                streak.until = (*at).min(now) + pause;
            } else {
                *streak = Streak::default();
            }
        }
        ended.into_iter().map(|(_, job)| job).collect()
    }

    /// Whether Jobs of the type may be created.
    pub(super) fn allow(&self, mill_type: MillType, now: Timestamp) -> bool {
        let until = self.streaks[mill_type as usize].until;
        // Further away than any pause it is only where the clock was set back.
        until <= now || until > now + self.longest
    }
}

#[cfg(test)]
mod tests;
