//! What a batch that failed asks for.

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// Chance, or others in the way: try the same range again with half the keys.
    Halve,
    /// A row does not fit: halve until it is alone, and name it.
    CloseIn,
    /// Nothing about it depends on how many rows it is.
    Fail,
}

/// By SQLSTATE. Classes 22 (data exceptions) and 23 (constraints) are about single rows; memory runs out by their number.
#[must_use]
pub fn setback(sqlstate: Option<&str>) -> Setback {
    match sqlstate {
        Some("40P01" | "40001" | "55P03" | "57014" | "53200" | "53400" | "54001") => Setback::Halve,
        Some(code) if code.starts_with("22") || code.starts_with("23") => Setback::CloseIn,
        _ => Setback::Fail,
    }
}
