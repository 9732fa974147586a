//! Whether a secret decides a branch or an address, told by valgrind.
//!
//! Memcheck knows for every bit whether it was ever defined, and reports a branch or an address that depends on one that
//! was not. So the secrets of an operation are declared undefined before it, and every report is a leak (the method
//! of Adam Langley's ctgrind). What memory a program reads and which way it goes is all that is seen, in the machine code of
//! this build on the processor that valgrind plays: no AVX-512, so that backend is reported as not run. In the machine code of
//! all backends a second test looks for loads and stores under masks.
//!
//! The test runs itself under valgrind, once for each backend, and prints a table; `cargo test --release -p halo-crypto --test
//! constant_time -- --nocapture` does that alone. In a debug build every sum of integers is followed by a branch, so there
//! the test has cargo build and run the release build of itself.

#![cfg_attr(
    debug_assertions,
    allow(dead_code, unused_imports, reason = "the release build of the test has use for it")
)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod machine_code;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod operations;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod valgrind;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[expect(
    clippy::disallowed_types,
    reason = "the purity of the crate is not that of a test that starts valgrind"
)]
mod x86_64 {
    use std::collections::BTreeMap;
    use std::io::Write as _;
    use std::process::Command;

    use halo_crypto::Backend;

    use super::{machine_code, operations, valgrind};

    /// Set, to a backend's name, for the process that runs under valgrind.
    const BACKEND: &str = "HALO_CONSTANT_TIME_BACKEND";
    /// How that process reports an operation.
    const REPORT: &str = "constant-time:";

    /// Tells what is not checked; libtest swallows what `eprintln!` writes.
    fn skip(what: &str, reason: &str) {
        writeln!(std::io::stderr(), "SKIPPED {what}: {reason}")
            .expect("the standard error can be written to");
    }

    #[test]
    #[cfg(not(debug_assertions))]
    #[expect(clippy::disallowed_methods, reason = "how the process under valgrind is told what to do")]
    fn no_secret_decides_a_branch_or_an_address() {
        if let Ok(backend) = std::env::var(BACKEND) {
            return measure(&backend);
        }
        if !is_installed("valgrind") {
            return skip("valgrind", "it is not installed, so nothing tells secrets from other data");
        }
        skip("backend-ifma-taint", "valgrind knows no AVX-512");
        let mut reports = BTreeMap::new();
        for backend in ["portable", "avx2"] {
            if backend.parse::<Backend>().expect("a backend's name").is_available() {
                reports.insert(backend, under_valgrind(backend));
            } else {
                skip(&format!("backend-{backend}"), "this processor lacks its instructions");
            }
        }
        println!("{}", table(&reports));
        for (backend, found) in &reports {
            assert!(found.len() > 10, "{backend}: only {} operations reported", found.len());
            for (operation, places) in found {
                // The last operation leaks on purpose: valgrind has to notice.
                if operation.starts_with(operations::LEAKS) {
                    assert!(*places > 0, "{backend}: valgrind does not notice that {operation}");
                } else {
                    assert_eq!(
                        *places, 0,
                        "{backend}: a secret decides a branch or an address of {operation}"
                    );
                }
            }
        }
    }

    #[test]
    #[cfg(not(debug_assertions))]
    fn nothing_is_loaded_or_stored_under_a_mask() {
        if !is_installed("objdump") {
            return skip("objdump", "it is not installed, so nothing tells loads and stores under masks");
        }
        machine_code::keep_what_leaks();
        let output = Command::new("objdump")
            .args(["--disassemble", "--no-show-raw-insn"])
            .arg(std::env::current_exe().expect("the path of the test"))
            .output()
            .expect("objdump starts");
        assert!(output.status.success(), "objdump: {}", String::from_utf8_lossy(&output.stderr));
        let disassembly = String::from_utf8_lossy(&output.stdout);
        let products = disassembly.matches("vpmadd52luq").count();
        assert!(products > 1000, "the backend ifma is not in the program, with {products} products");
        let (leaks, accesses): (Vec<_>, Vec<_>) = machine_code::masked_accesses(&disassembly)
            .partition(|(function, _)| function.contains(machine_code::LEAKS));
        assert_eq!(leaks.len(), 1, "the store under a mask that is there on purpose: {leaks:?}");
        assert!(accesses.is_empty(), "loads or stores under masks: {accesses:#?}");
    }

    #[test]
    #[cfg(debug_assertions)]
    fn the_release_build_is_constant_time() {
        let test = Command::new(env!("CARGO"))
            .args(["test", "--release", "--package", "halo-crypto", "--test", "constant_time"])
            .args(["--", "--nocapture"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo starts");
        assert!(test.success(), "see above");
    }

    fn is_installed(program: &str) -> bool {
        Command::new(program).arg("--version").output().is_ok()
    }

    /// A row for each operation, a column for each backend: the places where a secret decides a branch or an address.
    fn table(reports: &BTreeMap<&str, Vec<(String, u64)>>) -> String {
        let backends: Vec<_> = reports.keys().map(|backend| format!("{backend:>8}")).collect();
        let mut table =
            format!("\n| {:<56} | {} |\n", "places that depend on a secret", backends.join(" | "));
        table += &format!("|-{:-<56}-|{}\n", "", "---------:|".repeat(backends.len()));
        // Every backend is asked for the same operations in the same order.
        for (row, (operation, _)) in reports.values().next().into_iter().flatten().enumerate() {
            let places: Vec<_> = reports.values().map(|found| format!("{:>8}", found[row].1)).collect();
            table += &format!("| {operation:<56} | {} |\n", places.join(" | "));
        }
        table
    }

    /// The operations and how many places of each depend on secrets.
    fn under_valgrind(backend: &str) -> Vec<(String, u64)> {
        let test = std::env::current_exe().expect("the path of the test");
        let output = Command::new("valgrind")
            .args(["--quiet", "--error-limit=no", "--undef-value-errors=yes"])
            .arg(test)
            .args(["--exact", "x86_64::no_secret_decides_a_branch_or_an_address", "--nocapture"])
            .args(["--test-threads", "1"])
            .env(BACKEND, backend)
            .output()
            .expect("valgrind starts");
        let printed = String::from_utf8_lossy(&output.stdout);
        let found: Vec<_> = printed
            .lines()
            .filter_map(|line| line.split_once(REPORT)?.1.trim().rsplit_once(' '))
            .map(|(operation, errors)| (operation.to_owned(), errors.parse().expect("a count")))
            .collect();
        let reports = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "under valgrind: {printed}\n{reports}");
        if found.iter().any(|(operation, errors)| *errors > 0 && !operation.starts_with(operations::LEAKS)) {
            println!("{reports}");
        }
        found
    }

    /// Runs every operation and prints what valgrind found in it.
    fn measure(backend: &str) {
        assert!(valgrind::is_running(), "{BACKEND} is for the process under valgrind");
        backend.parse::<Backend>().and_then(Backend::force).expect("the backend is available");
        // The report is a line of its own after libtest's.
        println!();
        operations::run(|operation, run| {
            let before = valgrind::errors();
            run();
            println!("{REPORT} {operation} {}", valgrind::errors() - before);
        });
    }
}
