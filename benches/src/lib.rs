//! What the benchmarks share: sets of migrations, a line with a delay, medians.

pub mod peers;
pub mod plot;
pub mod proxy;
pub mod sets;

/// The median of some measurements.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
