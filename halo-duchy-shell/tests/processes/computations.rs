//! A computation that is stuck: how an operator sees that, and ends it for everybody.

use std::thread::sleep;
use std::time::Instant;

use serde_json::Value;

use crate::fleet::{Fleet, GLANCE, PATIENCE};
use crate::settings::{Noise, Protocol, Settings};
use crate::{PUBLISHERS, REACH, events};

/// What a duchy's operator lists.
fn list(fleet: &Fleet, duchy: &str) -> Vec<Value> {
    let output = fleet.computations(duchy, "list", &["--all", "--json"]);
    let printed = String::from_utf8(output.stdout).expect("text");
    printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Waits until the only computation of a duchy is in this state.
fn wait(fleet: &Fleet, duchy: &str, state: &str) -> Value {
    let begun = Instant::now();
    loop {
        let listed = list(fleet, duchy);
        if let [found] = listed.as_slice()
            && found["state"] == state
        {
            return found.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{duchy} {state}: {listed:?}");
        sleep(GLANCE);
    }
}

#[test]
fn an_operator_ends_a_computation_that_is_stuck() {
    let settings = Settings { protocol: Protocol::Llv2, noise: Noise::DiscreteGaussian };
    let mut fleet = Fleet::start(settings, &events(), &PUBLISHERS, Some("worker1"));
    // Nobody can begin: the Kingdom does not answer the mills.
    let stall = ["--delay=1h", "--method=SetParticipantRequisitionParams", "--calls=1000", "--for=2h"];
    fleet.kingdom("inject", &stall.map(str::to_owned));
    fleet.create(0, REACH);
    let stuck = wait(&fleet, "worker2", "running");
    assert_eq!(
        (&stuck["stage"], &stuck["attempts"]),
        (&Value::from("INITIALIZATION_PHASE"), &Value::from(1))
    );
    let id = stuck["id"].as_str().expect("an id");
    let owner = stuck["lock_owner"].as_str().expect("an owner");

    let refused = fleet.computations("worker2", "fail", &[id, "--reason=stuck"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains(&format!("{owner} works on it")), "{said}");
    let failed = fleet.computations("worker2", "fail", &[id, "--reason=stuck", "--force"]);
    let said = String::from_utf8_lossy(&failed.stdout);
    assert!(said.contains("has failed, here and at the Kingdom"), "{said} {failed:?}");

    // Everybody hears of it, and those here know why.
    let listed = fleet.kingdom("list", &["--state=FAILED".into()]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let here = wait(&fleet, "worker2", "failed");
    assert!(here["last_error"]["message"].as_str().expect("an error").len() > 10, "{here}");
    for duchy in ["aggregator", "worker1"] {
        let there = wait(&fleet, duchy, "failed");
        assert_eq!(there["last_error"]["message"], "the Kingdom has ended the computation", "{there}");
    }
    fleet.stop();
}
