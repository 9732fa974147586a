//! Work split over fixed-size chunks: the same output at any number of threads.
//!
//! A kernel takes an [`Executor`]: a thread pool (or none), a cancel flag and counters of its progress. It never uses
//! rayon's global pool. Randomness is derived per chunk index (see [`StreamSeed`](crate::prg::StreamSeed)), never
//! per thread.

use core::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool, AtomicU64};

use rayon::prelude::*;

/// Records handed to one task. Large enough that batch inversion pays, small enough that a chunk's scratch space, about a
/// kilobyte a point, stays in the second-level cache or just beyond it.
pub const CHUNK: usize = 1024;

/// Where and under whose control a kernel runs.
#[derive(Clone, Default)]
pub struct Executor {
    pool: Option<Arc<rayon::ThreadPool>>,
    control: Control,
}

/// A way to stop a running kernel and to watch it. Clones share it.
#[derive(Clone, Default)]
pub struct Control(Arc<State>);

#[derive(Default)]
struct State {
    cancelled: AtomicBool,
    /// Records finished, over all steps.
    done: AtomicU64,
    steps: AtomicU64,
    /// What was done when the current step began.
    before: AtomicU64,
    /// Records of the current step.
    total: AtomicU64,
}

/// How far a kernel is. A kernel goes through its records several times; each time is a step. How many there will be is
/// known to nobody before, since some depend on what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of the current step, from 1; 0 before the first.
    pub step: u64,
    /// Records finished in it, at most `total`.
    pub done: u64,
    /// Records that it has.
    pub total: u64,
}

/// The work was cancelled through its [`Control`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was cancelled")]
pub struct Cancelled;

impl Control {
    /// Asks the kernel to stop; it answers [`Cancelled`] at its next chunk.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, atomic::Ordering::Relaxed);
    }

    /// Whether [`Control::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(atomic::Ordering::Relaxed)
    }

    /// Records finished so far, over all steps of the kernel.
    pub fn done(&self) -> u64 {
        self.0.done.load(atomic::Ordering::Relaxed)
    }

    /// How far the current step is. Read while the kernel goes on to its next step, it may be of neither.
    pub fn progress(&self) -> Progress {
        let load = |value: &AtomicU64| value.load(atomic::Ordering::Relaxed);
        let total = load(&self.0.total);
        let done = self.done().saturating_sub(load(&self.0.before)).min(total);
        Progress { step: load(&self.0.steps), done, total }
    }

    fn advance(&self, records: usize) {
        self.0.done.fetch_add(records as u64, atomic::Ordering::Relaxed);
    }
}

impl core::fmt::Debug for Executor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Executor").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

impl Executor {
    /// Runs on the calling thread.
    pub fn serial() -> Self {
        Self::default()
    }

    /// Runs on `pool`.
    pub fn on(pool: Arc<rayon::ThreadPool>) -> Self {
        Self { pool: Some(pool), control: Control::default() }
    }

    /// The same executor under `control`.
    #[must_use]
    pub fn with_control(mut self, control: Control) -> Self {
        self.control = control;
        self
    }

    /// The control of what runs here.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// How many threads work at once.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// Begins a step over `records`; [`Self::for_each_chunk`] does so by itself.
    pub fn begin(&self, records: usize) {
        let Control(state) = &self.control;
        state.before.store(self.control.done(), atomic::Ordering::Relaxed);
        state.total.store(records as u64, atomic::Ordering::Relaxed);
        state.steps.fetch_add(1, atomic::Ordering::Relaxed);
    }

    /// Counts `records` that were finished on the calling thread, for work that has an order.
    ///
    /// # Errors
    /// [`Cancelled`] if the work was cancelled.
    pub fn advance(&self, records: usize) -> Result<(), Cancelled> {
        if self.control.is_cancelled() {
            return Err(Cancelled);
        }
        self.control.advance(records);
        Ok(())
    }

    /// Sorts `items`. Among items that compare as equal the order depends on the number of threads, so they must be
    /// interchangeable.
    pub fn sort_unstable_by<T: Send>(&self, items: &mut [T], compare: impl Fn(&T, &T) -> Ordering + Sync) {
        match &self.pool {
            None => items.sort_unstable_by(compare),
            Some(pool) => pool.install(|| items.par_sort_unstable_by(&compare)),
        }
    }

    /// Does two things that do not depend on each other, at once if there is a second thread, else one after the other.
    pub fn join<A: Send, B: Send>(
        &self,
        first: impl FnOnce() -> A + Send,
        second: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        match &self.pool {
            None => (first(), second()),
            Some(pool) => pool.join(first, second),
        }
    }

    /// Calls `work(part index, part)` for every part of `size` items, of which the last may have less.
    pub fn for_each_part<T: Send>(
        &self,
        items: &mut [T],
        size: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        match &self.pool {
            None => items.chunks_mut(size).enumerate().for_each(|(index, part)| work(index, part)),
            Some(pool) => pool.install(|| {
                items.par_chunks_mut(size).enumerate().for_each(|(index, part)| work(index, part));
            }),
        }
    }

    /// Calls `work(chunk index, chunk of input, chunk of output)` for every chunk of [`CHUNK`] records, where a
    /// record is `input_size` items of `input` and `output_size` items of `output`.
    ///
    /// # Errors
    /// The error of the lowest-numbered chunk that failed, so that an error does not depend on the number of
    /// threads; [`Cancelled`] (through `E`) if the work was cancelled.
    ///
    /// # Panics
    /// If the slices do not hold the same number of records.
    pub fn for_each_chunk<I, O, E, F>(
        &self,
        input: &[I],
        input_size: usize,
        output: &mut [O],
        output_size: usize,
        work: F,
    ) -> Result<(), E>
    where
        I: Sync,
        O: Send,
        E: Send + From<Cancelled>,
        F: Fn(usize, &[I], &mut [O]) -> Result<(), E> + Sync,
    {
        assert_eq!(input.len() * output_size, output.len() * input_size, "as many records out as in");
        self.begin(input.len() / input_size);
        let run = |index: usize, input: &[I], output: &mut [O]| {
            if self.control.is_cancelled() {
                return Err((index, E::from(Cancelled)));
            }
            work(index, input, output).map_err(|error| (index, error))?;
            self.control.advance(input.len() / input_size);
            Ok(())
        };
        let failures = match &self.pool {
            None => input
                .chunks(CHUNK * input_size)
                .zip(output.chunks_mut(CHUNK * output_size))
                .enumerate()
                .try_for_each(|(index, (input, output))| run(index, input, output))
                .err(),
            Some(pool) => pool.install(|| {
                input
                    .par_chunks(CHUNK * input_size)
                    .zip(output.par_chunks_mut(CHUNK * output_size))
                    .enumerate()
                    .filter_map(|(index, (input, output))| run(index, input, output).err())
                    .min_by_key(|(index, _)| *index)
            }),
        };
        failures.map_or(Ok(()), |(_, error)| Err(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubled(executor: &Executor) -> Result<Vec<u32>, Cancelled> {
        let input: Vec<u32> = (0..5000).collect();
        let mut output = vec![0; input.len()];
        executor.for_each_chunk(&input, 1, &mut output, 1, |_, input, output| {
            for (out, value) in output.iter_mut().zip(input) {
                *out = value * 2;
            }
            Ok(())
        })?;
        Ok(output)
    }

    #[test]
    fn output_does_not_depend_on_threads() -> Result<(), Box<dyn std::error::Error>> {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build()?);
        assert_eq!(doubled(&Executor::serial())?, doubled(&Executor::on(pool))?);
        Ok(())
    }

    #[test]
    fn sorting_does_not_depend_on_threads() -> Result<(), Box<dyn std::error::Error>> {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build()?);
        for executor in [Executor::serial(), Executor::on(pool)] {
            let mut items: Vec<u32> = (0..10_000).map(|index| index * 7_919 % 10_007).collect();
            executor.sort_unstable_by(&mut items, |left, right| right.cmp(left));
            assert!(items.is_sorted_by(|left, right| left > right));
        }
        Ok(())
    }

    #[test]
    fn the_first_chunk_that_fails_is_reported() -> Result<(), Box<dyn std::error::Error>> {
        #[derive(Debug, PartialEq)]
        struct Failed(usize);
        impl From<Cancelled> for Failed {
            fn from(_: Cancelled) -> Self {
                Self(usize::MAX)
            }
        }
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build()?);
        for executor in [Executor::serial(), Executor::on(pool)] {
            let outcome =
                executor.for_each_chunk(&[0; 20 * CHUNK], 1, &mut [0; 20 * CHUNK], 1, |index, _, _| {
                    if index % 7 == 5 { Err(Failed(index)) } else { Ok(()) }
                });
            assert_eq!(outcome, Err(Failed(5)));
        }
        Ok(())
    }

    #[test]
    fn a_cancelled_kernel_stops() {
        let executor = Executor::serial();
        executor.control().cancel();
        assert_eq!(doubled(&executor), Err(Cancelled));
        assert_eq!(executor.advance(1), Err(Cancelled));
        assert_eq!(executor.control().done(), 0);
    }

    #[test]
    fn steps_are_told_apart() -> Result<(), Cancelled> {
        let executor = Executor::serial();
        let control = executor.control().clone();
        assert_eq!(control.progress(), Progress::default());
        executor.begin(300);
        executor.advance(100)?;
        assert_eq!(control.progress(), Progress { step: 1, done: 100, total: 300 });
        doubled(&executor)?;
        assert_eq!(control.progress(), Progress { step: 2, done: 5000, total: 5000 });
        assert_eq!(control.done(), 5100);
        // Whoever counts more than was expected is not ahead of the end.
        executor.advance(1)?;
        assert_eq!(control.progress().done, 5000);
        Ok(())
    }
}
