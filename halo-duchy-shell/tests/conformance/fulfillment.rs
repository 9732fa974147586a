//! `wfa.measurement.api.v2alpha.RequisitionFulfillment`: what data providers hand in.

use futures::StreamExt;
use halo_crypto::P256;
use halo_duchy_shell::client::Channel;
use halo_duchy_shell::proto::api::fulfill_requisition_request::Header;
use halo_duchy_shell::proto::api::fulfill_requisition_request::header::{
    HonestMajorityShareShuffle, Protocol,
};
use halo_duchy_shell::proto::api::requisition_fulfillment_client::RequisitionFulfillmentClient;
use halo_duchy_shell::proto::api::{
    EncryptedMessage, FulfillRequisitionRequest, FulfillRequisitionResponse, ProtocolConfig, protocol_config,
};
use halo_protocols::proto::frequency_count::FrequencyVector;
use prost::Message;
use tonic::{Code, Response, Status};

use crate::case::Suite;
use crate::in_process::{chunk, message, sketch, upload};
use crate::requisitions::{Known, NONCE};
use crate::world::{MAX_BYTES, Part, STRANGER, World};

const RPC: &str = "FulfillRequisition";

type Answer = Result<Response<FulfillRequisitionResponse>, Status>;

impl World {
    fn fulfillment(&self, party: &str) -> RequisitionFulfillmentClient<Channel> {
        RequisitionFulfillmentClient::new(self.channel(Part::Fulfillment, party))
    }

    pub async fn fulfill(&self, party: &str, messages: Vec<FulfillRequisitionRequest>) -> Answer {
        self.fulfillment(party).fulfill_requisition(futures::stream::iter(messages)).await
    }
}

pub fn suite() -> Suite {
    let mut suite = Suite::new("wfa.measurement.api.v2alpha.RequisitionFulfillment");
    headers(&mut suite);
    callers(&mut suite);
    sketches(&mut suite);
    shares(&mut suite);
    repeated(&mut suite);
    // The last case: nothing works without the internal API.
    suite.case(RPC, "while the internal API is down", Code::Unavailable, |world| async move {
        let header = world.sketch_requisition().await.header;
        world.kill(Part::InternalApi);
        world.fulfill("edp1", upload(header, &sketch::<P256>(1))).await
    });
    suite
}

/// Cases in which the header decides: the stream stays open behind it, so no body is waited for.
fn headers(suite: &mut Suite) {
    let mut case = |input, code, change: fn(&mut Header)| {
        suite.case(RPC, input, code, move |world| async move {
            let mut header = world.sketch_requisition().await.header;
            change(&mut header);
            let open = futures::stream::iter([message(header)]).chain(futures::stream::pending());
            world.fulfillment("edp1").fulfill_requisition(open).await
        });
    };
    let bad = Code::InvalidArgument;
    case("another name than a requisition's", bad, |header| header.name = "requisitions/r1".into());
    case("an id with other characters than letters, digits, `-` and `_`", bad, |header| {
        header.name = "dataProviders/edp1/requisitions/..".into();
    });
    case("nonce 0", bad, |header| header.nonce = 0);
    case("another nonce", Code::FailedPrecondition, |header| header.nonce = NONCE + 1);
    case("an unknown requisition", Code::NotFound, |header| {
        header.name = "dataProviders/edp1/requisitions/x".into();
    });
    case("no fingerprint", Code::NotFound, |header| header.requisition_fingerprint.clear());
    case("another fingerprint", Code::NotFound, |header| header.requisition_fingerprint = vec![1; 32]);
    case("a header for another protocol than the computation's", bad, |header| {
        let shuffle = HonestMajorityShareShuffle::default();
        header.protocol = Some(Protocol::HonestMajorityShareShuffle(shuffle));
    });
    case("a protocol configuration without the computation's protocol", bad, |header| {
        let direct = protocol_config::protocol::Protocol::Direct(Default::default());
        let protocols = vec![protocol_config::Protocol { protocol: Some(direct) }];
        header.protocol_config = Some(ProtocolConfig { protocols, ..Default::default() });
    });
}

fn callers(suite: &mut Suite) {
    let mut case = |input, code, party: &'static str| {
        suite.case(RPC, input, code, move |world| async move {
            let header = world.sketch_requisition().await.header;
            world.fulfill(party, upload(header, &sketch::<P256>(1))).await
        });
    };
    case("from its data provider", Code::Ok, "edp1");
    case("from another data provider", Code::PermissionDenied, "edp2");
    case("from the measurement consumer", Code::PermissionDenied, "mc");
    case("from a duchy", Code::Unauthenticated, "worker2");
    case("from nobody that is known", Code::Unauthenticated, STRANGER);
}

fn sketches(suite: &mut Suite) {
    let mut case = |input, code, messages: fn(Header) -> Vec<FulfillRequisitionRequest>| {
        suite.case(RPC, input, code, move |world| async move {
            let header = world.sketch_requisition().await.header;
            let before = world.blobs();
            let answer = world.fulfill("edp1", messages(header)).await;
            assert_eq!(world.blobs(), before + usize::from(answer.is_ok()), "only what is good is kept");
            answer
        });
    };
    let bad = Code::InvalidArgument;
    case("no message", bad, |_| vec![]);
    case("no header", bad, |_| vec![chunk(&sketch::<P256>(1))]);
    case("a second header", bad, |header| {
        [upload(header.clone(), &sketch::<P256>(1)), vec![message(header)]].concat()
    });
    case("a message without payload", bad, |header| {
        [upload(header, &sketch::<P256>(1)), vec![FulfillRequisitionRequest::default()]].concat()
    });
    case("a sketch without registers", Code::Ok, |header| upload(header, b""));
    case("a sketch that ends within a register", bad, |header| upload(header, &sketch::<P256>(2)[..300]));
    case("a sketch with a point off the curve", bad, |header| {
        let mut body = sketch::<P256>(2);
        body[199..231].fill(0xff);
        upload(header, &body)
    });
    case("more than `--max-requisition-bytes`", Code::ResourceExhausted, |header| {
        upload(header, &sketch::<P256>(MAX_BYTES / 198 + 1))
    });
}

fn shares(suite: &mut Suite) {
    let mut case = |input, code, change: fn(&mut Header, &mut Vec<u8>)| {
        suite.case(RPC, input, code, move |world| async move {
            let mut header = world.share_requisition().await.header;
            let seed = EncryptedMessage { ciphertext: b"seed".to_vec(), ..Default::default() };
            header.protocol = Some(Protocol::HonestMajorityShareShuffle(HonestMajorityShareShuffle {
                secret_seed: Some(seed),
                register_count: 3,
                data_provider_certificate: "dataProviders/edp1/certificates/1".into(),
            }));
            let mut body = FrequencyVector { data: vec![1, 2, 126] }.encode_to_vec();
            change(&mut header, &mut body);
            world.fulfill("edp1", upload(header, &body)).await
        });
    };
    let bad = Code::InvalidArgument;
    case("a share", Code::Ok, |_, _| ());
    case("a share without the header's part for share shuffles", bad, |header, _| header.protocol = None);
    case("a share without a seed", bad, |header, _| shuffle(header).secret_seed = None);
    case("a share without a certificate", bad, |header, _| {
        shuffle(header).data_provider_certificate.clear();
    });
    case("a share with another's certificate", bad, |header, _| {
        shuffle(header).data_provider_certificate = "dataProviders/edp2/certificates/1".into();
    });
    case("a share of 0 registers", bad, |header, _| shuffle(header).register_count = 0);
    case("a share with fewer registers than the header says", bad, |header, _| {
        shuffle(header).register_count = 4;
    });
    case("a share with more registers than the header says", bad, |header, _| {
        shuffle(header).register_count = 2;
    });
    case("a share with a value not below the modulus", bad, |_, body| {
        *body = FrequencyVector { data: vec![1, 2, 127] }.encode_to_vec();
    });
    case("a share that is no FrequencyVector", bad, |_, body| *body = vec![0xff; 20]);
    case("no body where a share is due", bad, |_, body| body.clear());
}

fn shuffle(header: &mut Header) -> &mut HonestMajorityShareShuffle {
    match &mut header.protocol {
        Some(Protocol::HonestMajorityShareShuffle(shuffle)) => shuffle,
        other => panic!("{other:?}"),
    }
}

fn repeated(suite: &mut Suite) {
    let mut again = |input, code, change: fn(&Known) -> Header, body: fn() -> Vec<u8>| {
        suite.case(RPC, input, code, move |world| async move {
            let known = world.sketch_requisition().await;
            let first = upload(known.header.clone(), &sketch::<P256>(1));
            world.fulfill("edp1", first).await.expect("the first");
            world.fulfill("edp1", upload(change(&known), &body())).await
        });
    };
    let same = |known: &Known| known.header.clone();
    again("again, with the same data", Code::Ok, same, || sketch::<P256>(1));
    again("again, with other data", Code::Ok, same, || sketch::<P256>(2));
    again(
        "again, with the etag of before",
        Code::Ok,
        |known| Header { etag: known.requisition.etag.clone(), ..known.header.clone() },
        || sketch::<P256>(1),
    );
    suite.case(RPC, "another etag than the Kingdom's", Code::Aborted, |world| async move {
        let header = Header { etag: "x".into(), ..world.sketch_requisition().await.header };
        world.fulfill("edp1", upload(header, &sketch::<P256>(1))).await
    });
    suite.case(RPC, "other data four times at once", Code::Ok, |world| async move {
        let header = world.sketch_requisition().await.header;
        let before = world.blobs();
        let send = |registers| world.fulfill("edp1", upload(header.clone(), &sketch::<P256>(registers)));
        let answers = futures::future::join_all((1..=4).map(send)).await;
        assert_eq!(world.blobs(), before + 1, "one is kept");
        answers.into_iter().reduce(|one, other| one.and(other)).expect("four")
    });
    suite.case(RPC, "the whole after one that was cut", Code::Ok, |world| async move {
        let header = world.sketch_requisition().await.header;
        let before = world.blobs();
        let messages = [message(header.clone()), chunk(&sketch::<P256>(1))];
        let open = futures::stream::iter(messages).chain(futures::stream::pending());
        let mut client = world.fulfillment("edp1");
        let patience = std::time::Duration::from_millis(300);
        tokio::time::timeout(patience, client.fulfill_requisition(open)).await.expect_err("it is not whole");
        for _ in 0..250 {
            if world.blobs() == before {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(world.blobs(), before, "the beginning is discarded");
        world.fulfill("edp1", upload(header, &sketch::<P256>(1))).await
    });
}
