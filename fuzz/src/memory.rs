use halo_crypto::{Group, P256, Ristretto255};
use peak_alloc::PeakAlloc;

/// Counts what every target and the replay hold.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// What a decoder may hold for an input of any length: buffers, messages of errors.
const CONSTANT: usize = 1 << 20;

/// What `decode` gives. Panics if it ever held more than `per_byte` bytes for each of the `length` bytes that it reads, and
/// a megabyte.
pub(crate) fn bounded<T>(length: usize, per_byte: usize, decode: impl FnOnce() -> T) -> T {
    // Tables that are made at the first use and kept.
    P256::fixed_generator();
    Ristretto255::fixed_generator();
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let decoded = decode();
    let held = ALLOCATED.peak_usage().saturating_sub(before);
    assert!(held <= CONSTANT + per_byte * length, "{held} bytes held for {length} bytes read");
    decoded
}
