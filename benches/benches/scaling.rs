//! Whether a stage's cost grows as its sketch does: the first stages from ten thousand registers to three hundred thousand,
//! on one thread and on two. Minutes, so behind the feature `large`.

use std::path::Path;

use halo_benches::computation::Computation;
use halo_benches::results::Recorder;
use halo_benches::stopwatch::{Stopwatch, Unit};
use halo_crypto::P256;
use peak_alloc::PeakAlloc;

const SIZES: [usize; 3] = [10_000, 100_000, 300_000];

/// So that peaks are counted as in `stages`.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    halo_benches::choose_backend()?;
    let mut stopwatch = Stopwatch::from_arguments(Unit::multiplication()?);
    stopwatch.print_heading();
    for count in SIZES {
        Computation::<P256>::new(count)?.run_first_stages(&mut stopwatch)?;
    }
    stopwatch.print_summary();
    stopwatch.print_growth();
    stopwatch.record(&mut Recorder::create(Path::new(env!("CARGO_TARGET_TMPDIR")), "scaling")?)?;
    Ok(())
}
