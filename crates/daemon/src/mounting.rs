//! Putting workspaces into the file tree and taking them out again.
//!
//! Invariant: a mount is served before its entry says that it is mounted; an entry is mounted again only after the
//! end of its last connection was seen, since that end purges unlinked files.

use crate::asker::Wish;
use crate::entry::{Entry, LateAdapter, Life, Live};
use crate::forest::Forest;
use crate::hold::HeldMount;
use crate::mount_point;
use crate::occupants;
use crate::{faults, note};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use weald_fuse::transport::dev::Device;
use weald_fuse::{Access, Caching, Connection, MountOptions, Notifier, Unmount};
use weald_model::{Code, Fault};
use weald_store::registry::{State, WorkspaceRow};

/// The end of a connection follows its unmount within microseconds; this bounds what a bug could cost.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Who served a mount before.
#[derive(Clone, Copy)]
enum Handing {
    Fresh,
    GoneOn,
}

impl Forest {
    /// Mounts a workspace, unless it is mounted. The entry remembers why it could not be.
    pub(crate) fn mount(&self, entry: &Arc<Entry>) -> Result<(), Fault> {
        let mut life = entry.life();
        if life.mount.is_some() {
            return Ok(());
        }
        let mounted = self.mount_locked(entry, &mut life);
        if let Err(fault) = &mounted {
            note(format_args!("mounting {}: {fault} [{}]", entry.name(), fault.code));
        }
        entry.set_fault(mounted.as_ref().err().cloned());
        mounted
    }

    /// The same, for a caller that holds the entry's life.
    pub(crate) fn mount_locked(&self, entry: &Arc<Entry>, life: &mut Life) -> Result<(), Fault> {
        self.open_for_work()?;
        let row = entry.row();
        mount_point::prepare(&row.mount_path)?;
        let mounted = weald_fuse::mount::mount(&options(&row))?;
        let live = self.serve(entry, mounted.device, mounted.mount.clone(), Handing::Fresh);
        life.mount = Some(live.inspect_err(|_| {
            // Nobody serves it; the error that led here is the one to tell.
            let _ = mounted.mount.unmount(Unmount::Lazy);
        })?);
        // One that is not loaded is not read for it while others wait; see `start_listening`.
        if entry.loaded().is_some() {
            self.listen(entry, life);
        }
        Ok(())
    }

    /// Goes on with the mounts of the daemon before. One that is not to be, or cannot be gone on with, is taken away, and
    /// its workspace is mounted anew like any other.
    pub(crate) fn go_on(self: &Arc<Self>, mounts: Vec<(HeldMount, OwnedFd)>) {
        for (held, device) in mounts {
            let mount = held.mount();
            let entry = held.workspace().and_then(|id| self.by_id(id));
            let entry = entry.filter(|entry| entry.state() == State::Active && mount.is_there());
            let gone_on = entry.is_some_and(|entry| {
                let mut life = entry.life();
                if life.mount.is_some() {
                    return false;
                }
                match self.serve(&entry, device, mount.clone(), Handing::GoneOn) {
                    Ok(live) => {
                        life.mount = Some(live);
                        drop(life);
                        self.tell_of_restore(&entry, &held);
                        return true;
                    }
                    Err(fault) => note(format_args!("going on with {}: {fault}", entry.name())),
                }
                false
            });
            if !gone_on {
                self.hold.forget(held.id());
                if let Err(fault) = mount.unmount(Unmount::Lazy) {
                    note(format_args!("unmounting {}: {fault}", mount.path.display()));
                }
            }
        }
    }

    /// Not by this thread: it is to serve before it waits for a log.
    fn tell_of_restore(self: &Arc<Self>, entry: &Arc<Entry>, held: &HeldMount) {
        let Some(from) = held.restoring() else { return };
        let (forest, entry, mount_id) = (Arc::clone(self), Arc::clone(entry), held.id());
        let tell = move || forest.finish_restore(&entry, mount_id, from);
        if let Err(error) = std::thread::Builder::new().name("refresh".into()).spawn(tell) {
            note(format_args!("telling the kernel of a restore: {error}"));
        }
    }

    fn serve(
        &self,
        entry: &Arc<Entry>,
        device: OwnedFd,
        mount: weald_fuse::Mount,
        handing: Handing,
    ) -> Result<Live, Fault> {
        let host = |error: std::io::Error| Fault::host("serving the mount", &error);
        let device = Arc::new(Device::new(device).map_err(host)?);
        let late = LateAdapter::new(entry.clone(), Arc::clone(&self.stores));
        let handler = Arc::new(match handing {
            Handing::Fresh => late,
            Handing::GoneOn => late.going_on(self.hold.crashes().gives_up),
        });
        let mount_id = mount.identity.mount_id;
        let connection = Connection::new(device, handler.clone(), Caching::default()).of_mount(mount_id);
        let notifier = Notifier::new(connection.transport().clone());
        match handing {
            Handing::Fresh => {
                self.hold.keep(entry.id, &mount, connection.transport().descriptor());
            }
            // Before anything is read: what is read here must not be sent again.
            Handing::GoneOn => notifier
                .resend()
                .map_err(|errno| faults::errno("asking the kernel to send again what waits", errno))?,
        }
        let (sender, end) = channel();
        let ended = Arc::downgrade(entry);
        let hold = Arc::clone(&self.hold);
        let on_end = Box::new(move |member| {
            hold.forget(mount_id);
            // Whoever unmounts through Weald waits for this; nobody waits after `umount` by hand.
            let _ = sender.send(());
            if let Some(entry) = ended.upgrade() {
                let _ = std::thread::Builder::new().name("ended".into()).spawn(move || entry.ended(member));
            }
        });
        let member = self.pool.add(connection, on_end).map_err(host)?;
        if matches!(handing, Handing::GoneOn) {
            self.pool.resume(member).map_err(host)?;
        }
        Ok(Live { mount, member, handler, notifier, end })
    }

    /// Takes a workspace out of the file tree. Refuses, with names, when somebody is in it, unless `how` is lazy:
    /// then whoever is in it loses it.
    pub(crate) fn unmount(&self, entry: &Arc<Entry>, how: Unmount) -> Result<(), Fault> {
        let mut life = entry.life();
        self.unmount_locked(entry, &mut life, how)
    }

    /// The same, for a caller that holds the entry's life.
    pub(crate) fn unmount_locked(
        &self,
        entry: &Arc<Entry>,
        life: &mut Life,
        how: Unmount,
    ) -> Result<(), Fault> {
        let Some(live) = &life.mount else { return Ok(()) };
        Wish::WriteBack { path: live.mount.path.clone(), device: live.device() }.ask();
        let listened = self.sockets.close(entry.id);
        if let Err(fault) = live.mount.unmount(how) {
            let fault = if fault.code == Code::WorkspaceInUse { in_use(entry, live) } else { fault };
            if listened {
                self.listen(entry, life);
            }
            return Err(fault);
        }
        let Some(live) = life.mount.take() else { return Ok(()) };
        // Ends what a lazy unmount left to those inside, and says whether the pool has seen the end by itself.
        let ended_here = self.pool.remove(live.member);
        self.hold.forget(live.mount.identity.mount_id);
        if !ended_here {
            let _ = live.end.recv_timeout(END_PATIENCE);
        }
        Ok(())
    }

    /// Takes a workspace out of the file tree at the end of the daemon, whoever is in it. True when it was mounted.
    pub(crate) fn detach(&self, entry: &Arc<Entry>) -> bool {
        let mut life = entry.life();
        let Some(path) = life.mount.as_ref().map(|live| live.mount.path.clone()) else { return false };
        let done = self.unmount_locked(entry, &mut life, Unmount::Normal);
        let done = done.or_else(|_| self.unmount_locked(entry, &mut life, Unmount::Lazy));
        match done {
            Ok(()) => mount_point::discard(&path),
            Err(fault) => note(format_args!("unmounting {}: {fault}", entry.name())),
        }
        true
    }
}

impl Entry {
    /// Device number of its mount, as `st_dev` has it.
    pub(crate) fn device(&self) -> Option<u64> {
        self.life().mount.as_ref().map(Live::device)
    }

    /// Has the kernel hand over what programs wrote through shared mappings. The lock is not held over it.
    pub(crate) fn flush(&self) {
        let mounted = self.life().mount.as_ref().map(|live| (live.mount.path.clone(), live.device()));
        if let Some((path, device)) = mounted {
            Wish::WriteBack { path, device }.ask();
        }
    }

    /// True while it is in the file tree.
    pub(crate) fn is_mounted(&self) -> bool {
        self.life().mount.is_some()
    }

    /// The connection of a mount has ended by itself: somebody unmounted it by hand.
    fn ended(&self, member: weald_fuse::MemberId) {
        let mut life = self.life();
        if life.mount.as_ref().is_some_and(|live| live.member == member) {
            life.mount = None;
        }
    }
}

impl Live {
    /// Device number of the mount.
    pub(crate) fn device(&self) -> u64 {
        let (major, minor) = self.mount.identity.device;
        rustix::fs::makedev(major, minor)
    }
}

fn options(row: &WorkspaceRow) -> MountOptions {
    MountOptions {
        name: mount_point::identity(&row.name, row.id),
        path: row.mount_path.clone(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        access: if row.allow_other { Access::Everybody } else { Access::OwnerOnly },
    }
}

fn in_use(entry: &Entry, live: &Live) -> Fault {
    let found = occupants::find(live.device());
    let who = if found.is_empty() { "a program is in it".to_owned() } else { occupants::sentence(&found) };
    occupied(&entry.name(), &who)
}

/// The fault of a workspace that somebody is in.
pub(crate) fn occupied(name: &str, who: &str) -> Fault {
    Fault::new(Code::WorkspaceInUse, format!("`{name}` is in use: {who}"))
        .hint("leave it (cd elsewhere, end the program), or insist with --force")
}
