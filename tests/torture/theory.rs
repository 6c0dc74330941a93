//! Row 6: the protocol as a model, explored in full within its bounds; and weakened protocols, each of which must fail.

use std::time::Instant;

use stateright::HasDiscoveries;

use super::table::Table;
use crate::model::rows::{explore, sound, unrepaired, weakened};

/// The model.
pub fn model(table: &Table) {
    let (name, began) = ("6 model: states of the protocol", Instant::now());
    for row in sound() {
        let (states, broken) = explore(row, HasDiscoveries::AnyFailures);
        let outcome = if broken.is_empty() { Ok(()) } else { Err(format!("{}: {broken:?}", row.name)) };
        table.counted(name, states, outcome);
    }
    table.spent(name, began.elapsed());
    for (name, rows) in [
        ("6 model: weakened protocols, each with a counterexample", weakened()),
        ("6 model: repairs, each needed", unrepaired()),
    ] {
        let began = Instant::now();
        for (property, row) in rows {
            let (_, broken) = explore(row, HasDiscoveries::AnyOf([property].into()));
            let found = broken.contains(&property);
            table.count(name, if found { Ok(()) } else { Err(format!("{}: {property} holds", row.name)) });
        }
        table.spent(name, began.elapsed());
    }
}
