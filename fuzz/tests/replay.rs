//! Every seed, whole and damaged in a few ways, through its target: finds what a search would find at once, with
//! nothing but the stable compiler.

use halo_fuzz::TARGETS;
use halo_fuzz::seeds::seeds;

#[test]
fn seeds_and_their_damaged_copies_break_no_promise() -> std::io::Result<()> {
    for (name, target) in TARGETS {
        let seeds = seeds(name)?;
        assert!(!seeds.is_empty(), "{name} has no seed");
        for seed in &seeds {
            for input in damaged(seed) {
                target(&input);
            }
        }
        println!("{name}: {} seeds", seeds.len());
    }
    Ok(())
}

/// The input cut short at several places, and with single bits turned.
fn damaged(seed: &[u8]) -> Vec<Vec<u8>> {
    let length = seed.len();
    let cut = [0, 1, length / 2, length.saturating_sub(1)].map(|end| seed[..end.min(length)].to_vec());
    let turned = [1, length / 3, length / 2, length.saturating_sub(2)].map(|position| {
        let mut copy = seed.to_vec();
        if let Some(byte) = copy.get_mut(position) {
            *byte ^= 1 << (position % 8);
        }
        copy
    });
    [seed.to_vec()].into_iter().chain(cut).chain(turned).collect()
}
