//! Requisition fulfillment over real TLS, before the real internal API and store: what is accepted, what is refused
//! and how, and that a refusal leaves the computation able to finish.

mod world;

use std::time::Duration;

use futures::StreamExt;
use halo_crypto::{P256, Ristretto255};
use halo_duchy_shell::blob::Content;
use halo_duchy_shell::proto::api::fulfill_requisition_request::Header;
use halo_duchy_shell::proto::api::fulfill_requisition_request::header::{
    HonestMajorityShareShuffle, Protocol as HeaderProtocol,
};
use halo_duchy_shell::proto::api::requisition::FulfillmentContext;
use halo_duchy_shell::proto::api::{ProtocolConfig, protocol_config};
use halo_duchy_shell::proto::system;
use halo_duchy_shell::protocol_stages::{Protocol, ProtocolStage};
use halo_duchy_shell::store::{Advance, Claim, Store};
use halo_protocols::llv2::Stage;
use tonic::Code;

use crate::world::{IDLE, MAX_BYTES, NONCE, World, chunk, header, message, sketch, upload};

/// That a good fulfillment still works, and what it does.
async fn assert_fulfillable(world: &World, body: &[u8]) {
    world.send(upload(header(), body)).await.expect("a good fulfillment");
    let path = world.path().await;
    assert_eq!(Content::in_path(&path), Some(Content::of(body)));
    assert_eq!(world.blobs.read(&path, MAX_BYTES).await.expect("recorded"), body);
    assert_eq!(world.files(), 1, "nothing else is kept");
    assert_eq!(world.with_kingdom(|kingdom| kingdom.requisition.nonce), NONCE);
}

#[tokio::test]
async fn data_is_stored_and_the_kingdom_told() {
    let world = World::new().await;
    let context = FulfillmentContext { build_label: "nightly".into(), warnings: vec!["late".into()] };
    let header = Header { fulfillment_context: Some(context), etag: "etag".into(), ..header() };
    let body = sketch::<P256>(50);
    world.send(upload(header, &body)).await.expect("fulfilled");
    let path = world.path().await;
    assert_eq!(world.blobs.read(&path, MAX_BYTES).await.expect("recorded"), body);
    let requests = world.with_kingdom(|kingdom| kingdom.requests.clone());
    let context = system::requisition::FulfillmentContext {
        build_label: "nightly".into(),
        warnings: vec!["late".into()],
    };
    assert_eq!(
        requests,
        [system::FulfillRequisitionRequest {
            name: "computations/c1/requisitions/r1".into(),
            nonce: NONCE,
            fulfillment_context: Some(context),
            etag: "etag".into(),
        }]
    );
}

#[tokio::test]
async fn both_suites_have_their_register_size() {
    let world = World::of_curve(25519).await;
    let refused = world.send(upload(header(), &sketch::<P256>(32))).await.expect_err("another suite's");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_fulfillable(&world, &sketch::<Ristretto255>(50)).await;
}

#[tokio::test]
async fn only_the_data_provider_itself_may_fulfill() {
    let world = World::new().await;
    let body = sketch::<P256>(1);
    // Duchies, the Kingdom and consumers are no data providers; edp2 is not edp1.
    for party in ["worker1", "worker2", "kingdom", "mc", "edp2"] {
        let refused = world.stream(party, futures::stream::iter(upload(header(), &body))).await;
        assert_eq!(refused.expect_err(party).code(), Code::PermissionDenied, "{party}");
    }
    // Under its own name, edp2 lacks the nonce, by which the measurement consumer let edp1 in.
    let own_name = |nonce| Header { name: "dataProviders/edp2/requisitions/r1".into(), nonce, ..header() };
    let refused = world.stream("edp2", futures::stream::iter(upload(own_name(1), &body))).await;
    assert_eq!(refused.expect_err("edp2").code(), Code::FailedPrecondition);
    assert_eq!(world.path().await, "");
    assert_fulfillable(&world, &body).await;
}

#[tokio::test]
async fn existence_is_not_revealed() {
    let world = World::new().await;
    let named = |name: &str| upload(Header { name: name.into(), ..header() }, &sketch::<P256>(1));
    let others = world.send(named("dataProviders/edp2/requisitions/r1")).await.expect_err("another's");
    let unknown = world.send(named("dataProviders/edp2/requisitions/r9")).await.expect_err("unknown");
    assert_eq!((others.code(), others.message()), (unknown.code(), unknown.message()));
    let own = world.send(named("dataProviders/edp1/requisitions/r9")).await.expect_err("unknown");
    assert_eq!((own.code(), own.message()), (Code::NotFound, others.message()));
}

#[tokio::test]
async fn headers_are_checked_before_the_body() {
    let world = World::new().await;
    let shares = HeaderProtocol::HonestMajorityShareShuffle(HonestMajorityShareShuffle::default());
    let other_protocol = protocol_config::Protocol {
        protocol: Some(protocol_config::protocol::Protocol::Direct(Default::default())),
    };
    let config = ProtocolConfig { protocols: vec![other_protocol], ..ProtocolConfig::default() };
    for (header, code) in [
        (Header { nonce: NONCE + 1, ..header() }, Code::FailedPrecondition),
        (Header { nonce: 0, ..header() }, Code::InvalidArgument),
        (Header { name: "requisitions/r1".into(), ..header() }, Code::InvalidArgument),
        (Header { requisition_fingerprint: vec![], ..header() }, Code::NotFound),
        (Header { requisition_fingerprint: vec![1; 32], ..header() }, Code::NotFound),
        (Header { protocol: Some(shares), ..header() }, Code::InvalidArgument),
        (Header { protocol_config: Some(config), ..header() }, Code::InvalidArgument),
    ] {
        // The stream stays open: the answer cannot depend on a body.
        let open = futures::stream::iter([message(header.clone())]).chain(futures::stream::pending());
        assert_eq!(world.stream("edp1", open).await.expect_err("refused").code(), code, "{header:?}");
    }
    assert_eq!(world.files(), 0);
    assert_fulfillable(&world, &sketch::<P256>(1)).await;
}

#[tokio::test]
async fn malformed_streams_change_nothing() {
    let world = World::new().await;
    let body = sketch::<P256>(3);
    let mut off_curve = body.clone();
    off_curve[198 + 1..198 + 33].fill(0xff);
    let mut second_header = upload(header(), &body);
    second_header.push(message(header()));
    let mut empty_message = upload(header(), &body);
    empty_message.push(Default::default());
    for (what, messages) in [
        ("no message", vec![]),
        ("no header", vec![chunk(&body)]),
        ("one byte less", upload(header(), &body[..body.len() - 1])),
        ("one byte more", upload(header(), &[&body[..], &[2]].concat())),
        ("a ciphertext off the curve", upload(header(), &off_curve)),
        ("a second header", second_header),
        ("a message of nothing", empty_message),
    ] {
        let refused = world.send(messages).await.expect_err(what);
        assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused}");
        assert_eq!((world.path().await, world.files()), (String::new(), 0), "{what}");
    }
    assert!(world.with_kingdom(|kingdom| kingdom.requests.is_empty()));
    assert_fulfillable(&world, &body).await;
}

/// A data provider whose audience is not in the sample has a sketch without registers, and sends no chunks.
#[tokio::test]
async fn an_empty_sketch_is_a_sketch() {
    let world = World::new().await;
    assert_fulfillable(&world, b"").await;
}

#[tokio::test]
async fn bodies_are_limited() {
    let world = World::new().await;
    let registers = usize::try_from(MAX_BYTES).expect("small") / 198;
    let refused = world.send(upload(header(), &sketch::<P256>(registers + 1))).await.expect_err("too large");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_fulfillable(&world, &sketch::<P256>(registers)).await;
}

#[tokio::test]
async fn a_stalled_client_is_cut() {
    let world = World::new().await;
    let body = sketch::<P256>(2);
    for sent in [vec![], vec![message(header())], vec![message(header()), chunk(&body[..198])]] {
        let stalled = futures::stream::iter(sent).chain(futures::stream::pending());
        let started = std::time::Instant::now();
        let refused = world.stream("edp1", stalled).await.expect_err("stalled");
        assert_eq!(refused.code(), Code::DeadlineExceeded);
        assert!(started.elapsed() >= IDLE);
    }
    assert_eq!(world.files(), 0);
    assert_fulfillable(&world, &body).await;
}

#[tokio::test]
async fn a_truncated_stream_changes_nothing() {
    let world = World::new().await;
    let body = sketch::<P256>(4);
    // Whole registers arrive, then the client dies: only the way the stream ends tells that it was cut.
    let sent = vec![message(header()), chunk(&body[..2 * 198])];
    let cut = futures::stream::iter(sent).chain(futures::stream::pending());
    let mut client = world.client("edp1");
    let call = tokio::spawn(async move { client.fulfill_requisition(cut).await });
    tokio::time::sleep(IDLE / 3).await;
    call.abort();
    assert!(call.await.expect_err("aborted").is_cancelled());
    tokio::time::sleep(IDLE / 3).await;
    assert_eq!((world.path().await, world.files()), (String::new(), 0));
    assert_fulfillable(&world, &body).await;
}

#[tokio::test]
async fn a_repeated_fulfillment_is_answered_as_the_first() {
    let world = World::new().await;
    let (first, second) = (sketch::<P256>(2), sketch::<P256>(3));
    let header = Header { etag: "etag".into(), ..header() };
    world.send(upload(header.clone(), &first)).await.expect("fulfilled");
    let path = world.path().await;
    world.with_kingdom(|kingdom| kingdom.etag = "next".into());
    // The same data again, other data, no data, an outdated etag or none: it is fulfilled.
    for body in [&first[..], &second, b""] {
        world.send(upload(header.clone(), body)).await.expect("fulfilled already");
        world.send(upload(Header { etag: String::new(), ..header.clone() }, body)).await.expect("already");
    }
    assert_eq!((world.path().await, world.files()), (path, 1), "the first is kept");
    // But not with another nonce.
    let refused = world.send(upload(Header { nonce: 1, ..header }, &first)).await.expect_err("another nonce");
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn simultaneous_fulfillments_leave_one_body() {
    let world = World::new().await;
    let bodies: Vec<_> = (1..=4).map(|registers| sketch::<P256>(10 * registers)).collect();
    let calls = bodies.iter().map(|body| world.send(upload(header(), body)));
    for answer in futures::future::join_all(calls).await {
        answer.expect("fulfilled by one of them");
    }
    let stored = world.blobs.read(&world.path().await, MAX_BYTES).await.expect("recorded");
    assert!(bodies.contains(&stored));
    assert_eq!(world.files(), 1);
}

#[tokio::test]
async fn a_call_that_the_kingdom_missed_is_healed_by_the_next() {
    for (failure, told) in [
        (Code::Unavailable, Code::Unavailable),
        (Code::Aborted, Code::Aborted),
        (Code::DeadlineExceeded, Code::Unavailable),
        (Code::PermissionDenied, Code::Internal),
        (Code::FailedPrecondition, Code::FailedPrecondition),
    ] {
        let world = World::new().await;
        world.with_kingdom(|kingdom| kingdom.failures = vec![failure]);
        let body = sketch::<P256>(1);
        let refused = world.send(upload(header(), &body)).await.expect_err("the Kingdom refuses");
        assert_eq!(refused.code(), told);
        assert_ne!(world.path().await, "", "the data is kept");
        assert_fulfillable(&world, &body).await;
    }
}

#[tokio::test]
async fn a_requisition_fulfilled_elsewhere_is_not_fulfilled_here() {
    let world = World::new().await;
    world.with_kingdom(|kingdom| {
        kingdom.requisition.set_state(system::requisition::State::Fulfilled);
        kingdom.requisition.nonce = NONCE;
        kingdom.requisition.fulfilling_computation_participant =
            "computations/c1/participants/worker2".into();
    });
    let refused = world.send(upload(header(), &sketch::<P256>(1))).await.expect_err("elsewhere");
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_computation_that_goes_on_takes_no_more_data() {
    let world = World::new().await;
    for next in [Stage::WaitRequisitionsAndKeySet, Stage::ConfirmationPhase] {
        let claim = Claim {
            protocol: Protocol::LiquidLegionsV2,
            owner: "mill".into(),
            duration: Duration::from_secs(60),
            prioritized: vec![],
        };
        let claimed = world.store.claim(claim).await.expect("a store");
        let guard = claimed.map_or(world.computation().await.guard(), |claimed| claimed.guard());
        let next = ProtocolStage::LiquidLegionsV2(next);
        let advance = Advance {
            next,
            inputs: vec![],
            pass_through: vec![],
            outputs: 0,
            stage_details: Default::default(),
        };
        world.store.advance(&guard, advance).await.expect("a legal step");
    }
    let refused = world.send(upload(header(), &sketch::<P256>(1))).await.expect_err("too late");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(world.files(), 0);
}
