//! A file system of a few lines in memory, and mounts of it: what the tests of the protocol layer serve.
//!
//! It does just what those tests look at: names, content, removal, references. The real one is the engine's.

#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use weald_fuse::connection::{Caching, Connection, Handler};
use weald_fuse::mount::{Access, Mount, MountOptions, Mounted, Unmount};
use weald_fuse::reply::{Dirent, Reply, StatFs};
use weald_fuse::request::{Operation, Request};
use weald_fuse::{Device, MemberId, OnEnd, Pool};
use weald_model::{Attr, Errno, FileKind, Ino, Result, Timestamp};

/// Whether CREATE is answered or refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    Create,
    Mknod,
}

pub(crate) struct Tiny {
    nodes: Mutex<Nodes>,
    creation: Creation,
    pub(crate) requests: AtomicU64,
    pub(crate) ended: AtomicBool,
    /// Requests by opcode, for tests that say which ones must not come.
    pub(crate) by_opcode: Mutex<BTreeMap<u32, u64>>,
}

#[derive(Default)]
struct Nodes {
    next: u64,
    attrs: HashMap<u64, Attr>,
    content: HashMap<u64, Vec<u8>>,
    names: BTreeMap<(u64, Vec<u8>), u64>,
}

impl Tiny {
    pub(crate) fn new(creation: Creation) -> Arc<Self> {
        let mut nodes = Nodes { next: 1, ..Nodes::default() };
        nodes.make(0o040_755);
        Arc::new(Self {
            nodes: Mutex::new(nodes),
            creation,
            requests: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            by_opcode: Mutex::default(),
        })
    }

    pub(crate) fn seen(&self, opcode: weald_fuse::abi::Opcode) -> u64 {
        self.by_opcode.lock().unwrap().get(&(opcode as u32)).copied().unwrap_or_default()
    }
}

impl Nodes {
    fn make(&mut self, mode: u32) -> Attr {
        let ino = self.next;
        self.next += 1;
        let kind = FileKind::from_mode(mode).unwrap();
        let time = Timestamp::from_secs(1_700_000_000);
        let attr = Attr {
            ino: Ino(ino),
            kind,
            perm: mode & 0o7777,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            size: 0,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
        };
        self.attrs.insert(ino, attr);
        attr
    }

    fn add(&mut self, parent: u64, name: &[u8], mode: u32) -> Result<Attr> {
        let key = (parent, name.to_vec());
        if self.names.contains_key(&key) {
            return Err(Errno::Exists);
        }
        let attr = self.make(mode);
        self.names.insert(key, attr.ino.0);
        Ok(attr)
    }

    fn attr(&self, node: u64) -> Result<Attr> {
        self.attrs.get(&node).copied().ok_or(Errno::Stale)
    }

    fn write(&mut self, node: u64, offset: u64, data: &[u8]) -> Result<()> {
        let content = self.content.entry(node).or_default();
        let end = offset as usize + data.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(data);
        let size = content.len() as u64;
        self.attrs.get_mut(&node).ok_or(Errno::Stale)?.size = size;
        Ok(())
    }

    fn read_dir(&self, dir: u64, offset: u64, size: u32, plus: bool, reply: &mut Reply) {
        let names = self.names.range((dir, Vec::new())..(dir + 1, Vec::new()));
        for (at, ((_, name), ino)) in names.enumerate().skip(offset as usize) {
            let attr = self.attrs[ino];
            let dirent = Dirent { ino: *ino, generation: 0, next: at as u64 + 1, kind: attr.kind, name };
            if !reply.dirent(&dirent, plus.then_some(Some(&attr)), size as usize) {
                return;
            }
        }
    }
}

impl Handler for Tiny {
    fn answer(&self, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        *self.by_opcode.lock().unwrap().entry(request.header.opcode).or_default() += 1;
        let node = request.header.node;
        let mut nodes = self.nodes.lock().unwrap();
        match request.operation {
            Operation::Lookup { name } => match nodes.names.get(&(node, name.to_vec())).copied() {
                Some(ino) => reply.entry(&nodes.attr(ino)?),
                None => reply.negative_entry(),
            },
            Operation::Getattr => reply.attr(&nodes.attr(node)?),
            Operation::Statx { .. } => reply.statx(&nodes.attr(node)?),
            Operation::Setattr(set) => {
                if set.valid & 8 != 0 {
                    nodes.content.entry(node).or_default().resize(set.size as usize, 0);
                    nodes.attrs.get_mut(&node).ok_or(Errno::Stale)?.size = set.size;
                }
                reply.attr(&nodes.attr(node)?);
            }
            Operation::Mkdir { name, mode, .. } => reply.entry(&nodes.add(node, name, mode | 0o040_000)?),
            Operation::Mknod { name, mode, .. } => reply.entry(&nodes.add(node, name, mode)?),
            Operation::Create { name, mode, .. } if self.creation == Creation::Create => {
                reply.entry(&nodes.add(node, name, mode)?);
                reply.opened();
            }
            Operation::Unlink { name } | Operation::Rmdir { name } => {
                nodes.names.remove(&(node, name.to_vec())).ok_or(Errno::NotFound)?;
            }
            Operation::Read { offset, size } => {
                // The test that wants to see a panic survived reads this file.
                let content = nodes.content.get(&node).cloned().unwrap_or_default();
                drop(nodes);
                assert!(content != b"panic", "asked to");
                let rest = content.get(offset as usize..).unwrap_or_default();
                reply.data().extend_from_slice(&rest[..rest.len().min(size as usize)]);
            }
            Operation::Write { offset, data, .. } => {
                nodes.write(node, offset, data)?;
                reply.written(data.len() as u32);
            }
            Operation::Readdir { offset, size, plus } => nodes.read_dir(node, offset, size, plus, reply),
            Operation::Statfs => {
                reply.statfs(&StatFs { block_bytes: 4096, name_max: 255, ..StatFs::default() })
            }
            Operation::Fsync { .. } | Operation::Forget { .. } | Operation::BatchForget { .. } => {}
            _ => return Err(Errno::NotImplemented),
        }
        Ok(())
    }

    fn ended(&self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// A mount that is unmounted and removed with the value.
pub(crate) struct Scene {
    pub(crate) path: PathBuf,
    pub(crate) mount: Mount,
    pub(crate) member: MemberId,
    _dir: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new(pool: &Pool, name: &str, handler: Arc<dyn Handler>) -> Self {
        Self::with(pool, name, handler, Caching::WriteThrough, Box::new(|_| ()))
    }

    pub(crate) fn with(
        pool: &Pool,
        name: &str,
        handler: Arc<dyn Handler>,
        caching: Caching,
        on_end: OnEnd,
    ) -> Self {
        need_fuse();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let mounted = mount(name, &path);
        let device = Arc::new(Device::new(mounted.device).unwrap());
        let member = pool.add(Connection::new(device, handler, caching), on_end).unwrap();
        Self { path, mount: mounted.mount, member, _dir: dir }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.mount.unmount(Unmount::Lazy).unwrap();
    }
}

pub(crate) fn mount(name: &str, path: &Path) -> Mounted {
    weald_fuse::mount::mount(&options(name, path)).unwrap()
}

pub(crate) fn options(name: &str, path: &Path) -> MountOptions {
    MountOptions {
        name: name.to_owned(),
        path: path.to_owned(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        access: Access::OwnerOnly,
    }
}

/// Mounted tests prove nothing without FUSE, so they fail rather than pass by doing nothing.
pub(crate) fn need_fuse() {
    assert!(
        Path::new("/dev/fuse").exists(),
        "these tests mount file systems and need /dev/fuse: `modprobe fuse`, or give the container the device"
    );
}
