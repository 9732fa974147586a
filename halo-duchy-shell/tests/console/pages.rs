//! The pages by plain HTTP.

use crate::world::{HOSTILE, MINUTE, World};

#[tokio::test]
async fn the_first_page_tells_of_all_computations() {
    let world = World::full().await;
    let page = world.show().await.get("/").await;
    assert_eq!(page.status, 200, "{}", page.body);
    for told in [
        "<a href=\"/computations/running\">running</a><td>Liquid Legions v2<td>INITIALIZATION_PHASE\
         <td class=\"running\">running<td>",
        "<td class=\"failed\">failed<td>",
        "<td class=\"delayed\">delayed<td>",
        "<td class=\"expired\">expired<td>",
        "<td class=\"queued\">queued<td>",
        "<td class=\"waiting\">waiting<td>",
        "<td class=\"wide\">no key fits</tr>",
        // Lease holders, and what was done.
        "<tr><td>mill-1<td><a href=\"/computations/running\">",
        "<progress max=\"100\" value=\"31\"></progress> step 2, 31 % of 1000000 records</tr>",
        "<tr><td>Liquid Legions v2<td>INITIALIZATION_PHASE<td>1<td>3<td>",
    ] {
        assert!(page.body.contains(told), "{told}\n{}", page.body);
    }
    let (newest, oldest) = (page.body.find("/computations/queued"), page.body.find("/computations/c1"));
    assert!(newest < oldest, "the newest first");
}

#[tokio::test]
async fn a_state_is_shown_alone_and_page_by_page() {
    let world = World::empty();
    for n in 0..51 {
        let role = halo_protocols::proto::duchy::config::RoleInComputation::Aggregator;
        world.harness.create(&format!("c{n}"), role).await;
        world.harness.clock.advance(std::time::Duration::from_secs(1));
    }
    let shown = world.show().await;
    let first = shown.get("/?state=queued").await.body;
    assert!(first.contains(">c50<") && !first.contains(">c0<"), "{first}");
    assert!(first.contains("<a href=\"/?state=queued&amp;skip=50\">More</a>"), "{first}");
    let second = shown.get("/?state=queued&skip=50").await.body;
    assert!(second.contains(">c0<") && !second.contains(">c1<") && !second.contains("More"), "{second}");
    assert!(shown.get("/?state=running").await.body.contains("<p>There are none.</p>"));
}

#[tokio::test]
async fn a_computation_has_a_page_with_its_history() {
    let world = World::full().await;
    let shown = world.show().await;
    let page = shown.get("/computations/c1").await;
    assert_eq!(page.status, 200);
    for told in [
        "<tr><th>Participants<td class=\"wide\">worker1, worker2, aggregator</tr>",
        // Of worker1, the first in the ring, the aggregator is before.
        "1 message(s) of aggregator",
        "<text x=\"0\" y=\"17.0\">INITIALIZATION_PHASE</text>",
        "<rect class=\"good\"",
        "crypto_wall_clock_duration_ms 1234",
        "<td>SETUP_PHASE<td>0<td>output<td><td class=\"wide\">c1/SETUP_PHASE/0</tr>",
        "<tr><td>c1/1<td>not here<td>",
    ] {
        assert!(page.body.contains(told), "{told}\n{}", page.body);
    }
}

#[tokio::test]
async fn what_is_moving_is_loaded_again() {
    let world = World::full().await;
    let shown = world.show().await;
    let again = "<meta http-equiv=\"refresh\" content=\"5\">";
    for (path, is_moving) in [("/", true), ("/computations/running", true), ("/computations/c1", false)] {
        assert_eq!(shown.get(path).await.body.contains(again), is_moving, "{path}");
    }
}

#[tokio::test]
async fn what_others_wrote_is_text() {
    let world = World::full().await;
    let page = world.show().await.get("/computations/failed").await.body;
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;&lt;img src=x onerror=alert(2)&gt;";
    // In the table, and in the picture.
    assert_eq!(page.matches(escaped).count(), 2, "{page}");
    assert!(HOSTILE.starts_with("<script"));
}

#[tokio::test]
async fn browsers_are_told_to_be_strict() {
    let world = World::full().await;
    let shown = world.show().await;
    for path in ["/", "/computations/c1", "/style.css", "/nothing"] {
        let head = shown.get(path).await.head;
        for header in [
            "content-security-policy: default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: {head}");
        }
    }
    assert!(shown.get("/style.css").await.head.contains("content-type: text/css"));
}

#[tokio::test]
async fn there_is_nothing_but_to_read() {
    let world = World::full().await;
    let shown = world.show().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let refused = shown.ask(method, "/computations/c1", "127.0.0.1").await;
        assert!(
            refused.status == 405 && refused.head.contains("allow: get, head"),
            "{method}: {}",
            refused.head
        );
    }
    let head = shown.ask("HEAD", "/", "localhost:8081").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn a_client_that_closes_its_side_is_answered() {
    let world = World::full().await;
    let answer = world.show().await.ask_and_close("/").await;
    assert!(answer.status == 200 && answer.body.ends_with("</html>\n"), "{}", answer.body);
}

#[tokio::test]
async fn what_makes_no_sense_is_not_found() {
    let world = World::full().await;
    let shown = world.show().await;
    for path in [
        "/computations/",
        "/computations/unknown",
        "/computations/..%2f..%2fetc",
        "/computations/<script>",
        "/computations/c1/more",
        "/?state=unknown",
        "/?skip=-1",
        "/?skip=10001",
        "/?other=1",
        "/favicon.ico",
        "//",
    ] {
        assert!([400, 404].contains(&shown.get(path).await.status), "{path}");
    }
}

#[tokio::test]
async fn a_name_that_leads_here_shows_nothing() {
    let world = World::full().await;
    let shown = world.show().await;
    let refused = shown.ask("GET", "/", "attacker.example").await;
    assert!(refused.status == 421 && !refused.body.contains("running"), "{}", refused.body);
    assert_eq!(shown.ask("GET", "/", "[::1]:8081").await.status, 200);
}

#[tokio::test]
async fn a_database_that_is_broken_is_told_of() {
    let world = World::full().await;
    let shown = world.show().await;
    let connection = rusqlite::Connection::open(&world.file).expect("the file");
    connection.execute("DROP TABLE ComputationStats", []).expect("dropped");
    let page = shown.get("/computations/c1").await;
    assert!(page.status == 503 && page.body.contains("the store is unavailable"), "{}", page.body);
    world.harness.clock.advance(1000 * 365 * 24 * 60 * MINUTE);
    assert_eq!(shown.get("/").await.status, 200, "which needs it for mills at work only");
}
