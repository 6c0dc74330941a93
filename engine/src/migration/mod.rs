//! Migration files: their names, their headers, their scripts, and all that is wrong with them. Reads no file itself.

mod check;
mod chunk;
mod directive;
mod discover;
mod header;
mod key;
mod parts;
mod reference;
mod script;
mod shape;
#[cfg(test)]
mod tests;
mod value;

pub use chunk::{Chunk, OTHER_KEY, changes_key};
pub use directive::{Directive, DirectiveKey};
pub use discover::{FileName, Migration, ReadFile, ScriptKind, discover, merge, read_file};
pub use header::{Header, Located, TransactionMode};
pub use parts::{Part, PartKind};
pub use reference::{MigrationRef, ResolveError};
pub use script::{Script, parse_script};
pub use shape::Place;
pub use value::{Allowance, parse_duration};
