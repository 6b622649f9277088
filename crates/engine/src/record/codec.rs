//! Numbers, bytes and names on the wire of a record.

use super::Path;
use weald_model::{Ino, Name, Timestamp};
use weald_store::log::reclaim::Piece;

/// Bytes that are no record: what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    /// LEB128.
    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn optional(&mut self, value: Option<u64>) {
        self.bool(value.is_some());
        if let Some(value) = value {
            self.number(value);
        }
    }

    /// Own inode numbers are told by their distance from the first, with bit 0 set: two bytes instead of five.
    pub(crate) fn ino(&mut self, ino: Ino) {
        match ino.is_base() {
            true => self.number(ino.0 << 1),
            false => self.number((ino.0 - Ino::FIRST_OWN.0) << 1 | 1),
        }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    pub(crate) fn texts(&mut self, texts: &[String]) {
        self.number(texts.len() as u64);
        texts.iter().for_each(|text| self.bytes(text.as_bytes()));
    }

    pub(crate) fn paths(&mut self, paths: &[Path]) {
        self.number(paths.len() as u64);
        for path in paths {
            self.number(path.len() as u64);
            path.iter().for_each(|name| self.bytes(name.as_bytes()));
        }
    }

    pub(crate) fn pieces(&mut self, pieces: &[Piece]) {
        self.number(pieces.len() as u64);
        for piece in pieces {
            self.number(u64::from(piece.file));
            self.number(piece.from);
            self.number(piece.to - piece.from);
        }
    }

    /// Seconds zigzag-coded, since they may be before 1970.
    pub(crate) fn time(&mut self, time: Timestamp) {
        self.number((time.secs << 1 ^ time.secs >> 63) as u64);
        self.number(u64::from(time.nanos));
    }
}

pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn tag(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed("cut short"))?;
        self.0 = rest;
        Ok(first)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.tag()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("flag")),
        }
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.tag()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("number"))
    }

    pub(crate) fn small(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed("number over 32 bits"))
    }

    pub(crate) fn optional(&mut self) -> Result<Option<u64>, Malformed> {
        if self.bool()? { self.number().map(Some) } else { Ok(None) }
    }

    pub(crate) fn optional_small(&mut self) -> Result<Option<u32>, Malformed> {
        if self.bool()? { self.small().map(Some) } else { Ok(None) }
    }

    pub(crate) fn ino(&mut self) -> Result<Ino, Malformed> {
        let code = self.number()?;
        let value = code >> 1;
        match code & 1 {
            0 if value < Ino::FIRST_OWN.0 => Ok(Ino(value)),
            1 => Ok(Ino(value + Ino::FIRST_OWN.0)),
            _ => Err(Malformed("inode number")),
        }
    }

    pub(crate) fn raw<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed("cut short"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.number()?).map_err(|_| Malformed("length"))?;
        let (first, rest) = self.0.split_at_checked(len).ok_or(Malformed("cut short"))?;
        self.0 = rest;
        Ok(first)
    }

    pub(crate) fn name(&mut self) -> Result<Name, Malformed> {
        Name::new(self.bytes()?).map_err(|_| Malformed("name"))
    }

    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed("text"))
    }

    pub(crate) fn texts(&mut self) -> Result<Vec<String>, Malformed> {
        self.list(Self::text)
    }

    pub(crate) fn paths(&mut self) -> Result<Vec<Path>, Malformed> {
        self.list(|r| r.list(Self::name))
    }

    pub(crate) fn pieces(&mut self) -> Result<Vec<Piece>, Malformed> {
        self.list(|r| {
            let (file, from, len) = (r.small()?, r.number()?, r.number()?);
            let to = from.checked_add(len).ok_or(Malformed("piece"))?;
            Ok(Piece { file, from, to })
        })
    }

    /// As many items as it says. Each takes a byte at least, so no length is believed without them.
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        let count = self.number()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, Malformed> {
        let zigzag = self.number()?;
        let secs = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        let nanos = self.small()?;
        if nanos < 1_000_000_000 { Ok(Timestamp { secs, nanos }) } else { Err(Malformed("nanoseconds")) }
    }
}
