//! System calls as data, made at random: few names, few users, few descriptors, so that they meet.
//!
//! Invariant: no call leads out of the directory it starts in. `..` comes only after a name, symbolic links lead only
//! to names below where they are, and nothing is absolute.

use crate::clock::mix;
use rustix::fs::{Access, FileType, OFlags, RenameFlags};

/// Descriptors that calls share.
pub(super) const SLOTS: u8 = 4;

/// Who makes calls; the last belongs to nobody's group.
pub const USERS: [User; 4] = [
    User { uid: 0, groups: &[0] },
    User { uid: 1000, groups: &[1000, 2000] },
    User { uid: 1001, groups: &[1001, 2000] },
    User { uid: 1002, groups: &[1002] },
];

/// A user and his groups, his own first.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// His number.
    pub uid: u32,
    /// All his groups.
    pub groups: &'static [u32],
}

/// One step of a path.
const STEPS: [&str; 8] = ["a", "b", "c", "d", "e.txt", "\u{e9}\u{1f980}", ".", ".."];

/// Where a call happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The descriptor it starts at; the top where that is not open.
    pub from: Option<u8>,
    /// As the kernel is given it.
    pub text: String,
}

/// Times of utimensat(2): now, not at all, or seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// UTIME_NOW.
    Now,
    /// UTIME_OMIT.
    Keep,
    /// Seconds and nanoseconds.
    At(i64, u32),
}

/// One system call and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are the arguments of the system call of that name")]
pub enum Call {
    /// The user of all calls from here on.
    Become {
        user: u8,
    },
    /// umask(2).
    Umask {
        mask: u32,
    },
    /// openat(2) into a slot.
    Open {
        slot: u8,
        at: Path,
        flags: OFlags,
        mode: u32,
    },
    /// close(2).
    Close {
        slot: u8,
    },
    Mkdir {
        at: Path,
        mode: u32,
    },
    Mknod {
        at: Path,
        kind: FileType,
        mode: u32,
    },
    Symlink {
        target: String,
        at: Path,
    },
    Link {
        from: Path,
        to: Path,
        follow: bool,
    },
    /// linkat(2) with AT_EMPTY_PATH.
    LinkSlot {
        slot: u8,
        to: Path,
    },
    Unlink {
        at: Path,
    },
    Rmdir {
        at: Path,
    },
    Rename {
        from: Path,
        to: Path,
        flags: RenameFlags,
    },
    Stat {
        at: Path,
        follow: bool,
    },
    /// faccessat(2) with AT_EACCESS.
    Access {
        at: Path,
        access: Access,
    },
    Readlink {
        at: Path,
    },
    /// opendir(3) and readdir(3) to the end.
    List {
        at: Path,
    },
    Chmod {
        at: Path,
        mode: u32,
    },
    Fchmod {
        slot: u8,
        mode: u32,
    },
    Chown {
        at: Path,
        uid: Option<u32>,
        gid: Option<u32>,
        follow: bool,
    },
    Fchown {
        slot: u8,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Utimens {
        at: Path,
        atime: Moment,
        mtime: Moment,
        follow: bool,
    },
    Futimens {
        slot: u8,
        atime: Moment,
        mtime: Moment,
    },
    Ftruncate {
        slot: u8,
        size: u64,
    },
    Read {
        slot: u8,
        len: usize,
    },
    Pread {
        slot: u8,
        offset: u64,
        len: usize,
    },
    Write {
        slot: u8,
        seed: u8,
        len: usize,
    },
    Pwrite {
        slot: u8,
        offset: u64,
        seed: u8,
        len: usize,
    },
    /// lseek(2) with SEEK_SET, SEEK_CUR or SEEK_END.
    Seek {
        slot: u8,
        whence: u8,
        offset: i64,
    },
    Fallocate {
        slot: u8,
        mode: u8,
        offset: u64,
        len: u64,
    },
    CopyRange {
        from: u8,
        from_offset: u64,
        to: u8,
        to_offset: u64,
        len: usize,
    },
    Fsync {
        slot: u8,
    },
    /// A value that is never set twice: whether the same one again is a change is left open.
    SetXattr {
        slot: u8,
        name: u8,
        value: u32,
        len: usize,
        flags: u8,
    },
    GetXattr {
        slot: u8,
        name: u8,
    },
    ListXattr {
        slot: u8,
    },
    RemoveXattr {
        slot: u8,
        name: u8,
    },
    /// setxattr(2) of an access list, or of the one that is inherited.
    SetAcl {
        slot: u8,
        default: bool,
        acl: Acl,
    },
}

/// A POSIX access list: what owner, one user, the group, one group, the mask and others may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acl {
    /// Three bits for each.
    pub bits: [u16; 6],
    /// The user that is named.
    pub user: u8,
}

/// Numbers from a seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The same seed, the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % end
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// Makes a sequence of calls.
pub(super) fn sequence(dice: &mut Dice, len: usize) -> Vec<Call> {
    let mut calls = Vec::with_capacity(len);
    // Something to begin with: without it most of the first calls find nothing.
    for text in ["a", "b", "a/a", "b/a"] {
        calls.push(Call::Mkdir { at: Path { from: None, text: text.to_owned() }, mode: 0o777 });
        let at = Path { from: None, text: format!("{text}/c") };
        calls.push(Call::Open { slot: slot(dice), at, flags: OFlags::CREATE | OFlags::RDWR, mode: 0o666 });
    }
    calls.extend((0..len).map(|_| call(dice)));
    calls
}

/// Any of the names; those of files most often.
fn any_name(dice: &mut Dice) -> &'static str {
    match dice.below(10) {
        0..3 => directory(dice),
        3..8 => dice.of(&STEPS[2..4]),
        _ => dice.of(&STEPS[..6]),
    }
}

fn call(dice: &mut Dice) -> Call {
    match dice.below(100) {
        0..4 => Call::Become { user: dice.of(&[0, 0, 0, 0, 1, 1, 1, 2, 2, 3]) },
        4 => Call::Umask { mask: dice.of(&[0, 0, 0o22, 0o22, 0o2, 0o77, 0o7777]) },
        5..45 => names(dice),
        45..60 => attributes(dice),
        60..92 => contents(dice),
        _ => extended(dice),
    }
}

fn names(dice: &mut Dice) -> Call {
    match dice.below(40) {
        0..7 => Call::Mkdir { at: new_directory(dice), mode: mode(dice) },
        7..10 => Call::Stat { at: path(dice), follow: false },
        10 => Call::Mknod {
            at: file(dice),
            kind: dice.of(&[
                FileType::RegularFile,
                FileType::RegularFile,
                FileType::Fifo,
                FileType::Socket,
                FileType::CharacterDevice,
            ]),
            mode: file_mode(dice),
        },
        11..13 => Call::Symlink { target: target(dice), at: file(dice) },
        13..17 => Call::Link { from: file(dice), to: file(dice), follow: dice.one_in(3) },
        17 => Call::LinkSlot { slot: slot(dice), to: path(dice) },
        18..22 => Call::Unlink { at: file(dice) },
        22..25 => Call::Rmdir { at: path(dice) },
        25..34 => Call::Rename { from: path(dice), to: path(dice), flags: rename_flags(dice) },
        34..36 => Call::Stat { at: path(dice), follow: dice.one_in(2) },
        36 => Call::Access { at: path(dice), access: access(dice) },
        37 => Call::Readlink { at: path(dice) },
        _ => Call::List { at: path(dice) },
    }
}

fn attributes(dice: &mut Dice) -> Call {
    match dice.below(14) {
        0..4 => Call::Chmod { at: path(dice), mode: mode(dice) },
        4 => Call::Fchmod { slot: slot(dice), mode: mode(dice) },
        5..9 => {
            let uid = owner(dice);
            Call::Chown { at: path(dice), uid, gid: group(dice, uid), follow: dice.one_in(2) }
        }
        9 => {
            let uid = owner(dice);
            Call::Fchown { slot: slot(dice), uid, gid: group(dice, uid) }
        }
        10..13 => {
            Call::Utimens { at: path(dice), atime: moment(dice), mtime: moment(dice), follow: dice.one_in(2) }
        }
        _ => Call::Futimens { slot: slot(dice), atime: moment(dice), mtime: moment(dice) },
    }
}

fn contents(dice: &mut Dice) -> Call {
    match dice.below(32) {
        0..10 => {
            Call::Open { slot: slot(dice), at: file(dice), flags: open_flags(dice), mode: file_mode(dice) }
        }
        10 => Call::Close { slot: slot(dice) },
        11..13 => Call::Ftruncate { slot: slot(dice), size: extent(dice) },
        13..15 => Call::Read { slot: slot(dice), len: extent(dice) as usize },
        15..17 => Call::Pread { slot: slot(dice), offset: extent(dice), len: extent(dice) as usize },
        17..22 => Call::Write { slot: slot(dice), seed: dice.below(256) as u8, len: length(dice) },
        22..25 => Call::Pwrite {
            slot: slot(dice),
            offset: extent(dice),
            seed: dice.below(256) as u8,
            len: length(dice),
        },
        25 => {
            Call::Seek { slot: slot(dice), whence: dice.below(3) as u8, offset: extent(dice) as i64 - 4096 }
        }
        26..28 => Call::Fallocate {
            slot: slot(dice),
            mode: dice.below(5) as u8,
            offset: extent(dice),
            len: extent(dice),
        },
        28..31 => Call::CopyRange {
            from: slot(dice),
            from_offset: extent(dice),
            to: slot(dice),
            to_offset: extent(dice),
            len: length(dice),
        },
        _ if dice.one_in(8) => Call::Fsync { slot: slot(dice) },
        _ => Call::Stat { at: path(dice), follow: true },
    }
}

fn extended(dice: &mut Dice) -> Call {
    let name = dice.below(3) as u8;
    match dice.below(8) {
        0..2 => {
            let (value, len) = (dice.below(1 << 32) as u32, dice.below(200) as usize);
            Call::SetXattr { slot: slot(dice), name, value, len, flags: dice.below(3) as u8 }
        }
        2 => Call::GetXattr { slot: slot(dice), name },
        3 => Call::ListXattr { slot: slot(dice) },
        4 => Call::RemoveXattr { slot: slot(dice), name },
        _ => {
            let mut bits = std::array::from_fn(|_| dice.of(&[7, 7, 5, 6, 4, 0]));
            // The mask is the group's part of the mode; see `mode`.
            bits[4] |= 1;
            Call::SetAcl {
                slot: slot(dice),
                default: dice.one_in(2),
                acl: Acl { bits, user: dice.below(4) as u8 },
            }
        }
    }
}

fn slot(dice: &mut Dice) -> u8 {
    dice.below(u64::from(SLOTS)) as u8
}

/// Mostly one or two names; rarely a long one, a dot, a parent, or a slash at the end.
fn path(dice: &mut Dice) -> Path {
    let from = dice.one_in(6).then(|| slot(dice));
    if dice.one_in(60) {
        let text = if dice.one_in(3) { String::new() } else { "n".repeat(254 + dice.below(3) as usize) };
        return Path { from, text };
    }
    let depth = dice.of(&[0, 0, 0, 0, 1, 1, 1, 2]);
    let mut text = (if depth > 0 { directory(dice) } else { any_name(dice) }).to_owned();
    for left in (0..depth).rev() {
        // A parent may only follow a name, of which each takes back one at most.
        let last_is_name = !text.ends_with('.');
        let step = match last_is_name && dice.one_in(12) {
            true => dice.of(&STEPS[6..]),
            false if left > 0 => directory(dice),
            false => any_name(dice),
        };
        text = text + "/" + step;
    }
    if dice.one_in(25) {
        text.push('/');
    }
    Path { from, text }
}

/// A name, mostly one that directories are given.
fn directory(dice: &mut Dice) -> &'static str {
    if dice.one_in(16) { dice.of(&STEPS[..6]) } else { dice.of(&STEPS[..2]) }
}

/// Where a directory is made: mostly one of two names.
fn new_directory(dice: &mut Dice) -> Path {
    let mut at = path(dice);
    if dice.below(3) > 0 {
        let parent = at.text.rfind('/').map_or(0, |slash| slash + 1);
        at.text.truncate(parent);
        at.text += directory(dice);
    }
    at
}

/// Where a file is made or opened: seldom a name that directories are given.
fn file(dice: &mut Dice) -> Path {
    let mut at = path(dice);
    let name = at.text.rfind('/').map_or(0, |slash| slash + 1);
    if STEPS[..2].contains(&&at.text[name..]) && !dice.one_in(6) {
        at.text.truncate(name);
        at.text += if dice.one_in(5) { dice.of(&STEPS[2..6]) } else { dice.of(&STEPS[2..4]) };
    }
    at
}

/// Names only, so that a link leads below where it is.
fn target(dice: &mut Dice) -> String {
    let first = dice.of(&STEPS[..5]).to_owned();
    match dice.below(4) {
        0 => first + "/" + dice.of(&STEPS[..5]),
        1 => "x/".repeat(1 + dice.below(300) as usize) + &first,
        _ => first,
    }
}

fn mode(dice: &mut Dice) -> u32 {
    let mode = match dice.below(8) {
        0..6 => dice.of(&[0o755, 0o777, 0o777, 0o666, 0o770, 0o775]),
        6 => dice.of(&[0o4755, 0o2755, 0o6775, 0o1777, 0o2777, 0o600, 0o700, 0]),
        _ => dice.below(0o10000) as u32,
    };
    // Set-group-id without execution by the group is one of the differences that docs/semantics.md names.
    if mode & 0o10 == 0 { mode & !0o2000 } else { mode }
}

/// The mode of a new file: without set-group-id, since the umask may take the group's execution away.
fn file_mode(dice: &mut Dice) -> u32 {
    mode(dice) & !0o2000
}

fn rename_flags(dice: &mut Dice) -> RenameFlags {
    let flags = [RenameFlags::empty(), RenameFlags::NOREPLACE, RenameFlags::EXCHANGE, RenameFlags::WHITEOUT];
    if dice.one_in(3) { dice.of(&flags) } else { RenameFlags::empty() }
}

fn access(dice: &mut Dice) -> Access {
    dice.of(&[Access::EXISTS, Access::READ_OK, Access::WRITE_OK, Access::EXEC_OK])
}

fn owner(dice: &mut Dice) -> Option<u32> {
    dice.of(&[None, None, Some(0), Some(1000), Some(1000), Some(1001), Some(1002)])
}

/// Never none together with [`owner`]'s none, of which POSIX leaves open whether times change.
fn group(dice: &mut Dice, owner: Option<u32>) -> Option<u32> {
    dice.of(&[owner.map_or(Some(1000), |_| None), Some(0), Some(1000), Some(1001), Some(2000), Some(2000)])
}

/// Never near the present, so that a time that was set is told from one that was taken.
fn moment(dice: &mut Dice) -> Moment {
    match dice.below(5) {
        0 => Moment::Now,
        1 => Moment::Keep,
        2 => Moment::At(-(dice.below(2_000_000_000) as i64), dice.below(1_000_000_000) as u32),
        3 => Moment::At(3_000_000_000 + dice.below(9_000_000_000) as i64, dice.below(1_000_000_000) as u32),
        _ => Moment::At(dice.below(1_000_000_000) as i64, dice.below(1_000_000_000) as u32),
    }
}

fn open_flags(dice: &mut Dice) -> OFlags {
    let way = dice.of(&[OFlags::RDWR, OFlags::RDWR, OFlags::RDWR, OFlags::RDONLY, OFlags::WRONLY]);
    if dice.one_in(20) {
        return OFlags::TMPFILE | dice.of(&[OFlags::RDWR, OFlags::WRONLY, OFlags::RDWR | OFlags::EXCL]);
    }
    let more: &[(OFlags, u64)] = &[
        (OFlags::CREATE, 2),
        (OFlags::EXCL, 8),
        (OFlags::TRUNC, 8),
        (OFlags::APPEND, 6),
        (OFlags::NOFOLLOW, 12),
        (OFlags::DIRECTORY, 20),
        (OFlags::PATH, 40),
        (OFlags::DSYNC, 100),
    ];
    more.iter().fold(way, |flags, (flag, chances)| if dice.one_in(*chances) { flags | *flag } else { flags })
}

/// A size or an offset, often where content changes its form.
fn extent(dice: &mut Dice) -> u64 {
    let edge = dice.of(&[0, 4096, 8192, 65536]);
    match dice.below(6) {
        0..2 => (edge + dice.below(3)).saturating_sub(1),
        2..5 => dice.below(200),
        _ => dice.below(100_000),
    }
}

fn length(dice: &mut Dice) -> usize {
    match dice.below(8) {
        0..6 => dice.below(300) as usize,
        6 => (4095 + dice.below(3)) as usize,
        _ => dice.below(20_000) as usize,
    }
}

impl Call {
    /// The paths it names.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Open { at, .. }
            | Self::Mkdir { at, .. }
            | Self::Mknod { at, .. }
            | Self::Symlink { at, .. }
            | Self::Unlink { at }
            | Self::Rmdir { at }
            | Self::Stat { at, .. }
            | Self::Access { at, .. }
            | Self::Readlink { at }
            | Self::List { at }
            | Self::Chmod { at, .. }
            | Self::Chown { at, .. }
            | Self::Utimens { at, .. } => vec![at],
            Self::LinkSlot { to, .. } => vec![to],
            Self::Link { from, to, .. } | Self::Rename { from, to, .. } => vec![from, to],
            _ => Vec::new(),
        }
    }

    /// Whether it may change times on one side only: an access list that was there already changes nothing on ext4.
    pub(super) fn leaves_times_open(&self) -> bool {
        matches!(self, Self::SetAcl { .. })
    }

    /// Whether it is a rename that leaves a whiteout. One that fails changes the times of the directory on ext4.
    pub(super) fn makes_whiteout(&self) -> bool {
        matches!(self, Self::Rename { flags, .. } if flags.contains(RenameFlags::WHITEOUT))
    }

    /// The descriptors it uses or opens.
    pub fn slots(&self) -> [Option<u8>; 2] {
        match self {
            Self::Open { slot, .. }
            | Self::LinkSlot { slot, .. }
            | Self::Fchmod { slot, .. }
            | Self::Fchown { slot, .. }
            | Self::Futimens { slot, .. }
            | Self::Ftruncate { slot, .. }
            | Self::Read { slot, .. }
            | Self::Pread { slot, .. }
            | Self::Write { slot, .. }
            | Self::Pwrite { slot, .. }
            | Self::Seek { slot, .. }
            | Self::Fallocate { slot, .. }
            | Self::Fsync { slot }
            | Self::SetXattr { slot, .. }
            | Self::GetXattr { slot, .. }
            | Self::ListXattr { slot }
            | Self::RemoveXattr { slot, .. }
            | Self::SetAcl { slot, .. } => [Some(*slot), None],
            Self::CopyRange { from, to, .. } => [Some(*from), Some(*to)],
            _ => [None, None],
        }
    }
}
