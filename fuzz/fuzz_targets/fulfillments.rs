//! See `halo_fuzz::fulfillments`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halo_fuzz::fulfillments(data));
