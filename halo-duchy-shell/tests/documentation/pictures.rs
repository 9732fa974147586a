//! The pictures of the book are made here, with the names of stages from the code: `UPDATE_DOCS=1 cargo test -p
//! halo-duchy-shell --test documentation the_pictures_are` writes them anew.

use std::collections::BTreeSet;
use std::fs;

use halo_protocols::{Role, hmss, llv2, reach_only_llv2};

use crate::pages;
use crate::svg::{DUCHY, Listed, OUTSIDE, Row, Svg, badge, flow, stages};

/// The columns of the Liquid Legions protocols.
const PARTIES: [(&str, &str); 5] = [
    ("data providers", OUTSIDE),
    ("d₁, a non-aggregator", DUCHY),
    ("d₂, a non-aggregator", DUCHY),
    ("aggregator", DUCHY),
    ("Kingdom", OUTSIDE),
];
const PROVIDERS: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;
const AGGREGATOR: usize = 3;
const KINGDOM: usize = 4;
const DUCHIES: &[usize] = &[AGGREGATOR, SECOND, FIRST];
const WORKERS: &[usize] = &[FIRST, SECOND];

fn pictures() -> Vec<(&'static str, String)> {
    vec![
        ("measurement", measurement()),
        ("architecture", architecture()),
        ("duchy", duchy()),
        ("llv2", liquid_legions("Liquid Legions v2, stage by stage", &llv2_rounds())),
        ("llv2-stages", llv2_stages()),
        ("ro-llv2", liquid_legions("Reach-only Liquid Legions v2, stage by stage", &reach_only_round())),
        ("ro-llv2-stages", reach_only_stages()),
        ("hmss", share_shuffle()),
        // What the manifests say, so that the README cannot say otherwise.
        ("badge-licence", badge("licence", env!("CARGO_PKG_LICENSE"))),
        ("badge-rust", badge("Rust", concat!(env!("CARGO_PKG_RUST_VERSION"), " or later"))),
    ]
}

#[test]
fn the_pictures_are_those_of_the_code() {
    for (name, picture) in pictures() {
        let file = pages::root().join(format!("docs/images/{name}.svg"));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&file, &picture).expect("the picture is written");
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert!(committed == picture, "{name}.svg differs: set UPDATE_DOCS=1 to write it");
    }
}

/// Nothing that a duchy computes is left out, and no page shows what is not there.
#[test]
fn the_pictures_have_every_stage_that_computes() {
    let computing = |names: Vec<(&'static str, bool)>| -> BTreeSet<&'static str> {
        names.into_iter().filter(|(_, computes)| *computes).map(|(name, _)| name).collect()
    };
    let kind = llv2::stage::StageKind::Compute;
    let expected = [
        ("llv2", computing(llv2::Stage::ALL.map(|stage| (stage.name(), stage.kind() == kind)).to_vec())),
        (
            "ro-llv2",
            computing(reach_only_llv2::Stage::ALL.map(|stage| (stage.name(), stage.kind() == kind)).to_vec()),
        ),
        ("hmss", computing(hmss::Stage::ALL.map(|stage| (stage.name(), stage.kind() == kind)).to_vec())),
    ];
    let pictures = pictures();
    for (name, stages) in expected {
        let (_, picture) = pictures.iter().find(|(picture, _)| *picture == name).expect("a picture");
        let missing: Vec<_> =
            stages.iter().filter(|stage| !picture.contains(&format!(">{stage}<"))).collect();
        assert!(missing.is_empty(), "{name}.svg lacks {missing:?}");
    }
    let shown: String = pages::all().into_iter().map(|page| page.text).collect();
    for (name, _) in pictures {
        assert!(shown.contains(&format!("images/{name}.svg")), "no page shows {name}.svg");
    }
}

fn measurement() -> String {
    let mut svg = Svg::new("Who takes part in a measurement", 900, 400);
    svg.labelled_box((10, 30, 200, 50), OUTSIDE, &["measurement consumer", "asks, and gets the result"]);
    svg.labelled_box((600, 30, 280, 50), OUTSIDE, &["Kingdom", "names parties, passes requests on"]);
    svg.labelled_box((20, 310, 170, 60), OUTSIDE, &["data provider", "its own log"]);
    svg.labelled_box((20, 230, 170, 60), OUTSIDE, &["data provider", "its own log"]);
    svg.labelled_box((20, 150, 170, 60), OUTSIDE, &["data provider", "its own log"]);
    svg.labelled_box((430, 150, 120, 60), DUCHY, &["duchy", "adds noise"]);
    svg.labelled_box((430, 310, 120, 60), DUCHY, &["duchy", "adds noise"]);
    svg.labelled_box((680, 230, 200, 60), DUCHY, &["duchy, the aggregator", "adds noise, counts"]);
    svg.arrow((210, 45), (600, 45), "measurement: what, by whom, how private");
    svg.arrow((600, 70), (210, 70), "result, encrypted to the consumer");
    svg.arrow((190, 180), (430, 180), "encrypted sketch, or shares");
    svg.arrow((190, 340), (430, 340), "encrypted sketch, or shares");
    svg.arrow((190, 260), (680, 260), "");
    svg.text(310, 255, "middle", "label", "encrypted sketch");
    svg.arrow((550, 180), (700, 230), "");
    svg.arrow((740, 290), (550, 340), "");
    svg.arrow((490, 310), (490, 210), "");
    svg.text(650, 190, "start", "label", "shuffled, blinded, joined, in turns");
    svg.arrow((850, 230), (850, 80), "");
    svg.text(843, 130, "end", "label", "noisy result");
    svg.finish()
}

fn architecture() -> String {
    let mut svg = Svg::new("The crates and how bytes pass through them", 900, 440);
    svg.labelled_box((10, 10, 880, 210), "#ffffff", &[]);
    svg.text(25, 32, "start", "bold", "halo-duchy-shell: everything that is not computing");
    svg.labelled_box((30, 55, 190, 60), OUTSIDE, &["services", "peers, data providers, own"]);
    svg.labelled_box((250, 55, 190, 60), OUTSIDE, &["herald", "follows the Kingdom"]);
    svg.labelled_box((470, 55, 190, 60), OUTSIDE, &["mills", "claim, step, carry out"]);
    svg.labelled_box((690, 55, 180, 60), OUTSIDE, &["for operators", "console, audit, metrics"]);
    svg.labelled_box((30, 160, 230, 45), OUTSIDE, &["store", "SQLite, PostgreSQL, Spanner"]);
    svg.labelled_box((280, 160, 160, 45), OUTSIDE, &["blobs", "files, S3, GCS"]);
    svg.arrow((100, 115), (100, 160), "");
    svg.arrow((190, 115), (310, 160), "");
    svg.arrow((290, 115), (220, 160), "");
    svg.arrow((470, 100), (250, 160), "");
    svg.arrow((490, 115), (420, 160), "");

    svg.labelled_box((10, 250, 880, 90), "#ffffff", &[]);
    svg.text(25, 272, "start", "bold", "halo-protocols: no I/O");
    svg.labelled_box((250, 285, 150, 40), DUCHY, &["data provider's side"]);
    svg.labelled_box((470, 285, 120, 40), DUCHY, &["typed messages"]);
    svg.labelled_box((620, 285, 110, 40), DUCHY, &["State::step"]);
    svg.labelled_box((760, 285, 110, 40), DUCHY, &["stage kernels"]);
    svg.arrow((590, 305), (620, 305), "");
    svg.arrow((730, 305), (760, 305), "");
    svg.arrow((530, 115), (530, 285), "");
    svg.text(525, 238, "end", "label", "events, bytes");
    svg.arrow((650, 285), (640, 115), "");
    svg.text(655, 238, "start", "label", "effects: keep, send, report");

    svg.labelled_box((10, 370, 880, 60), "#ffffff", &[]);
    svg.text(25, 405, "start", "bold", "halo-crypto: no I/O");
    svg.labelled_box(
        (250, 382, 620, 36),
        DUCHY,
        &["groups in batches, ElGamal, Pohlig–Hellman, shares, shuffle, noise, PRG"],
    );
    svg.arrow((815, 325), (815, 382), "");
    svg.finish()
}

fn duchy() -> String {
    let parties = [
        ("data provider, Kingdom", OUTSIDE),
        ("herald, services", DUCHY),
        ("store, blobs", DUCHY),
        ("mill", DUCHY),
        ("another duchy", OUTSIDE),
    ];
    flow(
        "A duchy at work",
        &parties,
        &[
            Row::Send(&[0], 1, "a computation (stream)"),
            Row::Send(&[1], 2, "create it"),
            Row::Tell(2, &[3], "claimed: a lease"),
            Row::Send(&[3], 0, "the public key of this computation"),
            Row::Send(&[0], 1, "encrypted sketch, or shares"),
            Row::Send(&[1], 2, "keep it"),
            Row::Send(&[0], 1, "all keys, all requisitions; start"),
            Row::Send(&[1], 2, "work for a mill"),
            Row::Tell(2, &[3], "claimed: state and inputs"),
            Row::Stage(&[3], "State::step", "one stage"),
            Row::Send(&[3], 2, "1. keep the output"),
            Row::Send(&[3], 4, "2. send the kept output"),
            Row::Send(&[3], 2, "3. commit the next stage"),
            Row::Send(&[4], 1, "the next stage's input"),
            Row::Send(&[1], 2, "keep it; work for a mill"),
            Row::Send(&[3], 0, "result (aggregator, at the end)"),
        ],
    )
}

fn liquid_legions(title: &'static str, rounds: &[Row]) -> String {
    use llv2::Stage;
    let begin = [
        Row::Stage(DUCHIES, Stage::InitializationPhase.name(), "a key pair"),
        Row::Send(DUCHIES, KINGDOM, "public key, signed"),
        Row::Tell(PROVIDERS, &[FIRST, SECOND, AGGREGATOR], "encrypted sketch"),
        Row::Tell(KINGDOM, DUCHIES, "all keys, all requisitions"),
        Row::Stage(DUCHIES, Stage::ConfirmationPhase.name(), "checks, sums of keys"),
        Row::Send(DUCHIES, KINGDOM, "ready"),
        Row::Tell(KINGDOM, &[SECOND, FIRST], "start"),
    ];
    let rows: Vec<Row> = begin.into_iter().chain(rounds.iter().map(copy)).collect();
    flow(title, &PARTIES, &rows)
}

fn copy(row: &Row) -> Row {
    match row {
        Row::Stage(at, name, what) => Row::Stage(at, name, what),
        Row::Send(from, to, what) => Row::Send(from, *to, what),
        Row::Tell(from, to, what) => Row::Tell(*from, to, what),
    }
}

fn llv2_rounds() -> Vec<Row> {
    use llv2::Stage;
    let mut rows = vec![
        Row::Stage(WORKERS, Stage::SetupPhase.name(), "adds noise registers"),
        Row::Send(WORKERS, AGGREGATOR, "registers"),
        Row::Stage(&[AGGREGATOR], Stage::SetupPhase.name(), "appends, adds noise, sorts"),
    ];
    let [one, two, three] =
        [Stage::ExecutionPhaseOne, Stage::ExecutionPhaseTwo, Stage::ExecutionPhaseThree].map(Stage::name);
    for (stage, travels, worker, aggregator) in [
        (one, "registers", "blinds indexes, shuffles", "joins equal indexes"),
        (two, "tuples", "opens its layer, adds noise", "counts: the reach"),
        (three, "matrix", "opens its layer", "counts: the frequencies"),
    ] {
        rows.extend([
            Row::Tell(AGGREGATOR, &[FIRST], travels),
            Row::Stage(&[FIRST], stage, worker),
            Row::Send(&[FIRST], SECOND, travels),
            Row::Stage(&[SECOND], stage, worker),
            Row::Send(&[SECOND], AGGREGATOR, travels),
            Row::Stage(&[AGGREGATOR], stage, aggregator),
        ]);
    }
    rows.push(Row::Send(&[AGGREGATOR], KINGDOM, "result, encrypted"));
    rows
}

fn reach_only_round() -> Vec<Row> {
    use reach_only_llv2::Stage;
    let (setup, execution) = (Stage::SetupPhase.name(), Stage::ExecutionPhase.name());
    vec![
        Row::Stage(WORKERS, setup, "adds noise"),
        Row::Send(WORKERS, AGGREGATOR, "indexes, excessive noise"),
        Row::Stage(&[AGGREGATOR], setup, "appends, adds noise, sorts"),
        Row::Tell(AGGREGATOR, &[FIRST], "indexes"),
        Row::Stage(&[FIRST], execution, "blinds, shuffles"),
        Row::Send(&[FIRST], SECOND, "indexes"),
        Row::Stage(&[SECOND], execution, "blinds, shuffles"),
        Row::Send(&[SECOND], AGGREGATOR, "indexes"),
        Row::Stage(&[AGGREGATOR], execution, "counts different ones"),
        Row::Send(&[AGGREGATOR], KINGDOM, "result, encrypted"),
    ]
}

fn share_shuffle() -> String {
    use hmss::Stage;
    let [initialized, setup, shuffle, aggregation] =
        [Stage::Initialized, Stage::SetupPhase, Stage::ShufflePhase, Stage::AggregationPhase]
            .map(Stage::name);
    let parties = [
        ("data provider", OUTSIDE),
        ("first worker", DUCHY),
        ("second worker", DUCHY),
        ("aggregator", DUCHY),
        ("Kingdom", OUTSIDE),
    ];
    flow(
        "Honest-majority share shuffle, stage by stage",
        &parties,
        &[
            Row::Stage(DUCHIES, initialized, ""),
            Row::Send(&[SECOND, FIRST], KINGDOM, "key for seeds, signed"),
            Row::Send(&[AGGREGATOR], KINGDOM, "takes part"),
            Row::Tell(PROVIDERS, &[FIRST], "share, sealed seed (to either)"),
            Row::Tell(KINGDOM, &[FIRST], "start"),
            Row::Stage(&[FIRST], setup, ""),
            Row::Send(&[FIRST], SECOND, "random seed, sealed seeds"),
            Row::Stage(&[SECOND], setup, ""),
            Row::Send(&[SECOND], FIRST, "random seed, sealed seeds"),
            Row::Stage(WORKERS, shuffle, "adds up, adds noise, permutes"),
            Row::Send(WORKERS, AGGREGATOR, "permuted share"),
            Row::Stage(&[AGGREGATOR], aggregation, "adds the two, counts"),
            Row::Send(&[AGGREGATOR], KINGDOM, "result, encrypted"),
        ],
    )
}

/// The stages that one after the other lead from `first` to the end, which none leads to that can fail: it is `last`.
fn chain<S: Copy>(
    first: S,
    next: impl Fn(S) -> Option<S>,
    last: S,
    listed: impl Fn(S) -> Listed,
) -> Vec<Listed> {
    std::iter::successors(Some(first), |stage| next(*stage)).chain([last]).map(listed).collect()
}

fn llv2_stages() -> String {
    use llv2::Stage;
    let listed = |stage: Stage| {
        let out = match stage {
            Stage::InitializationPhase => "key published",
            Stage::WaitRequisitionsAndKeySet => "the Kingdom has all keys and requisitions",
            Stage::ConfirmationPhase => "ready",
            Stage::WaitToStart => "the Kingdom starts",
            Stage::WaitSetupPhaseInputs => "all non-aggregators have sent",
            Stage::SetupPhase => "registers sent",
            Stage::WaitExecutionPhaseOneInputs => "registers received",
            Stage::ExecutionPhaseOne => "registers, or tuples, sent",
            Stage::WaitExecutionPhaseTwoInputs => "tuples received",
            Stage::ExecutionPhaseTwo => "tuples, or matrix, sent (reach only: the end)",
            Stage::WaitExecutionPhaseThreeInputs => "matrix received",
            Stage::ExecutionPhaseThree => "matrix, or result, sent",
            Stage::Complete => "",
        };
        (stage.name(), stage.kind() != llv2::stage::StageKind::Compute, out)
    };
    let chain = |role| chain(Stage::INITIAL, |stage| stage.next(role), Stage::Complete, listed);
    stages(
        "Stages of Liquid Legions v2",
        &[("non-aggregator", chain(Role::NonAggregator)), ("aggregator", chain(Role::Aggregator))],
    )
}

fn reach_only_stages() -> String {
    use reach_only_llv2::Stage;
    let listed = |stage: Stage| {
        let out = match stage {
            Stage::InitializationPhase => "key published",
            Stage::WaitRequisitionsAndKeySet => "the Kingdom has all keys and requisitions",
            Stage::ConfirmationPhase => "ready",
            Stage::WaitToStart => "the Kingdom starts",
            Stage::WaitSetupPhaseInputs => "all non-aggregators have sent",
            Stage::SetupPhase => "indexes sent",
            Stage::WaitExecutionPhaseInputs => "indexes received",
            Stage::ExecutionPhase => "indexes, or result, sent",
            Stage::Complete => "",
        };
        (stage.name(), stage.kind() != llv2::stage::StageKind::Compute, out)
    };
    let chain = |role| chain(Stage::INITIAL, |stage| stage.next(role), Stage::Complete, listed);
    stages(
        "Stages of reach-only Liquid Legions v2",
        &[("non-aggregator", chain(Role::NonAggregator)), ("aggregator", chain(Role::Aggregator))],
    )
}
