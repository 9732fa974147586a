use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use super::*;

const RETRIES: Retries = Retries {
    attempts: 5,
    limited: 2,
    backoff: Backoff::new(Duration::from_millis(100), 2.0, Duration::from_millis(300)).spread(1.0, 1.0),
};

/// When attempts were made, in milliseconds, each of which ends in the next of `codes`, and the last one for ever.
async fn attempts(codes: &[Code]) -> (Result<(), Code>, Vec<u128>) {
    let begun = Instant::now();
    let made = RefCell::new(Vec::new());
    let done = RETRIES.run(
        |status: &tonic::Status| Class::of(status.code()),
        || {
            let mut made = made.borrow_mut();
            let code = codes[made.len().min(codes.len() - 1)];
            made.push(begun.elapsed().as_millis());
            async move { if code == Code::Ok { Ok(()) } else { Err(tonic::Status::new(code, "")) } }
        },
    );
    let done = done.await.map_err(|status| status.code());
    (done, made.into_inner())
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_up_to_the_longest() {
    let (done, made) = attempts(&[Code::Unavailable]).await;
    assert_eq!(done, Err(Code::Unavailable));
    assert_eq!(made, [0, 100, 300, 600, 900]);
}

#[tokio::test(start_paused = true)]
async fn the_class_decides_how_often() {
    let unavailable = Code::Unavailable;
    assert_eq!(attempts(&[unavailable, Code::Aborted, Code::Ok]).await, (Ok(()), vec![0, 100, 300]));
    assert_eq!(attempts(&[Code::Unknown]).await, (Err(Code::Unknown), vec![0, 100]));
    // Some of the attempts that there are have been used up.
    assert_eq!(attempts(&[unavailable, unavailable, Code::Unknown]).await.1.len(), 3);
    assert_eq!(attempts(&[Code::NotFound]).await, (Err(Code::NotFound), vec![0]));
}

#[test]
fn pauses_are_spread_and_stay_in_bounds() {
    for (backoff, low, high) in [
        (Backoff::new(Duration::from_secs(10), 1.5, Duration::MAX), 8, 12),
        (Backoff::new(Duration::from_secs(10), 2.0, Duration::MAX).spread(1.0, 2.0), 10, 20),
    ] {
        let drawn: Vec<_> = (0..50).map(|_| backoff.pause(1)).collect();
        let bounds = Duration::from_secs(low)..=Duration::from_secs(high);
        assert!(drawn.iter().all(|pause| bounds.contains(pause)), "{drawn:?}");
        assert!(drawn.iter().any(|pause| *pause != drawn[0]));
    }
}

#[test]
fn pauses_never_overflow() {
    let backoff = Backoff::new(Duration::from_secs(1), 2.0, Duration::from_secs(600)).spread(1.0, 1.0);
    let pauses = [1, 2, 10, 11, 1000, u32::MAX].map(|failures| backoff.pause(failures).as_secs());
    assert_eq!(pauses, [1, 2, 512, 600, 600, 600]);
}

#[test]
fn a_sick_peer_spends_its_budget_and_earns_it_back() {
    let budget = Budget::default();
    for _ in 0..49 {
        budget.failed();
    }
    assert!(!budget.is_spent(), "a few calls with all their attempts are no sickness");
    budget.failed();
    assert!(budget.is_spent());
    for _ in 0..1000 {
        budget.failed();
    }
    for _ in 0..100 {
        assert!(budget.is_spent());
        budget.succeeded();
    }
    budget.succeeded();
    assert!(!budget.is_spent());
}
