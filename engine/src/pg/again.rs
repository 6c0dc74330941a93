//! Reads again, while it is sent, what a script left in its file. Nobody keeps the file from being changed meanwhile, so
//! it is summed up on the way: whatever differs from what was planned is found before the COMMIT.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use super::failure::Fault;
use crate::id::Digest;
use crate::migration::{Block, Source};
use crate::run::failure::Failure;
use crate::sql::Hasher;

/// A stretch of a file that is being read.
pub(crate) struct Again<'s> {
    source: &'s Source,
    file: Option<File>,
    /// How many bytes are still to come.
    left: u64,
    hasher: Hasher,
    /// What the checksum has to be at the end.
    digest: Digest,
}

impl<'s> Again<'s> {
    /// A block that was left.
    pub(crate) async fn block(source: &'s Source, block: &Block) -> Result<Self, Fault> {
        Self::open(source, block.start, block.len, block.digest).await
    }

    /// All of it.
    pub(crate) async fn whole(source: &'s Source) -> Result<Self, Fault> {
        Self::open(source, source.begin, source.end.saturating_sub(source.begin), source.content).await
    }

    async fn open(source: &'s Source, start: u64, len: u64, digest: Digest) -> Result<Self, Fault> {
        let path = source.path.clone();
        let opened = apart(move || {
            let mut file = File::open(path)?;
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(start))?;
            Ok((file, size))
        });
        let (file, size) = opened.await.map_err(|error| unreadable(source, &error))?;
        if size != source.end {
            return Err(changed(source));
        }
        Ok(Self { source, file: Some(file), left: len, hasher: Hasher::default(), digest })
    }

    /// The next bytes, at most so many. Nothing at the end, where the checksum was right.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Option<Vec<u8>>, Fault> {
        let Some(mut file) = self.file.take() else { return Ok(None) };
        if self.left == 0 {
            let found = std::mem::take(&mut self.hasher).finish();
            return if found == self.digest { Ok(None) } else { Err(changed(self.source)) };
        }
        let most = most.min(usize::try_from(self.left).unwrap_or(most));
        let read = apart(move || {
            let mut bytes = vec![0; most];
            file.read_exact(&mut bytes)?;
            Ok((file, bytes))
        });
        let (file, bytes) = match read.await {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(changed(self.source)),
            Err(error) => return Err(unreadable(self.source, &error)),
        };
        self.hasher.take(&bytes);
        self.left -= bytes.len() as u64;
        self.file = Some(file);
        Ok(Some(bytes))
    }
}

/// On another thread, so that a slow disk keeps nobody from hearing a signal.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The failure of a file that is not the one that was planned.
pub(crate) fn changed(source: &Source) -> Fault {
    let message = format!("{} was changed after it had been planned", source.path.display());
    Fault::Refused(Box::new(Failure::own("ME328", message)))
}

/// The failure of a file that was there when it was planned.
fn unreadable(source: &Source, error: &io::Error) -> Fault {
    let message = format!("{} cannot be read again: {error}", source.path.display());
    Fault::Refused(Box::new(Failure::own("ME329", message)))
}
