//! What every [`Group`] must satisfy, written once and run for each suite.
//!
//! Each function checks one law on a mix of random and awkward inputs (the identity, equal and opposite points,
//! the scalars 0, 1 and -1) and panics where it does not hold. [`group_laws`] runs them all.

use elliptic_curve::{Field as _, PrimeField as _};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng};
use subtle::ConstantTimeEq;

use crate::Group;
use crate::group::{DecodePointError, DecodePointReason, IdentityError};

/// Runs every law of this module with randomness from `seed`.
pub fn group_laws<G: Group>(seed: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    addition_is_a_group_law::<G, _>(&mut rng);
    scaling_is_repeated_addition::<G, _>(&mut rng);
    multiples_are_those_of_their_point::<G, _>(&mut rng);
    double_scaling_is_two_scalings::<G, _>(&mut rng);
    fixed_bases_scale_like_points::<G, _>(&mut rng);
    a_lane_never_depends_on_its_neighbours::<G, _>(&mut rng);
    points_round_trip::<G, _>(&mut rng);
    bad_encodings_are_named::<G, _>(&mut rng);
    scalars_round_trip::<G, _>(&mut rng);
    hashing_is_a_function::<G>();
}

/// `count` random points, none of them the identity.
pub fn random_points<G: Group, R: CryptoRng>(count: usize, rng: &mut R) -> Vec<G::Point> {
    let scalars: Vec<_> = (0..count).map(|_| G::random_scalar(rng)).collect();
    G::fixed_base_multiples(G::fixed_generator(), &scalars)
}

/// Points on which addition formulas fail when they are incomplete, followed by random ones.
pub fn awkward_points<G: Group, R: CryptoRng>(rng: &mut R) -> Vec<G::Point> {
    let mut points = vec![G::identity(), G::generator(), G::generator(), G::generator(), G::identity()];
    G::negate(&mut points[2..3]);
    points.extend(random_points::<G, _>(4, rng));
    points
}

/// Scalars at which recodings and loops have their edges, followed by random ones.
pub fn awkward_scalars<G: Group, R: CryptoRng>(rng: &mut R) -> Vec<G::Scalar> {
    let one = G::Scalar::ONE;
    let half = G::Scalar::TWO_INV;
    let mut scalars = vec![G::Scalar::ZERO, one, one.double(), -one, -one.double(), half, -half];
    for power in [4, 5, 7, 31, 64, 128, 251] {
        let power = (0..power).fold(one, |value, _| value.double());
        scalars.extend([power, power - one, -power]);
    }
    scalars.extend((0..4).map(|_| G::random_scalar(rng)));
    scalars
}

/// `scalar · point` by doubling and adding, one bit at a time.
pub fn reference_multiple<G: Group>(point: &G::Point, scalar: &G::Scalar) -> G::Point {
    let mut total = [G::identity()];
    for byte in G::scalar_to_bytes(scalar).expose() {
        for bit in (0..8).rev() {
            let copy = total;
            G::add(&mut total, &copy);
            if byte >> bit & 1 == 1 {
                G::add_point(&mut total, point);
            }
        }
    }
    total[0]
}

/// Panics unless the slices hold the same points.
pub fn assert_points_equal<G: Group>(left: &[G::Point], right: &[G::Point], what: &str) {
    assert_eq!(left.len(), right.len(), "{}: {what}: as many points", G::NAME);
    for (index, (left, right)) in left.iter().zip(right).enumerate() {
        assert!(bool::from(left.ct_eq(right)), "{}: {what}: point {index}: {left:?} and {right:?}", G::NAME);
    }
}

/// Every pair of awkward points: commutativity, the identity, inverses; associativity on random ones.
pub fn addition_is_a_group_law<G: Group, R: CryptoRng>(rng: &mut R) {
    let points = awkward_points::<G, _>(rng);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for a in &points {
        for b in &points {
            left.push(*a);
            right.push(*b);
        }
    }
    let added = |a: &[G::Point], b: &[G::Point]| {
        let mut sum = a.to_vec();
        G::add(&mut sum, b);
        sum
    };
    let identities = vec![G::identity(); left.len()];
    let sum = added(&left, &right);
    assert_points_equal::<G>(&sum, &added(&right, &left), "a + b = b + a");
    assert_points_equal::<G>(&added(&left, &identities), &left, "a + 0 = a");
    assert_points_equal::<G>(&added(&identities, &left), &left, "0 + a = a");

    let mut negated = right.clone();
    G::negate(&mut negated);
    assert_points_equal::<G>(&added(&sum, &negated), &left, "(a + b) + (-b) = a");
    let mut difference = sum.clone();
    G::sub(&mut difference, &right);
    assert_points_equal::<G>(&difference, &left, "(a + b) - b = a");
    assert_points_equal::<G>(&added(&right, &negated), &identities, "b + (-b) = 0");
    assert!(added(&right, &negated).iter().all(|point| bool::from(G::is_identity(point))));

    for addend in &points {
        let mut shifted = points.clone();
        G::add_point(&mut shifted, addend);
        assert_points_equal::<G>(&shifted, &added(&points, &vec![*addend; points.len()]), "add_point is add");
    }
    let mut addends = left.clone();
    addends.reverse();
    let grouped_left = added(&added(&left, &right), &addends);
    let grouped_right = added(&left, &added(&right, &addends));
    assert_points_equal::<G>(&grouped_left, &grouped_right, "(a + b) + c = a + (b + c)");
    let sum = points.iter().fold(G::identity(), |sum, point| added(&[sum], &[*point])[0]);
    assert_points_equal::<G>(&[G::sum(&points)], &[sum], "sum folds addition");
    assert_points_equal::<G>(&[G::sum(&[])], &[G::identity()], "the empty sum");
}

/// `multiples` against `scale_each`, for numbers of scalars that call for tables of every shape, and for more points than
/// get their tables together.
pub fn multiples_are_those_of_their_point<G: Group, R: CryptoRng>(rng: &mut R) {
    let awkward = awkward_scalars::<G, _>(rng);
    for each in [0, 1, 2, 3, 5, 9, awkward.len(), 70] {
        let most = match each {
            2 => 520,
            3 => 270,
            _ => 70,
        };
        for count in [0, 1, 9, most] {
            let mut points = awkward_points::<G, _>(rng);
            points.extend(random_points::<G, _>(most, rng));
            points.truncate(count);
            let mut scalars: Vec<_> = (0..each * count).map(|_| G::random_scalar(rng)).collect();
            // Every awkward point meets every awkward scalar once there are enough of them.
            for (index, scalar) in scalars.iter_mut().enumerate().filter(|(index, _)| index % count < 9) {
                *scalar = awkward[index / count * awkward.len().div_ceil(each) % awkward.len()];
            }
            let mut expected = points.repeat(each);
            G::scale_each(&mut expected, &scalars);
            assert_points_equal::<G>(&G::multiples(&points, &scalars), &expected, "multiples");
        }
    }
}

/// `scale` and `scale_each` against [`reference_multiple`].
pub fn scaling_is_repeated_addition<G: Group, R: CryptoRng>(rng: &mut R) {
    let points = awkward_points::<G, _>(rng);
    for scalar in awkward_scalars::<G, _>(rng) {
        let expected: Vec<_> = points.iter().map(|point| reference_multiple::<G>(point, &scalar)).collect();
        let mut scaled = points.clone();
        G::scale(&mut scaled, &scalar);
        assert_points_equal::<G>(&scaled, &expected, "scale");
        let mut scaled = points.clone();
        G::scale_each(&mut scaled, &vec![scalar; points.len()]);
        assert_points_equal::<G>(&scaled, &expected, "scale_each by one scalar");
    }
    let scalars = awkward_scalars::<G, _>(rng);
    let points: Vec<_> = points.iter().copied().cycle().take(scalars.len()).collect();
    let expected: Vec<_> = points.iter().zip(&scalars).map(|(p, s)| reference_multiple::<G>(p, s)).collect();
    let mut scaled = points;
    G::scale_each(&mut scaled, &scalars);
    assert_points_equal::<G>(&scaled, &expected, "scale_each");
}

/// `double_scale` against two scalings, on every pair of awkward scalars where the second point is the first, its
/// negative, or another.
pub fn double_scaling_is_two_scalings<G: Group, R: CryptoRng>(rng: &mut R) {
    let points = awkward_points::<G, _>(rng);
    let mut negated = points.clone();
    G::negate(&mut negated);
    let mut rotated = points.clone();
    rotated.rotate_left(1);
    let left = [points.clone(), points.clone(), points.clone()].concat();
    let right = [points, negated, rotated].concat();
    let scalars = awkward_scalars::<G, _>(rng);
    for (index, a) in scalars.iter().enumerate() {
        // Each scalar with itself, its negative and two others: the whole square would take minutes.
        let others = [scalars[(index + 1) % scalars.len()], scalars[(index + 5) % scalars.len()]];
        for b in [*a, -*a, others[0], others[1]] {
            let mut scaled = left.clone();
            G::double_scale(&mut scaled, a, &right, &b);
            let (mut expected, mut addend) = (left.clone(), right.clone());
            G::scale(&mut expected, a);
            G::scale(&mut addend, &b);
            G::add(&mut expected, &addend);
            assert_points_equal::<G>(&scaled, &expected, "double_scale");
        }
    }
}

/// `add_fixed_base_multiples` against `scale_each`, for several bases and awkward addends.
pub fn fixed_bases_scale_like_points<G: Group, R: CryptoRng>(rng: &mut R) {
    let scalars = awkward_scalars::<G, _>(rng);
    let multiples = |base: &G::Point| {
        let mut multiples = vec![*base; scalars.len()];
        G::scale_each(&mut multiples, &scalars);
        multiples
    };
    let expected = multiples(&G::generator());
    assert_points_equal::<G>(
        &G::fixed_base_multiples(G::fixed_generator(), &scalars),
        &expected,
        "multiples of the generator",
    );
    for base in awkward_points::<G, _>(rng) {
        let prepared = G::fixed_base(&base);
        let expected = multiples(&base);
        assert_points_equal::<G>(&G::fixed_base_multiples(&prepared, &scalars), &expected, "fixed base");
        // The addend equals the multiple, cancels it, or is another point.
        let mut negated = expected.clone();
        G::negate(&mut negated);
        let mut rotated = expected.clone();
        rotated.rotate_left(1);
        for addend in [expected.clone(), negated, rotated] {
            let (mut added, mut sum) = (addend.clone(), addend);
            G::add_fixed_base_multiples(&mut added, &prepared, &scalars);
            G::add(&mut sum, &expected);
            assert_points_equal::<G>(&added, &sum, "a point plus a multiple of a fixed base");
        }
    }
}

/// A batch of several chunks, with awkward lanes strewn in, gives what its elements give one by one.
pub fn a_lane_never_depends_on_its_neighbours<G: Group, R: CryptoRng>(rng: &mut R) {
    let count = 2 * crate::parallel::CHUNK + 3;
    let mut left = random_points::<G, _>(count, rng);
    let mut right = random_points::<G, _>(count, rng);
    let mut scalars: Vec<_> = (0..count).map(|_| G::random_scalar(rng)).collect();
    for index in (0..count).step_by(97) {
        left[index] = G::identity();
        right[(index + 3) % count] = G::identity();
        right[(index + 7) % count] = left[(index + 7) % count];
        right[(index + 11) % count] = left[(index + 11) % count];
        G::negate(&mut right[(index + 11) % count..][..1]);
        scalars[(index + 13) % count] = G::Scalar::ZERO;
    }
    let scalar = G::random_scalar(rng);
    let base = G::fixed_base(&G::hash_one(b"base"));
    type Operation<'a, G> = Box<
        dyn Fn(
                &mut [<G as Group>::Point],
                &[<G as Group>::Point],
                &[<G as Group>::Scalar],
                &<G as Group>::Scalar,
            ) + 'a,
    >;
    let operations: [(&str, Operation<'_, G>); 7] = [
        ("add", Box::new(|left, right, _, _| G::add(left, right))),
        ("sub", Box::new(|left, right, _, _| G::sub(left, right))),
        ("scale", Box::new(|left, _, _, scalar| G::scale(left, scalar))),
        ("scale_each", Box::new(|left, _, scalars, _| G::scale_each(left, scalars))),
        (
            "multiples",
            Box::new(|left, _, scalars, _| {
                let twice = [scalars, scalars].concat();
                left.copy_from_slice(&G::multiples(left, &twice)[left.len()..]);
            }),
        ),
        ("double_scale", Box::new(|left, right, _, scalar| G::double_scale(left, scalar, right, scalar))),
        ("fixed base", Box::new(|left, _, scalars, _| G::add_fixed_base_multiples(left, &base, scalars))),
    ];
    for (name, operation) in operations {
        let mut batch = left.clone();
        operation(&mut batch, &right, &scalars, &scalar);
        for index in (0..count).filter(|index| index % 97 < 15 && index % 194 < 97 || *index >= count - 2) {
            let mut alone = [left[index]];
            operation(&mut alone, &right[index..=index], &scalars[index..=index], &scalar);
            assert_points_equal::<G>(&batch[index..=index], &alone, name);
        }
    }
}

/// Encoding is injective and decoding inverts it; the identity is refused with its index.
pub fn points_round_trip<G: Group, R: CryptoRng>(rng: &mut R) {
    let mut points = random_points::<G, _>(600, rng);
    let mut bytes = vec![0; points.len() * G::POINT_LENGTH];
    assert_eq!(G::encode(&points, &mut bytes), Ok(()));
    let mut decoded = vec![G::identity(); points.len()];
    assert_eq!(G::decode(&bytes, &mut decoded), Ok(()));
    assert_points_equal::<G>(&decoded, &points, "decode inverts encode");
    for (point, bytes) in points.iter().zip(bytes.chunks_exact(G::POINT_LENGTH)).take(20) {
        assert_eq!(G::encode_one(point).as_deref(), Ok(bytes));
        assert!(G::decode_key(bytes).is_ok_and(|key| key.ct_eq(point).into()));
    }
    let mut again = vec![0; bytes.len()];
    assert_eq!(G::encode(&decoded, &mut again), Ok(()));
    assert_eq!(again, bytes);

    points[520] = G::identity();
    points[599] = G::identity();
    assert_eq!(G::encode(&points, &mut bytes), Err(IdentityError { index: 520 }));
    assert_eq!(G::encode_one(&G::identity()), Err(IdentityError { index: 0 }));
    assert_eq!(G::encode(&[], &mut []), Ok(()));
    assert_eq!(G::decode(&[], &mut []), Ok(()));
}

/// The first bad encoding of a batch is named; other lengths are refused.
pub fn bad_encodings_are_named<G: Group, R: CryptoRng>(rng: &mut R) {
    let points = random_points::<G, _>(600, rng);
    let mut bytes = vec![0; points.len() * G::POINT_LENGTH];
    assert_eq!(G::encode(&points, &mut bytes), Ok(()));
    let mut decoded = vec![G::identity(); points.len()];
    for index in [599, 513, 30, 0] {
        bytes[index * G::POINT_LENGTH..][..G::POINT_LENGTH].fill(0xff);
        let error = G::decode(&bytes, &mut decoded).expect_err("no element is encoded as ones");
        assert_eq!(error.index, index);
        assert_eq!(
            G::decode_one(&[0xff; 200][..G::POINT_LENGTH]).err(),
            Some(DecodePointError { index: 0, ..error })
        );
    }
    for length in [0, 1, G::POINT_LENGTH - 1, G::POINT_LENGTH + 1] {
        let reason = DecodePointReason::Length(length);
        let error = G::decode_one(&[2; 100][..length]).err();
        assert_eq!(error, Some(DecodePointError { index: 0, reason }));
        assert!(G::decode_key(&[2; 100][..length]).is_err());
    }
}

/// Key bytes: minimal big-endian out, any length in, the range checked.
pub fn scalars_round_trip<G: Group, R: CryptoRng>(rng: &mut R) {
    for scalar in awkward_scalars::<G, _>(rng) {
        let bytes = G::scalar_to_bytes(&scalar).expose().clone();
        assert!(bytes.first() != Some(&0), "no leading zeros");
        let padded = [vec![0; 40], bytes.clone()].concat();
        if bool::from(scalar.is_zero()) {
            assert!(bytes.is_empty());
            assert!(G::scalar_from_bytes(&bytes).is_err() && G::scalar_from_bytes(&padded).is_err());
        } else {
            assert!(
                G::scalar_from_bytes(&bytes) == Ok(scalar) && G::scalar_from_bytes(&padded) == Ok(scalar)
            );
        }
    }
    // The order is one more than the scalar -1.
    let mut order = G::scalar_to_bytes(&-G::Scalar::ONE).expose().clone();
    let last = order.len() - 1;
    order[last] += 1;
    assert!(G::scalar_from_bytes(&order).is_err(), "the order itself is out of range");
    assert!(G::scalar_from_bytes(&[0xff; 32]).is_err() && G::scalar_from_bytes(&[1; 33]).is_err());
}

/// Hashing gives the same element alone and in a batch, never the identity, and different ones for different
/// messages.
pub fn hashing_is_a_function<G: Group>() {
    let messages: Vec<String> = (0..600).map(|index| format!("message {index}")).collect();
    let mut points = vec![G::identity(); messages.len()];
    G::hash_to_group(&messages, &mut points);
    let mut bytes = vec![0; points.len() * G::POINT_LENGTH];
    assert_eq!(G::encode(&points, &mut bytes), Ok(()), "never the identity");
    for (message, point) in messages.iter().zip(&points).step_by(41) {
        assert_points_equal::<G>(&[G::hash_one(message.as_bytes())], &[*point], "alone and in a batch");
    }
    let mut encodings: Vec<&[u8]> = bytes.chunks_exact(G::POINT_LENGTH).collect();
    encodings.sort_unstable();
    encodings.dedup();
    assert_eq!(encodings.len(), messages.len(), "different messages, different points");
    assert!(bool::from(!G::is_identity(&G::hash_one(b""))));
}
