//! See `halo_fuzz::step_events`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halo_fuzz::step_events(data));
