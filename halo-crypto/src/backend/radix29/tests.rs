//! The field over the model of its instructions, which runs everywhere, and the instructions against their model.

use num_bigint::BigUint;
use proptest::prelude::*;

use super::*;
use crate::backend::tests::{element, modulus, number};

/// Four words in plain Rust, which wrap around as the instructions do. The tests check that nothing is lost by it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Model;

fn each(left: [u64; 4], right: [u64; 4], operation: impl Fn(u64, u64) -> u64) -> [u64; 4] {
    core::array::from_fn(|lane| operation(left[lane], right[lane]))
}

impl Quad for Model {
    type Word = [u64; 4];
    type ByteIndices = [u8; POINTS];
    const ZERO: [u64; 4] = [0; 4];

    fn from_array(words: [u64; 4]) -> [u64; 4] {
        words
    }

    fn to_array(words: [u64; 4]) -> [u64; 4] {
        words
    }

    fn splat(word: u64) -> [u64; 4] {
        [word; 4]
    }

    fn add(left: [u64; 4], right: [u64; 4]) -> [u64; 4] {
        each(left, right, u64::wrapping_add)
    }

    fn sub(left: [u64; 4], right: [u64; 4]) -> [u64; 4] {
        each(left, right, u64::wrapping_sub)
    }

    fn shift_left<const BITS: i32>(words: [u64; 4]) -> [u64; 4] {
        words.map(|word| word << BITS)
    }

    fn shift_right<const BITS: i32>(words: [u64; 4]) -> [u64; 4] {
        words.map(|word| word >> BITS)
    }

    fn and(left: [u64; 4], right: [u64; 4]) -> [u64; 4] {
        each(left, right, |left, right| left & right)
    }

    fn or(left: [u64; 4], right: [u64; 4]) -> [u64; 4] {
        each(left, right, |left, right| left | right)
    }

    fn xor(left: [u64; 4], right: [u64; 4]) -> [u64; 4] {
        each(left, right, |left, right| left ^ right)
    }

    fn equal(left: [u64; 4], right: [u64; 4]) -> [u64; 4] {
        each(left, right, |left, right| if left == right { u64::MAX } else { 0 })
    }

    fn bit(words: [u64; 4], position: i32) -> [u64; 4] {
        words.map(|word| if word >> position & 1 == 1 { u64::MAX } else { 0 })
    }

    fn hide(words: [u64; 4]) -> [u64; 4] {
        words
    }

    fn select(mask: [u64; 4], if_true: [u64; 4], if_false: [u64; 4]) -> [u64; 4] {
        core::array::from_fn(|lane| mask[lane] & if_true[lane] | !mask[lane] & if_false[lane])
    }

    fn byte_indices(indices: &[u8; POINTS]) -> [u8; POINTS] {
        *indices
    }

    fn choose(planes: &[Plane], indices: &[u8; POINTS]) -> [[u64; 4]; POINTS / 4] {
        let number = |index: u8| {
            planes.iter().rev().fold(0, |number, plane| number << 8 | u64::from(plane[usize::from(index)]))
        };
        core::array::from_fn(|four| core::array::from_fn(|lane| number(indices[4 * four + lane])))
    }

    fn perform(task: impl Task) {
        task.run();
    }

    fn product(left: &[[u64; 4]; LIMBS], right: &[[u64; 4]; LIMBS], out: &mut [[u64; 4]; LIMBS]) {
        *out = product(left, right);
    }

    fn product_assign(left: &mut [[u64; 4]; LIMBS], right: &[[u64; 4]; LIMBS]) {
        *left = product(left, right);
    }

    fn square(element: &[[u64; 4]; LIMBS], out: &mut [[u64; 4]; LIMBS]) {
        *out = product(element, element);
    }

    fn square_assign(element: &mut [[u64; 4]; LIMBS]) {
        *element = product(element, element);
    }
}

/// A word of the model.
type Word = [u64; 4];

/// The products of the lower halves.
fn mul(left: Word, right: Word) -> Word {
    each(left, right, |left, right| (left & 0xffff_ffff) * (right & 0xffff_ffff))
}

/// What the multipliers `m` of the reduction add to a column.
fn reduction(m: &[Word; LIMBS], column: usize) -> Word {
    let mut sum = Model::ZERO;
    if (3..3 + LIMBS).contains(&column) {
        sum = Model::shift_left::<9>(m[column - 3]);
    }
    if (6..6 + LIMBS).contains(&column) {
        sum = Model::add(sum, Model::shift_left::<18>(m[column - 6]));
    }
    if (7..7 + LIMBS).contains(&column) {
        sum = Model::add(sum, mul(m[column - 7], Model::splat((1 << 29) - (1 << 21))));
    }
    if (8..8 + LIMBS).contains(&column) {
        sum = Model::add(sum, mul(m[column - 8], Model::splat((1 << 24) - 1)));
    }
    sum
}

/// Ends a column: its lowest 29 bits are a multiplier or a limb of the result, the rest is carried.
fn end_column(
    column: usize,
    products: Word,
    m: &mut [Word; LIMBS],
    out: &mut [Word; LIMBS],
    carry: Word,
) -> Word {
    let sum = Model::add(Model::add(products, reduction(m, column)), carry);
    let low = Model::and(sum, Model::splat(LIMB_BITS));
    if column < LIMBS {
        m[column] = low;
    } else {
        out[column - LIMBS] = low;
    }
    Model::shift_right::<29>(sum)
}

/// `left·right/R`, column by column.
fn product(left: &[Word; LIMBS], right: &[Word; LIMBS]) -> [Word; LIMBS] {
    let mut out = [Model::ZERO; LIMBS];
    let mut m = [Model::ZERO; LIMBS];
    let mut carry = Model::ZERO;
    for column in 0..2 * LIMBS - 1 {
        let limbs = column.saturating_sub(LIMBS - 1)..=column.min(LIMBS - 1);
        let sum = limbs.map(|limb| mul(left[limb], right[column - limb])).fold(Model::ZERO, Model::add);
        carry = end_column(column, sum, &mut m, &mut out, carry);
    }
    out[LIMBS - 1] = carry;
    out
}

type Modelled = Radix29<Model>;

/// What the limbs of a lane add up to.
fn held(limbs: &[[u64; 4]; LIMBS], lane: usize) -> BigUint {
    limbs.iter().rev().fold(BigUint::ZERO, |sum, limb| (sum << 29) + limb[lane])
}

/// Checks the bounds of reduced elements, and returns them.
fn reduced(elements: &Modelled) -> Modelled {
    for lane in 0..4 {
        assert!(elements.0.iter().all(|limb| limb[lane] < 1 << 29), "{:?}", elements.0);
        assert!(held(&elements.0, lane) < modulus() * 2u8);
    }
    *elements
}

/// Checks the bounds of sums and differences, and returns them.
fn bounded(sums: &Loose<Model>) -> Loose<Model> {
    for lane in 0..4 {
        assert!(sums.0.iter().all(|limb| limb[lane] < 1 << 31), "{:?}", sums.0);
        assert!(held(&sums.0, lane) < modulus() * 16u8);
    }
    *sums
}

fn numbers(elements: &Modelled) -> Vec<BigUint> {
    elements.elements()[..4].iter().map(number).collect()
}

fn from_limbs(limbs: [u64; LIMBS]) -> [[u64; 4]; LIMBS] {
    limbs.map(|limb| [limb; 4])
}

/// Elements in every form that the bounds allow.
fn any_form() -> impl Strategy<Value = Modelled> {
    let limb = || prop_oneof![3 => 0..1u64 << 29, 1 => Just(0), 1 => Just((1u64 << 29) - 1)];
    let highest = prop_oneof![3 => 0..(1u64 << 25) - 1, 1 => Just(0), 1 => Just((1 << 25) - 2)];
    let lane = (prop::array::uniform8(limb()), highest)
        .prop_map(|(low, high)| core::array::from_fn(|index| low.get(index).copied().unwrap_or(high)));
    let lane = prop_oneof![5 => lane, 1 => Just(P), 1 => Just([0; LIMBS]), 1 => Just(ONE)];
    prop::array::uniform4(lane).prop_map(|lanes: [[u64; LIMBS]; 4]| {
        Radix29(core::array::from_fn(|limb| core::array::from_fn(|lane| lanes[lane][limb])))
    })
}

/// Sums and differences in every form that the bounds allow.
fn any_loose() -> impl Strategy<Value = Loose<Model>> {
    let limb = || prop_oneof![2 => 0..1u64 << 31, 1 => Just(0), 1 => Just((1u64 << 31) - 1)];
    let highest = prop_oneof![2 => 0..(1u64 << 28) - 16, 1 => Just(0), 1 => Just((1 << 28) - 17)];
    (prop::array::uniform8(prop::array::uniform4(limb())), prop::array::uniform4(highest))
        .prop_map(|(low, high)| Loose(core::array::from_fn(|index| low.get(index).copied().unwrap_or(high))))
}

#[test]
fn constants_are_what_they_say() {
    let (p, r) = (modulus(), BigUint::from(1u8) << 261);
    let value = |limbs: [u64; LIMBS]| held(&from_limbs(limbs), 0);
    assert_eq!(value(P), p);
    assert_eq!(value(FOUR_P), &p * 4u8);
    assert_eq!(value(EIGHT_P), &p * 8u8);
    assert_eq!(value(ONE), &r % &p);
    assert_eq!(value(TO_FLAT), (BigUint::from(1u8) << 256) % &p);
    assert!(FOUR_P[..8].iter().all(|limb| ((1 << 29) - 1..1 << 30).contains(limb)) && FOUR_P[8] >= 1 << 25);
    assert!(EIGHT_P[..8].iter().all(|limb| ((1 << 30) - 2..3 << 29).contains(limb)) && EIGHT_P[8] >= 1 << 26);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn elements_are_read_back(elements in prop::array::uniform4(element())) {
        let vector = reduced(&Modelled::load(&elements));
        let expected: Vec<BigUint> = elements.iter().map(number).collect();
        prop_assert_eq!(numbers(&vector), expected);
        for (odd, element) in vector.is_odd().0.into_iter().zip(&elements) {
            prop_assert_eq!(odd == u64::MAX, number(element).bit(0));
        }
    }

    #[test]
    fn the_vector_is_integers_modulo_p(a in any_form(), b in any_form(), c in any_form(), l in any_loose()) {
        let p = modulus();
        let (x, y, z) = (numbers(&a), numbers(&b), numbers(&c));
        let carried = |loose: &Loose<Model>| numbers(&reduced(&Modelled::carry(loose)));
        let (sum, difference) = (carried(&bounded(&a.add(&b))), carried(&bounded(&a.sub(&b))));
        let (two, square) = (numbers(&reduced(&a.sub_two(&b, &c))), numbers(&reduced(&a.square())));
        let (product, negated) = (numbers(&reduced(&a.mul(&b))), numbers(&reduced(&a.negate_if(!LaneMask::default()))));
        let mut assigned = a;
        assigned.mul_loose_assign(&b.loose());
        let everywhere = !LaneMask::default();
        let plain = carried(&bounded(&a.sub_from_signed(LaneMask::default(), &b)));
        let reversed = carried(&bounded(&a.sub_from_signed(everywhere, &b)));
        let of_sum = numbers(&reduced(&a.mul_loose(&b.sub(&c))));
        for lane in 0..4 {
            prop_assert_eq!(&sum[lane], &((&x[lane] + &y[lane]) % &p));
            prop_assert_eq!(&difference[lane], &((&x[lane] + &p - &y[lane]) % &p));
            prop_assert_eq!(&plain[lane], &difference[lane]);
            prop_assert_eq!(&reversed[lane], &((&p + &p - &x[lane] - &y[lane]) % &p));
            prop_assert_eq!(assigned.0[0][lane], a.mul(&b).0[0][lane]);
            prop_assert_eq!(&two[lane], &((&x[lane] + &p + &p - &y[lane] - &z[lane]) % &p));
            prop_assert_eq!(&square[lane], &(&x[lane] * &x[lane] % &p));
            prop_assert_eq!(&product[lane], &(&x[lane] * &y[lane] % &p));
            prop_assert_eq!(&negated[lane], &((&p - &x[lane]) % &p));
            prop_assert_eq!(&of_sum[lane], &(&x[lane] * (&y[lane] + &p - &z[lane]) % &p));
            prop_assert_eq!(a.is_zero().0[lane] == u64::MAX, x[lane] == BigUint::ZERO);
        }
        // The whole range of what may be carried or multiplied.
        let r_inverse = BigUint::from(2u8).modpow(&(&p - 262u16), &p);
        let (reduced_l, product) = (reduced(&Modelled::carry(&l)), reduced(&a.mul_loose(&l)));
        for lane in 0..4 {
            prop_assert_eq!(held(&reduced_l.0, lane) % &p, held(&l.0, lane) % &p);
            let expected = held(&a.0, lane) * held(&l.0, lane) % &p * &r_inverse % &p;
            prop_assert_eq!(held(&product.0, lane) % &p, expected);
        }
    }

    #[test]
    fn tables_give_the_entries_asked_for(indices in prop::collection::vec(0..ENTRIES as u8, 1..3 * POINTS)) {
        let points: Vec<Point> = (1..=ENTRIES as u64)
            .map(|small| Point {
                x: FieldElement::from_words([small, 0, 0, 0]),
                y: FieldElement::from_words([0, small, 0, 0]),
            })
            .collect();
        let mut found = vec![Signed::<Modelled>::default(); indices.len().div_ceil(4)];
        Modelled::look_up(&Modelled::table(&points), &indices, &mut found);
        for (indices, Signed { point: found, .. }) in indices.chunks(4).zip(&found) {
            let (x, y) = (numbers(&reduced(&found.x)), numbers(&reduced(&found.y)));
            for ((index, x), y) in indices.iter().zip(&x).zip(&y) {
                let point = &points[usize::from(*index)];
                prop_assert_eq!(x, &number(&point.x));
                prop_assert_eq!(y, &number(&point.y));
            }
        }
    }

    #[test]
    fn packed_points_are_chosen_by_their_number(
        forms in prop::collection::vec((any_form(), any_form()), 8),
        numbers in prop::array::uniform4(0u64..8),
    ) {
        let points: [_; 8] = core::array::from_fn(|index| Affine { x: forms[index].0, y: forms[index].1 });
        let bits = [0, 1, 2].map(|bit| Modelled::bit(&numbers, bit));
        let mut chosen = Affine::default();
        Modelled::choose(&points.map(|point| Modelled::pack(&point)), &bits, &mut chosen);
        for (lane, number) in numbers.into_iter().enumerate() {
            let point = &points[number as usize];
            for limb in 0..LIMBS {
                prop_assert_eq!(chosen.x.0[limb][lane], point.x.0[limb][lane]);
                prop_assert_eq!(chosen.y.0[limb][lane], point.y.0[limb][lane]);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod instructions {
    use super::*;
    use crate::Backend;
    use crate::backend::avx2::Avx2;

    proptest! {
        #[test]
        fn instructions_do_what_their_model_does(
            a in any::<[u64; 4]>(),
            b in any::<[u64; 4]>(),
            position in 0..64,
        ) {
            if !Backend::Avx2.is_available() {
                return Ok(());
            }
            let binary = |ours: fn(_, _) -> _, model: fn(_, _) -> [u64; 4], b| {
                let result = Avx2::to_array(ours(Avx2::from_array(a), Avx2::from_array(b)));
                assert_eq!(result, model(a, b));
            };
            binary(Avx2::add, Model::add, b);
            binary(Avx2::sub, Model::sub, b);
            binary(Avx2::and, Model::and, b);
            binary(Avx2::or, Model::or, b);
            binary(Avx2::xor, Model::xor, b);
            let partly_equal = [a[0], b[1], a[2], b[3]];
            binary(Avx2::equal, Model::equal, partly_equal);
            prop_assert_eq!(Avx2::to_array(Avx2::splat(a[0])), Model::splat(a[0]));
            let (word, mask) = (Avx2::from_array(a), Model::equal(a, partly_equal));
            let selected = Avx2::select(Avx2::from_array(mask), word, Avx2::from_array(b));
            prop_assert_eq!(Avx2::to_array(selected), Model::select(mask, a, b));
            prop_assert_eq!(Avx2::to_array(Avx2::bit(word, position)), Model::bit(a, position));
            prop_assert_eq!(Avx2::to_array(Avx2::shift_left::<9>(word)), Model::shift_left::<9>(a));
            prop_assert_eq!(Avx2::to_array(Avx2::shift_right::<29>(word)), Model::shift_right::<29>(a));
        }

        #[test]
        fn bytes_are_chosen_as_by_the_model(
            planes in prop::array::uniform4(prop::collection::vec(any::<u8>(), ENTRIES)),
            indices in prop::array::uniform32(0..ENTRIES as u8),
        ) {
            if !Backend::Avx2.is_available() {
                return Ok(());
            }
            let planes: [Plane; 4] = planes.map(|plane| core::array::from_fn(|index| plane[index]));
            let chosen = Avx2::choose(&planes, &Avx2::byte_indices(&indices)).map(Avx2::to_array);
            prop_assert_eq!(chosen, Model::choose(&planes, &indices));
        }

        #[test]
        fn products_are_the_model_s(a in any_form(), b in any_loose()) {
            if !Backend::Avx2.is_available() {
                return Ok(());
            }
            let vector = Radix29::<Avx2>(a.0.map(Avx2::from_array));
            let factor = Loose::<Avx2>(b.0.map(Avx2::from_array));
            prop_assert_eq!(vector.mul_loose(&factor).0.map(Avx2::to_array), a.mul_loose(&b).0);
            prop_assert_eq!(vector.square().0.map(Avx2::to_array), a.square().0);
            let (mut product, mut square) = (vector, vector);
            product.mul_loose_assign(&factor);
            square.square_assign();
            prop_assert_eq!(product.0.map(Avx2::to_array), a.mul_loose(&b).0);
            prop_assert_eq!(square.0.map(Avx2::to_array), a.square().0);
        }
    }
}
