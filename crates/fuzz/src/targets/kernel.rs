//! What the kernel sends: single messages, and a stream of them served on a workspace.
//!
//! The kernel is trusted with the machine, but programs choose names, offsets, lengths and flags, and it passes most of
//! them on as they are. Invariant of `serve`: each request that wants an answer gets one, of the length it says.

use super::history::{Bench, WHO};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use weald_fuse::abi::{self, IN_HEADER_BYTES, OUT_HEADER_BYTES, Opcode};
use weald_fuse::connection::Served;
use weald_fuse::reply::Reply;
use weald_fuse::request::{Operation, Request};
use weald_fuse::transport::{Received, Sent, Transport};
use weald_fuse::{Adapter, Caching, Connection};
use weald_model::Ino;

/// Most bytes the kernel asks for in one READ, READDIR or GETXATTR: a mebibyte and the size of an attribute.
const ASKED_MAX: u32 = 1 << 20;
/// Requests of one input at most, so that none takes long.
const REQUESTS_MAX: usize = 64;

/// One message: opcode, header and body as they come, the length put right when it is of less than the message.
pub(super) fn request(bytes: &[u8]) {
    let mut message = bytes.to_vec();
    if let Some(len) = message.first_chunk_mut::<4>() {
        *len = (bytes.len() as u32).to_ne_bytes();
    }
    for message in [bytes, &message] {
        let Ok(request) = Request::decode(message) else { continue };
        match request.operation {
            Operation::Lookup { name } | Operation::Unlink { name } | Operation::Mkdir { name, .. } => {
                assert!(!name.contains(&0), "a name ends at its first zero");
            }
            Operation::BatchForget { list } => {
                assert!(list.iter().count() * 16 <= message.len(), "pairs are in the message");
            }
            Operation::Write { data, .. } | Operation::Setxattr { value: data, .. } => {
                assert!(data.len() <= message.len(), "data is in the message");
            }
            _ => {}
        }
    }
}

pub(super) fn request_seeds() -> Vec<Vec<u8>> {
    steps().iter().map(|(opcode, node, body)| message(*opcode, *node, body)).collect()
}

/// A stream: a byte for the opcode, one for the node, two for the length of the body, the body.
pub(super) fn serve(bytes: &[u8]) {
    let workspace = Bench::new().workspace();
    let Ok(adapter) = Adapter::new(workspace) else { return };
    let wire = Arc::new(Wire::default());
    let connection = Connection::new(wire.clone(), Arc::new(adapter), Caching::WriteThrough);
    let mut reply = Reply::default();
    let mut rest = bytes;
    for _ in 0..REQUESTS_MAX {
        let Some((&[opcode, node, low, high], tail)) = rest.split_first_chunk::<4>() else { return };
        let (body, tail) = tail.split_at(tail.len().min(usize::from(u16::from_le_bytes([low, high]))));
        rest = tail;
        let message = message(u32::from(opcode), node_of(node), body);
        let Ok(request) = Request::decode(&message) else { continue };
        if asks_too_much(&request.operation) {
            continue;
        }
        let served = connection.serve(&request, &mut reply);
        assert!(matches!(served, Served::Done | Served::Unfetched), "the connection is there");
        let answers = std::mem::take(&mut *wire.sent.lock().expect("nobody panics with it"));
        let silent = [Opcode::Forget, Opcode::BatchForget, Opcode::Interrupt, Opcode::NotifyReply];
        let wanted = usize::from(!silent.iter().any(|silent| *silent as u32 == u32::from(opcode)));
        assert_eq!(answers.len(), wanted, "one answer to each");
        for answer in answers {
            let len = answer.first_chunk().map(|len| u32::from_ne_bytes(*len) as usize);
            assert_eq!(len, Some(answer.len()), "an answer tells its length");
            assert!(answer.len() >= OUT_HEADER_BYTES);
        }
    }
}

/// The kernel never does, so nothing holds it back.
fn asks_too_much(operation: &Operation<'_>) -> bool {
    match operation {
        Operation::Read { size, .. } | Operation::Readdir { size, .. } => *size > ASKED_MAX,
        Operation::Getxattr { size, .. } | Operation::Listxattr { size } => *size > ASKED_MAX,
        // The kernel cuts it to what fits the answer's 32 bits.
        Operation::CopyFileRange { range, .. } => range.len > u64::from(u32::MAX),
        _ => false,
    }
}

/// Nodes of the base, own ones, and some that are none.
const fn node_of(byte: u8) -> u64 {
    match byte {
        0..=15 => byte as u64,
        16..=127 => Ino::FIRST_OWN.0 + (byte - 16) as u64,
        128..=250 => (byte as u64) << 32,
        _ => u64::MAX - (byte - 251) as u64,
    }
}

pub(super) fn serve_seeds() -> Vec<Vec<u8>> {
    let one = |(opcode, node, body): &(u32, u64, Vec<u8>)| {
        let node =
            if *node >= Ino::FIRST_OWN.0 { 16 + (*node - Ino::FIRST_OWN.0) as u8 } else { *node as u8 };
        let mut bytes = vec![*opcode as u8, node];
        bytes.extend_from_slice(&(body.len() as u16).to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let all: Vec<Vec<u8>> = steps().iter().map(one).collect();
    vec![all.concat(), all[..all.len() / 2].concat(), all.iter().rev().flatten().copied().collect()]
}

/// A message as the kernel lays it out.
fn message(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((IN_HEADER_BYTES + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&opcode.to_ne_bytes());
    bytes.extend_from_slice(&8u64.to_ne_bytes());
    bytes.extend_from_slice(&node.to_ne_bytes());
    [WHO.uid, WHO.gid, WHO.pid].iter().for_each(|id| bytes.extend_from_slice(&id.to_ne_bytes()));
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(body);
    bytes
}

/// One of most requests, in an order in which they succeed.
fn steps() -> Vec<(u32, u64, Vec<u8>)> {
    let words = |words: &[u32], rest: &[u8]| {
        let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        body.extend_from_slice(rest);
        body
    };
    let long = |words: &[u64], rest: &[u8]| {
        let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        body.extend_from_slice(rest);
        body
    };
    let (root, own) = (abi::ROOT_ID, Ino::FIRST_OWN.0);
    let setattr =
        [words(&[0b1001, 0], &[]), long(&[0, 70_000, 0, 0, 0, 0], &[]), words(&[0; 8], &[])].concat();
    vec![
        (Opcode::Lookup as u32, root, b"file\0".to_vec()),
        (Opcode::Getattr as u32, root, vec![0; 16]),
        (Opcode::Create as u32, root, words(&[2, 0o100_644, 0o022, 0], b"new\0")),
        (Opcode::Mkdir as u32, root, words(&[0o755, 0], b"made\0")),
        (Opcode::Mknod as u32, root, words(&[0o010_644, 0, 0, 0], b"fifo\0")),
        (Opcode::Symlink as u32, root, b"ln\0/some/target\0".to_vec()),
        (
            Opcode::Write as u32,
            own,
            [long(&[0, 5], &[]), words(&[5, 0], &[0; 16]), b"bytes".to_vec()].concat(),
        ),
        (Opcode::Setattr as u32, own, setattr),
        (Opcode::Read as u32, own, [long(&[0, 0], &[]), words(&[4096, 0], &[0; 16])].concat()),
        (Opcode::Fallocate as u32, own, [long(&[0, 10, 9000], &[]), words(&[3, 0], &[])].concat()),
        (Opcode::Lseek as u32, own, [long(&[0, 3], &[]), words(&[4, 0], &[])].concat()),
        (Opcode::CopyFileRange as u32, own, long(&[0, 0, own + 1, 0, 3, 100, 0], &[])),
        (Opcode::Setxattr as u32, own, words(&[3, 0, 0, 0], b"user.a\0abc")),
        (Opcode::Getxattr as u32, own, words(&[100, 0], b"user.a\0")),
        (Opcode::Listxattr as u32, own, words(&[100, 0], &[])),
        (Opcode::Removexattr as u32, own, b"user.a\0".to_vec()),
        (Opcode::Readlink as u32, own + 3, Vec::new()),
        (Opcode::Link as u32, root, long(&[own], b"hard\0")),
        (Opcode::Rename2 as u32, root, [long(&[root], &[]), words(&[0, 0], b"new\0other\0")].concat()),
        (Opcode::Readdir as u32, root, [long(&[0, 0], &[]), words(&[4096, 0], &[0; 16])].concat()),
        (Opcode::Readdirplus as u32, root, [long(&[0, 1], &[]), words(&[900, 0], &[0; 16])].concat()),
        (Opcode::Statfs as u32, root, Vec::new()),
        (Opcode::Fsync as u32, own, [long(&[0], &[]), words(&[1, 0], &[])].concat()),
        (Opcode::Tmpfile as u32, root, words(&[2, 0o100_600, 0, 0], b"/\0")),
        (Opcode::Unlink as u32, root, b"other\0".to_vec()),
        (Opcode::Rmdir as u32, root, b"made\0".to_vec()),
        (Opcode::BatchForget as u32, 0, [words(&[1, 0], &[]), long(&[own, 2], &[])].concat()),
        (Opcode::Forget as u32, own, long(&[1], &[])),
    ]
}

/// Keeps what is sent.
#[derive(Default)]
struct Wire {
    sent: Mutex<Vec<Vec<u8>>>,
}

impl Transport for Wire {
    fn receive(&self, _: &mut [u8]) -> Received {
        Received::Empty
    }

    fn send(&self, message: &[u8]) -> Sent {
        self.sent.lock().expect("nobody panics with it").push(message.to_vec());
        Sent::Taken
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        unreachable!("only a pool waits for a transport")
    }
}
