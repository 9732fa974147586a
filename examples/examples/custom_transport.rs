//! Liquid Legions v2 over a transport of one's own: frames over TCP, a connection for each message.
//!
//! A duchy listens on a port of its own, reads one frame from whoever connects, hands it to its state machine, and answers with a
//! byte. A sender without that answer sends again, so a message may come twice.
//!
//! What is missing for use between organisations is who the sender is. Here the frame says it, and anybody can write a frame; with TLS
//! it is what the client's certificate says. `halo-duchy` does that, with gRPC in place of these frames.
//!
//! ```text
//! cargo run --release --example custom_transport
//! ```

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use halo_examples::llv2_host::{AnyError, Inbox, PeerMail, Transport, measure_by, print};
use halo_protocols::DuchyId;
use halo_protocols::llv2::Message;

/// The most bytes of one message: a peer says how long its message is, and this bounds what is believed.
const MAXIMUM_BYTES: u32 = 1 << 28;

/// How long a peer may keep silent.
const PATIENCE: Duration = Duration::from_secs(30);

const ATTEMPTS: usize = 3;
const TAKEN: [u8; 1] = [1];

/// Where everybody listens.
#[derive(Clone)]
struct Tcp(Vec<(DuchyId, SocketAddr)>);

impl Transport for Tcp {
    fn send(&mut self, to: &DuchyId, mail: PeerMail) -> Result<(), AnyError> {
        let (_, address) = self.0.iter().find(|(id, _)| id == to).ok_or("an unknown peer")?;
        let mut outcome = Ok(());
        for _ in 0..ATTEMPTS {
            outcome = hand_over(*address, &mail);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

fn hand_over(address: SocketAddr, mail: &PeerMail) -> Result<(), AnyError> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    limit(&stream)?;
    write_frame(&mut stream, mail)?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == TAKEN { Ok(()) } else { Err("the peer refuses it".into()) }
}

/// Takes one frame from each connection, for as long as the program runs. One that is refused is told so by the end of its
/// connection.
fn listen(listener: TcpListener, peers: Tcp, inbox: Inbox) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            if let Err(error) = stream.map_err(AnyError::from).and_then(|stream| take(stream, &peers, &inbox))
            {
                eprintln!("refused a message: {error}");
            }
        }
    });
}

fn take(mut stream: TcpStream, peers: &Tcp, inbox: &Inbox) -> Result<(), AnyError> {
    limit(&stream)?;
    let mail = read_frame(&mut stream)?;
    if !peers.0.iter().any(|(id, _)| *id == mail.from) {
        return Err(format!("`{}` is no duchy of this computation", mail.from).into());
    }
    inbox.deliver(mail)?;
    Ok(stream.write_all(&TAKEN)?)
}

fn limit(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// The sender with its length before it (1 byte), the number of the message (4), and the payload with its length before it (4), in
/// network order.
fn write_frame(stream: &mut impl Write, mail: &PeerMail) -> Result<(), AnyError> {
    let (from, payload) = (mail.from.as_str().as_bytes(), mail.payload.as_bytes());
    stream.write_all(&[u8::try_from(from.len())?])?;
    stream.write_all(from)?;
    stream.write_all(&mail.message.number().to_be_bytes())?;
    stream.write_all(&u32::try_from(payload.len())?.to_be_bytes())?;
    Ok(stream.write_all(payload)?)
}

fn read_frame(stream: &mut impl Read) -> Result<PeerMail, AnyError> {
    let [from_length] = read_array(stream)?;
    let from = String::from_utf8(read_bytes(stream, from_length.into())?)?;
    let message = Message::try_from(i32::from_be_bytes(read_array(stream)?))?;
    let length = u32::from_be_bytes(read_array(stream)?);
    if length > MAXIMUM_BYTES {
        return Err(format!("{length} bytes from `{from}` where {MAXIMUM_BYTES} may come").into());
    }
    let payload = read_bytes(stream, length)?.into();
    Ok(PeerMail { from: from.into(), message, payload })
}

fn read_array<const N: usize>(stream: &mut impl Read) -> Result<[u8; N], AnyError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Memory grows with what has come, not with what was announced.
fn read_bytes(stream: &mut impl Read, length: u32) -> Result<Vec<u8>, AnyError> {
    let mut bytes = Vec::new();
    let read = stream.take(length.into()).read_to_end(&mut bytes)?;
    if read as u64 == u64::from(length) { Ok(bytes) } else { Err("the message is cut off".into()) }
}

fn main() -> Result<(), AnyError> {
    let result = measure_by(|duchies| {
        let listeners: Vec<_> = duchies
            .iter()
            .map(|(id, inbox)| Ok((id.clone(), inbox.clone(), TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)))
            .collect::<Result<_, AnyError>>()?;
        let addresses = listeners
            .iter()
            .map(|(id, _, listener)| Ok((id.clone(), listener.local_addr()?)))
            .collect::<Result<_, AnyError>>()?;
        let transport = Tcp(addresses);
        for (_, inbox, listener) in listeners {
            listen(listener, transport.clone(), inbox);
        }
        Ok(vec![transport; duchies.len()])
    })?;
    print(&result);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> String {
        read_frame(&mut &bytes[..]).expect_err("it is malformed").to_string()
    }

    #[test]
    fn frames_are_read_as_they_were_written_and_no_others() {
        let (from, payload) = (DuchyId::from("worker1"), vec![7; 3].into());
        let mail = PeerMail { from: from.clone(), message: Message::SetupPhaseInput, payload };
        let mut frame = Vec::new();
        write_frame(&mut frame, &mail).expect("it is short");
        let read_back = read_frame(&mut &frame[..]).expect("a frame");
        assert_eq!((read_back.from, read_back.message), (from, Message::SetupPhaseInput));
        assert_eq!(read_back.payload.as_bytes(), [7; 3]);

        assert_eq!(read(&frame[..frame.len() - 1]), "the message is cut off");
        assert_eq!(read(&[1, b'x', 0, 0, 0, 9]), "description 9 names no Liquid Legions v2 message");
        let long = [&[1, b'x', 0, 0, 0, 1][..], &[0xff; 4]].concat();
        assert_eq!(read(&long), format!("{} bytes from `x` where {MAXIMUM_BYTES} may come", u32::MAX));
        assert!(read(&[1, 0xff]).contains("utf-8"));
    }
}
