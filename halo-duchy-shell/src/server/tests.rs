use tokio::net::TcpListener;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Status;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::serve::routes::INTERNAL_API;
use crate::shutdown;

#[tokio::test]
async fn the_process_and_each_service_are_healthy_until_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = shutdown::channel();
    let serving =
        tokio::spawn(serve_health(listener, INTERNAL_API.services, async move { stopped.requested().await }));
    let endpoint = Endpoint::try_from(format!("http://{address}")).expect("an address");
    let channel = endpoint.connect().await.expect("it listens");
    let mut client = HealthClient::new(channel);
    let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in INTERNAL_API.services.iter().chain([&""]) {
        let answer = client.check(request(service)).await.expect("known").into_inner();
        assert_eq!(answer.status(), Status::Serving, "{service}");
    }
    assert_eq!(client.check(request("another")).await.expect_err("unknown").code(), Code::NotFound);

    let name = INTERNAL_API.services[0];
    let mut watching = client.watch(request(name)).await.expect("known").into_inner();
    let mut next = async || watching.message().await.expect("a stream").expect("a message").status();
    assert_eq!(next().await, Status::Serving);
    stop.fire();
    assert_eq!(next().await, Status::NotServing);
    drop(watching);
    serving.await.expect("no panic").expect("an orderly end");
}
