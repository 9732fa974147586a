use std::sync::LazyLock;

use halo_duchy_shell::console::Console;
use halo_duchy_shell::proto::internal::ClaimWorkRequest;

use crate::config_files::OWN;
use crate::memory::bounded;
use crate::messages::creations;
use crate::services::{InternalApi, RUNTIME, clock, empty_store};

/// Who has claimed what is shown: text from elsewhere, which means something in HTML.
const OWNER: &str = "<b id=owner>'\"&";
/// The same, as text.
const SHOWN: &str = "&lt;b id=owner&gt;&#39;&quot;&amp;";
/// What answers may take besides what is read: pages are of a few kilobytes each.
const PER_BYTE: usize = 64;

/// The pages of a duchy that has something to show.
static CONSOLE: LazyLock<Console> = LazyLock::new(|| {
    let store = empty_store();
    let mut api = InternalApi::over(store.clone());
    RUNTIME.block_on(async {
        for (number, mut creation) in creations().into_iter().enumerate() {
            creation.global_computation_id = format!("c{number}");
            let claim = ClaimWorkRequest {
                computation_type: creation.computation_type,
                owner: OWNER.into(),
                ..ClaimWorkRequest::default()
            };
            api.ask(0, &creation).await;
            api.ask(2, &claim).await;
        }
    });
    let console = Console { duchy: OWN.to_owned(), store, clock: clock() };
    for path in ["/", "/?state=running", "/computations/c0"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = RUNTIME.block_on(console.answer(request.as_bytes()));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(SHOWN), "nobody has claimed anything: {answer}");
    }
    console
});

/// The bytes that a client of the console's pages sends on a connection.
///
/// There is one answer at most, no failure of ours, and in it no text is taken for markup.
pub fn console(data: &[u8]) {
    let console = &*CONSOLE;
    let answer = bounded(data.len(), PER_BYTE, || RUNTIME.block_on(console.answer(data)));
    if answer.is_empty() {
        return;
    }
    let answer = std::str::from_utf8(&answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    assert!(["200", "400", "404", "405", "414", "421", "431"].contains(&status), "{head}");
    assert!(!body.contains("HTTP/1.1"), "a second answer: {body}");
    for markup in ["<b>", "<b ", "<b/"] {
        assert!(!body.contains(markup), "not escaped: {body}");
    }
    if status == "200" {
        for header in ["content-security-policy: default-src 'none';", "x-content-type-options: nosniff"] {
            assert!(head.contains(header), "{head}");
        }
    }
}

/// Requests for every page, and some that are refused.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let local = "Host: 127.0.0.1:8081\r\n\r\n";
    let mut seeds = Vec::new();
    for path in
        ["/", "/?state=running&skip=1", "/?state=<b>", "/computations/c0", "/computations/%3Cb", "/style.css"]
    {
        seeds.push(format!("GET {path} HTTP/1.1\r\n{local}"));
    }
    seeds.push(format!("HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n{local}"));
    seeds.push(format!("GET / HTTP/1.1\r\n{local}GET /style.css HTTP/1.1\r\n{local}"));
    seeds.push(format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{local}4\r\n<b/>\r\n0\r\n\r\n"));
    seeds.push(format!(
        "GET http://attacker.example/ HTTP/1.1\r\nContent-Length: 99\r\nExpect: 100-continue\r\n{local}"
    ));
    seeds.push("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n".to_owned());
    seeds.into_iter().map(String::into_bytes).collect()
}
