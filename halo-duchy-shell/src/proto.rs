//! The upstream services and messages, generated from `proto/wfa` (same packages, names and field numbers as
//! upstream's), and the development Kingdom's own service, from `proto/halo`. Messages of the protocols themselves come
//! from [`halo_protocols::proto`].

#![allow(missing_docs, unused_qualifications, clippy::all, clippy::unwrap_used, reason = "generated code")]

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

pub mod wfa {
    pub mod measurement {
        pub mod api {
            pub mod v2alpha {
                tonic::include_proto!("wfa.measurement.api.v2alpha");
            }
        }
        pub mod config {
            tonic::include_proto!("wfa.measurement.config");
        }
        pub mod internal {
            pub mod duchy {
                tonic::include_proto!("wfa.measurement.internal.duchy");
            }
        }
        pub mod system {
            pub mod v1alpha {
                tonic::include_proto!("wfa.measurement.system.v1alpha");
            }
        }
    }
}

pub mod halo {
    pub mod dev {
        pub mod kingdom {
            pub mod v1 {
                tonic::include_proto!("halo.dev.kingdom.v1");
            }
        }
    }
}

pub mod google {
    pub mod r#type {
        tonic::include_proto!("google.r#type");
    }
}

pub use halo::dev::kingdom::v1 as dev_kingdom;
pub use wfa::measurement::api::v2alpha as api;
pub use wfa::measurement::config;
pub use wfa::measurement::internal::duchy as internal;
pub use wfa::measurement::system::v1alpha as system;

/// The serialised `FileDescriptorSet` of everything in `proto/` and what it imports.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

/// The same, to look up messages and services by name.
pub(crate) static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap_or_default());
