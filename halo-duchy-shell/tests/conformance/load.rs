//! A thousand computations at once: what they cost the herald, and in which order and how fast they are claimed.
//!
//! `cargo test --release -p halo-duchy-shell --test conformance -- --ignored --nocapture thousand` prints what
//! `docs/performance.md` says.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use halo_duchy_shell::proto::internal::GetComputationIdsRequest;
use halo_protocols::llv2::Stage;

use crate::fixture::stage;
use crate::rows::{LLV2, claim};
use crate::world::{Part, World};

const COMPUTATIONS: usize = 1000;
/// The herald works on five at once, so that many may overtake one another.
const HERALD_CONCURRENCY: usize = 5;
/// By how much the herald may grow while it hears of three quarters of the computations.
const GROWTH: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test]
#[ignore = "measures; it takes long without --release"]
async fn a_thousand_computations_are_claimed_in_order() {
    let world = World::start("aggregator");
    let mut herald = Herald::start(&world);
    for _ in 0..COMPUTATIONS / 4 {
        world.wish().await;
    }
    until(&world, COMPUTATIONS / 4).await;
    let early = herald.memory();
    for _ in COMPUTATIONS / 4..COMPUTATIONS {
        world.wish().await;
    }
    until(&world, COMPUTATIONS).await;
    let late = herald.memory();
    println!("herald: {early} B with {} computations, {late} B with {COMPUTATIONS}", COMPUTATIONS / 4);
    assert!(late.saturating_sub(early) <= GROWTH, "{early} B, then {late} B");

    let order: HashMap<String, usize> = world.active(COMPUTATIONS).await.into_iter().zip(0..).collect();
    let mut computations = world.computations();
    let mut latencies = Vec::new();
    for place in 0..COMPUTATIONS {
        let begun = Instant::now();
        let claimed = computations.claim_work(claim(LLV2)).await.expect("an answer").into_inner();
        latencies.push(begun.elapsed());
        let id = claimed.token.expect("work").global_computation_id;
        let due = order[&id];
        assert!(due.abs_diff(place) < HERALD_CONCURRENCY, "{id} is claimed as number {place}, due as {due}");
    }
    latencies.sort();
    let [median, last] = [latencies[COMPUTATIONS / 2], latencies[COMPUTATIONS * 99 / 100]];
    println!("claim: median {median:?}, 99 % within {last:?}");
}

/// Waits until the duchy has `count` computations.
async fn until(world: &World, count: usize) {
    let start = Instant::now();
    let stages = vec![stage(Stage::InitializationPhase).into()];
    loop {
        let request = GetComputationIdsRequest { stages: stages.clone() };
        let ids = world.computations().get_computation_ids(request).await.expect("listed").into_inner();
        if ids.global_ids.len() >= count {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "only {} computations", ids.global_ids.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

struct Herald(Child);

impl Herald {
    fn start(world: &World) -> Self {
        let tls = world.pki.tls(world.duchy);
        let files = [
            ("tls-cert-file", tls.cert),
            ("tls-key-file", world.pki.tls_key(world.duchy)),
            ("cert-collection-file", tls.collection),
            ("duchy-info-config", world.pki.duchy_cert_config()),
            ("protocols-setup-config", world.pki.protocols_setup(world.duchy)),
        ];
        let targets = [("computations-service", Part::InternalApi), ("kingdom-system-api", Part::Kingdom)];
        let child = Command::new(env!("CARGO_BIN_EXE_halo-duchy"))
            .arg("herald")
            .arg(format!("--duchy-name={}", world.duchy))
            .args(files.map(|(flag, path)| format!("--{flag}={}", path.display())))
            .args(targets.map(|(name, part)| format!("--{name}-target={}", world.address(part))))
            .args(targets.map(|(name, _)| format!("--{name}-cert-host=localhost")))
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        Self(child)
    }

    /// Bytes that it holds in memory now.
    fn memory(&mut self) -> u64 {
        assert!(self.0.try_wait().expect("a child").is_none(), "it runs");
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes * 1024
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
