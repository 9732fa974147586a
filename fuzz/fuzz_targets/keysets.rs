//! See `halo_fuzz::keysets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halo_fuzz::keysets(data));
