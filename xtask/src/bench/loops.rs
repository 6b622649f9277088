//! The loops that are timed: plain system calls over a list of paths made beforehand.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a small file.
pub(super) const SMALL_FILE_BYTES: usize = 4096;

const PAGE_BYTES: usize = 4096;

/// Files of one directory that `create_all` makes.
const FILES_PER_DIR: usize = 100;

/// Takes the status of every path.
pub(super) fn stat_all(paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        std::fs::symlink_metadata(path).with_context(|| format!("cannot stat {}", path.display()))?;
    }
    Ok(())
}

/// Opens, reads to the end and closes every path.
pub(super) fn read_all(paths: &[PathBuf]) -> Result<()> {
    let mut buffer = vec![0; 1 << 17];
    for path in paths {
        let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

/// Maps every path and reads one byte of each page.
pub(super) fn map_all(paths: &[PathBuf]) -> Result<()> {
    let mut sum = 0_u64;
    for path in paths {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        if file.metadata()?.len() == 0 {
            continue;
        }
        // SAFETY: nobody changes the files of a tree while it is measured.
        #[allow(unsafe_code, reason = "a map of a file is unsafe, since somebody might cut the file")]
        let map = unsafe { memmap2::Mmap::map(&file) }?;
        sum += map.iter().step_by(PAGE_BYTES).map(|byte| u64::from(*byte)).sum::<u64>();
    }
    std::hint::black_box(sum);
    Ok(())
}

/// Writes so many bytes to a new file in pieces of a mebibyte, and has them made durable.
pub(super) fn write_stream(path: &Path, bytes: u64) -> Result<()> {
    let piece = noise(1 << 20);
    let mut file = File::create_new(path)?;
    for _ in 0..bytes / piece.len() as u64 {
        file.write_all(&piece)?;
    }
    Ok(file.sync_all()?)
}

/// Writes a block to so many places of a file, one after the other or all over it; each is a system call.
pub(super) fn write_blocks(file: &File, count: u64, all_over: bool) -> Result<()> {
    let block = noise(SMALL_FILE_BYTES);
    for number in 0..count {
        // An odd step over a power of two: every place once.
        let place = if all_over { number * 7_919 % count } else { number };
        file.write_all_at(&block, place * block.len() as u64)?;
    }
    Ok(())
}

/// Names `count` files in directories of a hundred below `root`, and makes the directories.
pub(super) fn many_paths(root: &Path, count: usize) -> Result<Vec<PathBuf>> {
    let paths = (0..count).map(|index| root.join(format!("{:04}/file-{index:06}", index / FILES_PER_DIR)));
    let paths: Vec<PathBuf> = paths.collect();
    for path in paths.iter().step_by(FILES_PER_DIR) {
        std::fs::create_dir_all(path.parent().context("a file has a directory")?)?;
    }
    Ok(paths)
}

/// Creates, writes and closes every path.
pub(super) fn create_all(paths: &[PathBuf], bytes: usize) -> Result<()> {
    let content = noise(bytes);
    for path in paths {
        File::create_new(path)?.write_all(&content)?;
    }
    Ok(())
}

/// Bytes that are not compressible and not zero, so that no layer below can take a short cut.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(next).collect()
}

/// Removes every path.
pub(super) fn unlink_all(paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
