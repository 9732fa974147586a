//! A real browser, without a window, and the pictures that it takes. With `UPDATE_SCREENSHOTS=1` they go to `docs/images`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Longer than a page takes on any machine, in seconds.
const PATIENCE: &str = "60";

/// A browser of this machine, with a profile of its own.
pub struct Browser {
    name: &'static str,
    folder: tempfile::TempDir,
}

impl Browser {
    /// The browser of this machine; without one, `None`, told to `.ci/run`.
    pub fn find() -> Option<Self> {
        let runs = |name: &&str| {
            Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
        };
        let Some(name) = NAMES.into_iter().find(|name| runs(name)) else {
            // Not by `eprintln!`, which libtest swallows.
            let line = b"SKIPPED browser: there is no chromium on this machine\n";
            std::io::stderr().write_all(line).expect("standard error");
            return None;
        };
        Some(Self { name, folder: tempfile::tempdir().expect("a folder") })
    }

    /// What the browser makes of a page: its elements, as text.
    pub fn elements(&self, url: &str) -> String {
        String::from_utf8_lossy(&self.run(&["--dump-dom", url]).stdout).into_owned()
    }

    /// Takes a picture of a page, of so many pixels, and sees that something is on it.
    pub fn picture(&self, name: &str, url: &str, [width, height]: [u32; 2]) {
        let picture = self.folder.path().join(format!("{name}.png"));
        let screenshot = format!("--screenshot={}", picture.display());
        self.run(&[&screenshot, &format!("--window-size={width},{height}"), url]);
        let png = fs::read(&picture).expect("a picture");
        assert_eq!(size(&png), [width, height]);
        // A page without its style, or none at all, is white almost everywhere, and so much smaller.
        assert!(png.len() > 20_000, "{} bytes", png.len());
        if std::env::var_os("UPDATE_SCREENSHOTS").is_some() {
            let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
            fs::create_dir_all(&images).expect("docs/images");
            fs::write(images.join(format!("{name}.png")), &png).expect("written");
        }
    }

    fn run(&self, flags: &[&str]) -> Output {
        let profile = format!("--user-data-dir={}", self.folder.path().display());
        // Only pages of tests are shown: no sandbox is needed, which root cannot have.
        let fixed =
            ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let output = Command::new("timeout")
            .args([PATIENCE, self.name])
            .args(fixed)
            .args(["--no-first-run", "--disable-background-networking", &profile])
            .args(flags)
            .output()
            .expect("the browser runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

/// Width and height of a PNG.
fn size(png: &[u8]) -> [u32; 2] {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    [16, 20].map(|at| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes")))
}
