//! Named places of the store at which a test may kill the process or make the disk fail.

use std::io;
use std::sync::Arc;

/// Every place, in the order in which one open and one append pass them.
pub const POINTS: &[&str] = &[
    CREATE_AFTER_FOLDER,
    OPEN_BEFORE_SLED,
    SNAP_BEFORE_REMOVE,
    SNAP_AFTER_REMOVE,
    QUARANTINE_BEFORE_RENAME,
    QUARANTINE_AFTER_RENAME,
    OPEN_AFTER_SLED,
    APPEND_BEFORE_INSERT,
    APPEND_BETWEEN_INSERTS,
    APPEND_BEFORE_FLUSH,
    APPEND_BEFORE_FSYNC,
    APPEND_BEFORE_FOLDER_FSYNC,
    APPEND_AFTER_FSYNC,
];

pub(crate) const CREATE_AFTER_FOLDER: &str = "journal.create.after_folder";
pub(crate) const OPEN_BEFORE_SLED: &str = "journal.open.before_sled";
pub(crate) const SNAP_BEFORE_REMOVE: &str = "journal.snap.before_remove";
pub(crate) const SNAP_AFTER_REMOVE: &str = "journal.snap.after_remove";
pub(crate) const QUARANTINE_BEFORE_RENAME: &str = "journal.quarantine.before_rename";
pub(crate) const QUARANTINE_AFTER_RENAME: &str = "journal.quarantine.after_rename";
pub(crate) const OPEN_AFTER_SLED: &str = "journal.open.after_sled";
pub(crate) const APPEND_BEFORE_INSERT: &str = "journal.append.before_insert";
/// Between two records, or two parts of a long one, of one append.
pub(crate) const APPEND_BETWEEN_INSERTS: &str = "journal.append.between_inserts";
pub(crate) const APPEND_BEFORE_FLUSH: &str = "journal.append.before_flush";
pub(crate) const APPEND_BEFORE_FSYNC: &str = "journal.append.before_fsync";
pub(crate) const APPEND_BEFORE_FOLDER_FSYNC: &str = "journal.append.before_folder_fsync";
pub(crate) const APPEND_AFTER_FSYNC: &str = "journal.append.after_fsync";

/// Called with the name of the place on the thread that owns the store. An error stands for the disk's.
pub type Hook = Arc<dyn Fn(&'static str) -> io::Result<()> + Send + Sync>;

/// The hook of a store, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Points(pub(crate) Option<Hook>);

impl Points {
    pub(crate) fn pass(&self, point: &'static str) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |hook| hook(point))
    }
}
