//! A report from a small recorded sample.

use std::path::{Path, PathBuf};

use halo_benches::report::{markdown, svg};
use halo_benches::results::{Measurement, read_folder};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results")
}

fn measurements() -> Vec<Measurement> {
    read_folder(&sample()).expect("the sample is whole")
}

#[test]
fn a_table_gives_ratios_and_the_processor() {
    let text = markdown(&measurements());
    for expected in [
        "## groups, backend ifma, Some <CPU> & more",
        "## share_shuffle, backend avx2, AMD EPYC",
        "## stages, backend avx2, AMD EPYC",
        "| p256 EncryptSketch, register | 10000 | 0.489 | OpenSSL: one P-256 multiplication (40200 ns) | 1.91 × | 1.03 | 19670 |",
        "| p256 ExecutionPhaseTwo, tuple | 10000 | 2.16 | OpenSSL: one P-256 multiplication (40200 ns) | 1.93 × |  | 86960 |",
        "| expand a share | 10000000 | 1.50 | OpenSSL: one byte of AES-256-CTR (0.148 ns) |  |  | 0.222 |",
        "| p256 scale \\| a | 1000 | 0.206 | OpenSSL: multiply (40000 ns) |  |  | 8250 |",
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
    }
}

#[test]
fn a_picture_has_a_bar_for_each_ratio() {
    let text = svg(&measurements());
    assert_eq!(text.matches("<rect x=").count(), 4);
    assert!(text.contains("Some &lt;CPU&gt; &amp; more"), "{text}");
    // A decade is 70 pixels: ratios of 0.489, 2.16, 0.206 and 1.5 lie 2.69, 3.34, 2.31 and 3.18 decades above 0.001.
    for (width, color) in
        [("188.3", "#3a7d44"), ("233.5", "#b5523b"), ("162.0", "#3a7d44"), ("222.3", "#b5523b")]
    {
        let bar = text.lines().find(|line| line.contains(&format!("width=\"{width}\""))).expect(width);
        assert!(bar.contains(color), "{bar}");
    }
}

#[test]
fn a_line_that_is_no_result_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = std::fs::read_to_string(sample().join("groups-ifma.jsonl")).expect("the sample");
    std::fs::write(folder.path().join("stages-ifma.jsonl"), good + "{}\n").expect("a file");
    let error = read_folder(folder.path()).expect_err("the second line is none").to_string();
    assert!(error.contains("stages-ifma.jsonl, line 2"), "{error}");
}
