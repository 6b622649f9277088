//! The loops that are timed: plain system calls over a list of paths made beforehand.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a small file.
pub(super) const SMALL_FILE_BYTES: usize = 4096;

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
    // Not compressible and not zero, so that no layer below can take a short cut.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let content: Vec<u8> = (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect();
    for path in paths {
        File::create_new(path)?.write_all(&content)?;
    }
    Ok(())
}

/// Removes every path.
pub(super) fn unlink_all(paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
