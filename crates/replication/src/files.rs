//! Where segments lie: files in a directory, or in tests something that fails.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::{Errno, retry_on_intr};

use crate::Error;

/// The segments of one journal, by number.
pub trait Files: Send + Sync + 'static {
    /// The numbers of the segments that are there, rising.
    ///
    /// # Errors
    /// As the system says; so with all of these.
    fn list(&self) -> io::Result<Vec<u64>>;

    /// Reads a whole segment.
    #[allow(clippy::missing_errors_doc)]
    fn read(&self, number: u64) -> io::Result<Vec<u8>>;

    /// Makes a segment of `bytes` zeros, so that writing within it cannot want for room. It is there after a crash, too.
    #[allow(clippy::missing_errors_doc)]
    fn create(&self, number: u64, bytes: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Deletes a segment, if it is there. After a crash it is not there, either.
    #[allow(clippy::missing_errors_doc)]
    fn remove(&self, number: u64) -> io::Result<()>;

    /// Keeps a segment for whoever wants to look into it, under a name that is not read again. If it is not there, all
    /// is well.
    #[allow(clippy::missing_errors_doc)]
    fn set_aside(&self, number: u64) -> io::Result<()>;
}

/// A segment that is written.
pub trait SegmentFile: Send {
    /// Writes `octets` at an offset.
    #[allow(clippy::missing_errors_doc)]
    fn write_at(&mut self, octets: &[u8], at: u64) -> io::Result<()>;

    /// Returns when what was written is on the disk.
    #[allow(clippy::missing_errors_doc)]
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of this process alone.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Held locked as long as the journal is open.
    _lock: File,
}

impl Directory {
    /// Opens a directory, makes it if need be, and locks it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Locked`] if another process has it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let error = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        if !path.is_dir() {
            fs::create_dir_all(path).map_err(error(path))?;
            // The directory itself is to be there after a crash.
            let parent =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(error(parent))?;
        }
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(error(&lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(Error::Locked { path: path.to_owned() }),
            Err(errno) => Err(error(&lock_path)(errno.into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.segment"))
    }

    /// A file that was made or renamed is there after a crash once its directory is on the disk.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Files for Directory {
    fn list(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let digits = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            // A file that is named a little differently is somebody else's.
            numbers
                .extend(u64::from_str_radix(digits, 16).ok().filter(|&number| self.segment(number) == path));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        fs::read(self.segment(number))
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
        let path = self.segment(number);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let made = reserve(&file, bytes).and_then(|()| file.sync_all()).and_then(|()| self.sync());
        if let Err(error) = made {
            drop(file);
            // The first error is the one to tell; a file that stays behind is empty, and is read as such.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Box::new(file))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        if_there(fs::remove_file(self.segment(number)))?;
        self.sync()
    }

    fn set_aside(&self, number: u64) -> io::Result<()> {
        let path = self.segment(number);
        if_there(fs::rename(&path, path.with_extension("damaged")))?;
        self.sync()
    }
}

impl SegmentFile for File {
    fn write_at(&mut self, octets: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(octets, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

fn if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        Ok(()) => Ok(()),
        // A file system that cannot reserve: zeros do.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = [0; 64 << 10];
            let mut at = 0;
            while at < bytes {
                let count = zeros.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
                file.write_all_at(&zeros[..count], at)?;
                at += count as u64;
            }
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_user() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Directory::open(dir.path()).expect("opened");
        assert!(matches!(Directory::open(dir.path()), Err(Error::Locked { .. })));
        drop(first);
        Directory::open(dir.path()).expect("opened again");
    }

    #[test]
    fn segments() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Directory::open(dir.path()).expect("opened");
        let mut segment = files.create(7, 100).expect("made");
        segment.write_at(b"here", 3).and_then(|()| segment.sync()).expect("written");
        files.create(2, 10).expect("made");
        assert!(files.create(2, 10).is_err(), "a segment is not made twice");
        assert_eq!(files.list().expect("listed"), [2, 7]);
        let read = files.read(7).expect("read");
        assert_eq!((read.len(), &read[..8]), (100, &b"\0\0\0here\0"[..]));
        files.set_aside(7).expect("set aside");
        files.remove(2).and_then(|()| files.remove(2)).expect("removed");
        fs::write(dir.path().join("7.segment"), "not ours").expect("written");
        assert_eq!(files.list().expect("listed"), [0u64; 0]);
        assert!(dir.path().join("0000000000000007.damaged").exists());
    }
}
