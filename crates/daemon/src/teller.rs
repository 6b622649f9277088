//! A process that tells the kernel what changed behind its caches, in the daemon's stead.
//!
//! A notification waits for the lock of a directory or page, which a program may hold that waits for the daemon in turn, and it
//! cannot be killed meanwhile. Were that a thread of the daemon, a daemon that is killed just then could not end, and nobody would
//! ever serve the program (see [`crate::asker`]). This process holds the mount's descriptor and nothing else, and ends with the daemon's
//! end of its socket: at once, or when the next daemon has served who holds the lock.
//! Invariant: notifications go to the kernel one after the other, in the order in which they came; several come in one batch, since each way to
//! this process and back costs more than what the kernel does. A batch is answered with a byte for each, when all are told. Between two
//! it looks whether the daemon is still there.

use crate::{launch, locked, note};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use weald_fuse::transport::{Received, Sent, Transport};
use weald_fuse::{Device, Notifier};
use weald_model::Fault;

/// Longest batch. One notification is shorter: a name and what goes with it.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// What the kernel may have done, as the byte that answers.
const ANSWERS: [Sent; 4] = [Sent::Taken, Sent::Unwanted, Sent::Refused, Sent::Gone];

/// Such a process, as a way to the kernel that takes notifications only.
struct Teller {
    mount: Arc<dyn Transport>,
    process: Mutex<Option<(Child, UnixStream)>>,
}

/// A notifier that goes by a process of its own. Where none can be started it is the daemon itself that waits.
pub(crate) fn notifier(direct: &Notifier) -> Notifier {
    let mount = direct.transport().clone();
    match start(mount.descriptor()) {
        Ok(process) => Notifier::new(Arc::new(Teller { mount, process: Mutex::new(Some(process)) })),
        Err(error) => {
            note(format_args!("starting a process that tells the kernel: {error}"));
            direct.clone()
        }
    }
}

fn start(mount: BorrowedFd<'_>) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(launch::own_program());
    command.args(["daemon", "tell"]).stdin(mount.try_clone_to_owned()?).stdout(OwnedFd::from(theirs));
    Ok((command.stderr(Stdio::null()).spawn()?, ours))
}

impl Transport for Teller {
    fn receive(&self, _: &mut [u8]) -> Received {
        Received::Gone
    }

    fn send(&self, message: &[u8]) -> Sent {
        self.send_all(&[message]).first().copied().unwrap_or(Sent::Refused)
    }

    fn send_all(&self, messages: &[&[u8]]) -> Vec<Sent> {
        let mut process = locked(&self.process);
        let mut answers = Vec::with_capacity(messages.len());
        for batch in batches(messages) {
            match process.as_mut().and_then(|(_, stream)| tell(stream, batch).ok()) {
                Some(told) => answers.extend(told),
                None => {
                    // It was killed: what it left untold must be told. To tell twice does no harm.
                    *process = None;
                    answers.extend(self.mount.send_all(batch));
                }
            }
        }
        answers
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.mount.descriptor()
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if let Some((mut child, stream)) = locked(&self.process).take() {
            drop(stream);
            // It has answered everything, so it waits for nothing but that.
            let _ = child.wait();
        }
    }
}

/// As many at a time as one batch holds, at least one.
fn batches<'a, 'b>(messages: &'a [&'b [u8]]) -> impl Iterator<Item = &'a [&'b [u8]]> {
    let mut left = messages;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |message: &&&[u8]| {
            bytes += message.len();
            bytes <= BATCH_BYTES_MAX
        };
        let (batch, rest) = left.split_at(left.iter().take_while(fits).count().max(1).min(left.len()));
        left = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

fn tell(stream: &mut UnixStream, batch: &[&[u8]]) -> io::Result<Vec<Sent>> {
    let bytes = batch.concat();
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_le_bytes()[..], &bytes].concat())?;
    let mut answers = vec![0; batch.len()];
    stream.read_exact(&mut answers)?;
    let sent = |answer: &u8| ANSWERS.get(usize::from(*answer)).copied();
    answers.iter().map(sent).collect::<Option<_>>().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Is such a process: the mount is its standard input, the daemon its standard output.
pub fn run() -> Result<(), Fault> {
    let host = |error: io::Error| Fault::host("telling the kernel", &error);
    let mount = io::stdin().as_fd().try_clone_to_owned().and_then(Device::new).map_err(host)?;
    let stream = io::stdout().as_fd().try_clone_to_owned().map_err(host)?;
    serve(&mount, UnixStream::from(stream)).map_err(host)
}

fn serve(mount: &dyn Transport, mut stream: UnixStream) -> io::Result<()> {
    let mut len = [0; 4];
    while stream.read_exact(&mut len).is_ok() {
        let len = u32::from_le_bytes(len) as usize;
        if len > BATCH_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut batch = vec![0; len];
        stream.read_exact(&mut batch)?;
        let mut answers = Vec::new();
        let mut left = &batch[..];
        while !left.is_empty() {
            let (message, rest) = split(left).ok_or(io::ErrorKind::InvalidData)?;
            let sent = mount.send(message);
            answers.push(ANSWERS.iter().position(|answer| *answer == sent).unwrap_or_default() as u8);
            left = rest;
            if is_over(&stream) {
                return Ok(());
            }
        }
        stream.write_all(&answers)?;
    }
    Ok(())
}

/// The first message, whose header begins with its length, and the rest.
fn split(batch: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = u32::from_ne_bytes(*batch.first_chunk()?) as usize;
    if len < size_of::<u32>() { None } else { batch.split_at_checked(len) }
}

/// True when the daemon has ended.
fn is_over(stream: &UnixStream) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::empty())];
    let looked = poll(&mut asked, Some(&Timespec::default()));
    looked.is_ok() && asked[0].revents().contains(PollFlags::HUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what has an even number of bytes, and keeps it; `ends` after so many.
    struct Even {
        stream: UnixStream,
        told: Mutex<Vec<Vec<u8>>>,
        ends: usize,
    }

    impl Even {
        fn new(stream: &UnixStream) -> Self {
            Self { stream: stream.try_clone().unwrap(), told: Mutex::default(), ends: usize::MAX }
        }
    }

    impl Transport for Even {
        fn receive(&self, _: &mut [u8]) -> Received {
            Received::Empty
        }

        fn send(&self, message: &[u8]) -> Sent {
            let mut told = locked(&self.told);
            told.push(message.to_vec());
            if told.len() == self.ends {
                self.stream.shutdown(std::net::Shutdown::Both).unwrap();
            }
            if message.len().is_multiple_of(2) { Sent::Taken } else { Sent::Unwanted }
        }

        fn descriptor(&self) -> BorrowedFd<'_> {
            self.stream.as_fd()
        }
    }

    fn message(len: usize) -> Vec<u8> {
        let mut message = vec![7; len];
        message[..4].copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
        message
    }

    fn slices(messages: &[Vec<u8>]) -> Vec<&[u8]> {
        messages.iter().map(Vec::as_slice).collect()
    }

    fn even(messages: &[Vec<u8>]) -> Vec<Sent> {
        let sent =
            |message: &Vec<u8>| if message.len().is_multiple_of(2) { Sent::Taken } else { Sent::Unwanted };
        messages.iter().map(sent).collect()
    }

    #[test]
    fn each_notification_gets_the_kernels_answer_and_the_end_of_the_daemon_ends_it() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mount = Arc::new(Even::new(&ours));
        let told = mount.clone();
        let process = std::thread::spawn(move || serve(&*mount, theirs));
        let messages: Vec<Vec<u8>> = [16, 17, 4096, 5].map(message).into();
        for batch in [&messages[..], &messages[..1], &messages[1..]] {
            locked(&told.told).clear();
            assert_eq!(tell(&mut ours, &slices(batch)).unwrap(), even(batch));
            assert_eq!(*locked(&told.told), batch);
        }
        ours.shutdown(std::net::Shutdown::Both).unwrap();
        process.join().unwrap().unwrap();
    }

    #[test]
    fn nothing_more_is_told_once_the_daemon_has_ended() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mount = Arc::new(Even { ends: 2, ..Even::new(&ours) });
        let told = mount.clone();
        let process = std::thread::spawn(move || serve(&*mount, theirs));
        let messages: Vec<Vec<u8>> = [16, 17, 18].map(message).into();
        assert!(tell(&mut ours, &slices(&messages)).is_err());
        process.join().unwrap().unwrap();
        assert_eq!(*locked(&told.told), messages[..2]);
    }

    #[test]
    fn more_than_a_batch_holds_is_told_whole_and_in_order_also_after_the_process_was_killed() {
        let messages: Vec<Vec<u8>> = (0..1000).map(|at| message(200 + at % 7)).collect();
        for ends in [usize::MAX, 1, 500] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let process = Arc::new(Even { ends, ..Even::new(&ours) });
            let serving = {
                let mount = process.clone();
                std::thread::spawn(move || serve(&*mount, theirs))
            };
            let direct = Arc::new(Even::new(&ours));
            // A child that is over; only its end of the socket matters.
            let child = Command::new("true").spawn().unwrap();
            let teller = Teller { mount: direct.clone(), process: Mutex::new(Some((child, ours))) };
            assert_eq!(teller.send_all(&slices(&messages)), even(&messages), "{ends}");
            drop(teller);
            let _ = process.stream.shutdown(std::net::Shutdown::Both);
            serving.join().unwrap().unwrap();
            // What the process had told of the batch in which it ended is told again.
            let (by_process, directly) = (locked(&process.told).clone(), locked(&direct.told).clone());
            assert_eq!(by_process, messages[..by_process.len()], "{ends}");
            assert_eq!(directly, messages[messages.len() - directly.len()..], "{ends}");
            assert!(by_process.len() + directly.len() >= messages.len(), "{ends}");
            assert_eq!(directly.is_empty(), ends == usize::MAX, "{ends}");
        }
    }

    #[test]
    fn a_batch_that_is_too_long_or_malformed_ends_the_process() {
        for batch in [vec![0; 8], message(16)[..12].to_vec(), vec![0; BATCH_BYTES_MAX + 1]] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let mount = Even::new(&ours);
            let len = u32::try_from(batch.len()).unwrap();
            ours.write_all(&len.to_le_bytes()).unwrap();
            if batch.len() <= BATCH_BYTES_MAX {
                ours.write_all(&batch).unwrap();
            }
            assert!(serve(&mount, theirs).is_err(), "{}", batch.len());
            assert!(locked(&mount.told).is_empty(), "{}", batch.len());
        }
    }
}
