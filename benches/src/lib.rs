//! What the benchmarks share: seeded inputs of named sizes.
