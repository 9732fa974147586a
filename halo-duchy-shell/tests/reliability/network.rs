//! The network between duchies: connections that are cut, slow, or not to be had for a while. What is sent again after a
//! cut is what arrives twice; what is slow on one connection is overtaken on another.

use std::time::Duration;

use halo_duchy_shell::measurement_consumer::MeasuredResult;
use halo_duchy_shell::trial::Surroundings;
use tokio::sync::OnceCell;

use crate::proxy::{Proxy, Way};
use crate::world::{DUCHIES, World};

/// What is measured by each protocol when nobody interferes.
pub async fn undisturbed() -> Vec<MeasuredResult> {
    static RESULTS: OnceCell<Vec<MeasuredResult>> = OnceCell::const_new();
    let results = RESULTS.get_or_init(|| async {
        let world = World::start().await;
        let results = world.measure("nothing happens").await;
        world.stop().await;
        results.into_iter().map(|result| result.expect("a result")).collect()
    });
    results.await.clone()
}

/// Has everything measured, and sees that the results are those that there are when nobody interferes.
pub async fn assert_same(world: &World, what: &str) {
    let results = world.measure(what).await;
    let results = results.into_iter().map(|result| result.unwrap_or_else(|error| panic!("{what}: {error}")));
    assert_eq!(results.collect::<Vec<_>>(), undisturbed().await, "{what}");
    assert_eq!(world.trial.kingdom.violations(), [], "{what}");
}

/// A world whose duchies find one another through proxies.
async fn start() -> (World, Vec<Proxy>) {
    let mut proxies = Vec::new();
    for _ in DUCHIES {
        proxies.push(Proxy::to("").await);
    }
    let targets = DUCHIES.iter().zip(&proxies);
    let targets = targets.map(|(duchy, proxy)| (String::from(*duchy), proxy.address().to_string()));
    let surroundings = Surroundings { control_targets: targets.collect(), ..Surroundings::default() };
    let world = World::start_in(&surroundings, |_| ()).await;
    for (duchy, proxy) in DUCHIES.iter().zip(&proxies) {
        proxy.lead_to(&world.trial.duchies[*duchy].addresses().control.to_string());
    }
    (world, proxies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duchies_live_with_cut_connections() {
    let (world, proxies) = start().await;
    for (way, after) in [(Way::ToServer, 0), (Way::ToServer, 6000), (Way::ToClient, 0), (Way::ToClient, 400)]
    {
        let what = format!("two connections to each are cut {way:?} after {after} bytes");
        let before: u64 = proxies.iter().map(|proxy| proxy.cut_so_far(way)).sum();
        proxies.iter().for_each(|proxy| proxy.cut(way, after, 2));
        assert_same(&world, &what).await;
        let after = proxies.iter().map(|proxy| proxy.cut_so_far(way)).sum::<u64>();
        assert!(after >= before + 3, "{what}: {}", after - before);
        proxies.iter().for_each(|proxy| proxy.cut(way, 0, 0));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duchies_live_with_slow_and_absent_peers() {
    let (world, proxies) = start().await;
    proxies.iter().for_each(|proxy| proxy.slow(Duration::from_millis(15)));
    assert_same(&world, "slow connections").await;
    proxies.iter().for_each(|proxy| proxy.slow(Duration::ZERO));

    let outages = async {
        loop {
            for away in [true, false] {
                proxies.iter().for_each(|proxy| proxy.be_away(away));
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        }
    };
    tokio::select! {
        () = assert_same(&world, "nobody is to be reached, again and again") => {}
        () = outages => {}
    }
    proxies.iter().for_each(|proxy| proxy.be_away(false));
    world.stop().await;
}
