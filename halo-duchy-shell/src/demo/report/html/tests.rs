//! The page: of a small report as it is kept beside this file, and of odd ones.

use std::path::Path;

use super::*;
use crate::demo::report::tests::report;

/// The page of a report, whose tags must match.
fn page(report: &Report) -> String {
    let page = Page(report).to_string();
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("an open tag: {tag}"));
        assert!(!tag.contains("NaN") && !tag.contains("inf"), "a coordinate is no number: {tag}");
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap_or_default();
        match name {
            // These need no end.
            "!DOCTYPE" | "meta" | "td" | "th" => {}
            _ if tag.ends_with('/') => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "what ends"),
            _ => open.push(name),
        }
    }
    assert_eq!(open, [""; 0], "what never ends");
    page
}

#[test]
fn a_report_always_makes_the_same_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/report/html/snapshot.html");
    let page = page(&report());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("writable");
    }
    let kept = std::fs::read_to_string(&path).expect("the page that is kept");
    let command = "UPDATE_DOCS=1 cargo test -p halo-duchy-shell --lib a_report_always_makes_the_same_page";
    assert!(page == kept, "look at what has changed, then: {command}");
}

#[test]
fn a_page_fetches_and_runs_nothing() {
    let page = page(&report());
    for way in
        ["http:", "https:", "//", "<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import"]
    {
        assert!(!page.contains(way), "{way}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn names_cannot_become_markup() {
    let mut report = report();
    let hostile = "</text><script>alert('x')</script>\"&";
    report.stages[0].duchy = hostile.to_owned();
    report.stages[0].stage = hostile.to_owned();
    report.bytes_sent.insert(format!("edp-{hostile}"), 7);
    let page = page(&report);
    assert!(!page.contains("<script") && !page.contains("alert('"), "{page}");
    assert!(
        page.contains("&lt;/text&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;"),
        "{page}"
    );
}

#[test]
fn a_run_without_frequencies_or_chance_says_so() {
    let mut report = report();
    report.frequency.clear();
    report.frequency_standard_deviation.clear();
    report.true_frequency.clear();
    report.reach_standard_deviation = 0.0;
    report.reach_standard_deviation_without_noise = 0.0;
    (report.reach, report.suite) = (100, None);
    let page = page(&report);
    assert!(page.contains("Nothing is random in this run") && !page.contains("Frequency</h2>"), "{page}");
    assert!(page.contains("Largest error: 0."), "{page}");
}

#[test]
fn extremes_stay_within_the_page() {
    let mut report = Report::default();
    page(&report);
    report.true_frequency = (1..=1000).map(|k| (k, 0.001)).collect();
    report.frequency = (1..=1000).map(|k| (k, f64::NAN)).collect();
    report.frequency_standard_deviation = (1..=1000).map(|k| (k, 1e-300)).collect();
    (report.reach, report.true_reach, report.reach_standard_deviation) = (i64::MIN, u64::MAX, f64::INFINITY);
    report.bytes_sent.insert("x".repeat(1000), u64::MAX);
    let page = page(&report);
    assert!(page.matches("<circle").count() <= 1002, "a point for each frequency and reach");
}

#[test]
fn numbers_are_grouped_and_shortened() {
    assert_eq!([grouped(0), grouped(999), grouped(1000)], ["0", "999", "1\u{202f}000"]);
    assert_eq!(grouped(-1_234_567), "−1\u{202f}234\u{202f}567");
    assert_eq!([bytes(12_345), bytes(184_810_000)], ["12.3 kB", "185 MB"]);
    assert_eq!([bytes(999), bytes(2376), bytes(3_067_218)], ["999 B", "2.38 kB", "3.07 MB"]);
    assert_eq!([signed(-1.2, 1), signed(0.256, 2), signed(f64::NAN, 2)], ["−1.2", "+0.26", "–"]);
    assert_eq!(shortened("short"), "short");
    assert_eq!(shortened(&"é".repeat(23)), format!("{}…", "é".repeat(21)));
}
