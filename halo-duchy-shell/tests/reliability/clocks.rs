//! Clocks that jump, as those of several servers of one database do: what is claimed, given back and written in the time of
//! one is looked at in the time of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use halo_duchy_shell::clock::{Clock, SystemClock, Timestamp};
use halo_duchy_shell::trial::Surroundings;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::network::assert_same;
use crate::world::World;

/// The farthest that a clock is off, in milliseconds.
const FARTHEST: u64 = 5000;

/// The system's clock, some milliseconds off.
#[derive(Debug, Default)]
struct Off(AtomicI64);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().millis() + self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duchies_live_with_clocks_that_jump() {
    const SEED: u64 = 7;
    let clock = Arc::new(Off::default());
    // Shorter than a jump: a lease may end before its time, and somebody else, or the same mill, takes the work.
    let lock_duration = Duration::from_secs(3);
    let surroundings =
        Surroundings { clock: Arc::clone(&clock) as _, lock_duration, ..Surroundings::default() };
    let world = World::start_in(&surroundings, |_| ()).await;
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    let jumps = async {
        for _ in 0..20 {
            let off = (rng.next_u64() % (2 * FARTHEST)).cast_signed() - FARTHEST.cast_signed();
            clock.0.store(off, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    tokio::join!(assert_same(&world, "clocks that jump"), jumps);
    world.stop().await;
}
