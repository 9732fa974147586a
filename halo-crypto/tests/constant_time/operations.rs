//! What is done to secrets.

use std::hint::black_box;

use halo_crypto::pohlig_hellman::BlindingKey;
use halo_crypto::prg::{PrngSeed, UniformGenerator};
use halo_crypto::ring::{Residue, RingModulus};
use halo_crypto::{Group, P256, Ristretto255};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::valgrind::{hide, reveal};

/// How the operation that leaks is called.
pub const LEAKS: &str = "an address from a secret";

/// Shares of a vector: registers of bytes, and some that are left.
const SHARES: usize = 5 * 64 + 13;

/// Points of a batch: two vectors of four lanes, and one lane of a third.
const COUNT: usize = 9;

/// Hands each operation to `report`, which runs it.
pub fn run(mut report: impl FnMut(&str, &mut dyn FnMut())) {
    group::<P256>(&mut report);
    group::<Ristretto255>(&mut report);
    ring::<u8>(127, &mut report);
    ring::<u16>(65_521, &mut report);
    ring::<u32>(RingModulus::MAX, &mut report);
    seeds(&mut report);
    let secret = [1_u8];
    hide(&secret);
    report(LEAKS, &mut || {
        // An address will do: a branch might become a conditional move.
        let table = black_box([0_u8; 256]);
        black_box(table[usize::from(*black_box(&secret[0]))]);
    });
    reveal(&secret);
}

/// A batch's points and scalars, secret all of them: the identity, a point twice, and one beside its negative are
/// among them, the scalars 0 and 1 and the greatest.
struct Batch<G: Group> {
    points: Vec<G::Point>,
    scalars: Vec<G::Scalar>,
}

impl<G: Group> Batch<G> {
    fn new(scalars: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut scalars: Vec<_> = (0..scalars).map(|_| G::random_scalar(&mut rng)).collect();
        let factors: Vec<_> = (0..COUNT).map(|_| G::random_scalar(&mut rng)).collect();
        let mut points = G::fixed_base_multiples(G::fixed_generator(), &factors);
        points[1] = points[0];
        points[2] = points[0];
        G::negate(&mut points[2..3]);
        points[3] = G::identity();
        if let [zero, one, greatest, ..] = &mut scalars[..] {
            *zero = G::Scalar::from(0);
            *one = G::Scalar::from(1);
            *greatest = -G::Scalar::from(1);
        }
        hide(&points);
        hide(&scalars);
        Self { points, scalars }
    }
}

impl<G: Group> Drop for Batch<G> {
    fn drop(&mut self) {
        reveal(&self.points);
        reveal(&self.scalars);
    }
}

fn group<G: Group>(report: &mut impl FnMut(&str, &mut dyn FnMut())) {
    let mut check = |operation: &str, scalars: usize, run: &mut dyn FnMut(&mut Batch<G>)| {
        let mut batch = Batch::<G>::new(scalars);
        report(&format!("{} {operation}", G::NAME), &mut || run(&mut batch));
    };
    check("scale", 1, &mut |batch| G::scale(&mut batch.points, &batch.scalars[0]));
    check("scale_each", COUNT, &mut |batch| G::scale_each(&mut batch.points, &batch.scalars));
    check("double_scale", 2, &mut |batch| {
        let right: Vec<_> = batch.points.iter().rev().copied().collect();
        G::double_scale(&mut batch.points, &batch.scalars[0], &right, &batch.scalars[1]);
    });
    for each in [2, 9] {
        check(&format!("{each} multiples of each"), each * COUNT, &mut |batch| {
            let multiples = G::multiples(&batch.points, &batch.scalars);
            reveal(&multiples);
        });
    }
    check("add_fixed_base_multiples", COUNT, &mut |batch| {
        G::add_fixed_base_multiples(&mut batch.points, G::fixed_generator(), &batch.scalars);
    });
    check("add", 0, &mut |batch| {
        let right: Vec<_> = batch.points.iter().rev().copied().collect();
        G::add(&mut batch.points, &right);
    });
    check("sub", 0, &mut |batch| {
        let right = batch.points.clone();
        G::sub(&mut batch.points, &right);
    });
    check("negate", 0, &mut |batch| G::negate(&mut batch.points));
    check("decryption by a blinding key", 0, &mut |batch| {
        let key = BlindingKey::<G>::random(&mut ChaCha20Rng::seed_from_u64(8));
        hide(core::slice::from_ref(&key));
        key.decrypt(&mut batch.points);
    });
    check("is_identity", 0, &mut |batch| {
        let answers: Vec<u8> = batch.points.iter().map(|point| G::is_identity(point).unwrap_u8()).collect();
        reveal(&answers);
    });
}

/// Shares: of every value the least, the greatest, and some between, against each other.
fn ring<T: Residue>(modulus: u32, report: &mut impl FnMut(&str, &mut dyn FnMut())) {
    let ring = RingModulus::new(modulus).expect("the modulus is in range");
    assert!(ring.fits::<T>());
    let least_and_greatest = [0, 1, modulus / 2, modulus - 1];
    let pairs =
        least_and_greatest.iter().flat_map(|x| least_and_greatest.map(|y| (T::narrow(*x), T::narrow(y))));
    // More than a register holds, and some that fill none.
    let (left, right): (Vec<T>, Vec<T>) = pairs.cycle().take(SHARES).unzip();
    let mut check = |operation: &str, run: &mut dyn FnMut(&mut [T], &[T])| {
        let mut left = left.clone();
        hide(&left);
        hide(&right);
        let bits = 8 * size_of::<T>();
        report(&format!("{operation} of shares in {bits} bits"), &mut || run(&mut left, &right));
        reveal(&left);
        reveal(&right);
    };
    check("sums", &mut |left, right| ring.sums(left, right));
    check("differences", &mut |left, right| ring.differences(left, right));
    check("products", &mut |left, right| ring.products(left, right));
}

fn seeds(report: &mut impl FnMut(&str, &mut dyn FnMut())) {
    let bytes = [7_u8; PrngSeed::LENGTH];
    // The rest of a seed is the first counter, on which no secrecy rests: where its lower half starts again from zero is
    // decided by a branch.
    hide(&bytes[..32]);
    report("AES-CTR by a secret key", &mut || {
        let seed = PrngSeed::from_bytes(&bytes).expect("the length is right");
        let mut drawn = [0_u8; 1000];
        UniformGenerator::new(&seed).fill_bytes(&mut drawn);
        reveal(&drawn);
    });
}
