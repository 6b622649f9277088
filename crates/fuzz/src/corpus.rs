//! The inputs that are kept: one file for each target in `corpus/`, since thousands of tiny ones would be in everybody's way.
//!
//! A file is inputs one after the other, each behind its length in four bytes, little endian; shortest first, so that equal sets
//! give equal files.

use std::io;
use std::path::{Path, PathBuf};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The file of a target.
pub fn file(target: &str) -> PathBuf {
    directory().join(format!("{target}.bin"))
}

/// The inputs that are kept for a target.
pub fn read(target: &str) -> io::Result<Vec<Vec<u8>>> {
    unpack(&std::fs::read(file(target))?).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Keeps inputs for a target, in place of those that were.
pub fn write(target: &str, inputs: &[Vec<u8>]) -> io::Result<()> {
    std::fs::create_dir_all(directory())?;
    std::fs::write(file(target), pack(inputs))
}

fn pack(inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut inputs: Vec<&Vec<u8>> = inputs.iter().collect();
    inputs.sort_by_key(|input| (input.len(), *input));
    inputs.dedup();
    inputs.iter().flat_map(|input| [&(input.len() as u32).to_le_bytes()[..], input].concat()).collect()
}

fn unpack(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut inputs = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk()?;
        let (input, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        inputs.push(input.to_vec());
        bytes = rest;
    }
    Some(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_read_as_they_were_kept_and_each_once() {
        let inputs = vec![b"long".to_vec(), Vec::new(), b"a".to_vec(), b"a".to_vec()];
        let packed = pack(&inputs);
        assert_eq!(unpack(&packed), Some(vec![Vec::new(), b"a".to_vec(), b"long".to_vec()]));
        assert_eq!(unpack(&packed[..packed.len() - 1]), None);
    }
}
