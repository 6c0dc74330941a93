//! The one thread that owns sled. Appends that wait together share one flush.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender};

use migengine_engine::id::{Digest, RunId, Timestamp};
use migengine_engine::run::event::Event;
use migengine_engine::run::journal::{JournalError, Sealed};
use tokio::sync::oneshot;

use super::disk::{self, Folder};
use super::keys::{self, Key};
use super::open::{self, Note, Trees};
use super::settled::{self, Settled};
use crate::chain::{self, Broken, Head};
use crate::points::{self, Points};
use crate::wire::{self, Link};

/// The bytes of the records of a run, each with the number in its key.
pub(crate) type Raw = Vec<(u64, Vec<u8>)>;
type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

pub(crate) enum Command {
    Write(Write, Reply<Vec<Sealed>>),
    Raw(RunId, Reply<Raw>),
    Runs(Reply<Vec<RunId>>),
    Binding(Reply<Option<Vec<u8>>>),
    Held(Reply<Option<Vec<u8>>>),
    /// Close, and leave this note.
    Stop(Option<Settled>),
}

pub(crate) enum Write {
    Append(RunId, Vec<(Timestamp, Event)>),
    Adopt(RunId, Vec<Vec<u8>>),
    /// A record, set once.
    Bind(Vec<u8>),
    /// A record, set again by every process.
    Hold(Vec<u8>),
}

/// Why a write was not made.
enum Failed {
    /// Before the store was touched; others may go on.
    Refused(JournalError),
    /// What is on disk is unknown: nothing more is written.
    Broken(JournalError),
}

struct Store {
    folder: Folder,
    trees: Trees,
    heads: BTreeMap<RunId, Head>,
    points: Points,
    read_only: bool,
    poisoned: bool,
}

const BINDING_KEY: &[u8] = b"database";
const HOLDER_KEY: &[u8] = b"holders";

/// Body of the thread: opens the folder, says how it went, then serves commands until told to stop.
pub(crate) fn run(
    folder: Folder,
    read_only: bool,
    points: Points,
    opened: &SyncSender<Result<Option<Note>, JournalError>>,
    commands: &Receiver<Command>,
) {
    let mut store = match Store::open(folder, read_only, points) {
        Ok((store, note)) => {
            // The opener waits for this; were it gone, the channel of commands would be too.
            opened.send(Ok(note)).ok();
            store
        }
        Err(error) => {
            opened.send(Err(error)).ok();
            return;
        }
    };
    let mut going = true;
    let mut note = None;
    while going && let Ok(first) = commands.recv() {
        let mut writes = Vec::new();
        let mut reads = Vec::new();
        for command in std::iter::once(first).chain(commands.try_iter()) {
            match command {
                Command::Write(write, reply) => writes.push((write, reply)),
                Command::Stop(left) => (going, note) = (false, left),
                read => reads.push(read),
            }
        }
        store.write_all(writes);
        reads.into_iter().for_each(|read| store.answer(read));
    }
    let Store { folder, trees, poisoned, read_only, .. } = store;
    // A panic while closing loses nothing: what was acknowledged is on disk.
    let closed = open::guarded(&folder.path, move || drop(trees));
    if let (Some(note), Ok(()), false, false) = (note, closed, poisoned, read_only) {
        // Without it the next command reads the journal itself.
        settled::write(&folder.path, &note).ok();
    }
}

impl Store {
    fn open(folder: Folder, read_only: bool, points: Points) -> Result<(Self, Option<Note>), JournalError> {
        settled::remove(&folder.path).map_err(|error| disk::unwritable(&folder.path, &error))?;
        let (folder, trees, note) = open::open(folder, !read_only, &points)?;
        let mut store = Self { folder, trees, heads: BTreeMap::new(), points, read_only, poisoned: false };
        store.restrict()?;
        store.make_durable()?;
        store.pass(points::OPEN_AFTER_SLED)?;
        Ok((store, note))
    }

    fn restrict(&mut self) -> Result<(), JournalError> {
        self.folder.restrict().map_err(|error| self.io(&error))
    }

    fn io(&self, error: &io::Error) -> JournalError {
        disk::unwritable(&self.folder.path, error)
    }

    fn sled(&self, error: sled::Error) -> JournalError {
        open::failure(&self.folder.path, error)
    }

    fn damaged(&self, reason: impl ToString) -> JournalError {
        JournalError::Damaged { path: self.name(), reason: reason.to_string() }
    }

    fn name(&self) -> String {
        self.folder.path.display().to_string()
    }

    /// Inserts all, flushes once, answers all.
    fn write_all(&mut self, writes: Vec<(Write, Reply<Vec<Sealed>>)>) {
        let mut pending = Vec::new();
        let mut broken = None;
        for (write, reply) in writes {
            if self.poisoned || broken.is_some() {
                reply.send(Err(JournalError::Poisoned)).ok();
                continue;
            }
            let path = self.folder.path.clone();
            let outcome = open::guarded(&path, || self.write(write));
            match outcome.unwrap_or_else(|error| Err(Failed::Broken(error))) {
                Ok(sealed) => pending.push((sealed, reply)),
                Err(Failed::Refused(error)) => {
                    reply.send(Err(error)).ok();
                }
                Err(Failed::Broken(error)) => {
                    reply.send(Err(error.clone())).ok();
                    broken = Some(error);
                }
            }
        }
        if !pending.is_empty() && broken.is_none() {
            let path = self.folder.path.clone();
            broken = open::guarded(&path, || self.make_durable()).and_then(|result| result).err();
        }
        self.poisoned |= broken.is_some();
        for (sealed, reply) in pending {
            // A caller that stopped waiting finds its records when it reads.
            reply.send(broken.clone().map_or(Ok(sealed), Err)).ok();
        }
    }

    fn write(&mut self, write: Write) -> Result<Vec<Sealed>, Failed> {
        if self.read_only {
            let reason = "it was opened for reading".to_owned();
            return Err(Failed::Refused(JournalError::Unwritable { path: self.name(), reason }));
        }
        match write {
            Write::Append(run, events) => {
                let sealed = self.seal(run, &events).map_err(Failed::Refused)?;
                self.insert(run, sealed)
            }
            Write::Adopt(run, records) => {
                let sealed = self.unseal(run, &records).map_err(Failed::Refused)?;
                self.insert(run, sealed)
            }
            Write::Bind(record) => self.bind(&record),
            Write::Hold(record) => {
                self.pass(points::APPEND_BEFORE_INSERT).map_err(Failed::Broken)?;
                let held = self.trees.binding.insert(HOLDER_KEY, record);
                held.map(|_| Vec::new()).map_err(|error| Failed::Broken(self.sled(error)))
            }
        }
    }

    fn seal(&self, run: RunId, events: &[(Timestamp, Event)]) -> Result<Vec<Sealed>, JournalError> {
        let Head { mut seq, hash: mut prev } = self.head(run)?;
        let mut all = Vec::with_capacity(events.len());
        for (at, event) in events {
            seq += 1;
            let sealed = wire::seal(Link { run, seq, prev }, *at, event).map_err(|error| error.at(&self.name()))?;
            prev = sealed.hash;
            all.push(sealed);
        }
        Ok(all)
    }

    /// Verifies records of elsewhere against those there. The ones already there are left out.
    fn unseal(&self, run: RunId, records: &[Vec<u8>]) -> Result<Vec<Sealed>, JournalError> {
        let at = |broken: Broken| broken.at(run, &self.name());
        let there: Vec<Sealed> =
            chain::read_keyed(run, &self.raw(run)?).map_err(at)?.into_iter().map(|(_, sealed)| sealed).collect();
        chain::extend(run, &there, records).map_err(at)
    }

    /// The beginning of a record is written after its other parts: sled keeps the order of writes, so a record whose
    /// beginning is there is whole, and parts without one are of a write that was never acknowledged.
    fn insert(&mut self, run: RunId, all: Vec<Sealed>) -> Result<Vec<Sealed>, Failed> {
        let Some(last) = all.last() else { return Ok(all) };
        let head = Head { seq: last.seq, hash: last.hash };
        let broken = |error| Failed::Broken(error);
        self.pass(points::APPEND_BEFORE_INSERT).map_err(broken)?;
        if !self.heads.contains_key(&run) {
            self.clear_leftovers(run).map_err(broken)?;
        }
        let mut first = true;
        for sealed in &all {
            let mut chunks: Vec<_> = keys::chunks(run, sealed.seq, &sealed.bytes).collect();
            chunks.reverse();
            for (key, value) in chunks {
                if !std::mem::take(&mut first) {
                    self.pass(points::APPEND_BETWEEN_INSERTS).map_err(broken)?;
                }
                let before = self.trees.records.insert(key, value).map_err(|error| broken(self.sled(error)))?;
                if before.is_some() {
                    return Err(broken(self.damaged(format!("record {} of run {run} is there", sealed.seq))));
                }
            }
        }
        self.heads.insert(run, head);
        Ok(all)
    }

    fn pass(&self, point: &'static str) -> Result<(), JournalError> {
        self.points.pass(point).map_err(|error| self.io(&error))
    }

    /// Removes the parts that a torn write left after the last record of a run.
    fn clear_leftovers(&self, run: RunId) -> Result<(), JournalError> {
        for item in self.trees.records.scan_prefix(run.as_bytes()).keys().rev() {
            let bytes = item.map_err(|error| self.sled(error))?;
            if self.has_beginning(self.key(&bytes)?)? {
                break;
            }
            self.trees.records.remove(bytes).map_err(|error| self.sled(error))?;
        }
        Ok(())
    }

    fn has_beginning(&self, key: Key) -> Result<bool, JournalError> {
        let beginning = Key { part: 0, ..key }.bytes();
        self.trees.records.contains_key(beginning).map_err(|error| self.sled(error))
    }

    fn bind(&self, record: &[u8]) -> Result<Vec<Sealed>, Failed> {
        let tree = &self.trees.binding;
        match tree.get(BINDING_KEY).map_err(|error| Failed::Refused(self.sled(error)))? {
            Some(there) if there == record => Ok(Vec::new()),
            Some(_) => Err(Failed::Refused(JournalError::Unwritable {
                path: self.name(),
                reason: "it belongs to another database; name another folder with --journal".to_owned(),
            })),
            None => {
                tree.insert(BINDING_KEY, record).map_err(|error| Failed::Broken(self.sled(error)))?;
                Ok(Vec::new())
            }
        }
    }

    fn make_durable(&mut self) -> Result<(), JournalError> {
        self.pass(points::APPEND_BEFORE_FLUSH)?;
        self.trees.db.flush().map_err(|error| self.sled(error))?;
        self.folder.sync(&self.points).map_err(|error| self.io(&error))
    }

    /// The end of a run, from its last record.
    fn head(&self, run: RunId) -> Result<Head, JournalError> {
        if let Some(head) = self.heads.get(&run) {
            return Ok(*head);
        }
        let mut last = None;
        for item in self.trees.records.scan_prefix(run.as_bytes()).keys().rev() {
            let key = self.key(&item.map_err(|error| self.sled(error))?)?;
            if self.has_beginning(key)? {
                last = Some(key);
                break;
            }
        }
        let Some(key) = last else { return Ok(Head::EMPTY) };
        let from = Key { part: 0, ..key }.bytes();
        let records = self.collect(self.trees.records.scan_prefix(&from))?;
        let (_, bytes) = records.first().ok_or_else(|| self.damaged("its last record has no beginning"))?;
        let (link, _, sealed) = wire::open(bytes).map_err(|error| error.at(&self.name()))?;
        if (link.run, link.seq) != (run, key.seq) {
            return Err(self.damaged("its last record stands in another's place"));
        }
        Ok(Head { seq: sealed.seq, hash: sealed.hash })
    }

    fn key(&self, bytes: &[u8]) -> Result<Key, JournalError> {
        Key::parse(bytes).ok_or_else(|| self.damaged("it holds something that is no record"))
    }

    fn raw(&self, run: RunId) -> Result<Raw, JournalError> {
        self.collect(self.trees.records.scan_prefix(run.as_bytes()))
    }

    /// Joins the parts of records; parts without a beginning are no record.
    fn collect(&self, items: sled::Iter) -> Result<Raw, JournalError> {
        let mut records = Raw::new();
        let mut parts = 0;
        for item in items {
            let (key, value) = item.map_err(|error| self.sled(error))?;
            let Key { seq, part, .. } = self.key(&key)?;
            if part == 0 {
                records.push((seq, value.to_vec()));
            } else {
                match records.last_mut() {
                    Some((last, bytes)) if *last == seq && part == parts + 1 => bytes.extend_from_slice(&value),
                    Some((last, _)) if *last == seq => {
                        return Err(self.damaged(format!("a part of record {seq} is missing")));
                    }
                    // Left by a torn write, see `insert`. Where a record should be, its absence breaks the chain.
                    _ => continue,
                }
            }
            parts = part;
        }
        Ok(records)
    }

    fn runs(&self) -> Result<Vec<RunId>, JournalError> {
        let mut runs = Vec::new();
        let mut from = vec![0; 16];
        while let Some(first) = self.trees.records.range(from..).next() {
            let (key, _) = first.map_err(|error| self.sled(error))?;
            let Key { run, part, .. } = self.key(&key)?;
            if part == 0 {
                runs.push(run);
            }
            let Some(next) = u128::from_be_bytes(*run.as_bytes()).checked_add(1) else { break };
            from = next.to_be_bytes().to_vec();
        }
        Ok(runs)
    }

    fn answer(&mut self, command: Command) {
        match command {
            Command::Raw(run, reply) => {
                reply.send(self.read(|store| store.raw(run))).ok();
            }
            Command::Runs(reply) => {
                reply.send(self.read(Self::runs)).ok();
            }
            Command::Binding(reply) => {
                reply.send(self.read(|store| store.fact(BINDING_KEY))).ok();
            }
            Command::Held(reply) => {
                reply.send(self.read(|store| store.fact(HOLDER_KEY))).ok();
            }
            Command::Write(..) | Command::Stop(_) => {}
        }
    }

    fn fact(&self, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        let found = self.trees.binding.get(key).map_err(|error| self.sled(error))?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    fn read<T>(&self, work: impl FnOnce(&Self) -> Result<T, JournalError>) -> Result<T, JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        open::guarded(&self.folder.path, || work(self)).and_then(|result| result)
    }
}

/// A record of the journal as a whole: which database it belongs to, which session worked for it last.
pub(crate) fn fact_record(topic: &str, message: &str) -> Result<Vec<u8>, wire::WireError> {
    let event = Event::Noted { step: None, topic: topic.to_owned(), message: message.to_owned() };
    let link = Link { run: RunId::from_bytes([0; 16]), seq: 1, prev: Digest::ZERO };
    Ok(wire::seal(link, Timestamp(0), &event)?.bytes)
}
