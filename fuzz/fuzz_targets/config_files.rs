//! See `halo_fuzz::config_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halo_fuzz::config_files(data));
