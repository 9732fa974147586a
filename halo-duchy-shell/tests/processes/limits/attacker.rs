//! A client that speaks frames of HTTP/2, and keeps to none of its manners.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How long it may take until a connection is ended: less than the 50 s after which the server ends any that does not answer
/// its pings.
const PROMPTLY: Duration = Duration::from_secs(20);

/// What a client of HTTP/2 says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const CONTINUATION: u8 = 9;
pub const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header (RFC 7541, literal, without indexing): of a name that may be one of the static table, and a value.
fn header(name: &[u8], value: &str) -> Vec<u8> {
    [name, &[u8::try_from(value.len()).expect("short")], value.as_bytes()].concat()
}

/// The headers of the call to `path`.
pub fn headers(path: &str) -> Vec<u8> {
    [
        // :method POST, :scheme https
        vec![0x83, 0x87],
        // :path, :authority
        header(&[0x04], path),
        header(&[0x01], "localhost"),
        header(&header(&[0x00], "content-type"), "application/grpc"),
        header(&header(&[0x00], "te"), "trailers"),
    ]
    .concat()
}

/// A connection of one, who reads nothing unless told to.
pub struct Attacker {
    stream: TlsStream<TcpStream>,
    headers: Vec<u8>,
}

impl Attacker {
    /// Begins HTTP/2, and later calls to `path`.
    pub async fn begin(stream: TlsStream<TcpStream>, path: &str) -> io::Result<Self> {
        let mut attacker = Self { stream, headers: headers(path) };
        attacker.stream.write_all(PREFACE).await?;
        attacker.send(SETTINGS, 0, 0, &[]).await?;
        Ok(attacker)
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&frame(kind, flags, stream, payload)).await
    }

    /// Sends the same again and again, until the server takes no more or `times` are over.
    pub async fn flood(&mut self, bytes: &[u8], times: usize) {
        for _ in 0..times {
            let sent = tokio::time::timeout(Duration::from_millis(500), self.stream.write_all(bytes)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// Whether the server ends the connection for what it was sent.
    pub async fn is_ended(&mut self) -> bool {
        let mut read = [0; 4096];
        let reading = async { while !matches!(self.stream.read(&mut read).await, Ok(0) | Err(_)) {} };
        tokio::time::timeout(PROMPTLY, reading).await.is_ok()
    }

    /// Waits for the server's settings, and the window that it opens.
    pub async fn meet(&mut self) -> io::Result<()> {
        self.stream.read_exact(&mut [0; 9]).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
    }

    /// Begins a call and takes it back at once.
    pub async fn reset(&mut self, stream: u32) -> io::Result<()> {
        let begun = frame(HEADERS, END_HEADERS, stream, &self.headers);
        let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        self.stream.write_all(&[begun, reset].concat()).await
    }

    /// Sends the headers of a call without their end.
    pub async fn begin_headers(&mut self, stream: u32) -> io::Result<()> {
        self.stream.write_all(&frame(HEADERS, 0, stream, &self.headers)).await
    }

    /// Begins a call of which a message of 4 MiB is announced and `bytes` of it are sent.
    pub async fn begin_call(&mut self, stream: u32, bytes: usize) -> io::Result<()> {
        self.stream.write_all(&frame(HEADERS, END_HEADERS, stream, &self.headers)).await?;
        let announced = [&[0], &(4_u32 << 20).to_be_bytes()[..], &vec![0; bytes]].concat();
        for piece in announced.chunks(16 << 10) {
            self.send(DATA, 0, stream, piece).await?;
        }
        Ok(())
    }
}
