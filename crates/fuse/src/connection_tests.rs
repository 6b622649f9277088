//! Negotiation and answers over a transport in memory.

use super::*;
use crate::request::tests::message;
use crate::transport::Received;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;

/// Keeps what is sent; refuses the first `refuse` messages.
#[derive(Default)]
struct Wire {
    sent: Mutex<Vec<Vec<u8>>>,
    refuse: Mutex<u32>,
}

impl Transport for Wire {
    fn receive(&self, _buffer: &mut [u8]) -> Received {
        Received::Empty
    }

    fn send(&self, message: &[u8]) -> Sent {
        let mut refuse = self.refuse.lock().unwrap();
        if *refuse > 0 {
            *refuse -= 1;
            return Sent::Refused;
        }
        self.sent.lock().unwrap().push(message.to_vec());
        Sent::Taken
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        unreachable!("only a pool waits for a transport")
    }
}

struct Odd;

impl Handler for Odd {
    fn answer(&self, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
        assert!(request.header.node != 13, "node 13 is a bug");
        reply.u64(1);
        Err(Errno::NotImplemented)
    }

    fn ended(&self) {}
}

fn serve(messages: &[Vec<u8>], refuse: u32) -> (Vec<Vec<u8>>, u64) {
    let wire = Arc::new(Wire { refuse: refuse.into(), ..Wire::default() });
    let connection = Connection::new(wire.clone(), Arc::new(Odd), Caching::WriteThrough);
    let mut reply = Reply::default();
    for message in messages {
        let served = match Request::decode(message) {
            Ok(request) => connection.serve(&request, &mut reply),
            Err(malformed) => connection.refuse(malformed, &mut reply),
        };
        assert_eq!(served, Served::Done);
    }
    let sent = wire.sent.lock().unwrap().clone();
    (sent, connection.flags())
}

fn error_of(message: &[u8]) -> i32 {
    i32::from_ne_bytes(message[4..8].try_into().unwrap())
}

fn init(minor: u32, flags: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for word in [7, minor, 131_072, flags as u32 | 1 << 30, (flags >> 32) as u32] {
        body.extend_from_slice(&u32::to_ne_bytes(word));
    }
    body.resize(64, 0);
    message(26, 0, &body)
}

#[test]
fn only_flags_that_are_offered_and_wanted_come_into_force() {
    let (sent, flags) = serve(&[init(45, u64::MAX)], 0);
    assert_eq!(flags, FLAGS_WANTED | init::INIT_EXT);
    assert_eq!(error_of(&sent[0]), 0);
    assert_eq!(sent[0].len(), abi::OUT_HEADER_BYTES + abi::INIT_OUT_BYTES);
    assert_eq!(flags & (1 << 3), 0, "ATOMIC_O_TRUNC would lose truncations");
    let (_, flags) = serve(&[init(45, FLAGS_NEEDED)], 0);
    assert_eq!(flags, FLAGS_NEEDED | init::INIT_EXT);
}

#[test]
fn kernels_that_are_too_old_are_refused() {
    for old in [init(30, u64::MAX), init(45, FLAGS_NEEDED & !init::NO_OPEN_SUPPORT)] {
        let (sent, flags) = serve(&[old], 0);
        assert_eq!((error_of(&sent[0]), flags), (-95, 0));
    }
}

#[test]
fn each_request_gets_one_answer_whatever_happens() {
    let lookup = |node| message(1, node, b"name\0");
    let (sent, _) = serve(&[lookup(1), lookup(13), message(1, 1, b"no end")], 0);
    let errors: Vec<i32> = sent.iter().map(|message| error_of(message)).collect();
    assert_eq!(errors, [-38, -5, -22]);
    assert!(sent.iter().all(|message| message.len() == abi::OUT_HEADER_BYTES));
}

#[test]
fn a_reply_the_kernel_refuses_is_followed_by_an_error() {
    let (sent, _) = serve(&[init(45, u64::MAX)], 1);
    assert_eq!(error_of(&sent[0]), -5);
}

#[test]
fn forgets_get_no_answer_even_when_malformed() {
    let forgets =
        [message(2, 1, &1u64.to_ne_bytes()), message(2, 1, b""), message(42, 0, b"x"), message(41, 0, b"")];
    assert!(serve(&forgets, 0).0.is_empty());
    assert!(serve(&[b"short".to_vec()], 0).0.is_empty());
}

#[test]
fn interrupts_get_no_answer_but_that_of_the_request_they_are_about() {
    assert!(serve(&[message(36, 0, &5u64.to_ne_bytes()), message(36, 0, b"")], 0).0.is_empty());
}
