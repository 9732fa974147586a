//! Every batch operation of every suite, beside OpenSSL's P-256, the `p256` crate and `curve25519-dalek` in the same run.
//!
//! The last lines put each operation in relation to what OpenSSL, and the peer on the same curve, need for the same
//! elements one by one.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{Bencher, BenchmarkId, Criterion, SamplingMode, Throughput};
use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::ristretto::CompressedRistretto;
use elliptic_curve::Group as _;
use elliptic_curve::ff::Field as _;
use elliptic_curve::group::GroupEncoding;
use halo_benches::openssl_p256::OpenSsl;
use halo_benches::results::{Measurement, Recorder};
use halo_benches::{SIZES, choose_backend, encodings, points, rng, scalars};
use halo_crypto::{Backend, Group, P256, Ristretto255};

const OPENSSL: &str = "openssl-p256";
const P256_CRATE: &str = "p256-crate";
const DALEK: &str = "curve25519-dalek";

/// Who does it to one element at a time.
const PEERS: [&str; 3] = [OPENSSL, P256_CRATE, DALEK];

/// Each batch operation, and how often a peer would do what for one element.
const OPERATIONS: [(&str, f64, &str); 13] = [
    ("decode", 1.0, "decode"),
    ("encode", 1.0, "encode"),
    ("add", 1.0, "add"),
    ("sub", 1.0, "add"),
    ("add_point", 1.0, "add"),
    ("negate", 1.0, "add"),
    ("scale", 1.0, "multiply"),
    ("scale_each", 1.0, "multiply"),
    ("double_scale", 2.0, "multiply"),
    ("two multiples", 2.0, "multiply"),
    ("nine multiples", 9.0, "multiply"),
    ("add_fixed_base_multiples", 1.0, "multiply_generator"),
    // Two candidates on average, each as costly as a decoding.
    ("hash_to_group", 2.0, "decode"),
];

fn main() {
    choose_backend().expect("HALO_BACKEND names a backend of this processor");
    // Criterion keeps what an earlier run left of what a filter leaves out, and that may be another backend's.
    let results =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("criterion").join(Backend::active().to_string());
    let mut criterion = Criterion::default().output_directory(&results).configure_from_args();
    openssl(&mut criterion);
    p256_crate(&mut criterion);
    dalek(&mut criterion);
    suite::<P256>(&mut criterion);
    suite::<Ristretto255>(&mut criterion);
    criterion.final_summary();
    let mut recorder = Recorder::create(Path::new(env!("CARGO_TARGET_TMPDIR")), "groups");
    compare(&results, recorder.as_mut().expect("the target directory can be written to"));
}

fn measure(
    criterion: &mut Criterion,
    operation: &str,
    suite: &str,
    elements: usize,
    routine: impl FnMut(&mut Bencher<'_, WallTime>),
) {
    let mut group = criterion.benchmark_group(operation);
    group.throughput(Throughput::Elements(elements as u64)).sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    group.bench_function(BenchmarkId::new(suite, elements), routine);
    group.finish();
}

fn openssl(criterion: &mut Criterion) {
    let mut openssl = OpenSsl::new().expect("OpenSSL knows P-256");
    measure(criterion, "multiply", OPENSSL, 1, |b| b.iter(|| openssl.multiply()));
    measure(criterion, "multiply_generator", OPENSSL, 1, |b| b.iter(|| openssl.multiply_generator()));
    measure(criterion, "add", OPENSSL, 1, |b| b.iter(|| openssl.add()));
    measure(criterion, "decode", OPENSSL, 1, |b| b.iter(|| openssl.decode()));
    measure(criterion, "encode", OPENSSL, 1, |b| b.iter(|| openssl.encode()));
}

fn p256_crate(criterion: &mut Criterion) {
    let mut rng = rng();
    let scalar = p256::Scalar::random(&mut rng);
    let (mut point, other) =
        (p256::ProjectivePoint::generator() * scalar, p256::ProjectivePoint::generator().double());
    let encoding = point.to_bytes();
    let mut measure = |operation, routine: &mut dyn FnMut()| {
        measure(criterion, operation, P256_CRATE, 1, |b| b.iter(&mut *routine));
    };
    measure("multiply", &mut || point *= black_box(scalar));
    measure("multiply_generator", &mut || {
        black_box(p256::ProjectivePoint::mul_by_generator(black_box(&scalar)));
    });
    measure("add", &mut || point += black_box(other));
    measure("decode", &mut || {
        black_box(p256::ProjectivePoint::from_bytes(black_box(&encoding)));
    });
    measure("encode", &mut || {
        black_box(black_box(&point).to_bytes());
    });
}

fn dalek(criterion: &mut Criterion) {
    let mut rng = rng();
    let scalar = Ristretto255::random_scalar(&mut rng);
    let mut point = RistrettoPoint::mul_base(&scalar);
    let other = point + point;
    let encoding = point.compress();
    let mut measure = |operation, routine: &mut dyn FnMut()| {
        measure(criterion, operation, DALEK, 1, |b| b.iter(&mut *routine));
    };
    measure("multiply", &mut || point *= black_box(scalar));
    measure("multiply_generator", &mut || {
        black_box(RistrettoPoint::mul_base(black_box(&scalar)));
    });
    measure("add", &mut || point += black_box(other));
    measure("decode", &mut || {
        black_box(black_box::<CompressedRistretto>(encoding).decompress());
    });
    measure("encode", &mut || {
        black_box(black_box(&point).compress());
    });
}

fn suite<G: Group>(criterion: &mut Criterion) {
    for count in SIZES {
        batches::<G>(criterion, count);
    }
}

fn batches<G: Group>(criterion: &mut Criterion, count: usize) {
    let (encoded, nine) = (encodings::<G>(count), scalars::<G>(9 * count));
    let scalars = &nine[..count];
    let (mut left, right) = (points::<G>(count), points::<G>(count));
    let mut bytes = vec![0; encoded.len()];
    let base = G::fixed_base(&right[0]);
    let messages: Vec<String> = (0..count).map(|index| index.to_string()).collect();
    let mut measure = |operation, routine: &mut dyn FnMut()| {
        measure(criterion, operation, G::NAME, count, |b| b.iter(&mut *routine));
    };

    measure("decode", &mut || G::decode(black_box(&encoded), &mut left).expect("they are our encodings"));
    measure("encode", &mut || G::encode(black_box(&right), &mut bytes).expect("no point is the identity"));
    measure("add", &mut || G::add(&mut left, black_box(&right)));
    measure("sub", &mut || G::sub(&mut left, black_box(&right)));
    measure("add_point", &mut || G::add_point(&mut left, black_box(&right[1])));
    measure("negate", &mut || G::negate(black_box(&mut left)));
    measure("scale", &mut || G::scale(&mut left, black_box(&scalars[0])));
    measure("scale_each", &mut || G::scale_each(&mut left, black_box(scalars)));
    measure("double_scale", &mut || {
        G::double_scale(&mut left, black_box(&scalars[0]), &right, black_box(&scalars[1]));
    });
    measure("add_fixed_base_multiples", &mut || {
        G::add_fixed_base_multiples(&mut left, &base, black_box(scalars));
    });
    measure("two multiples", &mut || {
        black_box(G::multiples(&right, black_box(&nine[..2 * count])));
    });
    measure("nine multiples", &mut || {
        black_box(G::multiples(&right, black_box(&nine)));
    });
    measure("hash_to_group", &mut || G::hash_to_group(black_box(&messages), &mut left));
}

/// Prints and records what was measured for each element, now or in an earlier run on this backend, in relation to OpenSSL
/// and to the peer on the same curve.
fn compare(results: &Path, recorder: &mut Recorder) {
    println!(
        "\n{:<26}{:<14}{:>7}{:>14}  {:<18}{:>10}{:>9}",
        "operation", "suite", "batch", "ns/element", "peer", "its ns", "ratio"
    );
    for (operation, repetitions, counterpart) in OPERATIONS {
        for (suite, peer) in
            [P256::NAME, Ristretto255::NAME].into_iter().flat_map(|suite| PEERS.map(|peer| (suite, peer)))
        {
            // The same curve, or the yardstick of everything.
            if peer != OPENSSL && (suite == P256::NAME) != (peer == P256_CRATE) {
                continue;
            }
            for count in SIZES {
                let ours = nanoseconds(results, operation, suite, count);
                let theirs = nanoseconds(results, counterpart, peer, 1);
                let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
                let m = Measurement {
                    work: format!("{suite} {operation}"),
                    records: count,
                    nanoseconds: ours / count as f64,
                    peer: format!("{peer}: {repetitions} {counterpart}"),
                    peer_nanoseconds: theirs * repetitions,
                    ..recorder.measurement()
                };
                println!(
                    "{operation:<26}{suite:<14}{count:>7}{:>14.1}  {peer:<18}{:>10.1}{:>9.3}",
                    m.nanoseconds,
                    m.peer_nanoseconds,
                    m.ratio()
                );
                recorder.add(&m).expect("the target directory can be written to");
            }
        }
    }
}

/// Criterion's estimate for one call, from the file it leaves.
fn nanoseconds(results: &Path, operation: &str, suite: &str, count: usize) -> Option<f64> {
    let file: PathBuf = [operation, suite, &count.to_string(), "new", "estimates.json"].iter().collect();
    let estimates: serde_json::Value = serde_json::from_slice(&fs::read(results.join(file)).ok()?).ok()?;
    estimates["mean"]["point_estimate"].as_f64()
}
