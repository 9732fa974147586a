//! Writes the seeds to where `cargo fuzz` looks for them: `corpus/TARGET/`.

use std::fs;
use std::path::Path;

use halo_fuzz::TARGETS;
use halo_fuzz::seeds::seeds;

fn main() -> std::io::Result<()> {
    for (target, _) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let seeds = seeds(target)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number:03}")), seed)?;
        }
        println!("{}: {} seeds", corpus.display(), seeds.len());
    }
    Ok(())
}
