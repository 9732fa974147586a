//! See `halo_fuzz::plain_sketch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halo_fuzz::plain_sketch(data));
