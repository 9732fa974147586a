//! See `halo_fuzz::requisition_shares`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halo_fuzz::requisition_shares(data));
