//! The field over the model of its instructions, which runs everywhere, and the instructions against their model.

use num_bigint::BigUint;
use proptest::prelude::*;

use super::*;
use crate::backend::tests::{element, modulus, number};

/// Eight words in plain Rust.
#[derive(Clone, Copy, Debug, Default)]
struct Model;

type Words = [u64; 8];

fn lanes(word: impl Fn(usize) -> u64) -> Words {
    core::array::from_fn(word)
}

/// The mask of conditions.
fn mask_of(conditions: [bool; 8]) -> Words {
    conditions.map(|condition| u64::from(condition).wrapping_neg())
}

/// The condition of a lane.
fn has(mask: LaneMask<Model>, lane: usize) -> bool {
    let word = mask.0[lane];
    assert!(word == 0 || word == u64::MAX, "{word:x} is no mask");
    word != 0
}

/// The product of the lowest 52 bits.
fn wide(left: u64, right: u64) -> u128 {
    u128::from(left & LIMB_BITS) * u128::from(right & LIMB_BITS)
}

impl Octet for Model {
    type Word = Words;
    const ZERO: Words = [0; 8];

    fn from_array(words: Words) -> Words {
        words
    }

    fn to_array(words: Words) -> Words {
        words
    }

    fn splat(word: u64) -> Words {
        [word; 8]
    }

    fn add(left: Words, right: Words) -> Words {
        lanes(|lane| left[lane].wrapping_add(right[lane]))
    }

    fn sub(left: Words, right: Words) -> Words {
        lanes(|lane| left[lane].wrapping_sub(right[lane]))
    }

    fn add_low_product(sum: Words, left: Words, right: Words) -> Words {
        lanes(|lane| sum[lane].wrapping_add(wide(left[lane], right[lane]) as u64 & LIMB_BITS))
    }

    fn add_high_product(sum: Words, left: Words, right: Words) -> Words {
        lanes(|lane| sum[lane].wrapping_add((wide(left[lane], right[lane]) >> 52) as u64))
    }

    fn shift_left<const BITS: u32>(words: Words) -> Words {
        words.map(|word| word << BITS)
    }

    fn shift_right<const BITS: u32>(words: Words) -> Words {
        words.map(|word| word >> BITS)
    }

    fn shift_right_signed<const BITS: u32>(words: Words) -> Words {
        words.map(|word| (word.cast_signed() >> BITS).cast_unsigned())
    }

    fn and(left: Words, right: Words) -> Words {
        lanes(|lane| left[lane] & right[lane])
    }

    fn or(left: Words, right: Words) -> Words {
        lanes(|lane| left[lane] | right[lane])
    }

    fn xor(left: Words, right: Words) -> Words {
        lanes(|lane| left[lane] ^ right[lane])
    }

    fn equal(left: Words, right: Words) -> Words {
        mask_of(core::array::from_fn(|lane| left[lane] == right[lane]))
    }

    fn bit(words: Words, position: u32) -> Words {
        mask_of(words.map(|word| word >> position & 1 == 1))
    }

    fn hide(words: Words) -> Words {
        words
    }

    fn choose(entries: Words, indices: Words) -> Words {
        indices.map(|index| entries[(index & 7) as usize])
    }

    fn perform(task: impl Task) {
        task.run();
    }
}

type Modelled = Radix52<Model>;

/// What the limbs of a lane add up to.
fn held(limbs: &[Words; LIMBS], lane: usize) -> BigUint {
    limbs.iter().rev().fold(BigUint::ZERO, |sum, limb| (sum << 52) + limb[lane])
}

/// What numbers are below.
fn bound() -> BigUint {
    BigUint::from(5u8) << 254
}

/// Checks the bounds of reduced elements, and returns them.
fn reduced(elements: &Modelled) -> Modelled {
    for lane in 0..8 {
        assert!(elements.0.iter().all(|limb| limb[lane] < 1 << 52), "{:?}", elements.0);
        assert!(held(&elements.0, lane) < bound(), "{:?}", elements.0);
    }
    *elements
}

/// Checks the bounds of sums and differences, and returns them with something else where nothing is meant.
fn bounded(sums: &Loose<Model>) -> Loose<Model> {
    let limbs = reduced(&Modelled::carry(sums)).0;
    assert_eq!(limbs[LIMBS - 1], sums.0[LIMBS - 1], "the highest word has nothing that means nothing");
    let mut disturbed = Loose(limbs);
    let meaningless = lanes(|lane| (lane as u64 * 0x123 + 0x800) << 52);
    for limb in &mut disturbed.0[..LIMBS - 1] {
        *limb = Model::or(*limb, meaningless);
    }
    disturbed
}

fn numbers(elements: &Modelled) -> Vec<BigUint> {
    elements.elements().iter().map(number).collect()
}

fn from_limbs(limbs: [u64; LIMBS]) -> [Words; LIMBS] {
    limbs.map(|limb| [limb; 8])
}

/// Elements in every form that the bounds allow.
fn any_form() -> impl Strategy<Value = Modelled> {
    let limb = || prop_oneof![3 => 0..1u64 << 52, 1 => Just(0), 1 => Just(LIMB_BITS)];
    let highest = prop_oneof![3 => 0..HIGHEST, 1 => Just(0), 1 => Just(HIGHEST - 1)];
    let lane = (prop::array::uniform4(limb()), highest)
        .prop_map(|(low, high)| core::array::from_fn(|index| low.get(index).copied().unwrap_or(high)));
    let mut below_p = P;
    below_p[0] -= 1;
    let mut above_p = P;
    above_p[0] = 0;
    above_p[1] += 1;
    let special = prop::sample::select(vec![P, below_p, above_p, [0; LIMBS], TO_NUMBER, ONE]);
    let lane = prop_oneof![5 => lane, 2 => special];
    prop::array::uniform8(lane).prop_map(|values: [[u64; LIMBS]; 8]| {
        Radix52(core::array::from_fn(|limb| lanes(|lane| values[lane][limb])))
    })
}

#[test]
fn constants_are_what_they_say() {
    let (p, r) = (modulus(), BigUint::from(1u8) << 260);
    let value = |limbs: [u64; LIMBS]| held(&from_limbs(limbs), 0);
    assert_eq!(value(P), p);
    assert_eq!(value([0, P_1, 0, P_3, P_4]), &p + 1u8);
    assert_eq!(value(ONE), &r % &p);
    assert_eq!(value(TO_FLAT), (BigUint::from(1u8) << 256) % &p);
    assert_eq!(value([0, 0, 0, 0, HIGHEST]), bound());
    assert!(&p * 2u8 > bound(), "zero has a third form");
    // What the proof of the bounds takes `2^256 - p` to be.
    let gap = (BigUint::from(1u8) << 256) - &p;
    let [low, high] = [BigUint::from(1u8) << 193, BigUint::from(1u8) << 224];
    assert!(&high - low < gap && gap < high);
}

/// Sums of the largest and the smallest operands are where the bounds are met.
#[test]
fn extremes_stay_within_the_bounds() {
    let largest = Radix52::<Model>(from_limbs([LIMB_BITS, LIMB_BITS, LIMB_BITS, LIMB_BITS, HIGHEST - 1]));
    let extremes = [Modelled::default(), largest, Radix52(from_limbs(P)), Radix52(from_limbs(ONE))];
    for a in extremes {
        for b in extremes {
            let (sum, difference) = (bounded(&a.add(&b)), bounded(&a.sub(&b)));
            for c in extremes {
                reduced(&c.mul_loose(&sum));
                reduced(&c.mul_loose(&difference));
                bounded(&a.sub_from_signed(!LaneMask::default(), &b));
                reduced(&a.sub_two(&b, &c));
            }
        }
        reduced(&a.square());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn elements_are_read_back(elements in prop::array::uniform8(element())) {
        let vector = reduced(&Modelled::load(&elements));
        let expected: Vec<BigUint> = elements.iter().map(number).collect();
        prop_assert_eq!(numbers(&vector), expected);
        let odd = vector.is_odd();
        for (lane, element) in elements.iter().enumerate() {
            prop_assert_eq!(has(odd, lane), number(element).bit(0));
        }
    }

    #[test]
    fn lanes_without_an_element_are_zero(elements in prop::collection::vec(element(), 1..8)) {
        let read = numbers(&Modelled::load(&elements));
        let expected = elements.iter().map(number).chain(std::iter::repeat(BigUint::ZERO)).take(8);
        prop_assert_eq!(read, expected.collect::<Vec<_>>());
    }

    #[test]
    fn the_vector_is_integers_modulo_p(
        a in any_form(),
        b in any_form(),
        c in any_form(),
        conditions in any::<[bool; 8]>(),
    ) {
        let mask = LaneMask(mask_of(conditions));
        let p = modulus();
        let (x, y, z) = (numbers(&a), numbers(&b), numbers(&c));
        let carried = |loose: &Loose<Model>| numbers(&reduced(&Modelled::carry(loose)));
        let (sum, difference) = (bounded(&a.add(&b)), bounded(&a.sub(&b)));
        let (of_sum, of_difference) = (numbers(&reduced(&c.mul_loose(&sum))), numbers(&reduced(&c.mul_loose(&difference))));
        let (sum, difference) = (carried(&sum), carried(&difference));
        let (two, square) = (numbers(&reduced(&a.sub_two(&b, &c))), numbers(&reduced(&a.square())));
        let product = numbers(&reduced(&a.mul(&b)));
        let mut assigned = a;
        assigned.mul_loose_assign(&b.loose());
        prop_assert_eq!(&numbers(&assigned), &product);
        let signed = carried(&bounded(&a.sub_from_signed(mask, &b)));
        let negated = numbers(&reduced(&a.negate_if(mask)));
        let (kept, selected) = (numbers(&a.keep(mask)), numbers(&Modelled::select(mask, &a, &b)));
        let joined = numbers(&a.keep(mask).or(&b.keep(!mask)));
        for lane in 0..8 {
            prop_assert_eq!(&sum[lane], &((&x[lane] + &y[lane]) % &p));
            prop_assert_eq!(&difference[lane], &((&x[lane] + &p - &y[lane]) % &p));
            prop_assert_eq!(&two[lane], &((&x[lane] + &p + &p - &y[lane] - &z[lane]) % &p));
            prop_assert_eq!(&square[lane], &(&x[lane] * &x[lane] % &p));
            prop_assert_eq!(&product[lane], &(&x[lane] * &y[lane] % &p));
            prop_assert_eq!(&of_sum[lane], &(&z[lane] * (&x[lane] + &y[lane]) % &p));
            prop_assert_eq!(&of_difference[lane], &(&z[lane] * (&x[lane] + &p - &y[lane]) % &p));
            prop_assert_eq!(has(a.is_zero(), lane), x[lane] == BigUint::ZERO);
            prop_assert_eq!(has(a.is_odd(), lane), x[lane].bit(0));
            let (chosen, zero) = (conditions[lane], BigUint::ZERO);
            let minuend = if chosen { &p - &x[lane] } else { x[lane].clone() };
            prop_assert_eq!(&signed[lane], &((minuend + &p - &y[lane]) % &p));
            prop_assert_eq!(&negated[lane], &(if chosen { &p - &x[lane] } else { x[lane].clone() } % &p));
            prop_assert_eq!(&kept[lane], if chosen { &x[lane] } else { &zero });
            prop_assert_eq!(&selected[lane], if chosen { &x[lane] } else { &y[lane] });
            prop_assert_eq!(&joined[lane], &selected[lane]);
        }
    }

    #[test]
    fn tables_give_the_entries_asked_for(indices in prop::collection::vec(0u8..128, 1..40)) {
        let points: Vec<Point> = (1..=128)
            .map(|small| Point {
                x: FieldElement::from_words([small, 0, 0, 0]),
                y: FieldElement::from_words([0, small, 0, 0]),
            })
            .collect();
        let mut found = vec![Signed::<Modelled>::default(); indices.len().div_ceil(8)];
        Modelled::look_up(&Modelled::table(&points), &indices, &mut found);
        for (indices, Signed { point: found, .. }) in indices.chunks(8).zip(&found) {
            let (x, y) = (numbers(&reduced(&found.x)), numbers(&reduced(&found.y)));
            for ((index, x), y) in indices.iter().zip(&x).zip(&y) {
                let point = &points[usize::from(*index)];
                prop_assert_eq!(x, &number(&point.x));
                prop_assert_eq!(y, &number(&point.y));
            }
        }
    }

    #[test]
    fn points_are_chosen_by_their_number(
        forms in prop::collection::vec((any_form(), any_form()), 8),
        numbers in prop::array::uniform8(0u64..8),
    ) {
        let points: [_; 8] = core::array::from_fn(|index| Affine { x: forms[index].0, y: forms[index].1 });
        let bits = [0, 1, 2].map(|bit| Modelled::bit(&numbers, bit));
        let mut chosen = Affine::default();
        Modelled::choose(&points, &bits, &mut chosen);
        for (lane, number) in numbers.into_iter().enumerate() {
            let point = &points[number as usize];
            for limb in 0..LIMBS {
                prop_assert_eq!(chosen.x.0[limb][lane], point.x.0[limb][lane]);
                prop_assert_eq!(chosen.y.0[limb][lane], point.y.0[limb][lane]);
            }
        }
    }

    #[test]
    fn masks_have_a_word_for_each_lane(conditions in any::<[bool; 8]>()) {
        let masks = conditions.map(|condition| Mask::from_bit(condition.into()));
        prop_assert_eq!(Modelled::mask(&masks).0, mask_of(conditions));
        prop_assert_eq!(Modelled::splat_mask(masks[0]).0, mask_of([conditions[0]; 8]));
    }
}

#[cfg(target_arch = "x86_64")]
mod instructions {
    use super::*;
    use crate::Backend;
    use crate::backend::ifma::Ifma;

    /// Words that tell the halves of products, signs and carries apart.
    fn words() -> impl Strategy<Value = Words> {
        prop::array::uniform8(prop_oneof![
            4 => any::<u64>(),
            1 => Just(0),
            1 => Just(u64::MAX),
            1 => Just(LIMB_BITS),
            1 => Just(LIMB_BITS + 1),
            1 => Just(1 << 63),
        ])
    }

    proptest! {
        #[test]
        fn instructions_do_what_their_model_does(
            a in words(),
            b in words(),
            c in words(),
            conditions in any::<[bool; 8]>(),
            position in 0u32..64,
        ) {
            if !Backend::Ifma.is_available() {
                return Ok(());
            }
            let [x, y, z] = [a, b, c].map(Ifma::from_array);
            let back = Ifma::to_array;
            prop_assert_eq!(back(x), a);
            prop_assert_eq!(back(Ifma::ZERO), Model::ZERO);
            prop_assert_eq!(back(Ifma::splat(a[0])), Model::splat(a[0]));
            prop_assert_eq!(back(Ifma::add(x, y)), Model::add(a, b));
            prop_assert_eq!(back(Ifma::sub(x, y)), Model::sub(a, b));
            prop_assert_eq!(back(Ifma::add_low_product(x, y, z)), Model::add_low_product(a, b, c));
            prop_assert_eq!(back(Ifma::add_high_product(x, y, z)), Model::add_high_product(a, b, c));
            prop_assert_eq!(back(Ifma::shift_left::<44>(x)), Model::shift_left::<44>(a));
            prop_assert_eq!(back(Ifma::shift_right::<52>(x)), Model::shift_right::<52>(a));
            prop_assert_eq!(back(Ifma::shift_right_signed::<52>(x)), Model::shift_right_signed::<52>(a));
            prop_assert_eq!(back(Ifma::and(x, y)), Model::and(a, b));
            prop_assert_eq!(back(Ifma::or(x, y)), Model::or(a, b));
            prop_assert_eq!(back(Ifma::xor(x, y)), Model::xor(a, b));
            prop_assert_eq!(back(Ifma::bit(x, position)), Model::bit(a, position));
            prop_assert_eq!(back(Ifma::hide(x)), a);
            prop_assert_eq!(back(Ifma::choose(x, y)), Model::choose(a, b));
            let partly = select::<Model>(mask_of(conditions), a, b);
            prop_assert_eq!(back(Ifma::equal(x, Ifma::from_array(partly))), Model::equal(a, partly));
        }

        #[test]
        fn formulas_are_the_model_s(a in any_form(), b in any_form(), c in any_form()) {
            if !Backend::Ifma.is_available() {
                return Ok(());
            }
            let [x, y, z] = [&a, &b, &c].map(|form| Radix52::<Ifma>(form.0.map(Ifma::from_array)));
            let words = |limbs: [_; LIMBS]| limbs.map(Ifma::to_array);
            prop_assert_eq!(words(x.mul(&y).0), a.mul(&b).0);
            prop_assert_eq!(words(x.square().0), a.square().0);
            prop_assert_eq!(words(x.add(&y).0), a.add(&b).0);
            prop_assert_eq!(words(x.sub(&y).0), a.sub(&b).0);
            prop_assert_eq!(words(x.sub_two(&y, &z).0), a.sub_two(&b, &c).0);
            prop_assert_eq!(words(canonical::<Ifma>(&x.0)), canonical::<Model>(&a.0));
        }
    }
}
