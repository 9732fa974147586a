//! How fast each kind of store is; the figures of docs/blobs.md:
//! `cargo test --release -p halo-duchy-shell --lib throughput -- --ignored --nocapture`.

use std::time::Instant;

use super::basics::{pattern, read_in_chunks, write_in_chunks};
use super::{Fixture, PLACE};

/// Bytes of a large blob, and of a chunk as a gRPC message brings it.
const LARGE: usize = 256 << 20;
const CHUNK: usize = 32 << 10;

/// Small blobs one after the other.
const SMALL: usize = 200;

async fn line(name: &str, f: Fixture) {
    let bytes = pattern(LARGE);
    let rate = |begun: Instant| (LARGE >> 20) as f64 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let blob = write_in_chunks(&f.store, &bytes, CHUNK).await;
    let streamed = rate(begun);
    let begun = Instant::now();
    f.store.write(PLACE, bytes.clone()).await.expect("write");
    let written = rate(begun);
    let begun = Instant::now();
    f.store.read(&blob.path, LARGE as u64).await.expect("read");
    let read = rate(begun);
    let begun = Instant::now();
    for _ in 0..SMALL {
        let small = f.store.write(PLACE, bytes.slice(..4096)).await.expect("write");
        read_in_chunks(&f.store, &small.path).await.expect("read");
    }
    let small = begun.elapsed().as_secs_f64() * 1000.0 / SMALL as f64;
    eprintln!("| {name} | {streamed:.0} | {written:.0} | {read:.0} | {small:.2} |");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and takes a while"]
async fn throughput() {
    eprintln!("| store | stream, MiB/s | write, MiB/s | read, MiB/s | 4 KiB written and read, ms |");
    eprintln!("|---|---|---|---|---|");
    line("memory", super::in_memory().expect("memory")).await;
    line("files", super::on_files().expect("files")).await;
    #[cfg(feature = "s3")]
    if let Some(fixture) = super::on_s3() {
        line("MinIO", fixture).await;
    }
}
