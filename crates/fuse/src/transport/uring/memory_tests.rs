//! What the kernel writes into a slot and reads from it, and what the next process finds there.

use super::*;

/// Writes a request as the kernel does.
fn write(slot: &mut Slot, unique: u64, operation: &[u8], payload: &[u8]) {
    let mut header = [0u8; abi::IN_HEADER_BYTES];
    let len = (header.len() + operation.len() + payload.len()) as u32;
    header[..4].copy_from_slice(&len.to_ne_bytes());
    header[8..16].copy_from_slice(&unique.to_ne_bytes());
    // SAFETY: all of it is within the slot, which nobody else has.
    unsafe {
        std::ptr::copy_nonoverlapping(header.as_ptr(), slot.at(0), header.len());
        std::ptr::copy_nonoverlapping(operation.as_ptr(), slot.at(OPERATION_AT), operation.len());
        std::ptr::copy_nonoverlapping(payload.as_ptr(), slot.at(PAYLOAD_AT), payload.len());
        slot.at(COMMIT_ID_AT).cast::<u64>().write(unique);
        slot.at(PAYLOAD_BYTES_AT).cast::<u32>().write(payload.len() as u32);
    }
}

/// One test, since the region has one address in a process.
#[test]
fn what_a_slot_has_is_one_message_and_is_there_for_the_next_process() {
    let memory = Arc::new(Memory::new().unwrap());
    let mut slot = memory.take(7, 3).unwrap();
    let mut other = memory.take(8, 0).unwrap();
    write(&mut slot, 40, b"operation", b"payload");
    let message = slot.message();
    assert_eq!(message.len(), abi::IN_HEADER_BYTES + 9 + 7);
    assert_eq!(&message[abi::IN_HEADER_BYTES..], b"operationpayload");
    assert_eq!((slot.commit_id(), slot.answered()), (40, 0));
    // Lengths that cannot be are cut, not believed.
    write(&mut other, 42, b"", b"");
    // SAFETY: within the slot.
    unsafe { other.at(PAYLOAD_BYTES_AT).cast::<u32>().write(u32::MAX) };
    assert!(other.message().len() <= abi::IN_HEADER_BYTES + OPERATION_BYTES_MAX + PAYLOAD_BYTES);

    slot.mark_resent();
    assert_eq!(u64::from_ne_bytes(slot.message()[8..16].try_into().unwrap()), 40 | abi::UNIQUE_RESEND);
    let mut reply = vec![0; abi::OUT_HEADER_BYTES];
    reply.extend_from_slice(b"answer");
    slot.put(&reply);
    assert_eq!((slot.u64_at(UNIQUE_AT), slot.u32_at(PAYLOAD_BYTES_AT), slot.answered()), (40, 6, 40));

    let file = rustix::io::fcntl_dupfd_cloexec(memory.descriptor(), 3).unwrap();
    drop((slot, other, memory));
    let next = Arc::new(Memory::map(file).unwrap());
    let mut left = next.left_behind(&HashSet::from([7]));
    assert_eq!(left.len(), 1, "that of a mount which is gone is free");
    let (queue, slot) = left.remove(&7).unwrap().pop().unwrap();
    assert_eq!((queue, slot.commit_id(), slot.answered()), (3, 40, 40));
    assert_eq!(next.take(9, 0).unwrap().number, 2, "taken again");
}
