//! Bounds-checked reading of kernel messages.
//!
//! Invariant: no index, no length from the message is used before it was compared with what is left.

/// The message ends before a field does, or a name has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is too short for its opcode")]
pub(crate) struct Truncated;

/// Reads fields from the front of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Takes `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Takes 16 bits.
    pub(crate) fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_ne_bytes)
    }

    /// Takes 32 bits.
    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_ne_bytes)
    }

    /// Takes 64 bits.
    pub(crate) fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_ne_bytes)
    }

    /// Takes bytes up to a NUL, and the NUL.
    pub(crate) fn name(&mut self) -> Result<&'a [u8], Truncated> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or(Truncated)?;
        let name = self.take(end)?;
        self.take(1)?;
        Ok(name)
    }

    /// Takes everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}
