//! A setting of the kernel that a row needs for a while.
//!
//! Invariant: it is left as it was found, also after a failure.

use anyhow::{Context, Result};
use std::path::Path;

/// Set until it is dropped.
pub(super) struct Setting {
    file: &'static str,
    before: String,
}

impl Setting {
    /// Whether this kernel has it.
    pub(super) fn exists(file: &str) -> bool {
        Path::new(file).exists()
    }

    /// Sets it.
    pub(super) fn set(file: &'static str, value: &str) -> Result<Self> {
        let before = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        std::fs::write(file, value).with_context(|| format!("cannot write {value} to {file}"))?;
        Ok(Self { file, before })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let before = self.before.trim();
        if let Err(error) = std::fs::write(self.file, before) {
            eprintln!("warning: {} is no longer {before}, as it was before: {error}", self.file);
        }
    }
}
