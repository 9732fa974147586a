//! Time that threads spent on processors.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The processor time of the calling thread since it began.
pub fn of_this_thread() -> Duration {
    of(ClockId::ThreadCPUTime)
}

/// The processor time of all threads of this process since it began.
#[cfg(test)]
pub fn of_this_process() -> Duration {
    of(ClockId::ProcessCPUTime)
}

fn of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The id of the calling thread, by which [`PoolMeter`] finds it.
pub fn this_thread() -> i32 {
    rustix::thread::gettid().as_raw_pid()
}

/// Shares the processor time of a pool's threads among the tasks that use it. A task that has the pool for itself is
/// charged exactly what the pool spent; tasks at the same time are charged equal parts, for the threads work on all of
/// them.
#[derive(Debug, Default)]
pub struct PoolMeter {
    threads: Mutex<Vec<i32>>,
    shares: Mutex<Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    /// What the threads had spent when somebody last began or ended.
    spent: Duration,
    /// What each of those that use the pool would have been charged, had it used it from the beginning.
    each: Duration,
    users: u32,
}

impl Shares {
    fn settle(&mut self, spent: Duration) {
        if self.users > 0 {
            self.each += spent.saturating_sub(self.spent) / self.users;
        }
        self.spent = spent;
    }
}

impl PoolMeter {
    /// Counts a thread of the pool; called by [`rayon::ThreadPoolBuilder::start_handler`] with [`this_thread`].
    pub fn add(&self, thread: i32) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    /// What `task` gives, and the processor time of the calling thread and of the pool for it.
    pub fn measure<T>(&self, task: impl FnOnce() -> T) -> (T, Duration) {
        let own = of_this_thread();
        let before = self.settle(|users| users + 1);
        // A task that panics must not count as a user for ever.
        let output = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task));
        let pool = self.settle(|users| users.saturating_sub(1)).saturating_sub(before);
        let spent = of_this_thread().saturating_sub(own) + pool;
        match output {
            Ok(output) => (output, spent),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn settle(&self, users: impl FnOnce(u32) -> u32) -> Duration {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that what was spent does not seem to shrink.
        shares.settle(threads.into_iter().map(of_thread).sum());
        shares.users = users(shares.users);
        shares.each
    }
}

/// The processor time of a thread of this process; nothing where Linux's `/proc` is not mounted.
fn of_thread(thread: i32) -> Duration {
    let folder = format!("/proc/self/task/{thread}");
    let text = |file: &str| std::fs::read_to_string(format!("{folder}/{file}")).unwrap_or_default();
    // In nanoseconds, where the kernel keeps them.
    let nanoseconds = text("schedstat").split_whitespace().next().and_then(|text| text.parse().ok());
    nanoseconds.map(Duration::from_nanos).or_else(|| in_ticks(&text("stat"))).unwrap_or_default()
}

/// User and system time, fields 14 and 15 of `stat`. The second field is a name in parentheses that may hold anything.
fn in_ticks(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let ticks = next()?.checked_add(next()?)?;
    let per_second = 100; // USER_HZ, which is the same on every architecture that Linux still runs on
    Some(Duration::from_millis(ticks.checked_mul(1000 / per_second)?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn burn(for_at_least: Duration) {
        let begun = of_this_thread();
        while of_this_thread() - begun < for_at_least {
            std::hint::black_box(0u64);
        }
    }

    #[test]
    fn a_pool_is_charged_to_its_user() {
        let meter = Arc::new(PoolMeter::default());
        let counted = Arc::clone(&meter);
        let builder = rayon::ThreadPoolBuilder::new().num_threads(2);
        let pool = builder.start_handler(move |_| counted.add(this_thread())).build().expect("threads");
        // Every thread has begun, and is counted, once it has run something.
        pool.broadcast(|_| ());
        let work = Duration::from_millis(30);
        let ((), spent) = meter.measure(|| {
            burn(work);
            pool.broadcast(|_| burn(work));
        });
        assert!(spent >= work * 3 - Duration::from_millis(10), "{spent:?}");
        assert!(spent < work * 9, "{spent:?}");
        let ((), idle) = meter.measure(|| std::thread::sleep(work));
        assert!(idle < work, "{idle:?}");
    }

    #[test]
    fn users_at_the_same_time_share() {
        let mut shares = Shares { users: 1, ..Shares::default() };
        shares.settle(Duration::from_secs(4));
        shares.users = 2;
        shares.settle(Duration::from_secs(10));
        assert_eq!(shares.each, Duration::from_secs(4 + 3));
    }

    #[test]
    fn ticks_are_behind_the_name() {
        let stat = "7 (a) b 1) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0";
        assert_eq!(in_ticks(stat), Some(Duration::from_secs(3)));
        assert_eq!(in_ticks("7 (a"), None);
        assert_eq!(in_ticks(""), None);
    }
}
