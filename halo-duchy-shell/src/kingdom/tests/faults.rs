//! What faults do to calls and streams.

use tokio::time::timeout;

use super::*;
use crate::kingdom::fault::{Fault, FaultKind};
use crate::proto::system::{StreamActiveComputationsRequest, StreamActiveComputationsResponse};

const STREAM: &str = "StreamActiveComputations";

/// Everything that a stream gives: items until it is quiet, or its end.
async fn stream(trial: &Trial) -> (Vec<StreamActiveComputationsResponse>, Option<Status>) {
    let request = StreamActiveComputationsRequest::default();
    let mut stream =
        trial.computations("worker1").stream_active_computations(request).await.unwrap().into_inner();
    let mut items = Vec::new();
    loop {
        match timeout(Duration::from_millis(200), stream.message()).await {
            Ok(Ok(Some(item))) => items.push(item),
            Ok(Err(status)) => return (items, Some(status)),
            Ok(Ok(None)) | Err(_) => return (items, None),
        }
    }
}

fn names(items: &[StreamActiveComputationsResponse]) -> Vec<&str> {
    items.iter().map(|item| item.computation.as_ref().unwrap().name.as_str()).collect()
}

#[tokio::test]
async fn refused_calls_do_nothing() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    let fault = Fault::new(FaultKind::Refuse(Code::Aborted)).of("SetParticipantRequisitionParams").times(2);
    trial.kingdom.inject(fault.by("duchies/worker1")).unwrap();
    trial.set_params(&computation, "worker2", "").await.unwrap();
    for _ in 0..2 {
        assert_eq!(code(trial.set_params(&computation, "worker1", "").await), Code::Aborted);
    }
    assert_eq!(trial.participant(&computation, "worker1").await.state(), ParticipantState::Created);
    trial.set_params(&computation, "worker1", "").await.unwrap();
    assert!(trial.kingdom.faults().is_empty());
}

#[tokio::test]
async fn lost_answers_come_after_the_deed() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    trial.kingdom.inject(Fault::new(FaultKind::LoseAnswer(Code::Unavailable)).times(1)).unwrap();
    assert_eq!(code(trial.set_params(&computation, "worker1", "").await), Code::Unavailable);
    assert_eq!(
        trial.participant(&computation, "worker1").await.state(),
        ParticipantState::RequisitionParamsSet
    );
}

#[tokio::test]
async fn delayed_calls_wait() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    let delay = FaultKind::Delay(Duration::from_secs(3600));
    trial.kingdom.inject(Fault::new(delay).of("ConfirmComputationParticipant")).unwrap();
    trial.set_all_params(&computation).await;
    let confirmed = timeout(Duration::from_millis(200), trial.confirm(&computation, "worker1", "")).await;
    assert!(confirmed.is_err());
    // Nobody looked at it.
    assert_eq!(trial.kingdom.violations(), []);
}

#[tokio::test]
async fn the_kingdoms_own_service_stays_reachable() {
    let trial = Trial::start().await;
    trial.kingdom.inject(Fault::new(FaultKind::Refuse(Code::Unavailable))).unwrap();
    assert_eq!(code(trial.consumer().create_measurement(create_request()).await), Code::Unavailable);
    let request = crate::proto::dev_kingdom::ClearFaultsRequest::default();
    assert_eq!(trial.admin().clear_faults(request).await.unwrap().into_inner().cleared, 1);
    trial.create().await;
}

#[tokio::test]
async fn streams_are_cut_where_they_should_be() {
    let trial = Trial::start().await;
    for _ in 0..3 {
        trial.create().await;
    }
    let whole = stream(&trial).await.0;
    for cut in 0..3 {
        let kind = FaultKind::CutStream { items: cut, code: Code::Unavailable };
        trial.kingdom.inject(Fault::new(kind).times(1)).unwrap();
        let (items, end) = stream(&trial).await;
        assert_eq!(items[..], whole[..cut as usize]);
        assert_eq!(end.unwrap().code(), Code::Unavailable);
    }
    trial.kingdom.inject(Fault::new(FaultKind::Refuse(Code::Internal)).of(STREAM).times(1)).unwrap();
    let request = StreamActiveComputationsRequest::default();
    let refused = trial.computations("worker1").stream_active_computations(request).await;
    assert_eq!(code(refused.map(drop)), Code::Internal);
    assert_eq!(stream(&trial).await.0, whole);
}

#[tokio::test]
async fn items_are_repeated_and_reversed() {
    let trial = Trial::start().await;
    for _ in 0..2 {
        trial.create().await;
    }
    let whole = stream(&trial).await.0;
    let [first, second] = <[_; 2]>::try_from(names(&whole)).unwrap();
    trial.kingdom.inject(Fault::new(FaultKind::RepeatItems).times(1)).unwrap();
    assert_eq!(names(&stream(&trial).await.0), [first, first, second, second]);
    trial.kingdom.inject(Fault::new(FaultKind::ReverseItems).times(1)).unwrap();
    let reversed = stream(&trial).await.0;
    assert_eq!(names(&reversed), [second, first]);
    assert_eq!(reversed[1], whole[0]);
}

#[tokio::test]
async fn items_tell_wrong_states_and_stale_tokens() {
    let trial = Trial::start().await;
    trial.create().await;
    let whole = stream(&trial).await.0;
    let wrong = ComputationState::PendingComputation;
    trial.kingdom.inject(Fault::new(FaultKind::WrongState(wrong)).times(1)).unwrap();
    trial.kingdom.inject(Fault::new(FaultKind::StaleTokens).times(1)).unwrap();
    let items = stream(&trial).await.0;
    assert_eq!(items[0].computation.as_ref().unwrap().state(), wrong);
    assert_ne!(items[0].continuation_token, whole[0].continuation_token);
    // It is a token, and everything comes after it.
    let request = StreamActiveComputationsRequest { continuation_token: items[0].continuation_token.clone() };
    let again = trial.computations("worker1").stream_active_computations(request).await.unwrap();
    assert_eq!(again.into_inner().message().await.unwrap().as_ref(), Some(&whole[0]));
}
