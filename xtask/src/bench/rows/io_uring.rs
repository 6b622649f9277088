//! What io_uring is for, measured through it, where the kernel and Weald have it.
//!
//! Invariant: the kernel's parameter is left as it was found, also after a failure.

use super::tree::{By, COLD, churn_in, cold_in};
use super::{Bench, Measured};
use anyhow::{Context, Result};
use std::path::Path;

/// Most that creating, and removing, small files may take beside ext4.
const CHURN_RATIO_MAX: [f64; 2] = [1.9, 1.5];

const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";
const BY: By = By { over_io_uring: true, with: ", io_uring" };

/// Small files, and a search from the disk.
pub(super) fn rows(bench: &Bench) -> Result<Vec<Measured>> {
    if !Path::new(PARAMETER).exists() {
        eprintln!("not measured: this kernel has no FUSE over io_uring");
        return Ok(Vec::new());
    }
    let _parameter = Parameter::switch_on()?;
    let weald = bench.weald("io-uring")?;
    if let Err(error) = weald.run(&["config", "mount.transport", "io_uring"]) {
        eprintln!("not measured: {error:#}");
        return Ok(Vec::new());
    }
    // What is set holds for mounts made from then on.
    weald.forget()?;
    let mut rows = churn_in(bench, &weald, CHURN_RATIO_MAX, &BY)?;
    rows.extend(cold_in(bench, &weald, &COLD[..1], &BY)?);
    Ok(rows)
}

/// Whether the kernel offers it.
struct Parameter {
    before: String,
}

impl Parameter {
    fn switch_on() -> Result<Self> {
        let before = std::fs::read_to_string(PARAMETER)?;
        std::fs::write(PARAMETER, "Y").context("cannot switch FUSE over io_uring on")?;
        Ok(Self { before })
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(PARAMETER, self.before.trim()) {
            eprintln!("warning: {PARAMETER} stays on: {error}");
        }
    }
}
