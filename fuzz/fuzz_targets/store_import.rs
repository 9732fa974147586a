//! See `halo_fuzz::store_import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halo_fuzz::store_import(data));
