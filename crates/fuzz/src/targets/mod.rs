//! The table of targets.
//!
//! Invariant: names are stable, since a directory of `corpus/` is named after each. Read next: a module for each layer.

mod files;
mod history;
mod kernel;
mod trees;
mod words;

/// What a target is.
pub struct Target {
    /// Its name, and that of its directory in `corpus/`.
    pub name: &'static str,
    /// Takes one input.
    pub run: fn(&[u8]),
    /// Inputs to begin with, made by the code that writes what the target reads.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "fuse-request", run: kernel::request, seeds: kernel::request_seeds },
    Target { name: "fuse-serve", run: kernel::serve, seeds: kernel::serve_seeds },
    Target { name: "log-frame", run: files::frame, seeds: files::frame_seeds },
    Target { name: "log-segment", run: files::segment, seeds: files::segment_seeds },
    Target { name: "manifest", run: files::manifest, seeds: files::manifest_seeds },
    Target { name: "chunk-pack", run: files::chunk_pack, seeds: files::chunk_pack_seeds },
    Target { name: "content-pack", run: files::content_pack, seeds: files::content_pack_seeds },
    Target { name: "record", run: history::record, seeds: history::record_seeds },
    Target { name: "replay", run: history::replay, seeds: history::replay_seeds },
    Target { name: "sealed", run: history::sealed, seeds: history::sealed_seeds },
    Target { name: "tree", run: trees::tree, seeds: trees::tree_seeds },
    Target { name: "git-tree", run: trees::git_tree, seeds: trees::git_tree_seeds },
    Target { name: "git-index", run: trees::index, seeds: trees::index_seeds },
    Target { name: "git-words", run: words::git, seeds: words::git_seeds },
    Target { name: "packets", run: words::packets, seeds: words::packet_seeds },
    Target { name: "control", run: words::control, seeds: words::control_seeds },
    Target { name: "config", run: words::config, seeds: words::config_seeds },
    Target { name: "reference", run: words::reference, seeds: words::reference_seeds },
    Target { name: "conversions", run: words::conversions, seeds: words::conversions_seeds },
    Target { name: "url", run: words::url, seeds: words::url_seeds },
];

/// The target of a name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
