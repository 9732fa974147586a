//! Events that others provoke, counted so that they cannot fill the disk, and so that nobody hides what another does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many events that one party provokes are recorded within [`WINDOW`]; the others are counted.
const LIMIT: u32 = 600;
const WINDOW: Duration = Duration::from_secs(60);

/// How many parties have a limit of their own; more share one.
const MOST_PARTIES: usize = 100;

/// Those who are no known party: whoever has one address or authority can have any number of them, so all have one limit
/// together.
const STRANGERS: [&str; 2] = ["ip:", "akid:"];

/// Those who share a limit because there are too many of them.
const OTHERS: &str = "";

/// What everybody has provoked lately.
#[derive(Debug)]
pub(super) struct Provoked {
    since: Instant,
    /// By the principal of a party, or the beginning of those of strangers.
    by: BTreeMap<String, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    admitted: u32,
    left_out: u64,
}

impl Provoked {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, by: BTreeMap::new() }
    }

    /// Whether what `principal` provokes at `now` is recorded. If not, it is counted.
    pub(super) fn admits(&mut self, principal: &str, now: Instant) -> bool {
        if now.duration_since(self.since) >= WINDOW {
            self.since = now;
            self.by.retain(|_, count| {
                count.admitted = 0;
                count.left_out > 0
            });
        }
        let key = self.key(principal).to_owned();
        let count = self.by.entry(key).or_default();
        let admits = count.admitted < LIMIT;
        if admits {
            count.admitted += 1;
        } else {
            count.left_out += 1;
        }
        admits
    }

    /// Under what the events of `principal` are counted.
    fn key<'p>(&self, principal: &'p str) -> &'p str {
        match STRANGERS.into_iter().find(|strangers| principal.starts_with(strangers)) {
            Some(strangers) => strangers,
            None if self.by.contains_key(principal) || self.by.len() < MOST_PARTIES => principal,
            None => OTHERS,
        }
    }

    /// Somebody whose events were left out since that was last told, and how many they are.
    pub(super) fn left_out(&self) -> Option<(String, u64)> {
        let mut left_out = self.by.iter().filter(|(_, count)| count.left_out > 0);
        left_out.next().map(|(by, count)| (by.clone(), count.left_out))
    }

    /// What was left out of `by` has been told.
    pub(super) fn told(&mut self, by: &str) {
        if let Some(count) = self.by.get_mut(by) {
            count.left_out = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `events` are recorded.
    fn recorded(provoked: &mut Provoked, principal: &str, now: Instant, events: u32) -> u32 {
        (0..events).map(|_| u32::from(provoked.admits(principal, now))).sum()
    }

    #[test]
    fn a_limit_is_for_a_party_and_a_window() {
        let begun = Instant::now();
        let mut provoked = Provoked::new(begun);
        assert_eq!(recorded(&mut provoked, "duchies/worker1", begun, 700), LIMIT);
        assert_eq!(recorded(&mut provoked, "duchies/worker2", begun, 10), 10);
        assert_eq!(provoked.left_out(), Some(("duchies/worker1".to_owned(), 100)));
        let later = begun + WINDOW;
        assert_eq!(recorded(&mut provoked, "duchies/worker1", later, 700), LIMIT);
        assert_eq!(provoked.left_out(), Some(("duchies/worker1".to_owned(), 200)), "none is forgotten");
        provoked.told("duchies/worker1");
        assert_eq!(provoked.left_out(), None);
    }

    #[test]
    fn strangers_have_one_limit_together() {
        let begun = Instant::now();
        for strangers in STRANGERS {
            let mut provoked = Provoked::new(begun);
            let found: u32 = (0..1000)
                .map(|index| recorded(&mut provoked, &format!("{strangers}{index}"), begun, 1))
                .sum();
            assert_eq!(found, LIMIT);
            assert_eq!(provoked.left_out(), Some((strangers.to_owned(), 400)));
        }
    }

    #[test]
    fn any_number_of_parties_has_a_bounded_number_of_records() {
        let begun = Instant::now();
        let mut provoked = Provoked::new(begun);
        for window in 0..3 {
            let now = begun + WINDOW * window;
            let of = |index: u32| format!("dataProviders/{window}-{index}");
            let found: u32 = (0..1000).map(|index| recorded(&mut provoked, &of(index), now, 601)).sum();
            assert_eq!(found, LIMIT * (MOST_PARTIES as u32 + 1), "window {window}");
            assert_eq!(recorded(&mut provoked, "ip:192.0.2.1", now, 1), 1, "strangers have theirs");
            while let Some((by, _)) = provoked.left_out() {
                provoked.told(&by);
            }
        }
    }
}
