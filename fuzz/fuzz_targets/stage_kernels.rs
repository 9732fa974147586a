//! See `halo_fuzz::stage_kernels`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halo_fuzz::stage_kernels(data));
