//! See `halo_fuzz::decode_ciphertexts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| halo_fuzz::decode_ciphertexts(data));
