use tokio::time::{Instant, timeout};
use tonic::Streaming;

use super::*;
use crate::proto::system::{StreamActiveComputationsRequest, StreamActiveComputationsResponse};

const SOON: Duration = Duration::from_secs(5);

async fn open(trial: &Trial, token: &str) -> Result<Streaming<StreamActiveComputationsResponse>, Status> {
    let request = StreamActiveComputationsRequest { continuation_token: token.to_owned() };
    Ok(trial.computations("worker1").stream_active_computations(request).await?.into_inner())
}

/// The next item: name, state, token.
async fn next(
    stream: &mut Streaming<StreamActiveComputationsResponse>,
) -> Option<(String, ComputationState, String)> {
    let item = timeout(SOON, stream.message()).await.expect("nothing came").unwrap()?;
    let computation = item.computation.unwrap();
    Some((computation.name.clone(), computation.state(), item.continuation_token))
}

#[tokio::test]
async fn states_for_duchies_arrive_as_they_happen() {
    let trial = Trial::start().await;
    let mut stream = open(&trial, "").await.unwrap();
    let (_, computation) = trial.create().await;
    let waiting = Instant::now();
    let mut states = vec![next(&mut stream).await.unwrap().1];
    assert!(waiting.elapsed() < Duration::from_secs(1), "{:?}", waiting.elapsed());

    // The fulfilment in between is no business of the duchies.
    trial.set_all_params(&computation).await;
    for data_provider in DATA_PROVIDERS {
        trial.fulfill(&computation, data_provider, "worker1").await.unwrap();
    }
    states.push(next(&mut stream).await.unwrap().1);
    for duchy in DUCHIES {
        trial.confirm(&computation, duchy, "").await.unwrap();
    }
    states.push(next(&mut stream).await.unwrap().1);
    let request = life_cycle::result_request(&computation, "aggregator");
    trial.computations("aggregator").set_computation_result(request).await.unwrap();
    states.push(next(&mut stream).await.unwrap().1);
    assert_eq!(
        states,
        [
            ComputationState::PendingRequisitionParams,
            ComputationState::PendingParticipantConfirmation,
            ComputationState::PendingComputation,
            ComputationState::Succeeded,
        ]
    );
}

#[tokio::test]
async fn stream_resumes_after_any_token() {
    let trial = Trial::start().await;
    let mut created = Vec::new();
    for _ in 0..4 {
        created.push(trial.create().await.1);
    }
    let mut stream = open(&trial, "").await.unwrap();
    let mut tokens = Vec::new();
    for expected in &created {
        let (name, _, token) = next(&mut stream).await.unwrap();
        assert_eq!(&name, expected);
        tokens.push(token);
    }
    for (seen, token) in tokens.iter().enumerate() {
        let mut resumed = open(&trial, token).await.unwrap();
        for (name, expected_token) in created.iter().zip(&tokens).skip(seen + 1) {
            let (found, _, found_token) = next(&mut resumed).await.unwrap();
            assert_eq!((&found, &found_token), (name, expected_token));
        }
    }
    // What changed since comes again, behind the others.
    trial.start_computation(&created[0]).await;
    let mut resumed = open(&trial, &tokens[2]).await.unwrap();
    assert_eq!(next(&mut resumed).await.unwrap().0, created[3]);
    let (name, state, _) = next(&mut resumed).await.unwrap();
    assert_eq!((name, state), (created[0].clone(), ComputationState::PendingComputation));
}

#[tokio::test]
async fn update_times_strictly_increase() {
    let trial = Trial::start().await;
    let mut names = Vec::new();
    for _ in 0..20 {
        names.push(trial.create().await.1);
    }
    let state = trial.kingdom.state();
    let times = names.iter().map(|name| {
        let ComputationName(id) = ComputationName::parse(name).unwrap();
        state.records.measurements[&id].update_time
    });
    assert!(times.is_sorted_by(|a, b| a < b));
}

#[tokio::test]
async fn limit_bounds_a_look_but_loses_nothing() {
    let settings = StreamSettings { timeout: SOON, throttle: Duration::from_millis(1), limit: 2 };
    let trial = Trial::with_stream(settings).await;
    for _ in 0..5 {
        trial.create().await;
    }
    let mut stream = open(&trial, "").await.unwrap();
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..5 {
        names.insert(next(&mut stream).await.unwrap().0);
    }
    assert_eq!(names.len(), 5);
}

#[tokio::test]
async fn stream_ends_without_error_when_its_time_is_up() {
    let settings = StreamSettings { timeout: Duration::from_millis(200), ..StreamSettings::default() };
    let trial = Trial::with_stream(settings).await;
    trial.create().await;
    let mut stream = open(&trial, "").await.unwrap();
    assert!(next(&mut stream).await.is_some());
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn malformed_token_is_refused() {
    let trial = Trial::start().await;
    for token in ["!", "AAAA", "CgsIARD_____________AQ"] {
        assert_eq!(code(open(&trial, token).await), Code::InvalidArgument, "{token}");
    }
}
