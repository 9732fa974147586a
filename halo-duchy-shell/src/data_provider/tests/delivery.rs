use super::*;

async fn ready(world: &World, data_providers: &[&str]) -> String {
    let (_, computation) = world.create_measurement(data_providers).await;
    for (duchy, key) in DUCHIES.into_iter().zip(keys()) {
        world.set_key(&computation, duchy, &key, duchy).await;
    }
    computation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sketch_arrives_in_chunks_after_the_header() {
    let world = World::start(&["edp1"], 0, Code::Ok).await;
    let computation = ready(&world, &["edp1"]).await;
    let vids: Vec<Vid> = (0..400).flat_map(|vid| [vid, vid]).collect();
    let provider = world.data_provider("edp1", &vids);
    let [requisition] = provider.waiting().await.unwrap().try_into().unwrap();
    let outcomes = provider.fulfill_waiting().await.unwrap();
    let [Outcome::Fulfilled(fulfilled)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!((380..=400).contains(&fulfilled.registers), "{fulfilled:?}");
    assert_eq!(fulfilled.bytes, fulfilled.registers * 198);

    let received = world.duchy.received.lock().unwrap().clone();
    let [messages] = received.as_slice() else { panic!("{} calls", received.len()) };
    let Some(fulfill_requisition_request::Payload::Header(header)) = &messages[0].payload else {
        panic!("no header");
    };
    assert_eq!((&header.name, &header.etag), (&requisition.name, &requisition.etag));
    let found = world.kingdom.computation(&computation).unwrap();
    let [known] = found.requisitions.try_into().unwrap();
    assert_eq!(
        header.requisition_fingerprint,
        consent::requisition_fingerprint(&found.measurement_spec, &known.requisition_spec_hash)
    );
    assert_eq!(known.nonce_hash, consent::nonce_hash(header.nonce));
    assert_eq!(body(messages).len(), fulfilled.bytes);
    assert!(messages.len() > 2);
    for message in &messages[1..] {
        let Some(fulfill_requisition_request::Payload::BodyChunk(chunk)) = &message.payload else {
            panic!("a second header");
        };
        assert!((1..=upload::CHUNK_BYTES).contains(&chunk.data.len()));
    }
    assert!(provider.fulfill_waiting().await.unwrap().is_empty());
    assert_eq!(world.kingdom.violations(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_duchy_gets_the_same_bytes_again() {
    let world = World::start(&["edp1"], 2, Code::Unavailable).await;
    ready(&world, &["edp1"]).await;
    let provider = world.data_provider("edp1", &[1, 2, 3]);
    let outcomes = provider.fulfill_waiting().await.unwrap();
    assert!(matches!(outcomes.as_slice(), [Outcome::Fulfilled(_)]), "{outcomes:?}");
    let received = world.duchy.received.lock().unwrap();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|messages| body(messages) == body(&received[0])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duchy_that_refuses_leaves_the_requisition_waiting() {
    let world = World::start(&["edp1"], 1, Code::FailedPrecondition).await;
    ready(&world, &["edp1"]).await;
    let provider = world.data_provider("edp1", &[1]);
    let outcomes = provider.fulfill_waiting().await.unwrap();
    let [requisition] = provider.waiting().await.unwrap().try_into().unwrap();
    let [Outcome::Waits { requisition: waits, error: DataProviderError::Duchy(status) }] =
        outcomes.as_slice()
    else {
        panic!("{outcomes:?}");
    };
    assert_eq!((waits, status.code()), (&requisition.name, Code::FailedPrecondition));
    assert!(matches!(provider.fulfill_waiting().await.unwrap().as_slice(), [Outcome::Fulfilled(_)]));
}

/// The duchy may have lost a computation, and then it always refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requisition_that_is_not_taken_holds_up_no_other() {
    let world = World::start(&["edp1"], 1, Code::NotFound).await;
    ready(&world, &["edp1"]).await;
    ready(&world, &["edp1"]).await;
    let provider = world.data_provider("edp1", &[1]);
    let outcomes = provider.fulfill_waiting().await.unwrap();
    let [Outcome::Waits { error: DataProviderError::Duchy(status), .. }, Outcome::Fulfilled(_)] =
        outcomes.as_slice()
    else {
        panic!("{outcomes:?}");
    };
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(provider.waiting().await.unwrap().len(), 1);
    assert_eq!(world.duchy.received.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_to_report_is_an_empty_body() {
    let world = World::start(&["edp1"], 0, Code::Ok).await;
    ready(&world, &["edp1"]).await;
    let outcomes = world.data_provider("edp1", &[]).fulfill_waiting().await.unwrap();
    let [Outcome::Fulfilled(Fulfilled { registers: 0, bytes: 0, .. })] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    assert_eq!(world.duchy.received.lock().unwrap()[0].len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_decides_whose_requisitions_are_listed() {
    let world = World::start(&["edp1", "edp2"], 0, Code::Ok).await;
    ready(&world, &["edp1"]).await;
    let mut provider = world.data_provider("edp2", &[]);
    assert!(provider.waiting().await.unwrap().is_empty());
    provider.name = "dataProviders/edp1".into();
    let error = provider.waiting().await.unwrap_err();
    assert!(
        matches!(&error, DataProviderError::Kingdom { status, .. } if status.code() == Code::PermissionDenied)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_misbehave_when_told_to() {
    // Two are refused, so that the requisition waits on.
    let world = World::start(&["edp1"], 2, Code::FailedPrecondition).await;
    ready(&world, &["edp1"]).await;
    for how in [Misbehaviour::Slow(Duration::from_millis(1)), Misbehaviour::Corrupt, Misbehaviour::Duplicate]
    {
        let provider = world.data_provider("edp1", &[1, 2, 3]).with_misbehaviour(Some(how));
        let outcomes = provider.fulfill_waiting().await.unwrap();
        // This duchy does not take the same twice.
        let [Outcome::Waits { error: DataProviderError::Duchy(_), .. }] = outcomes.as_slice() else {
            panic!("{how:?}: {outcomes:?}");
        };
    }
    let received = world.duchy.received.lock().unwrap();
    let [slow, corrupt, first, again] = received.as_slice() else { panic!("{} calls", received.len()) };
    assert_eq!(body(slow).len(), 3 * 198);
    // Points begin with 2 or 3.
    let begins = |messages| body(messages)[0];
    assert!(matches!(begins(slow), 2 | 3) && matches!(begins(first), 2 | 3));
    assert!(matches!(!begins(corrupt), 2 | 3), "{}", begins(corrupt));
    assert_eq!(first, again);
}
