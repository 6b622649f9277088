//! The bytes of log and data segments; docs/format.md has the same as tables. All numbers are little endian.
//!
//! Invariant: whatever the bytes, reading them here neither panics nor allocates. Every checksum begins with where the
//! bytes belong (log, file, offset), so bytes of another place, such as a log kept in a file, never pass for a frame.

use weald_model::WorkspaceId;

/// First bytes of a log segment.
pub const LOG_MAGIC: [u8; 8] = *b"WEALDLG\0";
/// First bytes of a data segment.
pub const DATA_MAGIC: [u8; 8] = *b"WEALDDT\0";
/// Version of both.
pub const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 80;
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 28;
/// Bytes of an entry's header in a data segment.
pub const ENTRY_HEADER_BYTES: usize = 8;
/// Bytes of a commit frame's body.
pub const COMMIT_BYTES: usize = 48;
/// Frames and entries begin at multiples of this, so that a search for them has few places to look.
pub const ALIGN: u64 = 8;

/// Most bytes kept with a record rather than in a data segment: one page, what a small file or write takes.
pub const INLINE_BYTES_MAX: usize = 4096;
/// Most bytes of a record's body: far over any record, and small enough to buffer.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Most bytes of one piece of data: far over any write a kernel sends, and small enough to check in memory.
pub const DATA_BYTES_MAX: usize = 16 << 20;
/// Data over this many bytes carries a checksum for each block of so many, so that a read of little checks little.
pub const BLOCK_BYTES: usize = 16 << 10;
/// Most bytes of a frame.
pub const FRAME_BYTES_MAX: usize = FRAME_HEADER_BYTES + BODY_BYTES_MAX + INLINE_BYTES_MAX + ALIGN as usize;

/// Where data lies: in which log, which of its files, at which byte. Inline data is named by the frame it is in, so
/// that whoever reads it can check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The log.
    pub log: WorkspaceId,
    /// The file: number of the segment, with [`Place::DATA`] set for a data segment.
    pub file: u32,
    /// First byte of the data; of the frame for inline data.
    pub offset: u64,
}

impl Place {
    /// Set in `file` for data segments.
    pub const DATA: u32 = 1 << 31;
    /// Bytes of an encoded place.
    pub const BYTES: usize = 20;

    /// The encoded place.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.log.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.file.to_le_bytes());
        bytes[12..].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// Reads an encoded place; any bytes are one, whether or not there is data.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        Self { log: WorkspaceId(u64_at(bytes, 0)), file: u32_at(bytes, 8), offset: u64_at(bytes, 12) }
    }
}

/// A byte in the log segments or in the data segments. The default comes before all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the segment.
    pub segment: u32,
    /// Offset in it; segments stay under 4 GiB.
    pub offset: u32,
}

impl Position {
    /// The position in one word.
    pub const fn to_u64(self) -> u64 {
        (self.segment as u64) << 32 | self.offset as u64
    }

    /// The position of a word.
    pub const fn from_u64(word: u64) -> Self {
        Self { segment: (word >> 32) as u32, offset: word as u32 }
    }
}

/// The start of every checksum in a file: the log and the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(u32);

impl Salt {
    /// The salt of a file, numbered as in [`Place::file`].
    pub fn new(log: WorkspaceId, file: u32) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&log.0.to_le_bytes()), &file.to_le_bytes()))
    }

    /// The checksum of bytes that belong at `offset`.
    pub fn crc(self, offset: u64, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.0, &offset.to_le_bytes()), bytes)
    }
}

/// The header of a log or data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The file, numbered as in [`Place::file`].
    pub file: u32,
    /// The log.
    pub log: WorkspaceId,
    /// Number of the last record before this segment; 0 in data segments.
    pub seq_before: u64,
    /// Where the segment before this ended; 0 in the first.
    pub end_before: u64,
    /// The chain at the end of the segment before; zeros in the first and in data segments.
    pub chain_before: [u8; 32],
}

/// Why bytes are no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// They are not what was written.
    Damaged(&'static str),
    /// A newer Weald wrote them.
    Version(u32),
}

impl SegmentHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(magic(self.file));
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.file.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.log.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.seq_before.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.end_before.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.chain_before);
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of the file `file` of `log`.
    pub fn decode(bytes: &[u8; HEADER_BYTES], log: WorkspaceId, file: u32) -> Result<Self, HeaderFault> {
        let damaged = |why| Err(HeaderFault::Damaged(why));
        if bytes[..8] != *magic(file) {
            return damaged("it does not begin as a segment does");
        }
        if crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) != u32_at(bytes, HEADER_BYTES - 4) {
            return damaged("the checksum of its header is wrong");
        }
        // Magic, version and checksum stay where they are in every version.
        if u32_at(bytes, 8) != VERSION {
            return Err(HeaderFault::Version(u32_at(bytes, 8)));
        }
        let header = Self {
            file: u32_at(bytes, 12),
            log: WorkspaceId(u64_at(bytes, 16)),
            seq_before: u64_at(bytes, 24),
            end_before: u64_at(bytes, 32),
            chain_before: bytes[40..72].try_into().expect("32 bytes"),
        };
        if header.file != file || header.log != log {
            return damaged("it is another segment than its name says");
        }
        if header.encode() != *bytes {
            return damaged("its header has bytes that nothing writes");
        }
        Ok(header)
    }

    /// Begins the chain of this segment: a keyed hash over its records, the key being the hash of this header, which
    /// holds the chain of the segment before.
    pub fn begin_chain(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(blake3::hash(&self.encode()).as_bytes())
    }
}

const fn magic(file: u32) -> &'static [u8; 8] {
    if file & Place::DATA == 0 { &LOG_MAGIC } else { &DATA_MAGIC }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A record.
    Record,
    /// A commit: what is durable, and the chain.
    Commit,
    /// A commit that ends a segment.
    Last,
}

impl FrameKind {
    const fn to_byte(self) -> u8 {
        match self {
            FrameKind::Record => 1,
            FrameKind::Commit => 2,
            FrameKind::Last => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(FrameKind::Record),
            2 => Some(FrameKind::Commit),
            3 => Some(FrameKind::Last),
            _ => None,
        }
    }
}

/// A frame, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: FrameKind,
    /// Number of the record; of the last record for commits.
    pub seq: u64,
    /// End of the data that was in data segments when it was written.
    pub data_end: Position,
    /// Body.
    pub body: &'a [u8],
    /// Inline data.
    pub inline: &'a [u8],
}

/// Bytes of a frame with its padding.
pub const fn frame_bytes(body: usize, inline: usize) -> usize {
    (FRAME_HEADER_BYTES + body + inline).next_multiple_of(ALIGN as usize)
}

impl<'a> Frame<'a> {
    /// Writes the frame that belongs at `offset` into `buf`, replacing what is there.
    pub fn encode(&self, salt: Salt, offset: u64, buf: &mut Vec<u8>) {
        let len = FRAME_HEADER_BYTES + self.body.len() + self.inline.len();
        buf.clear();
        buf.extend_from_slice(&[0; 4]);
        buf.extend_from_slice(&(len as u32).to_le_bytes());
        buf.extend_from_slice(&self.seq.to_le_bytes());
        buf.extend_from_slice(&self.data_end.to_u64().to_le_bytes());
        buf.extend_from_slice(&(self.inline.len() as u16).to_le_bytes());
        buf.extend_from_slice(&[self.kind.to_byte(), 0]);
        buf.extend_from_slice(self.body);
        buf.extend_from_slice(self.inline);
        buf.resize(frame_bytes(self.body.len(), self.inline.len()), 0);
        let crc = salt.crc(offset, &buf[4..]);
        buf[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// The bytes with padding of the frame whose first bytes these are, before anything is checked.
    pub fn padded_bytes(header: &[u8; FRAME_HEADER_BYTES]) -> Result<usize, &'static str> {
        let len = u32_at(header, 4) as usize;
        if !(FRAME_HEADER_BYTES..=FRAME_BYTES_MAX).contains(&len) {
            return Err("there is no frame");
        }
        Ok(len.next_multiple_of(ALIGN as usize))
    }

    /// Reads a whole frame with its padding, which belongs at `offset`.
    pub fn decode(bytes: &'a [u8], salt: Salt, offset: u64) -> Result<Self, &'static str> {
        let header = bytes.first_chunk().ok_or("there is no frame")?;
        if Self::padded_bytes(header)? != bytes.len() {
            return Err("a frame has the wrong length");
        }
        if salt.crc(offset, &bytes[4..]) != u32_at(header, 0) {
            return Err("the checksum of a frame is wrong");
        }
        let (len, inline) =
            (u32_at(header, 4) as usize, usize::from(u16::from_le_bytes([header[24], header[25]])));
        let Some(kind) = FrameKind::from_byte(header[26]) else { return Err("a frame has an unknown kind") };
        let Some(body_end) = len.checked_sub(inline).filter(|end| *end >= FRAME_HEADER_BYTES) else {
            return Err("a frame has more inline data than bytes");
        };
        Ok(Self {
            kind,
            seq: u64_at(header, 8),
            data_end: Position::from_u64(u64_at(header, 16)),
            body: &bytes[FRAME_HEADER_BYTES..body_end],
            inline: &bytes[body_end..len],
        })
    }
}

/// The body of a commit frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Everything in the log before this was durable when the commit was written.
    pub durable_log: Position,
    /// Everything in data segments before this was.
    pub durable_data: Position,
    /// The chain over all records before the commit.
    pub chain: [u8; 32],
}

impl Commit {
    /// The commit's bytes.
    pub fn encode(&self) -> [u8; COMMIT_BYTES] {
        let mut bytes = [0; COMMIT_BYTES];
        bytes[..8].copy_from_slice(&self.durable_log.to_u64().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.durable_data.to_u64().to_le_bytes());
        bytes[16..].copy_from_slice(&self.chain);
        bytes
    }

    /// Reads the body of a commit frame.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let bytes: &[u8; COMMIT_BYTES] = body.try_into().ok()?;
        Some(Self {
            durable_log: Position::from_u64(u64_at(bytes, 0)),
            durable_data: Position::from_u64(u64_at(bytes, 8)),
            chain: bytes[16..].try_into().expect("32 bytes"),
        })
    }
}

/// The checksums of the blocks of data, which stand behind it; none when it is one block.
pub fn block_sums(data: &[u8]) -> Vec<u8> {
    match data.len() <= BLOCK_BYTES {
        true => Vec::new(),
        false => data.chunks(BLOCK_BYTES).flat_map(|block| crc32c::crc32c(block).to_le_bytes()).collect(),
    }
}

/// Bytes of the checksums behind so many bytes of data.
pub const fn block_sums_bytes(data: usize) -> usize {
    if data <= BLOCK_BYTES { 0 } else { 4 * data.div_ceil(BLOCK_BYTES) }
}

/// The header of an entry of data that belongs at `offset`, with the data's [`block_sums`].
pub fn encode_entry_header(salt: Salt, offset: u64, data: &[u8], sums: &[u8]) -> [u8; ENTRY_HEADER_BYTES] {
    let mut header = [0; ENTRY_HEADER_BYTES];
    header[4..].copy_from_slice(&(data.len() as u32).to_le_bytes());
    let crc = entry_crc(salt, offset, &header, data, sums);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The checksum in an entry's header: over the data when it is one block, else over the checksums of its blocks.
pub fn entry_crc(
    salt: Salt,
    offset: u64,
    header: &[u8; ENTRY_HEADER_BYTES],
    data: &[u8],
    sums: &[u8],
) -> u32 {
    let covered = if sums.is_empty() { data } else { sums };
    crc32c::crc32c_append(salt.crc(offset, &header[4..]), covered)
}

/// The bytes of data in the entry with this header, before anything is checked.
pub fn entry_data_bytes(header: &[u8; ENTRY_HEADER_BYTES]) -> Option<usize> {
    let len = u32_at(header, 4) as usize;
    (1..=DATA_BYTES_MAX).contains(&len).then_some(len)
}

/// Bytes of an entry with header, checksums of blocks and padding.
pub const fn entry_bytes(data: usize) -> u64 {
    ((ENTRY_HEADER_BYTES + data + block_sums_bytes(data)) as u64).next_multiple_of(ALIGN)
}

/// Reads four bytes at a constant offset of a buffer known to be long enough.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Reads eight bytes at a constant offset of a buffer known to be long enough.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests;
