//! What the machine gives: the time, randomness, and threads for work that would hold up the tasks of this one.
//!
//! Whatever can change what a duchy does asks here and nowhere else, so that the simulation (`simulation`, in test builds)
//! can put itself in the machine's place on its own thread and repeat a run to the last event.

use std::time::SystemTime;

use tokio::task::JoinError;

/// The time now.
pub(crate) fn time() -> SystemTime {
    #[cfg(test)]
    if let Some(time) = simulated::time() {
        return time;
    }
    SystemTime::now()
}

/// Fills `bytes` with randomness.
///
/// # Errors
/// If the operating system has none to give.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(test)]
    if simulated::fill(bytes) {
        return Ok(());
    }
    getrandom::fill(bytes)
}

/// 32 random bits.
///
/// # Errors
/// As [`fill`].
pub(crate) fn random_u32() -> Result<u32, getrandom::Error> {
    let mut bytes = [0; 4];
    fill(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

/// 64 random bits.
///
/// # Errors
/// As [`fill`].
pub(crate) fn random_u64() -> Result<u64, getrandom::Error> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Does `work` on a thread that may be blocked.
///
/// # Errors
/// If it panics, or the runtime goes down first.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, JoinError>> + Send + Unpin {
    #[cfg(test)]
    {
        use futures::future::{Either, ready};
        if simulated::is_on() {
            return Either::Left(ready(Ok(work())));
        }
        Either::Right(tokio::task::spawn_blocking(work))
    }
    #[cfg(not(test))]
    tokio::task::spawn_blocking(work)
}

/// A machine whose time is the runtime's, whose randomness comes from a seed, and which has one thread.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::RefCell;
    use std::time::SystemTime;

    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};
    use tokio::time::Instant;

    struct Machine {
        epoch: SystemTime,
        started: Instant,
        rng: ChaCha20Rng,
    }

    thread_local! {
        static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
    }

    /// For as long as this lives, the thread is on the simulated machine.
    pub(crate) struct Simulated(());

    /// Puts the thread on a machine where it is `epoch` now. To be called in a runtime.
    pub(crate) fn simulate(epoch: SystemTime, seed: [u8; 32]) -> Simulated {
        let machine = Machine { epoch, started: Instant::now(), rng: ChaCha20Rng::from_seed(seed) };
        MACHINE.with_borrow_mut(|current| *current = Some(machine));
        Simulated(())
    }

    impl Drop for Simulated {
        fn drop(&mut self) {
            MACHINE.with_borrow_mut(|current| *current = None);
        }
    }

    pub(super) fn is_on() -> bool {
        MACHINE.with_borrow(Option::is_some)
    }

    pub(super) fn time() -> Option<SystemTime> {
        MACHINE.with_borrow(|machine| Some(machine.as_ref()?.epoch + machine.as_ref()?.started.elapsed()))
    }

    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        MACHINE.with_borrow_mut(|machine| {
            machine.as_mut().map(|machine| machine.rng.fill_bytes(bytes)).is_some()
        })
    }
}
