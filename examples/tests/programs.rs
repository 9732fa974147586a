//! The examples `data_provider` and `cost_planner` do what they say, and all do what their page shows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Output};
use std::rc::Rc;

use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256};
use halo_examples::cost_plan::{IFMA, Measurement, Party};
use halo_examples::llv2_host::noise;
use halo_protocols::data_provider::{SketchParameters, encrypt_sketch, plain_sketch};
use halo_protocols::kernel::KernelContext;
use halo_protocols::liquid_legions::Parameters;
use halo_protocols::proto::any_sketch::Sketch;
use halo_protocols::proto::any_sketch::crypto::encrypt_sketch_request::DestroyedRegisterStrategy;
use halo_protocols::proto::any_sketch::crypto::{ElGamalPublicKey, EncryptSketchRequest};
use halo_protocols::proto::any_sketch::sketch::Register;
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use halo_protocols::testing::{self, Cluster, Fulfilment};
use halo_protocols::{DuchyId, hmss};
use prost::Message;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Runs an example, which `cargo test` builds beside the tests, in a folder.
fn run(example: &str, arguments: &[&str], folder: &Path) -> std::io::Result<Output> {
    let deps = std::env::current_exe()?;
    let built =
        deps.ancestors().nth(2).map(|folder| folder.join("examples").join(example)).unwrap_or_default();
    Command::new(built).args(arguments).current_dir(folder).output()
}

/// What it prints when all goes well.
fn printed(example: &str, arguments: &[&str], folder: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let output = run(example, arguments, folder)?;
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The sketches of `data_provider`.
const SKETCH: SketchParameters =
    SketchParameters { decay_rate: 12.0, size: 100_000, sampling_indicator_size: 10_000_000, salt: None };

fn parameters() -> Parameters {
    Parameters {
        curve_id: P256::CURVE_ID,
        maximum_frequency: 10,
        sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 },
        vid_sampling_width: 1.0,
        noise: None,
    }
}

fn any_sketch_keys(cluster: &Cluster) -> Vec<ElGamalPublicKey> {
    let keys = cluster.published_keys().into_iter();
    keys.map(|key| ElGamalPublicKey { generator: key.generator, element: key.element }).collect()
}

/// The duchies make of the program's sketches what was in the logs.
#[test]
fn a_data_providers_sketches_can_be_measured() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let cluster = Cluster::new(&parameters(), 3, 2, [1; 32])?;
    for (index, key) in any_sketch_keys(&cluster).iter().enumerate() {
        fs::write(path.join(format!("key{index}")), key.encode_to_vec())?;
    }
    // Of 150 people 50 are seen by both, and 100 of the second twice.
    let logs = [(0..100).collect::<Vec<_>>(), (50..150).chain(50..150).collect()];
    let mut fulfilments = Vec::new();
    for (duchy, log) in logs.iter().enumerate() {
        let lines: String = log.iter().map(|person| format!("person {person}\n")).collect();
        fs::write(path.join("log"), lines)?;
        let said = printed("data_provider", &["sketch", "log", "sketch", "key0", "key1", "key2"], path)?;
        assert!(said.starts_with("100 people, ") && said.ends_with(" bytes\n"), "{said}");
        fulfilments.push(Fulfilment { duchy, data: fs::read(path.join("sketch"))? });
    }
    let result = cluster.run(&fulfilments)?;
    // Without noise what is off is the sketch's: two of 150 people fall into one register with a chance of a tenth or so.
    assert!((145..=155).contains(&result.reach), "{result:?}");
    let shares = result.frequency.ok_or("no frequencies")?;
    for (frequency, share) in [(1, 50.0 / 150.0), (2, 50.0 / 150.0), (3, 50.0 / 150.0)] {
        assert!((shares[&frequency] - share).abs() < 0.03, "{shares:?}");
    }
    Ok(())
}

#[test]
fn a_data_providers_shares_can_be_measured() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let lines = |numbers: &[i64]| numbers.iter().map(|number| format!("{number}\n")).collect::<String>();
    fs::write(path.join("population"), lines(&(1..=500).collect::<Vec<_>>()))?;
    // 700 is nobody of the population.
    let log = [(1..=80).collect::<Vec<_>>(), (41..=80).collect(), vec![700]].concat();
    fs::write(path.join("log"), lines(&log))?;
    let said = printed("data_provider", &["shares", "log", "population", "vector", "seed"], path)?;
    assert_eq!(said, "80 people, 500 registers\n");
    let parameters =
        hmss::Parameters { maximum_frequency: 10, ring_modulus: 127, vid_sampling_width: 1.0, noise: None };
    let fulfilment = testing::hmss::Fulfilment {
        requisition: "requisition".into(),
        worker: 0,
        register_count: 500,
        frequency_vector: fs::read(path.join("vector"))?,
        seed: fs::read(path.join("seed"))?,
    };
    let result = testing::hmss::Cluster::new(&parameters, 1, [1; 32])?.run(&[fulfilment])?;
    assert_eq!(result.reach, 80);
    let shares = result.frequency.ok_or("no frequencies")?;
    assert_eq!((shares[&1], shares[&2]), (0.5, 0.5));
    Ok(())
}

#[test]
fn a_data_provider_says_in_one_line_what_is_wrong() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    fs::write(path.join("log"), "1\ntwo\n")?;
    fs::write(path.join("key"), [0xff])?;
    for (arguments, about) in [
        (&["sketch", "log", "sketch"][..], "usage"),
        (&["sketch", "log", "sketch", "key"], "key: "),
        (&["sketch", "log", "sketch", "none"], "none: "),
        (&["shares", "log", "log", "vector", "seed"], "log: `two` is no number"),
    ] {
        let output = run("data_provider", arguments, path)?;
        let line = String::from_utf8(output.stderr)?;
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
        assert!(line.contains(about), "{line}");
    }
    assert!(!path.join("sketch").exists() && !path.join("vector").exists() && !path.join("seed").exists());
    Ok(())
}

/// The bytes of a plan are those of a computation: exactly without noise, and with it not less, and not many more.
#[test]
fn a_plan_has_the_bytes_of_a_computation() -> TestResult {
    // Little noise, for speed.
    let privacy = DifferentialPrivacyParams { epsilon: 10.0, delta: 1e-2 };
    let noise = || noise(privacy, NoiseMechanism::DiscreteGaussian);
    for (noise, most) in [(None, 1.0), (Some(noise()), 2.0)] {
        let measurement = Measurement {
            duchies: 3,
            providers: 3,
            registers: 40,
            distinct: 80,
            maximum_frequency: 10,
            privacy: noise.as_ref().map(|_| (privacy.epsilon, privacy.delta)),
        };
        let plan = measurement.llv2(&IFMA)?;
        let sent = bytes_sent(&Parameters { noise, ..parameters() }, [0..40, 20..60, 40..80])?;
        for (party, id) in [(Party::Worker, "worker0"), (Party::Aggregator, "aggregator")] {
            let planned: u64 = plan.iter().filter(|stage| stage.party == party).map(|stage| stage.sent).sum();
            let sent = sent[&id.into()];
            let ratio = planned as f64 / sent as f64;
            assert!((1.0..=most).contains(&ratio), "{id}: {planned} bytes planned, {sent} sent");
        }
    }
    Ok(())
}

/// What each duchy sends to others where the people of logs are measured, none of whom shares a register with another. Each duchy
/// has a log, as the plan assumes.
fn bytes_sent(
    parameters: &Parameters,
    logs: [Range<i64>; 3],
) -> Result<BTreeMap<DuchyId, u64>, Box<dyn std::error::Error>> {
    let sent = Rc::new(RefCell::new(BTreeMap::new()));
    let counted = Rc::clone(&sent);
    let cluster =
        Cluster::new(parameters, 3, logs.len(), [2; 32])?.intercepted_by(Box::new(move |delivery| {
            *counted.borrow_mut().entry(delivery.from.clone()).or_default() += delivery.payload.len() as u64;
        }));
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([3; 32]));
    let composite = cluster.combined_key()?;
    let mut fulfilments = Vec::new();
    for log in logs {
        // A register and a key of its own for each.
        let registers = log.map(|person| Register { index: person, values: vec![person + 1, 1] }).collect();
        let empty = plain_sketch(&SKETCH, []);
        let request = EncryptSketchRequest {
            sketch: Some(Sketch { registers, ..empty }),
            el_gamal_keys: Some(composite.clone()),
            curve_id: P256::CURVE_ID,
            maximum_value: parameters.maximum_frequency,
            destroyed_register_strategy: DestroyedRegisterStrategy::FlaggedKey.into(),
            noise_parameter: None,
        };
        let data = encrypt_sketch::<P256>(&request, &context)?.encrypted_sketch;
        fulfilments.push(Fulfilment { duchy: fulfilments.len(), data });
    }
    cluster.run(&fulfilments)?;
    Ok(sent.take())
}

/// In place of cargo, which has built them.
const CARGO: &str = r#"cargo() {
    until [[ $1 == --example ]]; do shift; done
    local program=$EXAMPLES/$2
    shift 2
    [[ ${1-} != -- ]] || shift
    "$program" "$@"
}
"#;

/// A line with 0 for each number.
fn shape(line: &str) -> String {
    let number = |word: &str| word.trim_matches(|c| ":,;".contains(c)).parse::<f64>().is_ok();
    line.split_whitespace().map(|word| if number(word) { "0" } else { word }).collect::<Vec<_>>().join(" ")
}

/// Commands of the page of examples print what it shows below them, but for numbers and for what `…` stands for.
#[test]
fn the_readme_shows_what_examples_print() -> TestResult {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))?;
    let deps = std::env::current_exe()?;
    let examples = deps.ancestors().nth(2).ok_or("no build folder")?.join("examples");
    let mut lines = 0;
    for block in readme.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").ok_or("a block without an end")?;
        let commands: Vec<_> = block.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        let folder = tempfile::tempdir()?;
        let output = Command::new("bash")
            .args(["-euc", &format!("{CARGO}{}", commands.join("\n"))])
            .current_dir(folder.path())
            .env("EXAMPLES", &examples)
            .output()?;
        assert!(output.status.success(), "{block}{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout)?;
        let printed: Vec<_> = printed.lines().map(shape).collect();
        for line in block.lines().filter(|line| !line.starts_with("$ ") && *line != "…") {
            lines += 1;
            assert!(printed.contains(&shape(line)), "{block}prints no `{line}`, but\n{}", printed.join("\n"));
        }
    }
    assert!(lines > 20, "the page shows {lines} lines");
    Ok(())
}

/// The largest sketches of three data providers that go round the ring without noise, and one register more of each.
#[test]
fn a_cost_plan_of_what_kernels_refuse_names_the_stages_and_fails() -> TestResult {
    let folder = tempfile::tempdir()?;
    let plan = |protocol: &str, registers: u64, more: &[&str]| {
        let registers = format!("registers={registers}");
        let arguments = [&[protocol, &registers, "epsilon=0"], more].concat();
        let output = run("cost_planner", &arguments, folder.path())?;
        let texts = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        Ok::<_, Box<dyn std::error::Error>>((output.status.code(), texts))
    };
    // 3 · 3,615,292 registers of 198 bytes are 2^31 - 200 bytes. All people are the same, so that nothing else is large.
    let (code, (text, refused)) = plan("llv2", 3_615_292, &["distinct=1000"])?;
    assert_eq!((code, refused.as_str()), (Some(0), ""));
    assert!(text.contains("a thousand of them"), "{text}");

    let (code, (text, refused)) = plan("llv2", 3_615_293, &["distinct=1000"])?;
    assert_eq!(code, Some(1), "{refused}");
    assert!(text.contains("EXECUTION_PHASE_THREE") && !text.contains("a thousand of them"), "{text}");
    let bytes = 3 * 3_615_293_u64 * 198;
    let lines = |stage: &str, party: &str, bytes: u64| {
        let line = format!("{stage} would be refused at the {party}: up to {bytes} bytes");
        refused.lines().filter(|found| found.contains(&line)).count()
    };
    assert_eq!(lines("SETUP_PHASE", "aggregator", bytes), 1, "{refused}");
    assert_eq!(lines("EXECUTION_PHASE_ONE", "worker", bytes), 1, "{refused}");
    assert_eq!(refused.lines().count(), 2, "{refused}");
    assert!(refused.lines().all(|line| line.ends_with("of which 2147483647 fit a message")), "{refused}");

    // The matrix has nine cells of 66 bytes for each tuple. The aggregator sends it in phase two, workers in phase three.
    let (code, _) = plan("llv2", 3_615_292, &["providers=1"])?;
    assert_eq!(code, Some(0));
    let (code, (_, refused)) = plan("llv2", 3_615_293, &["providers=1"])?;
    assert_eq!((code, refused.lines().count()), (Some(1), 2), "{refused}");
    let cells = format!("up to {} bytes", 3_615_293_u64 * 9 * 66);
    assert!(refused.lines().all(|line| line.contains(&cells)), "{refused}");
    let (code, _) = plan("llv2", 3_615_293, &["providers=1", "frequency=2"])?;
    assert_eq!(code, Some(0));

    // A data provider sends what a duchy takes.
    let most = (1 << 30) / 198;
    let (code, (_, refused)) = plan("llv2", most, &["providers=1", "frequency=1"])?;
    assert_eq!((code, refused.as_str()), (Some(0), ""));
    let (code, (_, refused)) = plan("llv2", most + 1, &["providers=1", "frequency=1"])?;
    assert_eq!((code, refused.lines().count()), (Some(1), 1), "{refused}");
    assert!(refused.contains("EncryptSketch") && refused.contains("--max-requisition-bytes"), "{refused}");

    // Reach-only registers are a third, and a ciphertext goes with them.
    let (code, _) = plan("ro-llv2", 10_845_876, &[])?;
    assert_eq!(code, Some(0));
    let (code, _) = plan("ro-llv2", 10_845_877, &[])?;
    assert_eq!(code, Some(1));
    Ok(())
}

#[test]
fn a_cost_plan_is_printed_with_what_is_wrong_or_what_it_costs() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let stages = |stage: &str, text: &str| text.lines().filter(|line| line.contains(stage)).count();
    let text = printed("cost_planner", &["llv2", "registers=1000", "threads=2"], path)?;
    assert_eq!((stages("EXECUTION_PHASE_TWO", &text), stages("own machines", &text)), (2, 1), "{text}");
    let text = printed("cost_planner", &["ro-llv2", "registers=1000", "epsilon=0"], path)?;
    assert_eq!(stages(" EXECUTION_PHASE ", &text), 2, "{text}");
    // A worker sends 1,000 registers in setup (a third of three sketches), all in the execution phase, and twice a
    // ciphertext more.
    assert!(text.contains(&format!("{:.3} MB", 4002.0 * 66.0 / 1e6)), "{text}");

    // A thousand measurements of a billion registers, and nothing but what is sent costs: 1 for a GB.
    let columns = "name,core-hour,GiB-hour,GB sent,source,date";
    fs::write(path.join("prices"), format!("# of ours\n{columns}\nbytes,0,0,1,a contract,2026-11-01\n"))?;
    let text = printed("cost_planner", &["hmss", "registers=100000000", "epsilon=0", "prices=prices"], path)?;
    let paid = text.lines().find(|line| line.starts_with("bytes")).ok_or("no price")?;
    let expected = ["bytes", "100.00", "0.00", "(a", "contract,", "2026-11-01)"];
    assert_eq!(paid.split_whitespace().collect::<Vec<_>>(), expected);
    // What nobody has paid says so.
    let text = printed("cost_planner", &["llv2"], path)?;
    assert_eq!(text.lines().filter(|line| line.starts_with("example: ")).count(), 3, "{text}");

    fs::write(path.join("headless"), "bytes,0,0,1,a contract,2026-11-01\n")?;
    fs::write(path.join("undated"), format!("{columns}\nbytes,0,0,1,a contract\n"))?;

    for (arguments, about) in [
        (&[][..], "usage"),
        (&["hm"], "no protocol is called `hm`"),
        (&["llv2", "registers=many"], "registers: `many`"),
        (&["llv2", "duchies=0"], "duchies: `0` is not"),
        (&["llv2", "sketches=3"], "nothing is called `sketches`"),
        (&["llv2", "backend=avx9"], "backend `avx9`"),
        (&["llv2", "delta=2"], "delta"),
        (&["hmss", "frequency=100"], "modulus"),
        (&["llv2", "prices=none"], "none: "),
        (&["llv2", "prices=headless"], "the first line is not"),
        (&["llv2", "prices=undated"], "`bytes,0,0,1,a contract` is not"),
    ] {
        let output = run("cost_planner", arguments, path)?;
        let line = String::from_utf8(output.stderr)?;
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
        assert!(line.contains(about), "{line}");
    }
    Ok(())
}
