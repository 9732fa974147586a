//! Attacks on a running system: a Kingdom, three duchies and their data providers on loopback over mutual TLS, with
//! the certificates, ports and limits that they have in a demo.
//!
//! Each attack is made before data is there, between requisitions and while the duchies compute; it is answered with the
//! status that the service promises, and the honest parties still measure what they measure undisturbed. The
//! services' own tests (`mutual_tls`, `requisition_fulfillment`, `services`) look at each refusal more closely.

mod callers;
mod corruption;
mod fulfillment;
mod peers;
mod relay;
mod retries;
mod shares;
mod strangers;
mod wire;
mod world;
