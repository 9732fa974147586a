//! Liquid Legions v2 inside another service: three duchies as threads that hand their bytes over by channels. The state
//! machine's host is [`halo_examples::llv2_host`]; this is all that a transport has to do.
//!
//! ```text
//! cargo run --release --example embed_llv2
//! ```

use halo_examples::llv2_host::{AnyError, Inbox, PeerMail, Transport, measure_by, print};
use halo_protocols::DuchyId;

/// Every duchy's inbox.
struct Channels(Vec<(DuchyId, Inbox)>);

impl Transport for Channels {
    fn send(&mut self, to: &DuchyId, mail: PeerMail) -> Result<(), AnyError> {
        let (_, inbox) = self.0.iter().find(|(id, _)| id == to).ok_or("an unknown peer")?;
        inbox.deliver(mail)
    }
}

fn main() -> Result<(), AnyError> {
    let result = measure_by(|duchies| Ok(duchies.iter().map(|_| Channels(duchies.to_vec())).collect()))?;
    print(&result);
    Ok(())
}
