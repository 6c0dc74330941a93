//! Migration files: their names, their headers, their scripts, and all that is wrong with them. Reads no file itself.

mod check;
mod chunk;
mod directive;
mod discover;
mod header;
mod intake;
#[cfg(test)]
mod intake_tests;
mod key;
mod parts;
mod reference;
mod script;
mod shape;
mod tally;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub use chunk::{Chunk, OTHER_KEY, changes_key};
pub use directive::{Directive, DirectiveKey};
pub use discover::{FileName, Migration, ReadFile, ScriptKind, discover, merge, read_file, read_streamed};
pub use header::{Header, Located, TransactionMode};
pub use intake::{Bounds, Intake};
pub use parts::{Part, PartKind};
pub use reference::{MigrationRef, ResolveError};
pub use script::{Script, parse_owned, parse_script, parse_streamed};
pub use shape::Place;
pub use text::{Block, Data, Holds, Source, Text};
pub use value::{Allowance, parse_duration};
