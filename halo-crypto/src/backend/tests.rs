//! The field and the recoding, below what the group's laws can see.

use num_bigint::BigUint;
use proptest::prelude::*;

use std::cell::Cell;

use subtle::ConstantTimeEq;

use super::inversion::{Denominators, Order};
use super::recoding::OddScalar;
use super::*;

thread_local! {
    static OVERRIDDEN: Cell<Option<Backend>> = const { Cell::new(None) };
}

/// The backend that [`with_each_backend`] is at in this thread.
pub(crate) fn overridden() -> Option<Backend> {
    OVERRIDDEN.get()
}

/// What an operation gives on each backend that this processor has.
pub(crate) fn on_each_backend<T>(mut operation: impl FnMut() -> T) -> Vec<(Backend, T)> {
    let available = Backend::ALL.into_iter().filter(|backend| backend.is_available());
    available
        .map(|backend| {
            let before = OVERRIDDEN.replace(Some(backend));
            let result = operation();
            OVERRIDDEN.set(before);
            (backend, result)
        })
        .collect()
}

#[test]
fn absent_backends_are_reported() {
    use std::io::Write;
    for backend in Backend::ALL.into_iter().filter(|backend| !backend.is_available()) {
        assert_eq!(backend.force(), Err(BackendError::Unavailable(backend)));
        // Past libtest, which would swallow it.
        let _ = writeln!(std::io::stderr(), "SKIPPED backend-{backend}: the processor cannot run it");
    }
}

#[test]
fn names_are_read_back() {
    for backend in Backend::ALL {
        assert_eq!(backend.name().parse(), Ok(backend));
    }
    assert_eq!("sse2".parse::<Backend>(), Err(BackendError::Unknown("sse2".to_owned())));
}

pub(super) fn modulus() -> BigUint {
    BigUint::from_bytes_be(&FieldElement::ONE.negate().to_bytes()) + 1u8
}

pub(super) fn number(element: &FieldElement) -> BigUint {
    BigUint::from_bytes_be(&element.to_bytes())
}

/// Elements of every kind: random, small, just below the modulus, and with words of zeros and ones.
pub(super) fn element() -> impl Strategy<Value = FieldElement> {
    let words = || prop_oneof![2 => any::<u64>(), 1 => Just(0), 1 => Just(u64::MAX), 1 => 0u64..4];
    prop_oneof![
        4 => [words(), words(), words(), words()].prop_map(|words| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let mut low = [0; 32];
            low.copy_from_slice(&bytes);
            FieldElement::from_wide_bytes(&[0; 32], &low)
        }),
        1 => (0u64..5).prop_map(|small| FieldElement::from_words([small, 0, 0, 0])),
        1 => (0u64..5).prop_map(|small| FieldElement::from_words([small, 0, 0, 0]).negate()),
    ]
}

/// The inverse as `x^(p - 2)`.
fn inverse_by_fermat(base: &FieldElement) -> FieldElement {
    let exponent = modulus() - 2u8;
    (0..exponent.bits()).rev().fold(FieldElement::ONE, |power, bit| {
        let power = power.square();
        if exponent.bit(bit) { power.mul(base) } else { power }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_field_is_integers_modulo_p(a in element(), b in element()) {
        let (p, x, y) = (modulus(), number(&a), number(&b));
        prop_assert_eq!(number(&a.add(&b)), (&x + &y) % &p);
        prop_assert_eq!(number(&a.sub(&b)), (&x + &p - &y) % &p);
        prop_assert_eq!(number(&a.negate()), (&p - &x) % &p);
        prop_assert_eq!(number(&a.mul(&b)), (&x * &y) % &p);
        prop_assert_eq!(number(&a.square()), (&x * &x) % &p);
        prop_assert_eq!(bool::from(a.is_zero().choice()), x == BigUint::ZERO);
        prop_assert_eq!(bool::from(a.is_odd()), x.bit(0));
        prop_assert_eq!(bool::from(a.ct_eq(&b)), x == y);
        prop_assert!(FieldElement::from_bytes(&a.to_bytes()).is_some_and(|read| read.ct_eq(&a).into()));
    }

    #[test]
    fn wide_numbers_are_reduced(high in any::<[u8; 32]>(), low in any::<[u8; 32]>()) {
        let wide = BigUint::from_bytes_be(&[high, low].concat());
        prop_assert_eq!(number(&FieldElement::from_wide_bytes(&high, &low)), wide % modulus());
    }

    #[test]
    fn inverses_are_inverse(a in element()) {
        prop_assert_eq!(number(&a.invert()), number(&inverse_by_fermat(&a)));
    }

    #[test]
    fn squares_have_roots(a in element(), b in element(), c in element(), d in element()) {
        let squares = [a.square(), b.square(), c.square(), d.square()];
        for (root, square) in roots::square_roots(&squares).iter().zip(&squares) {
            prop_assert_eq!(number(&root.square()), number(square));
        }
    }

    #[test]
    fn digits_add_up(seed in any::<[u8; 32]>(), small in 0u64..100, kind in 0u8..3, width in 3usize..=8) {
        let scalar = match kind {
            0 => <Scalar as elliptic_curve::ops::Reduce<p256::FieldBytes>>::reduce(&seed.into()),
            1 => Scalar::from(small),
            _ => -Scalar::from(small),
        };
        let recoded = OddScalar::new(&scalar);
        let base = Scalar::from(1u64 << width);
        let sum = (0..OddScalar::digits(width)).rev().fold(Scalar::ZERO, |sum, position| {
            let digit = recoded.digit(position, width);
            assert!(digit.index < 1 << (width - 1));
            let size = Scalar::from(2 * digit.index + 1);
            sum * base + if digit.negative.choice().into() { -size } else { size }
        });
        prop_assert_eq!(if recoded.is_negative().choice().into() { -sum } else { sum }, scalar);
    }
}

#[test]
fn every_inverse_of_a_batch_survives_a_zero() {
    let values: Vec<FieldElement> =
        (0..20).map(|word| FieldElement::from_words([word % 7, 0, 0, 0])).collect();
    let mut denominators = Denominators::<FieldElement>::new(values.len());
    denominators.start();
    for (lane, value) in values.iter().enumerate() {
        denominators.push(lane, value);
    }
    let two = FieldElement::ONE.add(&FieldElement::ONE);
    denominators.invert(values.len(), Order::Ascending, &two);
    let mut inverse = FieldElement::ZERO;
    for (lane, value) in values.iter().enumerate().rev() {
        denominators.pop(lane, value, &mut inverse);
        let value = if value.is_zero().choice().into() { FieldElement::ONE } else { *value };
        assert_eq!(number(&inverse.mul(&value)), number(&two));
    }
}

#[test]
fn the_generator_is_on_the_curve() {
    let Point { x, y } = Point::GENERATOR;
    assert!(Point::from_coordinates(x, y).is_some());
    assert!(Point::from_coordinates(x, y.add(&FieldElement::ONE)).is_none());
}
