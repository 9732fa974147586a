//! See `halo_fuzz::decode_point`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halo_fuzz::decode_point(data));
