//! A token of SoftHSM's, one for a test, with keys of files in it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The PIN of the token's user, which is looked for in logs: digits alone would be in their times now and then.
pub const PIN: &str = "tell-nobody-2718";
/// The token's label.
pub const LABEL: &str = "duchy";

/// A token.
pub struct SoftHsm {
    folder: PathBuf,
    library: PathBuf,
}

impl SoftHsm {
    /// Makes one in `folder`. Without SoftHSM on the machine, `None`, told to `.ci/run`.
    pub fn create(folder: &Path) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/softhsm.sh");
        let made = Command::new(script).arg(folder).arg(PIN).output().expect("the script that makes a token");
        let reason = String::from_utf8_lossy(&made.stderr);
        if made.status.code() == Some(77) {
            // Not by `eprintln!`, which libtest swallows.
            let line = format!("SKIPPED softhsm: {}\n", reason.lines().next().unwrap_or_default());
            std::io::stderr().write_all(line.as_bytes()).expect("standard error");
            return None;
        }
        assert!(made.status.success(), "{reason}");
        let library = String::from_utf8(made.stdout).expect("a path").trim().into();
        fs::write(folder.join("pin"), format!("{PIN}\n")).expect("a file");
        Some(Self { folder: folder.to_owned(), library })
    }

    /// One that was made in `folder` earlier.
    #[allow(dead_code, reason = "not every test does everything to a token")]
    pub fn at(folder: &Path, library: &Path) -> Self {
        Self { folder: folder.to_owned(), library: library.to_owned() }
    }

    /// The file that `SOFTHSM2_CONF` has to name.
    pub fn config(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// The PKCS #11 library.
    #[allow(dead_code, reason = "not every test does everything to a token")]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Puts a key in PEM (PKCS #8) into the token.
    pub fn import(&self, label: &str, id: u8, pem: &str) {
        self.import_file(label, id, pem.as_bytes(), &[]);
    }

    /// Puts an AES key into the token.
    #[allow(dead_code, reason = "not every test does everything to a token")]
    pub fn import_aes(&self, label: &str, id: u8, key: &[u8]) {
        self.import_file(label, id, key, &["--aes"]);
    }

    fn import_file(&self, label: &str, id: u8, content: &[u8], flags: &[&str]) {
        let file = self.folder.join("import");
        fs::write(&file, content).expect("a file");
        let done = Command::new("softhsm2-util")
            .env("SOFTHSM2_CONF", self.config())
            .arg("--import")
            .arg(&file)
            .args(flags)
            .args(["--token", LABEL, "--label", label, "--id", &format!("{id:02x}"), "--pin", PIN, "--force"])
            .output()
            .expect("softhsm2-util");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::remove_file(file).expect("a file");
    }

    /// The URI of the keys with this label.
    pub fn uri(&self, label: &str) -> String {
        let (library, pin) = (self.library.display(), self.folder.join("pin"));
        format!("pkcs11:token={LABEL};object={label}?module-path={library}&pin-source=file:{}", pin.display())
    }

    /// The token is gone.
    #[allow(dead_code, reason = "not every test does everything to a token")]
    pub fn take_away(&self) {
        fs::rename(self.folder.join("tokens"), self.folder.join("away")).expect("there");
        fs::create_dir(self.folder.join("tokens")).expect("a folder");
    }

    /// The token is back.
    #[allow(dead_code, reason = "not every test does everything to a token")]
    pub fn put_back(&self) {
        fs::remove_dir(self.folder.join("tokens")).expect("empty");
        fs::rename(self.folder.join("away"), self.folder.join("tokens")).expect("away");
    }
}
