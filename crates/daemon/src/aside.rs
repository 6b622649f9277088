//! Work that must not be in anybody's way.
//!
//! Invariant: what runs here takes no lock that a program in a workspace waits for, since it may be kept from running for long.

/// Lowest priority there is (setpriority(2)); the priority of its disk requests follows from it.
const NICE: i32 = 19;

/// Does the work on a thread of the lowest priority.
pub(crate) fn aside(work: &mut (dyn FnMut() + Send)) {
    let low = || {
        // Without it the work is done all the same.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
        work();
    };
    std::thread::scope(|scope| scope.spawn(low).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
