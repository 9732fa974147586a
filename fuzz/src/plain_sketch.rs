use arbitrary::{Arbitrary, Unstructured};
use halo_protocols::data_provider::{
    SketchParameters, VidSamplingInterval, plain_sketch as build, virtual_person_id,
};
use halo_protocols::estimate::LiquidLegions;

/// Any parameters and people as a data provider's sketch, and the estimate from it.
pub fn plain_sketch(data: &[u8]) {
    // Too few bytes give zeros: there is no input that is none.
    let _ = from_bytes(&mut Unstructured::new(data));
}

fn from_bytes(bytes: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let parameters = SketchParameters {
        decay_rate: f64::arbitrary(bytes)?,
        size: i64::arbitrary(bytes)?,
        sampling_indicator_size: bytes.int_in_range(1..=i64::MAX)?,
        salt: Option::arbitrary(bytes)?,
    };
    let interval = VidSamplingInterval::new(f32::arbitrary(bytes)?, f32::arbitrary(bytes)?);
    let id = virtual_person_id(<&str>::arbitrary(bytes)?);
    let people: Vec<(i64, u32)> = Vec::arbitrary(bytes)?;
    let people = people.into_iter().chain([(id, 1)]);
    let people: Vec<_> = match &interval {
        Ok(interval) => people.filter(|(vid, _)| interval.contains(*vid)).collect(),
        Err(_) => people.collect(),
    };

    let sketch = build(&parameters, people.iter().copied());
    assert!(sketch.registers.len() <= people.len(), "more registers than people");
    assert!(sketch.registers.is_sorted_by_key(|register| register.index));
    for register in &sketch.registers {
        assert_eq!(register.values.len(), 2, "a key and a count");
        assert!(register.values[0] >= 0, "a key is stored plus one, 0 is a destroyed one");
    }
    if let Ok(estimator) = LiquidLegions::new(parameters.decay_rate, parameters.size) {
        let _ = estimator.reach(sketch.registers.len() as u64, f32::arbitrary(bytes)?);
    }
    Ok(())
}
