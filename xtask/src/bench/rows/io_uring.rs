//! What io_uring is for, measured through it, where the kernel and Weald have it.

use super::tree::{By, COLD, churn_in, cold_in};
use super::{Bench, Measured};
use crate::bench::setting::Setting;
use anyhow::Result;

/// Most that creating, and removing, small files may take beside ext4.
const CHURN_RATIO_MAX: [f64; 2] = [1.9, 1.5];

const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";
const BY: By = By { over_io_uring: true, with: ", io_uring" };

/// Small files, and a search from the disk.
pub(super) fn rows(bench: &Bench) -> Result<Vec<Measured>> {
    if !Setting::exists(PARAMETER) {
        eprintln!("not measured: this kernel has no FUSE over io_uring");
        return Ok(Vec::new());
    }
    let _on = Setting::set(PARAMETER, "Y")?;
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
