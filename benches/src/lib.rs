//! What the benchmarks share. The comparison with other tools is benches/compare.

pub mod proxy;
pub mod sets;
