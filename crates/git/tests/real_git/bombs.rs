//! Packs that lie: about the size of what they hold, about what a delta makes, and in how many steps.
//!
//! `git index-pack` refuses such packs, and with it every fetch; who can write a repository on this machine needs neither.

use crate::support::{Lab, git_in, oid};
use std::path::Path;
use std::process::Command;
use weald_git::{GitSource, Repository};
use weald_model::{Source as _, SourceError};

/// Writes a pack with its index: a blob that says it has 2^50 bytes, one that says 5 and unpacks to 256 MiB, one of 5 bytes, and
/// deltas on that: one that says it makes 2^50 bytes, one that copies from behind its base, one whose base is itself, and
/// three that make a thousand times as much as the one before. Prints the ids, which are what the pack claims.
const WRITE: &str = r#"
import hashlib, os, struct, sys, zlib
def number(n):
    out = b''
    while True:
        byte, n = n & 127, n >> 7
        out += bytes([byte | (128 if n else 0)])
        if not n: return out
def head(kind, size):
    byte, size = kind << 4 | size & 15, size >> 4
    out = b''
    while size:
        out += bytes([byte | 128]); byte, size = size & 127, size >> 7
    return out + bytes([byte])
def back(n):
    out = bytes([n & 127]); n >>= 7
    while n:
        n -= 1; out = bytes([128 | n & 127]) + out; n >>= 7
    return out
pack, at, lines = b'PACK' + struct.pack('>II', 2, 9), 12, []
def add(raw, name):
    global pack
    lines.append((hashlib.sha1(name.encode()).hexdigest(), zlib.crc32(raw), len(pack), name))
    pack += raw
def delta(base_at, base_size, size, orders):
    body = number(base_size) + number(size) + orders
    return head(6, len(body)) + back(len(pack) - base_at) + zlib.compress(body)
add(head(3, 1 << 50) + zlib.compress(b'x'), 'huge')
add(head(3, 5) + zlib.compress(b'\0' * (256 << 20)), 'bomb')
base = len(pack)
add(head(3, 5) + zlib.compress(b'hello'), 'base')
add(delta(base, 5, 1 << 50, b'\x01x'), 'grows')
add(delta(base, 5, 5, b'\x91\xff\x05'), 'outside')
add(head(6, 4) + back(0) + zlib.compress(b'\x05\x05\x01x'), 'itself')
size, under = 5, base
for step in range(3):
    order = b'\x80' if size == 65536 else b'\xb0' + struct.pack('<H', min(size, 65535))
    here = len(pack)
    add(delta(under, size, min(size, 65535) * 1000, order * 1000), 'step%d' % step)
    size, under = min(size, 65535) * 1000, here
pack += hashlib.sha1(pack).digest()
lines.sort()
index = b'\xfftOc' + struct.pack('>I', 2)
index += b''.join(struct.pack('>I', sum(int(l[0][:2], 16) <= first for l in lines)) for first in range(256))
index += b''.join(bytes.fromhex(l[0]) for l in lines)
index += b''.join(struct.pack('>I', l[1]) for l in lines)
index += b''.join(struct.pack('>I', l[2]) for l in lines)
index += pack[-20:]
index += hashlib.sha1(index).digest()
name = os.path.join(sys.argv[1], 'pack-' + pack[-20:].hex())
open(name + '.pack', 'wb').write(pack)
open(name + '.idx', 'wb').write(index)
for line in sorted(lines, key=lambda line: line[2]): print(line[3], line[0])
"#;

/// Largest memory this process has had so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn lying_pack(repo: &Path) -> Vec<(String, String)> {
    let dir = repo.join(".git/objects/pack");
    let said = Command::new("python3").args(["-c", WRITE]).arg(&dir).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).unwrap();
    text.lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, id)| (name.into(), id.into()))
        .collect()
}

#[test]
fn a_pack_that_lies_is_damaged_and_takes_no_memory_for_what_it_says() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let objects = lying_pack(&repo);
    assert_eq!(objects.len(), 9);
    let source = GitSource::new(Repository::open(&repo).unwrap());
    let before = peak();
    for (name, id) in &objects {
        let id = oid(id);
        let read = source.blob(&id);
        assert!(matches!(read, Err(SourceError::Damaged(..))), "{name}: {read:?}");
        let _ = source.blob_sizes(&[id]);
    }
    let taken = peak() - before;
    assert!(taken < 256 << 10, "{taken} KiB");
    let readme = oid(&git_in(&repo, &["rev-parse", "HEAD:README"]));
    assert_eq!(source.blob(&readme).unwrap(), b"hello\n", "what is sound in other packs is still read");
}

#[test]
fn a_chain_of_four_thousand_deltas_is_read() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let versions = "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); \
        printf 'blob\\ndata <<E\\n%s%s\\nE\\n' \"$(printf '%0200d' 7)\" $i; done | git fast-import --quiet --depth=4095";
    let said = Command::new("sh").args(["-c", versions]).current_dir(&repo).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let listed =
        git_in(&repo, &["cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectname)"]);
    let source = GitSource::new(Repository::open(&repo).unwrap());
    let blobs = listed.lines().filter_map(|line| line.strip_prefix("blob "));
    let read = blobs.filter(|id| source.blob(&oid(id)).is_ok()).count();
    assert!(read >= 4000, "{read}");
}
