//! Reading data of a log, checked.
//!
//! Invariant: a byte that is given is the byte that was written there; data in a log is checked with the frame it is
//! in, data in a data segment block by block. Cost: what is asked for, and at most a block at each end of it.
//! Read next: [`super::format`], which has the checksums.

use super::LogError;
use super::files::Files;
use super::format::{
    BLOCK_BYTES, ENTRY_HEADER_BYTES, FRAME_HEADER_BYTES, Frame, FrameKind, INLINE_BYTES_MAX, Place, Salt,
    block_sums_bytes, entry_bytes, entry_crc, entry_data_bytes, u32_at,
};
use crate::disk::{DiskFile, read_exact_at};
use std::cell::RefCell;
use std::io;

/// Bytes over the data that a frame with inline data usually has.
const FRAME_REST_BYTES: usize = 128;

thread_local!(static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

/// Why data cannot be had.
enum Wrong {
    Host(io::Error),
    /// Where, and what.
    Damaged(u64, &'static str),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Wrong::Host(error)
    }
}

/// Fills `buf` from `skip` bytes into the data at `place`.
pub(super) fn read(files: &Files, place: Place, skip: u64, buf: &mut [u8]) -> Result<(), LogError> {
    if buf.is_empty() {
        return Ok(());
    }
    let file = files.cached(place.log, place.file)?;
    let salt = Salt::new(place.log, place.file);
    let outcome = SCRATCH.with_borrow_mut(|scratch| match place.file & Place::DATA {
        0 => inline(&*file, salt, place.offset, skip, buf, scratch),
        _ => entry(&*file, salt, place.offset, skip, buf, scratch),
    });
    let path = || files.path(place.log, place.file);
    outcome.map_err(|wrong| match wrong {
        Wrong::Damaged(offset, why) => LogError::Damaged { file: path(), offset, why },
        Wrong::Host(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let why = "the file ends before data that a record names";
            LogError::Damaged { file: path(), offset: place.offset, why }
        }
        Wrong::Host(error) => LogError::io("reading", &path())(error),
    })
}

/// Reads inline data of the frame at `at`.
fn inline(
    file: &dyn DiskFile,
    salt: Salt,
    at: u64,
    skip: u64,
    buf: &mut [u8],
    scratch: &mut Vec<u8>,
) -> Result<(), Wrong> {
    let wrong = |why| Wrong::Damaged(at, why);
    let start = usize::try_from(skip).map_err(|_| wrong("a record names more than there is"))?;
    let guess = start.saturating_add(buf.len()).min(INLINE_BYTES_MAX) + FRAME_REST_BYTES;
    let count = file.read_at(room(scratch, guess), at)?;
    let header = scratch[..count].first_chunk::<FRAME_HEADER_BYTES>().ok_or_else(cut_short)?;
    let padded = Frame::padded_bytes(header).map_err(wrong)?;
    if padded > count {
        read_exact_at(file, room(scratch, padded), at)?;
    }
    let frame = Frame::decode(&scratch[..padded], salt, at).map_err(wrong)?;
    let data = frame.inline.get(start..).and_then(|data| data.get(..buf.len()));
    match data.filter(|_| frame.kind == FrameKind::Record) {
        Some(data) => buf.copy_from_slice(data),
        None => return Err(wrong("a record names more than there is")),
    }
    Ok(())
}

/// Reads data of the entry whose data begins at `at`.
fn entry(
    file: &dyn DiskFile,
    salt: Salt,
    at: u64,
    skip: u64,
    buf: &mut [u8],
    scratch: &mut Vec<u8>,
) -> Result<(), Wrong> {
    let no_entry = Wrong::Damaged(at, "there is no data");
    let Some(start) = at.checked_sub(ENTRY_HEADER_BYTES as u64) else { return Err(no_entry) };
    let end = skip.saturating_add(buf.len() as u64);
    // One block is read with its header, in one call.
    let guess = if end <= BLOCK_BYTES as u64 { BLOCK_BYTES } else { 0 };
    let count = file.read_at(room(scratch, ENTRY_HEADER_BYTES + guess), start)?;
    let header = *scratch[..count].first_chunk().ok_or_else(cut_short)?;
    let Some(len) = entry_data_bytes(&header) else { return Err(no_entry) };
    if end > len as u64 {
        return Err(Wrong::Damaged(at, "a record names more than there is"));
    }
    if len > BLOCK_BYTES {
        return blocks(file, (salt, start, header, len), skip as usize, buf, scratch);
    }
    let data = scratch[..count].get(ENTRY_HEADER_BYTES..ENTRY_HEADER_BYTES + len);
    let data = data.ok_or_else(cut_short)?;
    if entry_crc(salt, start, &header, data, &[]) != u32_at(&header, 0) {
        return Err(Wrong::Damaged(start, "the checksum of data is wrong"));
    }
    buf.copy_from_slice(&data[skip as usize..end as usize]);
    Ok(())
}

/// Reads data of an entry of many blocks: those wholly asked for straight into `buf`.
fn blocks(
    file: &dyn DiskFile,
    (salt, start, header, len): (Salt, u64, [u8; ENTRY_HEADER_BYTES], usize),
    skip: usize,
    buf: &mut [u8],
    scratch: &mut Vec<u8>,
) -> Result<(), Wrong> {
    let data_at = start + ENTRY_HEADER_BYTES as u64;
    let sums_bytes = block_sums_bytes(len);
    let (sums, block_room) = room(scratch, sums_bytes + BLOCK_BYTES).split_at_mut(sums_bytes);
    read_exact_at(file, sums, data_at + len as u64)?;
    if entry_crc(salt, start, &header, &[], sums) != u32_at(&header, 0) {
        return Err(Wrong::Damaged(start, "the checksum over checksums of data is wrong"));
    }
    let check = |number: usize, block: &[u8]| match crc32c::crc32c(block) == u32_at(sums, 4 * number) {
        true => Ok(()),
        false => {
            Err(Wrong::Damaged(data_at + (number * BLOCK_BYTES) as u64, "the checksum of data is wrong"))
        }
    };
    let end = skip + buf.len();
    let mut at = skip;
    while at < end {
        let number = at / BLOCK_BYTES;
        let first = number * BLOCK_BYTES;
        let whole = end / BLOCK_BYTES * BLOCK_BYTES;
        let last = if end == len { len } else { whole };
        if at == first && last > at {
            let into = &mut buf[at - skip..last - skip];
            read_exact_at(file, into, data_at + at as u64)?;
            into.chunks(BLOCK_BYTES).enumerate().try_for_each(|(n, block)| check(number + n, block))?;
            at = last;
            continue;
        }
        let block = &mut block_room[..BLOCK_BYTES.min(len - first)];
        read_exact_at(file, block, data_at + first as u64)?;
        check(number, block)?;
        let stop = end.min(first + block.len());
        buf[at - skip..stop - skip].copy_from_slice(&block[at - first..stop - first]);
        at = stop;
    }
    Ok(())
}

fn cut_short() -> Wrong {
    Wrong::Host(io::ErrorKind::UnexpectedEof.into())
}

/// The first `bytes` of a buffer that only grows: clearing it anew each time would cost as much as reading into it.
fn room(buf: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if buf.len() < bytes {
        buf.resize(bytes, 0);
    }
    &mut buf[..bytes]
}

/// An entry that is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RightEntry {
    /// Bytes of its data.
    pub(super) len: usize,
    /// Whether the bytes up to the next entry are as they were written.
    pub(super) is_padded_with_zeros: bool,
}

/// Reads the entry at `offset` and checks all of it. Afterwards `buf` begins with its data.
pub(super) fn right_entry(
    file: &dyn DiskFile,
    salt: Salt,
    offset: u64,
    buf: &mut Vec<u8>,
) -> io::Result<Option<RightEntry>> {
    let mut header = [0; ENTRY_HEADER_BYTES];
    if file.read_at(&mut header, offset)? < ENTRY_HEADER_BYTES {
        return Ok(None);
    }
    let Some(len) = entry_data_bytes(&header) else { return Ok(None) };
    let with_sums = len + block_sums_bytes(len);
    let padded = entry_bytes(len) as usize - ENTRY_HEADER_BYTES;
    let count = file.read_at(room(buf, padded), offset + ENTRY_HEADER_BYTES as u64)?;
    if count < with_sums {
        return Ok(None);
    }
    let is_padded_with_zeros = buf[with_sums..count].iter().all(|byte| *byte == 0);
    let (data, sums) = buf[..with_sums].split_at(len);
    let blocks_are_right = || {
        let mut sums = sums.chunks_exact(4);
        data.chunks(BLOCK_BYTES)
            .all(|block| sums.next().is_some_and(|sum| crc32c::crc32c(block) == u32_at(sum, 0)))
    };
    let is_right = entry_crc(salt, offset, &header, data, sums) == u32_at(&header, 0)
        && (sums.is_empty() || blocks_are_right());
    Ok(is_right.then_some(RightEntry { len, is_padded_with_zeros }))
}
