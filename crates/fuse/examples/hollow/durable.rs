//! What making durable costs by itself: as many bytes as were written go into a file of the host, and fsync(2) waits for its disk.
//!
//! Invariant: what a request waits for is the least there is. Space was allocated and written before, so nothing but data is
//! to be flushed; streams are written by a thread of their own while they come.

use rustix::fs::fdatasync;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a change beside its data.
pub(crate) const CHANGE_BYTES: u64 = 64;
/// So many bytes are handed to the thread at once.
const PIECE_BYTES: u64 = 1 << 20;
/// After so many it has the disk begin.
const STRETCH_BYTES: u64 = 16 << 20;

pub(crate) struct Durable {
    place: Arc<Place>,
    pending: Mutex<Pending>,
    writer: Sender<Order>,
}

#[derive(Default)]
struct Pending {
    bytes: u64,
    /// Something was handed over since the last sync.
    is_streaming: bool,
}

enum Order {
    Write(u64),
    Sync(Sender<io::Result<()>>),
}

struct Place {
    file: File,
    bytes: u64,
    noise: Vec<u8>,
    next: Mutex<u64>,
}

impl Durable {
    /// Uses a file whose space is there, again and again.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let file = File::options().write(true).open(path)?;
        let bytes = file.metadata()?.len();
        if bytes < PIECE_BYTES {
            return Err(io::Error::other("the file of --durable must have at least a mebibyte"));
        }
        let noise = (0..PIECE_BYTES).map(|at| (at.wrapping_mul(0x9E37_79B9) >> 13) as u8).collect();
        let place = Arc::new(Place { file, bytes, noise, next: Mutex::default() });
        let (writer, orders) = channel();
        let own = Arc::clone(&place);
        std::thread::Builder::new().name("hollow-disk".into()).spawn(move || own.follow(&orders))?;
        Ok(Self { place, pending: Mutex::default(), writer })
    }

    /// A change with so many bytes of data was made.
    pub(crate) fn changed(&self, data_bytes: u64) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.bytes += CHANGE_BYTES + data_bytes;
        if pending.bytes >= PIECE_BYTES {
            pending.is_streaming = true;
            // The thread ends with this process.
            let _ = self.writer.send(Order::Write(std::mem::take(&mut pending.bytes)));
        }
    }

    /// Returns when everything up to now is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if !pending.is_streaming {
            self.place.write(pending.bytes)?;
            return self.place.flush();
        }
        let (done, wait) = channel();
        let _ = self.writer.send(Order::Write(pending.bytes));
        let _ = self.writer.send(Order::Sync(done));
        wait.recv().map_err(io::Error::other)?
    }
}

impl Place {
    fn follow(&self, orders: &Receiver<Order>) {
        let (mut begun, mut failed) = (0, None);
        for order in orders {
            match order {
                Order::Write(bytes) => {
                    begun += bytes;
                    let mut done = self.write(bytes);
                    if begun >= STRETCH_BYTES {
                        begun = 0;
                        done = done.and_then(|()| self.flush());
                    }
                    failed = failed.or(done.err());
                }
                // Who waits gives up only with the process.
                Order::Sync(done) => drop(done.send(failed.take().map_or_else(|| self.flush(), Err))),
            }
        }
    }

    fn write(&self, bytes: u64) -> io::Result<()> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = bytes;
        while rest > 0 {
            let now = rest.min(PIECE_BYTES).min(self.bytes - *next);
            self.file.write_all_at(&self.noise[..now as usize], *next)?;
            *next = (*next + now) % self.bytes;
            rest -= now;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(fdatasync(&self.file)?)
    }
}
