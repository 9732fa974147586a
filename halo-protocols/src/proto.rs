//! The upstream messages this crate reads and writes, generated from `proto/` (same packages, names and
//! field numbers as upstream's).

#![allow(missing_docs, unused_qualifications, clippy::all, clippy::unwrap_used, reason = "generated code")]

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use protocol::complete_shuffle_phase_request::frequency_vector_share::ShareType;
use protocol::honest_majority_share_shuffle as share_shuffle;

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

impl fmt::Debug for protocol::CompleteShufflePhaseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompleteShufflePhaseRequest")
            .field("frequency_vector_params", &self.frequency_vector_params)
            .field("order", &self.order)
            .field("shares", &self.frequency_vector_shares.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for share_shuffle::ComputationDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputationDetails")
            .field("role", &self.role)
            .field("parameters", &self.parameters)
            .field("non_aggregators", &self.non_aggregators)
            .field("encryption_key_pair", &self.encryption_key_pair)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for share_shuffle::computation_details::Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameters")
            .field("maximum_frequency", &self.maximum_frequency)
            .field("ring_modulus", &self.ring_modulus)
            .field("reach_dp_params", &self.reach_dp_params)
            .field("frequency_dp_params", &self.frequency_dp_params)
            .field("noise_mechanism", &self.noise_mechanism)
            .finish()
    }
}

impl fmt::Debug for share_shuffle::shuffle_phase_input::SecretSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSeed")
            .field("requisition_id", &self.requisition_id)
            .field("register_count", &self.register_count)
            .field("data_provider_certificate", &self.data_provider_certificate)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for share_shuffle::ShufflePhaseInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShufflePhaseInput").field("secret_seeds", &self.secret_seeds).finish_non_exhaustive()
    }
}

impl Zeroize for ShareType {
    fn zeroize(&mut self) {
        match self {
            Self::Data(data) => data.values.zeroize(),
            Self::Seed(seed) => seed.zeroize(),
        }
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
    protocol::CompleteShufflePhaseRequest: common_random_seed;
    protocol::complete_shuffle_phase_request::FrequencyVectorShare: share_type;
    share_shuffle::ComputationDetails: random_seed;
    share_shuffle::ShufflePhaseInput: peer_random_seed;
}

#[cfg(test)]
mod tests {
    use super::protocol::complete_shuffle_phase_request::frequency_vector_share::ShareData;
    use super::*;

    #[test]
    fn shares_are_wiped_in_either_form() {
        fn is_wiped<T: ZeroizeOnDrop>() {}
        is_wiped::<protocol::complete_shuffle_phase_request::FrequencyVectorShare>();
        let wiped = |mut share: ShareType| {
            share.zeroize();
            share
        };
        let data = |values| ShareType::Data(ShareData { values });
        assert!(wiped(data(vec![213])) == data(Vec::new()));
        assert!(wiped(ShareType::Seed(vec![213; 48])) == ShareType::Seed(Vec::new()));
    }
}
