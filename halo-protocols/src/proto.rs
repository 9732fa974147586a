//! The upstream messages this crate reads and writes, generated from `proto/` (same packages, names and
//! field numbers as upstream's).

#![allow(missing_docs, unused_qualifications, clippy::all, clippy::unwrap_used, reason = "generated code")]

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub mod wfa {
    pub mod any_sketch {
        include!(concat!(env!("OUT_DIR"), "/wfa.any_sketch.rs"));
        pub mod crypto {
            include!(concat!(env!("OUT_DIR"), "/wfa.any_sketch.crypto.rs"));
        }
    }
    pub mod frequency_count {
        include!(concat!(env!("OUT_DIR"), "/wfa.frequency_count.rs"));
    }
    pub mod measurement {
        pub mod internal {
            pub mod duchy {
                include!(concat!(env!("OUT_DIR"), "/wfa.measurement.internal.duchy.rs"));
                pub mod config {
                    include!(concat!(env!("OUT_DIR"), "/wfa.measurement.internal.duchy.config.rs"));
                }
                pub mod protocol {
                    include!(concat!(env!("OUT_DIR"), "/wfa.measurement.internal.duchy.protocol.rs"));
                }
            }
        }
    }
}

pub use wfa::measurement::internal::duchy;
pub use wfa::measurement::internal::duchy::protocol;
pub use wfa::{any_sketch, frequency_count};

impl fmt::Debug for any_sketch::crypto::ElGamalKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElGamalKeyPair").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

impl fmt::Debug for duchy::ElGamalKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElGamalKeyPair").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

impl fmt::Debug for frequency_count::PrngSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrngSeed").finish_non_exhaustive()
    }
}

/// Messages with a secret are wiped when dropped, and wherever prost clears them.
macro_rules! wiped_on_drop {
    ($($message:ty: $($secret:ident),+;)+) => {$(
        impl Drop for $message {
            fn drop(&mut self) {
                $(self.$secret.zeroize();)+
            }
        }
        impl ZeroizeOnDrop for $message {}
    )+};
}

wiped_on_drop! {
    any_sketch::crypto::ElGamalKeyPair: secret_key;
    duchy::ElGamalKeyPair: secret_key;
    frequency_count::PrngSeed: key, iv;
}
