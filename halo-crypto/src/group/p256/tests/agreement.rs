//! Every operation gives what the p256 crate gives.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::oracle::Oracle;
use crate::backend::tests::on_each_backend;
use crate::{Group, P256};

type Scalar = p256::Scalar;

/// What both suites can read: an encoding, or none for the identity.
type Element = Option<Vec<u8>>;

fn points<G: Group>(elements: &[Element]) -> Vec<G::Point> {
    elements
        .iter()
        .map(|element| {
            element.as_ref().map_or(G::identity(), |bytes| G::decode_one(bytes).expect("a valid point"))
        })
        .collect()
}

fn elements<G: Group>(points: &[G::Point]) -> Vec<Element> {
    points.iter().map(|point| G::encode_one(point).ok()).collect()
}

/// Scalars of every kind, mostly random ones.
fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        4 => any::<u64>().prop_map(|seed| P256::random_scalar(&mut ChaCha20Rng::seed_from_u64(seed))),
        1 => any::<u128>().prop_map(Scalar::from),
        1 => (0u64..40).prop_map(Scalar::from),
        1 => (1u64..40).prop_map(|small| -Scalar::from(small)),
        // Runs of ones and zeros, where recodings carry.
        1 => (0usize..255, 0usize..255).prop_map(|(a, b)| {
            let power = |exponent| (0..exponent).fold(Scalar::ONE, |power, _| power.double());
            power(a) - power(b)
        }),
    ]
}

/// Small multiples of a few bases, so that equal and opposite points and the identity are common.
fn element() -> impl Strategy<Value = Element> {
    (0u64..5, -4i64..5).prop_map(|(base, multiple)| {
        // One base has x = 0, which it shares with how we write the identity.
        let mut zero_x = [0; 33];
        zero_x[0] = 2;
        let base = match base {
            0 => Oracle::decode_one(&zero_x).expect("b is a square"),
            _ => Oracle::hash_one(base.to_string().as_bytes()),
        };
        let multiple = if multiple < 0 {
            -Scalar::from(multiple.unsigned_abs())
        } else {
            Scalar::from(multiple.unsigned_abs())
        };
        Oracle::encode_one(&(base * multiple)).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn additions(pairs in prop::collection::vec((element(), element()), 0..20)) {
        let (left, right): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        fn all<G: Group>(left: &[Element], right: &[Element]) -> Vec<Element> {
            let (left, right) = (points::<G>(left), points::<G>(right));
            let (mut sum, mut difference, mut shifted) = (left.clone(), left.clone(), left.clone());
            G::add(&mut sum, &right);
            G::sub(&mut difference, &right);
            if let Some(first) = right.first() {
                G::add_point(&mut shifted, first);
            }
            G::negate(&mut sum[..right.len() / 2]);
            let total = [G::sum(&left)];
            elements::<G>(&[&sum[..], &difference, &shifted, &total].concat())
        }
        let expected = all::<Oracle>(&left, &right);
        for (backend, ours) in on_each_backend(|| all::<P256>(&left, &right)) {
            prop_assert_eq!(&ours, &expected, "{}", backend);
        }
    }

    #[test]
    fn one_scalar(batch in prop::collection::vec(element(), 1..6), scalar in scalar()) {
        fn all<G: Group<Scalar = Scalar>>(batch: &[Element], scalar: &Scalar) -> Vec<Element> {
            let mut batch = points::<G>(batch);
            G::scale(&mut batch, scalar);
            elements::<G>(&batch)
        }
        let expected = all::<Oracle>(&batch, &scalar);
        for (backend, ours) in on_each_backend(|| all::<P256>(&batch, &scalar)) {
            prop_assert_eq!(&ours, &expected, "{}", backend);
        }
    }

    #[test]
    fn a_scalar_each(batch in prop::collection::vec((element(), scalar()), 1..6)) {
        let (batch, scalars): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        fn all<G: Group<Scalar = Scalar>>(batch: &[Element], scalars: &[Scalar]) -> Vec<Element> {
            let mut batch = points::<G>(batch);
            G::scale_each(&mut batch, scalars);
            let base = G::fixed_base(&batch[0]);
            let addends = batch.clone();
            G::add_fixed_base_multiples(&mut batch, &base, scalars);
            elements::<G>(&[batch, addends].concat())
        }
        let expected = all::<Oracle>(&batch, &scalars);
        for (backend, ours) in on_each_backend(|| all::<P256>(&batch, &scalars)) {
            prop_assert_eq!(&ours, &expected, "{}", backend);
        }
    }

    #[test]
    fn two_scalars(
        pairs in prop::collection::vec((element(), element()), 1..6),
        scalars in (scalar(), scalar()),
        related in any::<bool>(),
    ) {
        let (left, right): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let second = if related { -scalars.0 } else { scalars.1 };
        fn all<G: Group<Scalar = Scalar>>(left: &[Element], a: &Scalar, right: &[Element], b: &Scalar) -> Vec<Element> {
            let mut left = points::<G>(left);
            G::double_scale(&mut left, a, &points::<G>(right), b);
            elements::<G>(&left)
        }
        let expected = all::<Oracle>(&left, &scalars.0, &right, &second);
        for (backend, ours) in on_each_backend(|| all::<P256>(&left, &scalars.0, &right, &second)) {
            prop_assert_eq!(&ours, &expected, "{}", backend);
        }
    }

    #[test]
    fn decoding(x in any::<[u8; 32]>(), prefix in 0u8..6, small in any::<bool>()) {
        let mut bytes = [&[prefix][..], &x].concat();
        if small {
            bytes[1..29].fill(if prefix & 1 == 0 { 0 } else { 0xff });
        }
        fn read<G: Group>(bytes: &[u8]) -> Result<Element, crate::group::DecodePointError> {
            G::decode_key(bytes).map(|point| G::encode_one(&point).ok())
        }
        let expected = read::<Oracle>(&bytes);
        for (backend, ours) in on_each_backend(|| read::<P256>(&bytes)) {
            prop_assert_eq!(&ours, &expected, "{}", backend);
        }
    }

    #[test]
    fn hashing(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..10)) {
        fn all<G: Group>(messages: &[Vec<u8>]) -> Vec<Element> {
            let mut out = vec![G::identity(); messages.len()];
            G::hash_to_group(messages, &mut out);
            elements::<G>(&out)
        }
        let expected = all::<Oracle>(&messages);
        for (backend, ours) in on_each_backend(|| all::<P256>(&messages)) {
            prop_assert_eq!(&ours, &expected, "{}", backend);
        }
    }
}
