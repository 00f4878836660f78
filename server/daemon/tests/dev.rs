//! The cluster in one process, as tests use it.

use std::time::Duration;

use slotkv::Client;
use slotkv_coordination::{
    Coordinator, Expect, paths,
    registers::{Register, ShardRegister},
};
use slotkv_daemon::dev::{Dev, DevError, DevOptions};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

fn options() -> DevOptions {
    DevOptions { session_timeout: Duration::from_millis(500), ..DevOptions::default() }
}

#[tokio::test]
async fn acknowledged_writes_survive_a_killed_worker() {
    let mut dev = Dev::start(options()).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap();
    let pairs = (0..300).map(|i| (format!("k{i}"), format!("v{i}")));
    assert!(client.put_many(pairs).await.iter().all(Result::is_ok));
    for index in 0..3 {
        dev.kill_worker(index).await.unwrap();
        assert!(matches!(dev.kill_worker(index).await, Err(DevError::NoMember(_))));
        dev.restart_worker(index).await.unwrap();
    }
    assert!(matches!(dev.restart_worker(0).await, Err(DevError::NoMember(_))));
    dev.ready().await.unwrap();
    for i in 0..300 {
        assert_eq!(client.get(format!("k{i}")).await.unwrap().unwrap(), format!("v{i}"));
    }
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test]
async fn requests_go_on_while_masters_come_and_go() {
    let mut dev = Dev::start(options()).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap();
    dev.kill_master(0).await.unwrap();
    client.put("k", "one master").await.unwrap();
    dev.stop_master(1).await.unwrap();
    client.put("k", "no master").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap(), "no master");
    dev.restart_master(0).await.unwrap();
    dev.restart_master(1).await.unwrap();
    dev.ready().await.unwrap();
    let status = client.status().await.unwrap();
    assert_eq!(status.masters.iter().filter(|master| master.leader).count(), 1);
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test]
async fn requests_go_on_while_the_coordinator_is_down() {
    let dev = Dev::start(options()).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap();
    dev.coordinator().faults().stop();
    for i in 0..100 {
        client.put(format!("k{i}"), "v").await.unwrap();
    }
    assert_eq!(client.count(slotkv::Range::all()).await.unwrap(), 100);
    dev.coordinator().faults().start();
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test]
async fn a_dropped_cluster_lets_go_of_its_folder_and_ports() {
    let folder = tempfile::tempdir().unwrap();
    let kept = DevOptions { data: Some(folder.path().join("data")), shards: 1, ..options() };
    let dev = Dev::start(kept.clone()).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap();
    client.put("k", "v").await.unwrap();
    client.close().await;
    let port = dev.master_addresses()[0].rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    dev.shutdown().await;
    std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let dev = Dev::start(kept).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap(), "v");
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test]
async fn a_cluster_that_is_just_dropped_leaves_nothing_behind() {
    let dev = Dev::start(options()).await.unwrap();
    let (folder, worker) = (dev.folder().to_owned(), dev.worker_addresses()[0].clone());
    drop(dev);
    assert!(!folder.exists());
    std::net::TcpListener::bind(worker).unwrap();
}

#[tokio::test]
async fn a_shard_whose_primary_was_deposed_is_led_again_in_a_later_epoch() {
    let dev = Dev::start(options()).await.unwrap();
    let session = dev.coordinator().open(Duration::from_secs(1)).await.unwrap();
    let path = paths::shard(1);
    let node = session.get(&path).await.unwrap().unwrap();
    let mut register = ShardRegister::decode(&path, &node.data).unwrap();
    register.epoch += 1;
    register.primary = None;
    session.set(&path, register.encode().unwrap(), Expect::Any).await.unwrap();
    let deposed = register.epoch;
    while register.epoch == deposed {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let node = session.get(&path).await.unwrap().unwrap();
        register = ShardRegister::decode(&path, &node.data).unwrap();
    }
    assert_eq!(register.primary.unwrap().name, "worker-1");
    dev.ready().await.unwrap();
    session.close().await;
    dev.shutdown().await;
}

#[tokio::test]
async fn a_port_that_is_taken_leaves_nothing_half_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Dev::start(DevOptions { port, ..options() }).await.err().unwrap();
    assert!(matches!(&error, DevError::Member { member, .. } if member == "master 0"), "{error}");
}

#[tokio::test]
async fn one_shard_and_one_master_over_ipv6_are_a_cluster() {
    let options = DevOptions {
        listen: std::net::Ipv6Addr::LOCALHOST.into(),
        shards: 1,
        masters: 1,
        slots: 1,
        ..options()
    };
    let dev = Dev::start(options).await.unwrap();
    assert!(dev.uri().starts_with("slotkv://[::1]:"), "{}", dev.uri());
    let client = Client::connect(&dev.uri()).await.unwrap();
    client.put("k", "v").await.unwrap();
    client.close().await;
    dev.shutdown().await;
}

/// What reflection lists, sorted, after it has described each of them.
async fn listed(channel: &Channel) -> Vec<String> {
    let ask = async |request| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let asked = futures_util::stream::iter([request]);
        let mut client = ServerReflectionClient::new(channel.clone());
        let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap().message_response.unwrap()
    };
    let answer = ask(MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    for name in &names {
        let answer = ask(MessageRequest::FileContainingSymbol(name.clone())).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{name}: {answer:?}");
    }
    names
}

#[tokio::test]
async fn each_member_tells_what_it_serves_and_when_it_stops() {
    const SERVING: i32 = 1;
    const NOT_SERVING: i32 = 2;
    let dev = Dev::start(DevOptions { masters: 1, shards: 1, ..options() }).await.unwrap();
    let members = [
        (dev.master_addresses().remove(0), &["slotkv.v1.Admin", "slotkv.v1.Master", "slotkv.v1.Process"][..]),
        (
            dev.worker_addresses().remove(0),
            &[
                "slotkv.v1.Handover",
                "slotkv.v1.Master",
                "slotkv.v1.Process",
                "slotkv.v1.Replication",
                "slotkv.v1.Store",
            ],
        ),
    ];
    let mut watched = Vec::new();
    for (address, services) in members {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let everywhere = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
        assert_eq!(listed(&channel).await, [&everywhere[..], services].concat());
        let mut health = HealthClient::new(channel);
        for service in ["", services[0], services[1]] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let mut changes = health.watch(request).await.unwrap().into_inner();
            assert_eq!(changes.message().await.unwrap().unwrap().status, SERVING, "{service}");
            watched.push((format!("{service} of {address}"), changes));
        }
        let request = HealthCheckRequest { service: "slotkv.v1.Nothing".to_owned() };
        assert_eq!(health.check(request).await.unwrap_err().code(), tonic::Code::NotFound);
    }
    let told = async {
        for (service, mut changes) in watched {
            assert_eq!(changes.message().await.unwrap().unwrap().status, NOT_SERVING, "{service}");
        }
    };
    tokio::join!(told, dev.shutdown());
}
