//! The pages in a real browser.

use crate::browser::Browser;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_are_shown_by_a_browser() {
    let Some(browser) = Browser::find() else { return };
    let world = World::full().await;
    let shown = world.show().await;
    for (name, path, told) in
        [("console", "/", "Lease holders"), ("console-computation", "/computations/failed", "alert(1)")]
    {
        let url = format!("http://{}{path}", shown.address);
        let elements = browser.elements(&url);
        // What the browser made of it: the text is there, and has not become elements.
        assert!(elements.contains(told), "{elements}");
        assert!(!elements.contains("<script") && !elements.contains("<img"), "{elements}");
        browser.picture(name, &url, [1400, 1100]);
    }
}
