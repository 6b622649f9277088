//! A process that tells the kernel what changed behind its caches, in the daemon's stead.
//!
//! A notification waits for the lock of a directory or page, which a program may hold that waits for the daemon in turn, and it
//! cannot be killed meanwhile. Were that a thread of the daemon, a daemon that is killed just then could not end, and nobody would
//! ever serve the program (see [`crate::asker`]). This process holds the mount's descriptor and nothing else, and ends with the daemon's
//! end of its socket: at once, or when the next daemon has served who holds the lock.
//! Invariant: one notification at a time, answered with one byte.

use crate::{launch, locked, note};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use weald_fuse::transport::{Received, Sent, Transport};
use weald_fuse::{Device, Notifier};
use weald_model::Fault;

/// Longest notification: a name and what goes with it.
const MESSAGE_BYTES_MAX: u32 = 4096;
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
        let mut process = locked(&self.process);
        let told = process.as_mut().and_then(|(_, stream)| tell(stream, message).ok());
        told.unwrap_or_else(|| {
            // It was killed: what it left untold must be told.
            *process = None;
            self.mount.send(message)
        })
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

fn tell(stream: &mut UnixStream, message: &[u8]) -> io::Result<Sent> {
    let len = u32::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_le_bytes()[..], message].concat())?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    ANSWERS.get(usize::from(answer[0])).copied().ok_or_else(|| io::ErrorKind::InvalidData.into())
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
        let len = u32::from_le_bytes(len);
        if len > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; len as usize];
        stream.read_exact(&mut message)?;
        let sent = mount.send(&message);
        let answer = ANSWERS.iter().position(|answer| *answer == sent).unwrap_or_default();
        stream.write_all(&[answer as u8])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what has an even number of bytes.
    struct Even(UnixStream);

    impl Transport for Even {
        fn receive(&self, _: &mut [u8]) -> Received {
            Received::Empty
        }

        fn send(&self, message: &[u8]) -> Sent {
            if message.len().is_multiple_of(2) { Sent::Taken } else { Sent::Unwanted }
        }

        fn descriptor(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    #[test]
    fn each_notification_gets_the_kernels_answer_and_the_end_of_the_daemon_ends_it() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mount = Even(ours.try_clone().unwrap());
        let process = std::thread::spawn(move || serve(&mount, theirs));
        for len in [16, 17, 4096, 1] {
            let sent = tell(&mut ours, &vec![7; len]).unwrap();
            assert_eq!(sent, if len % 2 == 0 { Sent::Taken } else { Sent::Unwanted });
        }
        ours.shutdown(std::net::Shutdown::Both).unwrap();
        process.join().unwrap().unwrap();
    }
}
